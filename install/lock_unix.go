//go:build unix

package install

import (
	"errors"
	"os"
	"syscall"
)

// lock takes the file without waiting. Commands inherit the file, so that the
// lock holds until the last of them has ended, even if we were killed.
func lock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func inherited(f *os.File) []*os.File { return []*os.File{f} }
