package convert

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What a process that was killed has left is taken away; what may be of others is not.
func TestSweep(t *testing.T) {
	if f, err := os.Open("."); err != nil {
		t.Fatal(err)
	} else if ok, _ := lock(f); !ok {
		t.Skip("no locks here")
	} else {
		f.Close()
	}
	const pid = 4242
	m := small(t)
	for _, out := range []string{"m.gguf", "m", "empty"} {
		dir := t.TempDir()
		path := filepath.Join(dir, out)
		at, base := dir, out
		if out == "empty" {
			at, base = path, "model"
		}
		var kept []string
		for _, e := range []struct {
			name       string
			keep, held bool
		}{
			{partName(base, pid, 0), false, false}, {partName(base, pid, 3), true, true},
			{partName("other", pid, 0), true, false}, {fmt.Sprintf(".%s.%d-1.part2", base, pid), true, false}, {fmt.Sprintf(".%s.0%d-1.part", base, pid), true, false},
		} {
			if out == "empty" && e.keep {
				continue // it would not be empty
			}
			name := filepath.Join(at, e.name)
			if err := os.MkdirAll(filepath.Join(name, "sub"), 0o700); err != nil {
				t.Fatal(err)
			}
			if e.keep {
				kept = append(kept, e.name)
			}
			if e.held {
				f, err := os.Open(name)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if ok, _ := lock(f); !ok {
					t.Fatal("no lock")
				}
			}
		}
		write(t, m, Options{Out: path})
		open(t, path)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			if e.Name() != out {
				names = append(names, e.Name())
			}
		}
		slices.Sort(kept)
		if !slices.Equal(names, kept) {
			t.Errorf("%s: there are %q, want %q", out, names, kept)
		}
	}
}

// A part that another process sweeps away, or is about to, before it is held is made again.
func TestBeside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	n := 0
	p, err := beside(path, func(name string) error {
		if err := os.Mkdir(name, 0o700); err != nil {
			return err
		}
		switch n++; n {
		case 1:
			return os.Remove(name)
		case 2:
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			t.Cleanup(func() { f.Close() })
			if ok, _ := lock(f); !ok {
				t.Skip("no locks here")
			}
		}
		return nil
	})
	if err != nil || n != 3 {
		t.Fatalf("made %d times: %v", n, err)
	}
	sweep(path)
	if _, err := os.Stat(p.name); err != nil {
		t.Errorf("it was swept away: %v", err)
	}
	p.remove()
	sweep(path)
	if _, err := os.Stat(p.name); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
