package machine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// PackageManager is the tool that installs the distribution's packages: apt,
// dnf, yum, zypper, pacman, apk or "".
func (h *Host) PackageManager() string {
	for _, m := range []struct{ command, name string }{
		{"apt-get", "apt"}, {"zypper", "zypper"}, {"dnf", "dnf"}, {"dnf5", "dnf"}, {"yum", "yum"}, {"pacman", "pacman"}, {"apk", "apk"},
	} {
		if h.LookPath(m.command) != "" {
			return m.name
		}
	}
	return ""
}

// Package is one of the distribution's packages.
type Package struct {
	Name, Version, Arch string
	Installed           bool // completely; false: half-installed, or its settings alone are left
	Held                bool // the user forbade to change it
}

// Packages returns what dpkg or rpm knows, by name, and an empty map on a
// machine that has neither. A foreign architecture's package is found as
// name:arch, of several versions of one package the last is kept.
func (h *Host) Packages(ctx context.Context) (map[string]Package, error) {
	b, err := h.ReadFile("/var/lib/dpkg/status")
	if err == nil {
		return ParseDpkgStatus(b, debArch(h.GOARCH)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if h.LookPath("rpm") == "" {
		return map[string]Package{}, nil
	}
	b, err = h.Run(ctx, "rpm", "-qa", "--queryformat", `%{NAME}\t%{VERSION}-%{RELEASE}\t%{ARCH}\n`)
	if err != nil {
		return nil, fmt.Errorf("list rpm packages: %w", err)
	}
	packages := ParseRPMList(b)
	locks := h.rpmLocks()
	for name, p := range packages {
		for _, pattern := range locks {
			if ok, _ := path.Match(pattern, name); ok {
				p.Held = true
				packages[name] = p
			}
		}
	}
	return packages, nil
}

func debArch(goarch string) string {
	if goarch == "386" {
		return "i386"
	}
	return goarch
}

// ParseDpkgStatus reads /var/lib/dpkg/status (deb-control paragraphs); native
// is the architecture whose packages are found by their bare name.
func ParseDpkgStatus(data []byte, native string) map[string]Package {
	packages := map[string]Package{}
	var p Package
	add := func() {
		name := p.Name
		if p.Arch != "" && p.Arch != "all" && p.Arch != native {
			name += ":" + p.Arch
		}
		if p.Name != "" {
			packages[name] = p
		}
		p = Package{}
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, len(data)+1) // a line is never longer than the file
	for lines.Scan() {
		line := lines.Text()
		if strings.TrimSpace(line) == "" {
			add()
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || line[0] == ' ' || line[0] == '\t' {
			continue
		}
		value = strings.TrimSpace(value)
		switch key {
		case "Package":
			p.Name = value
		case "Version":
			p.Version = value
		case "Architecture":
			p.Arch = value
		case "Status": // want flag state
			f := strings.Fields(value)
			p.Held = len(f) == 3 && f[0] == "hold"
			p.Installed = len(f) == 3 && f[2] == "installed"
		}
	}
	add()
	return packages
}

// ParseRPMList reads lines of name, version-release and architecture, parted
// by tabs.
func ParseRPMList(data []byte) map[string]Package {
	packages := map[string]Package{}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), "\t")
		if len(f) == 3 && f[0] != "" {
			packages[f[0]] = Package{Name: f[0], Version: f[1], Arch: f[2], Installed: true}
		}
	}
	return packages
}

// rpmLocks collects the name patterns that dnf's versionlock and zypper hold.
func (h *Host) rpmLocks() []string {
	var names []string
	for _, file := range []string{"/etc/dnf/plugins/versionlock.list", "/etc/yum/pluginconf.d/versionlock.list"} {
		b, _ := h.ReadFile(file)
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "!") {
				continue
			}
			names = append(names, lockedName(line))
		}
	}
	for _, l := range []struct{ file, key string }{{"/etc/dnf/versionlock.toml", "name"}, {"/etc/zypp/locks", "solvable_name"}} {
		b, _ := h.ReadFile(l.file)
		for line := range strings.Lines(string(b)) {
			key, value, ok := strings.Cut(line, ":")
			if !ok {
				key, value, ok = strings.Cut(line, "=")
			}
			if ok && strings.TrimSpace(key) == l.key {
				names = append(names, strings.Trim(strings.TrimSpace(value), `"'`))
			}
		}
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == "" })
}

// lockedName takes the name out of [epoch:]name-version-release[.arch], each
// part of which may be a pattern: `nvidia-driver-3:580.65-1.el9.*`, `*nvidia*580*`.
func lockedName(spec string) string {
	parts := strings.Split(spec, "-")
	if len(parts) < 3 {
		return spec
	}
	name := strings.Join(parts[:len(parts)-2], "-")
	if epoch, rest, ok := strings.Cut(name, ":"); ok && strings.Trim(epoch, "0123456789") == "" {
		name = rest
	}
	return name
}
