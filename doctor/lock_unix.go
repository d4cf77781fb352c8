//go:build unix

package doctor

import (
	"os"
	"syscall"
)

// lockFile takes flock's lock and gives it back.
func lockFile(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	return syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
}
