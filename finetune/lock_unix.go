//go:build unix

package finetune

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// errDiskFull is what is written beyond a quota.
var errDiskFull error = unix.EDQUOT

// lockFile takes a lock that ends with the file's being closed, without waiting.
// A file system that has no locks counts as free.
func lockFile(f *os.File) error {
	for {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
			return errLocked
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOLCK):
			return nil
		default:
			return err
		}
	}
}
