package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// OS is a distribution as /etc/os-release names it
// (freedesktop.org/software/systemd/man/os-release.html).
type OS struct {
	ID        string   // ubuntu, debian, rocky, fedora, opensuse-leap; linux if unnamed
	IDLike    []string // the families it is close to, the closest first
	VersionID string   // 22.04, 12, 9.4; "" for rolling ones
	Codename  string   // jammy, bookworm
	Name      string   // for people: Ubuntu 22.04.4 LTS
}

// Like tells whether the distribution is, or derives from, one of ids.
func (o OS) Like(ids ...string) bool {
	return slices.Contains(ids, o.ID) || slices.ContainsFunc(o.IDLike, func(l string) bool { return slices.Contains(ids, l) })
}

// Major is VersionID up to its first dot.
func (o OS) Major() string {
	major, _, _ := strings.Cut(o.VersionID, ".")
	return major
}

// OSRelease reads the distribution; the zero OS where there is no os-release.
func (h *Host) OSRelease() (OS, error) {
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		b, err := h.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return OS{}, err
		}
		return ParseOSRelease(b), nil
	}
	return OS{}, nil
}

// ParseOSRelease never fails: a line that is not KEY=value is passed over, as
// the specification asks.
func ParseOSRelease(data []byte) OS {
	o := OS{ID: "linux"}
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		value = shellWord(value)
		switch key {
		case "ID":
			if value != "" {
				o.ID = strings.ToLower(value)
			}
		case "ID_LIKE":
			o.IDLike = strings.Fields(strings.ToLower(value))
		case "VERSION_ID":
			o.VersionID = value
		case "VERSION_CODENAME":
			o.Codename = value
		case "PRETTY_NAME":
			o.Name = value
		}
	}
	return o
}

// shellWord takes the quotes and backslashes off one shell word.
func shellWord(s string) string {
	if len(s) >= 2 && s[0] == '\'' && s[len(s)-1] == '\'' {
		return s[1 : len(s)-1]
	}
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Kernel is the release of the running kernel, as uname -r prints it.
func (h *Host) Kernel() string { return h.line("/proc/sys/kernel/osrelease") }

// KernelHeaders tells whether modules can be built for the running kernel.
func (h *Host) KernelHeaders() bool {
	k := h.Kernel()
	return k != "" && h.Exists("/lib/modules/"+k+"/build/Makefile")
}

// WSL is the version of the Windows Subsystem for Linux: 0 outside it, 1 or 2.
func (h *Host) WSL() int {
	k := h.Kernel()
	switch low := strings.ToLower(k); {
	case strings.Contains(low, "wsl2"), strings.Contains(low, "microsoft-standard"):
		return 2
	case strings.HasSuffix(k, "-Microsoft"):
		return 1
	case strings.Contains(low, "microsoft") && h.Exists("/usr/lib/wsl"):
		return 2
	}
	return 0
}

// Container names the kind of container this process is in: docker, podman,
// kubernetes, lxc, systemd-nspawn, another word that the runtime uses, or ""
// if there is no sign of one.
func (h *Host) Container() string {
	cgroup, _ := h.ReadFile("/proc/1/cgroup")
	known := h.Getenv("container")
	if known == "" {
		known = h.line("/run/systemd/container")
	}
	switch {
	case h.Getenv("KUBERNETES_SERVICE_HOST") != "", bytes.Contains(cgroup, []byte("/kubepods")):
		return "kubernetes"
	case h.Exists("/run/.containerenv"), known == "podman", bytes.Contains(cgroup, []byte("/libpod")):
		return "podman"
	case h.Exists("/.dockerenv"), known == "docker", bytes.Contains(cgroup, []byte("/docker")):
		return "docker"
	case strings.HasPrefix(known, "lxc"), bytes.Contains(cgroup, []byte("/lxc/")):
		return "lxc"
	case known != "" && known != "wsl":
		return known
	}
	return ""
}

// Modules returns the loaded kernel modules by name.
func (h *Host) Modules() (map[string]bool, error) {
	b, err := h.ReadFile("/proc/modules")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ParseModules(b), nil
}

// ParseModules reads /proc/modules: name size users dependants state address.
func ParseModules(data []byte) map[string]bool {
	loaded := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 0 && (len(f) < 5 || f[4] == "Live") {
			loaded[f[0]] = true
		}
	}
	return loaded
}

