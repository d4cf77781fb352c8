//go:build !unix

package run

// PeakRSS returns the most memory that the process has had resident, in bytes;
// 0 where the system does not say.
func PeakRSS() int64 { return 0 }
