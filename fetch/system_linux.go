package fetch

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// bootID names the run of the machine since it was started.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(text)), "")
}

// freeBytes is the room that this user has in the file system of dir.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// syncData writes the bytes of f to the disk, its times not necessarily.
func syncData(f *os.File) error { return os.NewSyscallError("fdatasync", unix.Fdatasync(int(f.Fd()))) }
