package run

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/gptctl/gptctl/internal/convert"
	"github.com/gptctl/gptctl/internal/tensor"
)

// A model's file that is cut short while it is in use is an error, on whatever thread
// it is read and by whatever instructions.
func TestCutShort(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file that is mapped cannot be cut there")
	}
	files, _, err := OpenFiles(DemoModel, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16} {
		for _, threads := range []int{1, 2, 5} {
			path := filepath.Join(t.TempDir(), "m.gguf")
			if _, err := convert.Write(t.Context(), files, convert.Options{Out: path, DType: d, Source: DemoModel}); err != nil {
				t.Fatal(err)
			}
			m, err := Open(t.Context(), path, OpenOptions{Threads: threads})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, 1<<20); err != nil {
				t.Fatal(err)
			}
			s, err := m.Settings(nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Generate(t.Context(), Request{Prompt: "It was", Settings: s}); !errors.Is(err, ErrLost) {
				t.Errorf("%v, %d threads: %v", d, threads, err)
			}
			m.Close() // its threads come to an end
		}
	}
}
