package convert

import "golang.org/x/sys/unix"

// exchange has two folders change places in one step, so that at no time there is none.
func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}
