package mapped

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestOpen(t *testing.T) {
	page := os.Getpagesize()
	for _, size := range []int{0, 1, page - 1, page, page + 1, 2*chunk + 17} {
		want := bytes.Repeat([]byte("0123456"), size/7+1)[:size]
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		f.Prefault()
		if !bytes.Equal(f.Data, want) {
			t.Errorf("%d bytes: other contents", size)
		}
		for range 2 {
			if err := f.Close(); err != nil {
				t.Errorf("%d bytes: close: %v", size, err)
			}
		}
		f.Prefault() // after Close: nothing to do
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "absent")); !os.IsNotExist(err) {
		t.Errorf("absent file: %v", err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: %v", err)
	}
	if _, err := os.Stat(os.DevNull); err == nil {
		if _, err := Open(os.DevNull); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("device: %v", err)
		}
	}
}

// A mapping stays whole when its file is replaced or removed by name.
func TestReplacedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(path); err != nil {
		t.Skip("this system keeps mapped files: ", err)
	}
	if string(f.Data) != "old" {
		t.Errorf("after removal: %q", f.Data)
	}
}

func TestCloseDuringPrefault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 8*chunk), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { f.Prefault() })
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	}
}

func TestAnonymous(t *testing.T) {
	for _, size := range []int{0, 1, 100, hugePage - 1, hugePage, 3*hugePage + 5} {
		m := Anonymous(size)
		if len(m.Data) != size {
			t.Errorf("%d bytes: got %d", size, len(m.Data))
		}
		if bytes.ContainsFunc(m.Data, func(r rune) bool { return r != 0 }) {
			t.Errorf("%d bytes: not zeroed", size)
		}
		for i := range m.Data {
			m.Data[i] = byte(i)
		}
		for range 2 {
			if err := m.Free(); err != nil {
				t.Errorf("%d bytes: free: %v", size, err)
			}
		}
	}
}

func TestForget(t *testing.T) {
	want := bytes.Repeat([]byte("0123456"), 10000)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	f.ReadAhead()
	own := []byte("not of the file, must stay")
	for _, part := range [][]byte{nil, f.Data[:1], f.Data[5000:20000], f.Data[60000:], f.Data, own} {
		f.Forget(part)
		if !bytes.Equal(f.Data, want) {
			t.Errorf("%d bytes forgotten: other contents", len(part))
		}
	}
	if string(own) != "not of the file, must stay" {
		t.Error("foreign memory was touched")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f.Forget(own) // after Close: nothing to do
	f.ReadAhead()
}

func TestFloats(t *testing.T) {
	for _, n := range []int{0, 1, 1000, hugePage/8 - 1, hugePage / 8, hugePage / 4, hugePage/4 + 1, 3 * hugePage} {
		v := Floats(n)
		if len(v) != n || cap(v) < n {
			t.Fatalf("%d numbers: got %d", n, len(v))
		}
		for i := range v {
			if v[i] != 0 {
				t.Fatalf("%d numbers: number %d is %v", n, i, v[i])
			}
			v[i] = 1
		}
	}
}

// What touches is brought into memory as one, in whole pages; memory of others is left alone.
func TestPages(t *testing.T) {
	page := os.Getpagesize()
	data := make([]byte, 10*page+page/2)
	f := &File{Data: data}
	at := func(from, to int) []byte { return data[from:to] }
	for _, c := range []struct {
		parts [][]byte
		want  []span
	}{
		{[][]byte{data}, []span{{0, len(data)}}},
		{[][]byte{at(page+1, page+2)}, []span{{page, 2 * page}}},
		{[][]byte{at(7*page, 8*page), at(page+1, 2*page), at(2*page, 3*page)}, []span{{page, 3 * page}, {7 * page, 8 * page}}},
		{[][]byte{at(0, 5*page), at(page, 2*page), at(10*page+1, 10*page+2)}, []span{{0, 5 * page}, {10 * page, len(data)}}},
		{[][]byte{make([]byte, 100), nil, at(5, 5)}, nil},
	} {
		if got := f.pages(c.parts); !slices.Equal(got, c.want) {
			t.Errorf("got %v, want %v", got, c.want)
		}
	}
}
