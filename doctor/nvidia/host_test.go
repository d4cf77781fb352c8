package nvidia

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func hostRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestHost(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("PCI addresses are no file names there")
	}
	const pci = "sys/bus/pci/devices/"
	root := hostRoot(t, map[string]string{
		"sys/module/nvidia/version":      "580.65.06\n",
		"proc/driver/nvidia/version":     "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (x)\nGCC version:  gcc 12\n",
		pci + "0000:19:00.0/vendor":      "0x10de\n",
		pci + "0000:19:00.0/class":       "0x030200\n",
		pci + "0000:19:00.0/device":      "0x2330\n",
		pci + "0000:19:00.0/numa_node":   "1\n",
		pci + "0000:01:00.0/vendor":      "0x10de\n",
		pci + "0000:01:00.0/class":       "0x030000\n",
		pci + "0000:01:00.0/device":      "0x1d01\n",
		pci + "0000:01:00.1/vendor":      "0x10de\n", // its sound
		pci + "0000:01:00.1/class":       "0x040300\n",
		pci + "0000:02:00.0/vendor":      "0x8086\n",
		pci + "0000:02:00.0/class":       "0x030000\n",
		"sys/bus/pci/drivers/nouveau/id": "",
	})
	if err := os.Symlink("../../../bus/pci/drivers/nouveau", filepath.Join(root, pci, "0000:01:00.0/driver")); err != nil {
		t.Fatal(err)
	}
	smi := fakeSMI(t, "cat '"+smiFile(t, "h100-v12.xml")+"'", "")
	inv := Probe(t.Context(), Options{Source: SourceSMI, SMI: smi, Root: root})
	compare(t, inv.PCI, []PCIDevice{{"0000:01:00.0", 0x1d01, "nouveau"}, {"0000:19:00.0", 0x2330, ""}})
	if inv.KernelModule.String() != "580.65.06" || inv.OpenModule == nil || !*inv.OpenModule {
		t.Errorf("module: got %s, open %v", inv.KernelModule, inv.OpenModule)
	}
	if n := inv.GPUs[0].NUMANode; n == nil || *n != 1 {
		t.Errorf("NUMA node: got %v", n)
	}
}

func TestHostClosedModule(t *testing.T) {
	root := hostRoot(t, map[string]string{
		"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  Thu May  2 14:37:44 UTC 2024\n",
	})
	var inv Inventory
	inv.addHost(root)
	if inv.KernelModule.String() != "470.256.02" || inv.OpenModule == nil || *inv.OpenModule || inv.PCI != nil {
		t.Errorf("got %+v", inv)
	}
}

func TestBusID(t *testing.T) {
	for s, want := range map[string]string{
		"00000000:3B:00.0": "0000:3b:00.0", "0000:3b:00.0": "0000:3b:00.0", "00010000:3B:00.0": "00010000:3b:00.0",
		"": "", "N/A": "", "../../../../etc": "", "0000:3b:00": "", "gg:gg:gg.g:::": "",
	} {
		if got := busID(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	order := []string{"12", "12.4", "450.80.02", "525.60.13", "525.147.05", "535.183.01", "580", "580.65.06"}
	for i, a := range order {
		for j, b := range order {
			if got := version(t, a).Compare(version(t, b)); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%s against %s: got %d", a, b, got)
			}
		}
	}
	for _, s := range []string{"", ".", "1.", "1..2", "a", "1.2.3.4.5", "-1", "123456789", "1 2"} {
		if v, err := ParseVersion(s); err == nil || !v.IsZero() {
			t.Errorf("%q: got %v, want an error", s, v)
		}
	}
	if (Version{}).AtLeast(Version{}) {
		t.Error("an unknown version is at least nothing")
	}
}
