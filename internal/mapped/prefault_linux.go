package mapped

import (
	"os"

	"golang.org/x/sys/unix"
)

// canPopulate asks with the first page whether the kernel (Linux 5.14 and
// later) can fill page tables on request.
func canPopulate(data []byte) bool { return populate(data[:min(len(data), os.Getpagesize())]) }

// populate maps the pages of data, which begins at a page, reading from disk
// what is not in the page cache.
func populate(data []byte) bool { return unix.Madvise(data, unix.MADV_POPULATE_READ) == nil }

func willNeed(data []byte) { _ = unix.Madvise(data, unix.MADV_WILLNEED) }
