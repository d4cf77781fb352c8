//go:build linux

package nvidia

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// buildLibrary compiles a C file into a shared library, or skips the test.
func buildLibrary(t *testing.T, source, name string) string {
	t.Helper()
	for _, compiler := range []string{"cc", "gcc", "clang"} {
		if _, err := exec.LookPath(compiler); err != nil {
			continue
		}
		path := filepath.Join(t.TempDir(), name)
		if out, err := exec.Command(compiler, "-shared", "-fPIC", "-O1", "-w", "-o", path, source).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", compiler, source, err, out)
		}
		return path
	}
	t.Skip("no C compiler")
	return ""
}
