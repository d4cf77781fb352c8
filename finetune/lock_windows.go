package finetune

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// errDiskFull is what Windows calls a full disk.
var errDiskFull error = windows.ERROR_DISK_FULL

// lockFile takes a lock that ends with the file's being closed, without waiting.
func lockFile(f *os.File) error {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return errLocked
	}
	return err
}
