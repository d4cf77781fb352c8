//go:build unix

package run

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// PeakRSS returns the most memory that the process has had resident, in bytes,
// mapped model files included; 0 where the system does not say.
func PeakRSS() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return u.Maxrss // bytes there, kilobytes elsewhere
	}
	return u.Maxrss * 1024
}
