package fetch

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/gptctl/gptctl/internal/hubtest"
)

// Two damaged copies make a good one if the damage is in different places.
func TestMix(t *testing.T) {
	const size = 6 << 20
	good := make([]byte, size)
	if _, err := hubtest.Noise(5, size).ReadAt(good, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	hash := hubtest.SHA256(bytes.NewReader(good))
	damaged := func(at ...int64) []byte {
		b := bytes.Clone(good)
		for _, i := range at {
			b[i] ^= 8
		}
		return b
	}
	for _, test := range []struct {
		name          string
		first, second []int64
		mended        bool
	}{
		{"one each", []int64{100}, []int64{4 << 20}, true},
		{"two and one", []int64{100, 5 << 20}, []int64{3 << 20}, true},
		{"the same place", []int64{100}, []int64{100}, false},
		{"near each other", []int64{100}, []int64{200}, false},
		{"too many", []int64{0, 2 << 20, 4 << 20}, []int64{1 << 20, 3 << 20, 5 << 20}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			open := func(name string, content []byte) *os.File {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, content, 0o644); err != nil {
					t.Fatal(err)
				}
				f, err := os.OpenFile(path, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { f.Close() })
				return f
			}
			first, second := damaged(test.first...), damaged(test.second...)
			tr := &transfer{blob: blob{hash, size, []string{"f"}}, temp: open("second", second), aside: open("first", first)}
			for at := int64(0); at < size; at += 1 << 10 {
				if !bytes.Equal(first[at:at+1<<10], second[at:at+1<<10]) {
					tr.state.differ.add(at, at+1<<10)
				}
			}
			c, err := tr.mix(t.Context())
			if err != nil || (c != nil) != test.mended {
				t.Fatalf("%v, %v", c != nil, err)
			}
			if !test.mended {
				return
			}
			if got, err := os.ReadFile(tr.temp.Name()); err != nil || !bytes.Equal(got, good) {
				t.Errorf("other bytes, %v", err)
			}
			if bad, err := c.bad(t.Context(), tr.temp, nil); err != nil || len(bad) > 0 || !c.complete() {
				t.Errorf("its chain: %v, %v", bad, err)
			}
		})
	}
}
