package nvidia

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Files below /sys and /proc are a page at most; whatever stands there instead is not read to its end.
const hostFileLimit = 64 << 10

// addHost fills in what the kernel tells without the driver's library: the
// loaded module, the PCI bus and where on it the GPUs found sit.
func (inv *Inventory) addHost(root string) {
	if root == "" {
		if runtime.GOOS != "linux" {
			return
		}
		root = "/"
	}
	if v, err := ParseVersion(hostLine(root, "sys/module/nvidia/version")); err == nil {
		inv.KernelModule = v
	}
	// "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build …"
	if text := hostFile(root, "proc/driver/nvidia/version"); len(text) > 0 {
		line, _, _ := bytes.Cut(text, []byte("\n"))
		inv.OpenModule = new(bytes.Contains(line, []byte("Open Kernel Module")))
		if inv.KernelModule.IsZero() {
			for f := range bytes.FieldsSeq(line) {
				if v, err := ParseVersion(string(f)); err == nil && bytes.Contains(f, []byte(".")) {
					inv.KernelModule = v
					break
				}
			}
		}
	}
	inv.PCI = pciDevices(root)
	for i := range inv.GPUs {
		g := &inv.GPUs[i]
		if g.BusID == "" {
			continue
		}
		node, err := strconv.Atoi(hostLine(root, "sys/bus/pci/devices", g.BusID, "numa_node"))
		if err == nil && node >= 0 { // -1: the machine does not say
			g.NUMANode = &node
		}
	}
}

func pciDevices(root string) []PCIDevice {
	const bus = "sys/bus/pci/devices"
	entries, err := os.ReadDir(filepath.Join(root, bus))
	if err != nil {
		return nil
	}
	var found []PCIDevice
	for _, e := range entries {
		// Base class 03 is a display controller (PCI Code and ID Assignment Specification).
		if hostLine(root, bus, e.Name(), "vendor") != "0x10de" ||
			!strings.HasPrefix(hostLine(root, bus, e.Name(), "class"), "0x03") {
			continue
		}
		d := PCIDevice{BusID: strings.ToLower(e.Name())}
		if id, err := strconv.ParseUint(hostLine(root, bus, e.Name(), "device"), 0, 16); err == nil {
			d.DeviceID = uint16(id)
		}
		if target, err := os.Readlink(filepath.Join(root, bus, e.Name(), "driver")); err == nil {
			d.Driver = filepath.Base(target)
		}
		found = append(found, d)
	}
	slices.SortFunc(found, func(a, b PCIDevice) int { return strings.Compare(a.BusID, b.BusID) })
	return found
}

func hostFile(root string, path ...string) []byte {
	f, err := os.Open(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, hostFileLimit))
	if err != nil {
		return nil
	}
	return text
}

func hostLine(root string, path ...string) string {
	return strings.TrimSpace(string(hostFile(root, path...)))
}

// busID brings "00000000:3B:00.0" to the kernel's "0000:3b:00.0", and anything
// that is not a PCI address to "".
func busID(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	if len(s) == 16 && strings.HasPrefix(s, "0000") {
		s = s[4:]
	}
	for i := range len(s) {
		c := s[i]
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
		if !hex && c != ':' && c != '.' {
			return ""
		}
	}
	if strings.Count(s, ":") != 2 || strings.Count(s, ".") != 1 || len(s) < 12 || len(s) > 16 {
		return ""
	}
	return s
}
