//go:build unix && !linux

package mapped

import "golang.org/x/sys/unix"

func canPopulate([]byte) bool { return false }
func populate([]byte) bool    { return false }

// willNeed starts reading ahead what is not in the page cache.
func willNeed(data []byte) { _ = unix.Madvise(data, unix.MADV_WILLNEED) }
