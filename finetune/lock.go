package finetune

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// lockName is a file in OUT that a training holds locked. A process that is
// killed leaves the file, but not the lock.
const lockName = ".lock"

// BusyError says that another process trains in OUT.
type BusyError struct{ Out string }

func (e *BusyError) Error() string {
	return fmt.Sprintf("another training is writing to %s at this moment", e.Out)
}

// errLocked is what lockFile says of a file that another one has locked.
var errLocked = errors.New("locked")

// outLock keeps other trainings from OUT.
type outLock struct {
	file *os.File
	made []string // folders, the innermost first
}

// lockOut makes OUT if it is missing, and locks it; it fails with a *BusyError
// if another training has done so.
func lockOut(out string) (*outLock, error) {
	l := &outLock{}
	for dir := filepath.Clean(out); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) { // a link to nothing is not ours to take away
			break
		}
		l.made = append(l.made, dir)
		if filepath.Dir(dir) == dir {
			break
		}
	}
	err := os.MkdirAll(out, 0o777)
	path := filepath.Join(out, lockName)
	for err == nil {
		if l.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
			break
		}
		if err = lockFile(l.file); err != nil {
			l.file.Close()
			break
		}
		// Whoever had it may have removed it since it was opened here.
		mine, err1 := l.file.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return l, nil
		}
		l.file.Close()
		_, err = os.Stat(out) // the folder may be gone with it
	}
	l.file = nil
	l.release()
	if errors.Is(err, errLocked) {
		return nil, &BusyError{out}
	}
	return nil, fmt.Errorf("write to %s: %w", out, cause(err))
}

// release takes the lock away, and the folders that were made for it if there is
// nothing in them.
func (l *outLock) release() {
	if l == nil {
		return
	}
	if l.file != nil {
		// Windows removes no file that is open, and others no longer have it after it is closed.
		if os.Remove(l.file.Name()) != nil {
			l.file.Close()
			_ = os.Remove(l.file.Name())
		}
		l.file.Close()
	}
	for _, dir := range l.made {
		if os.Remove(dir) != nil { // it is not empty
			break
		}
	}
}

// checkBusy reports whether a training is under way in OUT.
func checkBusy(out string) error {
	f, err := os.OpenFile(filepath.Join(out, lockName), os.O_RDWR, 0)
	if err != nil {
		return nil // there is none, or it is for lockOut to say what is wrong
	}
	defer f.Close()
	if errors.Is(lockFile(f), errLocked) {
		return &BusyError{out}
	}
	return nil
}

// cause is an error without the path that the message already names.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
