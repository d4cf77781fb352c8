//go:build unix

package convert

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock takes a lock that ends with the file's being closed, or with the process; taken
// says that somebody else has it. Some file systems have no locks.
func lock(f *os.File) (ok, taken bool) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	return err == nil, errors.Is(err, unix.EWOULDBLOCK)
}
