//go:build linux || darwin

package kernel

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guarded returns n bytes whose end is the end of mapped memory: touching the
// byte behind them is a fault. With -short 32 bytes behind them can be read:
// that mode is for the emulator qemu-user, whose masked loads read all lanes.
func guarded(t testing.TB, n int) []byte {
	t.Helper()
	slack := 0
	if testing.Short() {
		slack = 32
	}
	page := unix.Getpagesize()
	whole := roundUp(n+slack, page)
	b, err := unix.Mmap(-1, 0, whole+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	if err := unix.Mprotect(b[whole:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return b[whole-slack-n : whole-slack : whole-slack]
}

// guardedFloats is guarded memory that holds v.
func guardedFloats(t testing.TB, v []float32) []float32 {
	t.Helper()
	b := guarded(t, 4*len(v))
	if len(v) == 0 {
		return nil
	}
	f := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(v))
	copy(f, v)
	return f
}
