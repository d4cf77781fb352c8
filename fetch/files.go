package fetch

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// writeFile replaces a file in one step.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	name := make([]byte, 4)
	_, _ = rand.Read(name) // never fails
	temp := path + "." + hex.EncodeToString(name) + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if shut := f.Close(); err == nil {
		err = shut
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
	}
	return err
}

// syncDir makes a rename in the folder outlast a crash, where the system can.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync() // some file systems cannot
		d.Close()
	}
}

// writeError says what a failure to write means.
func writeError(dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case isFull(err):
		free, freeErr := freeBytes(dir)
		if freeErr != nil {
			free = 0
		}
		return &NoRoomError{Dir: dir, Available: free}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		var path *fs.PathError
		if errors.As(err, &path) {
			return &ReadOnlyError{dir, path.Err}
		}
		return &ReadOnlyError{dir, err}
	}
	return err
}
