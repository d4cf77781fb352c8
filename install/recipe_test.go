package install

import (
	"slices"
	"testing"
)

func TestRecipes(t *testing.T) {
	r, err := readRecipes()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, d := range r.distributions {
		m, ok := r.managers[d.Manager]
		if !ok {
			t.Errorf("%s: no package manager %q", d.Name, d.Manager)
		}
		if len(m.Install) == 0 || len(m.Remove) == 0 || len(m.Refresh) == 0 || len(m.Installed) == 0 || m.RepoFile == "" || m.KeyFile == "" {
			t.Errorf("%s: package manager %s lacks something", d.Name, d.Manager)
		}
		for _, id := range d.IDs {
			if seen[id] {
				t.Errorf("%s is in two recipes", id)
			}
			seen[id] = true
		}
		for _, rel := range d.Release {
			where := d.Name + " " + rel.Version
			if rel.Python.Version == "" || len(rel.Python.Packages) == 0 {
				t.Errorf("%s: no Python", where)
			}
			if rel.NVIDIA != "" && len(rel.Keys) == 0 {
				t.Errorf("%s: NVIDIA's repository without a key", where)
			}
			for _, k := range rel.Keys {
				if n := len(r.nvidia.Keys[k]); n != 40 && n != 64 {
					t.Errorf("%s: key %s has neither a fingerprint nor a checksum", where, k)
				}
			}
			for _, list := range [][]string{d.Driver, d.DriverOld, rel.DriverOld, rel.Signed, rel.SignedOld} {
				if slices.Contains(list, "cuda") {
					t.Errorf("%s installs the meta-package cuda", where)
				}
			}
		}
	}
	for name, w := range r.torch.Wheels {
		if w.Download == 0 || w.Disk == 0 || name != "cpu" && w.Driver == "" {
			t.Errorf("wheels %s lack something", name)
		}
	}
}
