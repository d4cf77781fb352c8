package convert

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// part is a file or folder under way, beside the place that it will be renamed to.
type part struct {
	name string
	held *os.File // locked, or nil: tells that its process is at work
}

// beside makes a part under a name of its own in the same folder as path. The
// permissions are those of anything new.
func beside(path string, create func(name string) error) (*part, error) {
	dir, base := filepath.Split(filepath.Clean(path))
	err := os.ErrExist
	for i := 0; i < 100 && os.IsExist(err); i++ {
		name := filepath.Join(dir, partName(base, os.Getpid(), i))
		if err = create(name); err != nil {
			continue
		}
		if held, ok := hold(name); ok {
			return &part{name, held}, nil
		}
		err = os.ErrExist // it was swept away before it was held
	}
	return nil, err
}

// hold locks a new part, for which there is no file where nothing can be locked.
func hold(name string) (held *os.File, ok bool) {
	f, err := os.Open(name)
	if err != nil {
		return nil, !os.IsNotExist(err)
	}
	locked, taken := lock(f)
	if !locked {
		f.Close()
		return nil, !taken
	}
	is, err := f.Stat()
	there, gone := os.Lstat(name)
	if err != nil || gone != nil || !os.SameFile(is, there) {
		f.Close()
		return nil, false
	}
	return f, true
}

// remove takes away what is left of a part: nothing once it is renamed.
func (p *part) remove() {
	os.RemoveAll(p.name)
	if p.held != nil {
		p.held.Close()
	}
}

// partName is the hidden name of a part of base.
func partName(base string, process, number int) string {
	base = strings.ToValidUTF8(base[:min(len(base), 200)], "") // systems allow 255 bytes, some of them whole letters only
	return fmt.Sprintf(".%s.%d-%d.part", base, process, number)
}

// sweep takes away the parts of path whose processes were killed.
func sweep(path string) {
	dir, base := filepath.Split(filepath.Clean(path))
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return // who creates something there will say why
	}
	for _, e := range entries {
		var process, number int
		hidden := strings.TrimPrefix(e.Name(), strings.TrimSuffix(partName(base, 0, 0), "0-0.part"))
		if _, err := fmt.Sscanf(hidden, "%d-%d.part", &process, &number); err != nil || e.Name() != partName(base, process, number) {
			continue
		}
		name := filepath.Join(dir, e.Name())
		if f, err := os.Open(name); err == nil {
			if ok, _ := lock(f); ok {
				os.RemoveAll(name)
			}
			f.Close()
		}
	}
}
