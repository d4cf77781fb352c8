package fetch

import (
	"os"

	"golang.org/x/sys/unix"
)

// bootID names the run of the machine since it was started.
func bootID() string {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}

// freeBytes is the room that this user has in the file system of dir.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

func syncData(f *os.File) error { return f.Sync() }
