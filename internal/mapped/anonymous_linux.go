package mapped

import (
	"os"

	"golang.org/x/sys/unix"
)

func mapAnonymous(size int) (data []byte, unmap func() error, err error) {
	data, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, nil, os.NewSyscallError("mmap", err)
	}
	return data, func() error { return os.NewSyscallError("munmap", unix.Munmap(data)) }, nil
}

// hugePages asks for them; a kernel without has small ones.
func hugePages(data []byte) { _ = unix.Madvise(data, unix.MADV_HUGEPAGE) }

// forget drops the pages of a read-only mapping of a file from this process;
// touched again they come from the page cache.
func forget(data []byte) { _ = unix.Madvise(data, unix.MADV_DONTNEED) }

// smallPages keeps a touch of one byte from mapping 2 MB of the file, which
// would bring back what was forgotten around it.
func smallPages(data []byte) { _ = unix.Madvise(data, unix.MADV_NOHUGEPAGE) }

// forgetAt is smallPages and forget of what is not Go's memory.
func forgetAt(address, size uintptr) {
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, address, size, unix.MADV_NOHUGEPAGE)
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, address, size, unix.MADV_DONTNEED)
}
