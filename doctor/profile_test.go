package doctor

import (
	"strings"
	"testing"
)

func TestProfiles(t *testing.T) {
	for _, name := range Profiles() {
		profile(t, name)
	}
	for _, c := range []struct{ data, want string }{
		{"[gpu]\nmemory = 8\n", `mine.toml:2:1: there is no threshold "gpu.memory"`},
		{"[gpu\n", "mine.toml:1:"},
		{"[ram]\ntotal_gb = \"much\"\n", "mine.toml:2:"},
		{"[ram]\ntotal_gb = -1\n", "mine.toml:2:12: ram.total_gb = -1: want a number from 0 to 1e+09"},
		{"[ram]\n  total_gb  =  nan\n", "mine.toml:2:16: ram.total_gb"},
		{"ram = {shm_mb = 1, total_gb = -1}\n", "mine.toml:1:31: ram.total_gb"},
		{"ram.total_gb = -1\n", "mine.toml:1:16: ram.total_gb"},
		{"[ram]\n\"total_gb\" = -1\n", "mine.toml:2:14: ram.total_gb"},
		{"[gpu]\nmissing = \"bad\"\n", "mine.toml:2:11: gpu.missing = \"bad\": want warn, fail or skip"},
		{"# first\n[gpu]\nmissing = \"pass\"\n", "mine.toml:3:11: gpu.missing"},
		{"[python]\nversion = \"three\"\n", "mine.toml:2:11: python.version"},
		{"[gpu]\npower_percent = 101\n", "mine.toml:2:17: gpu.power_percent = 101: want a number from 0 to 100"},
		{"[dis]\nfree_gb = 1\n", `there is no threshold "dis"`},
		{"[disk]\nfree_gbb = 1\n", `mine.toml:2:1: there is no threshold "disk.free_gbb": did you mean disk.free_gb?`},
	} {
		if _, err := ParseProfile("mine.toml", []byte(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.data, err, c.want)
		}
	}
	p, err := ParseProfile("mine.toml", []byte("[gpu]\nmemory_gb = 40.5\n"))
	if err != nil || p.GPU.MemoryGB != 40.5 || p.RAM.TotalGB != 16 {
		t.Error(p, err)
	}
	for _, name := range []string{"nonsense", "../x", "no-such-file.toml"} {
		if _, err := LoadProfile(name); err == nil {
			t.Errorf("%s was loaded", name)
		}
	}
}

// A settings file has tables of other verbs, which are not looked at.
func TestOverride(t *testing.T) {
	for _, c := range []struct{ data, want string }{
		{"[run]\nx = 1\n[doctor]\nstrict = true\n[doctor.thresholds.ram]\ntotal_gb = 3\n", ""},
		{"[doctor.thresholds.ram]\ntotal = 3\n", `s.toml:2:1: there is no threshold "ram.total": did you mean ram.total_gb?`},
		{"[run]\nx = 1\n[doctor.thresholds.ram]\ntotal_gb = -3\n", "s.toml:4:12: ram.total_gb = -3"},
		{"[doctor]\nthresholds = {gpu = {missing = \"maybe\"}}\n", "s.toml:2:32: gpu.missing"},
		{"[doctor.thresholds.ram]\ntotal_gb = \"x\"\n", "s.toml:2:12: "},
		{"[doctor.thresholds]\nram = 3\n", "s.toml:2:7: "},
		{"[doctor", "s.toml:1:"},
	} {
		p := profile(t, Reference)
		err := p.Override("s.toml", []byte(c.data))
		switch {
		case c.want == "" && (err != nil || p.RAM.TotalGB != 3 || p.RAM.ShmMB != 64):
			t.Errorf("%q: got %v, %v", c.data, p.RAM, err)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)):
			t.Errorf("%q: got %v, want %s", c.data, err, c.want)
		}
	}
}

// Each threshold can be set, and is found in the text.
func TestThresholdKeys(t *testing.T) {
	keys := thresholdKeys()
	if len(keys) < 30 {
		t.Errorf("got %v", keys)
	}
	for _, key := range keys {
		if row, col, ok := tomlPosition([]byte("x = 1\n"+key+" = 1\n"), strings.Split(key, ".")); !ok || row != 2 || col != len(key)+4 {
			t.Errorf("%s: got %d:%d, %v", key, row, col, ok)
		}
		if got := nearest(key+"s", keys); got != key {
			t.Errorf("%ss: got %q", key, got)
		}
	}
}

func TestNearest(t *testing.T) {
	var ids []string
	for _, c := range Checks() {
		ids = append(ids, c.ID, groupOf(c.ID))
	}
	for word, want := range map[string]string{"gpu.vran": "gpu.vram", "vram": "gpu.vram", "cuda.tookit": "cuda.toolkit", "disks": "disk", "xyzzy.plugh": "", "": "", "GPU.Driver": "gpu.driver"} {
		if got := nearest(word, ids); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