// SecureBoot is what the firmware says of Secure Boot.
type SecureBoot string

const (
	SecureBootOn      SecureBoot = "on"
	SecureBootOff     SecureBoot = "off"
	SecureBootNone    SecureBoot = "none" // not started by UEFI
	SecureBootUnknown SecureBoot = "unknown"
)

// SecureBoot reads the variable of the UEFI specification, 3.3; in a container
// it usually cannot be seen.
func (h *Host) SecureBoot() SecureBoot {
	if !h.Exists("/sys/firmware/efi") {
		if h.Exists("/sys/firmware") && h.Container() == "" {
			return SecureBootNone
		}
		return SecureBootUnknown
	}
	// Four bytes of attributes come before the value.
	b, err := h.ReadFile("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
	switch {
	case err != nil || len(b) != 5:
		return SecureBootUnknown
	case b[4] == 1:
		return SecureBootOn
	case b[4] == 0:
		return SecureBootOff
	}
	return SecureBootUnknown
}

// Device is a display device on the PCI bus.
type Device struct {
	Slot   string // 0000:01:00.0
	ID     uint16 // of the vendor's device
	Class  uint32 // 0x030000 VGA, 0x030200 3D controller
	Driver string // nvidia, nouveau, vfio-pci; "" if none is bound
}

// NVIDIADevices lists NVIDIA's display devices, which are seen here without
// any driver, too. A PCI bus that cannot be seen is an error.
func (h *Host) NVIDIADevices() ([]Device, error) {
	const bus = "/sys/bus/pci/devices"
	entries, err := fs.ReadDir(h.FS, rel(bus))
	if errors.Is(err, fs.ErrNotExist) && h.GOOS == "linux" && h.Exists("/sys/bus") {
		return nil, nil // a machine without PCI
	}
	if err != nil {
		return nil, fmt.Errorf("list PCI devices: %w", err)
	}
	var devices []Device
	for _, e := range entries {
		dir := path.Join(bus, e.Name())
		vendor, ok1 := hex(h.line(dir+"/vendor"), 16)
		id, ok2 := hex(h.line(dir+"/device"), 16)
		class, ok3 := hex(h.line(dir+"/class"), 32)
		if !ok1 || !ok2 || !ok3 || vendor != 0x10de || class>>16 != 0x03 {
			continue
		}
		d := Device{Slot: e.Name(), ID: uint16(id), Class: uint32(class)}
		if link := h.readLink(dir + "/driver"); link != "" {
			d.Driver = path.Base(link)
		}
		devices = append(devices, d)
	}
	return devices, nil
}

func hex(s string, bits int) (uint64, bool) {
	v, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, bits)
	return v, err == nil
}

// generations is where each begins among NVIDIA's device ids, as pci.ids lists
// them; ids are given out in that order but for a few.
var generations = []struct {
	first uint16
	name  string
}{
	{0x0fc0, "kepler"}, {0x1340, "maxwell"}, {0x15f0, "pascal"}, {0x1617, "maxwell"}, {0x1b00, "pascal"},
	{0x1d80, "volta"}, {0x1e00, "turing"}, {0x2080, "ampere"}, {0x2180, "turing"}, {0x2200, "ampere"},
	{0x2300, "hopper"}, {0x2400, "ampere"}, {0x2600, "ada"}, {0x2900, "blackwell"},
}

// Generation names the architecture: kepler, maxwell, pascal, volta, turing,
// ampere, ada, hopper, blackwell; "" if older than that.
func (d Device) Generation() string {
	name := ""
	for _, g := range generations {
		if d.ID >= g.first {
			name = g.name
		}
	}
	return name
}

// OpenModules tells whether NVIDIA's open kernel modules drive the device:
// Turing and newer. Drivers from 620 on have no others; older devices stay
// with 580.
func (d Device) OpenModules() bool {
	switch d.Generation() {
	case "", "kepler", "maxwell", "pascal", "volta":
		return false
	}
	return true
}
