//go:build linux && cgo && amd64

package nvidia

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// A loader that binds all at once lets the program start, and all functions
// still are the library's: TestLibraryEqualsSMI passes under it.
func TestBindNow(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLibraryEqualsSMI$", "-test.v")
	cmd.Env = append(os.Environ(), "LD_BIND_NOW=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") && !strings.Contains(string(out), "SKIP") {
		t.Errorf("%v\n%s", err, out)
	}
}

// What an old library lacks is an answer, not the end.
func TestMissingFunction(t *testing.T) {
	lib := nvml.New(nvml.WithLibraryPath(buildLibrary(t, "testdata/fakenvml.c", "libnvidia-ml.so.1")))
	if ret := lib.Init(); ret != nvml.SUCCESS {
		t.Fatal(ret)
	}
	defer lib.Shutdown()
	dev, ret := lib.DeviceGetHandleByIndex(0)
	if ret != nvml.SUCCESS {
		t.Fatal(ret)
	}
	if id, ret := dev.GetUUID(); ret != nvml.ERROR_FUNCTION_NOT_FOUND {
		t.Errorf("got %q, %d", id, ret)
	}
	if major, minor, ret := dev.GetCudaComputeCapability(); ret != nvml.SUCCESS || major != 6 || minor != 1 {
		t.Errorf("got %d.%d, %d", major, minor, ret)
	}
}

// The functions that package lazy defines are those that go-nvml calls.
func TestSymbols(t *testing.T) {
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml").Output()
	if err != nil {
		t.Skip(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "pkg", "nvml", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal("go-nvml has no sources", err)
	}
	call := regexp.MustCompile(`\bC\.(nvml[A-Z]\w*)\(`)
	var want, got []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllSubmatch(text, -1) {
			want = append(want, string(m[1]))
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	text, err := os.ReadFile("lazy/symbols.h")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "STUB "); ok {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	compare(t, got, want)
}
