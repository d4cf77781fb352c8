//go:build linux && (amd64 || arm64) && !nogpu

package drv

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gptctl/gptctl/internal/cuda/sys"
)

// fakeLibrary compiles a libcuda whose device is the host's memory.
func fakeLibrary(t *testing.T) string {
	t.Helper()
	for _, compiler := range []string{"cc", "gcc", "clang"} {
		if _, err := exec.LookPath(compiler); err != nil {
			continue
		}
		path := filepath.Join(t.TempDir(), sys.Name)
		if out, err := exec.Command(compiler, "-shared", "-fPIC", "-O1", "-w", "-o", path, filepath.Join("testdata", "fakecuda.c")).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", compiler, err, out)
		}
		return path
	}
	t.Skip("no C compiler")
	return ""
}

func TestLoopback(t *testing.T) {
	d, err := Open(fakeLibrary(t))
	if err != nil {
		t.Fatal(err)
	}
	if v, err := d.Version(); v != 12040 || err != nil {
		t.Errorf("version: got %d, %v", v, err)
	}
	info, err := d.Info(0)
	if err != nil || info != (Info{Name: "Fake GPU", Major: 9, BusID: "0000:19:00.0"}) {
		t.Errorf("got %+v, %v", info, err)
	}
	c, err := d.Context(0)
	if err != nil {
		t.Fatal(err)
	}
	before, _, err := c.Memory()
	if err != nil {
		t.Fatal(err)
	}
	// From many goroutines: every call must find its context on the thread it runs on.
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			b, err := c.Alloc(1 << 16)
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Free()
			data := bytes.Repeat([]byte{byte(i + 1)}, 1000)
			back := make([]byte, 1002)
			if err := errors.Join(b.Fill(0, 1<<16, 0xee), b.Write(5000, data), c.Synchronize(), b.Read(4999, back)); err != nil {
				t.Error(err)
			}
			if back[0] != 0xee || back[1001] != 0xee || !bytes.Equal(back[1:1001], data) {
				t.Errorf("goroutine %d: got %x … %x back", i, back[:3], back[999:])
			}
		})
	}
	wait.Wait()
	if after, _, err := c.Memory(); after != before || err != nil {
		t.Errorf("free memory: got %d, want %d (%v)", after, before, err)
	}

	b, err := c.Alloc(100)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"past the end":  b.Write(90, make([]byte, 11)),
		"overflow":      b.Fill(^uint64(0), 2, 0),
		"read too much": b.Read(0, make([]byte, 101)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := errors.Join(b.Write(100, nil), b.Free(), b.Free(), b.Write(0, nil)); err != nil {
		t.Error(err)
	}
	if b.Write(0, []byte{1}) == nil {
		t.Error("a freed buffer was written")
	}
	_, err = c.Alloc(1 << 40)
	var cuda *Error
	if !errors.As(err, &cuda) || cuda.Code != sys.OutOfMemory || !strings.Contains(err.Error(), "CUDA_ERROR_OUT_OF_MEMORY") {
		t.Errorf("too much memory: got %v", err)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	if _, err := d.Context(1); !errors.As(err, &cuda) || cuda.Code != sys.InvalidDevice {
		t.Errorf("device 1: got %v", err)
	}
}

func TestNoLibrary(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text.so")
	if err := os.WriteFile(text, []byte("not a library"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "absent.so"), text, "libc.so.6"} { // the last has none of the symbols
		if _, err := Open(path); !errors.Is(err, ErrNoLibrary) {
			t.Errorf("%s: got %v", path, err)
		}
	}
}
