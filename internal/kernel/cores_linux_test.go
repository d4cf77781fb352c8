package kernel

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCgroupQuota(t *testing.T) {
	for name, c := range map[string]struct {
		self  string
		files map[string]string
		want  float64
	}{
		"none":                {"0::/\n", nil, 0},
		"unlimited":           {"0::/a\n", map[string]string{"a/cpu.max": "max 100000\n"}, 0},
		"two":                 {"0::/a\n", map[string]string{"a/cpu.max": "200000 100000\n"}, 2},
		"parent is less":      {"0::/a/b\n", map[string]string{"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "150000 100000\n"}, 1.5},
		"root of a namespace": {"0::/\n", map[string]string{"cpu.max": "300000 100000\n"}, 3},
		"version 1":           {"4:cpu,cpuacct:/x\n", map[string]string{"cpu/x/cpu.cfs_quota_us": "50000\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, 0.5},
		"version 1 open":      {"4:cpu:/x\n", map[string]string{"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, 0},
		"nonsense":            {"what\n0::/a\n", map[string]string{"a/cpu.max": "many few\n"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "self"), c.self)
			for f, text := range c.files {
				write(t, filepath.Join(dir, "fs", f), text)
			}
			if got := cgroupQuota(filepath.Join(dir, "fs"), filepath.Join(dir, "self")); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	if got := cgroupQuota("/nowhere", "/nowhere"); got != 0 {
		t.Errorf("without cgroups: got %v, want 0", got)
	}
}

func TestCoreOf(t *testing.T) {
	dir := t.TempDir()
	for cpu, core := range []string{"0", "0", "1"} {
		top := filepath.Join(dir, "devices/system/cpu/cpu"+string(rune('0'+cpu))+"/topology")
		write(t, filepath.Join(top, "core_id"), core)
		write(t, filepath.Join(top, "physical_package_id"), "0")
	}
	if a, b, c := coreOf(dir, 0), coreOf(dir, 1), coreOf(dir, 2); a != b || a == c {
		t.Errorf("two threads of a core and another core: got %q, %q, %q", a, b, c)
	}
	if coreOf(dir, 3) == coreOf(dir, 4) {
		t.Error("unknown processors count as one core")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
