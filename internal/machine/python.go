package machine

import (
	"context"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Python is one interpreter on the PATH.
type Python struct {
	Path    string // as found: /usr/bin/python3
	Version string // 3.11.2, or 3.11 where it could not be asked
	// Venv: `-m venv` makes a working environment, which needs ensurepip too;
	// Debian and Ubuntu leave that to a package of its own.
	Venv bool
	Pip  bool // `-m pip` works
	// ExternallyManaged: pip refuses to install outside an environment (PEP 668).
	ExternallyManaged bool
}

var pythonName = regexp.MustCompile(`^python3(\.[0-9]+)?$`)

// Pythons lists the Python 3 interpreters on the PATH, the one that `python3`
// starts first, the others from the newest on. An interpreter that two names
// lead to is listed once; a shim other than `python3` is left out, since it
// may start nothing.
func (h *Host) Pythons(ctx context.Context) []Python {
	type interpreter struct {
		Python
		std string // its standard library, by which it is known
	}
	var all []*interpreter
	var asking sync.WaitGroup
	for _, dir := range h.pathDirs() {
		for _, name := range h.names(dir) {
			if !pythonName.MatchString(name) {
				continue
			}
			p := &interpreter{}
			all = append(all, p)
			asking.Go(func() { p.Python, p.std = h.python(ctx, path.Join(dir, name)) })
		}
	}
	asking.Wait()
	first := h.LookPath("python3")
	slices.SortStableFunc(all, func(a, b *interpreter) int {
		if (a.Path == first) != (b.Path == first) {
			if a.Path == first {
				return -1
			}
			return 1
		}
		return CompareVersions(b.Version, a.Version)
	})
	var found []Python
	seen := map[string]bool{"": true}
	for _, p := range all {
		if real := h.resolveDir(p.std); !seen[real] {
			seen[real] = true
			found = append(found, p.Python)
		}
	}
	return found
}

// python looks at one interpreter; std is "" if it is none.
func (h *Host) python(ctx context.Context, file string) (p Python, std string) {
	p.Path = file
	real := h.Resolve(file)
	prefix := path.Dir(path.Dir(real))
	if minor, ok := strings.CutPrefix(path.Base(real), "python"); ok && strings.Contains(minor, ".") {
		p.Version = minor
		for _, dir := range []string{"lib", "lib64"} {
			if d := path.Join(prefix, dir, "python"+minor); std == "" && h.Exists(d+"/os.py") {
				std = d
			}
		}
	}
	if std != "" {
		if out, err := h.Run(ctx, file, "--version"); err == nil {
			if v := parsePythonVersion(string(out)); v != "" {
				p.Version = v
			}
		}
	} else { // a shim or a wrapper: it must tell itself, which can be slow
		if path.Base(file) != "python3" {
			return p, ""
		}
		out, err := h.Run(ctx, file, "-I", "-c", "import os, platform; print('Python', platform.python_version(), os.__file__)")
		f := strings.Fields(string(out))
		if err != nil || len(f) < 3 || !path.IsAbs(f[2]) {
			return p, ""
		}
		p.Version, std = parsePythonVersion(string(out)), path.Dir(f[2])
	}
	minor := minorOf(p.Version)
	if minor == "" {
		return p, ""
	}
	p.Venv = h.Exists(std+"/venv/__init__.py") && h.Exists(std+"/ensurepip/__init__.py")
	p.ExternallyManaged = h.Exists(std + "/EXTERNALLY-MANAGED")
	local := path.Join("/usr/local/lib", "python"+minor) // where Debian's pip upgrades itself to
	for _, site := range []string{std + "/site-packages", std + "/dist-packages", path.Join(path.Dir(std), "python3/dist-packages"), local + "/dist-packages"} {
		p.Pip = p.Pip || h.Exists(site+"/pip/__init__.py")
	}
	return p, std
}

// parsePythonVersion reads what `python3 --version` prints: "Python 3.13.0rc1".
func parsePythonVersion(said string) string {
	f := strings.Fields(said)
	if len(f) < 2 || f[0] != "Python" || len(f[1]) > 20 || !strings.HasPrefix(f[1], "3.") {
		return ""
	}
	return f[1]
}

// minorOf cuts 3.11.2 to 3.11.
func minorOf(version string) string {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return ""
	}
	digits := strings.TrimRight(parts[1], "abcdefghijklmnopqrstuvwxyz+")
	return parts[0] + "." + digits
}

// Environment is a virtual environment or an interpreter's own folder of
// packages.
type Environment struct {
	Dir          string // the environment's, as pyvenv.cfg's
	SitePackages string
}

// Environment looks at a virtual environment; false if dir is none.
func (h *Host) Environment(dir string) (Environment, bool) {
	return h.environment(dir, "pyvenv.cfg")
}

// CondaEnvironment is the same of an environment of conda.
func (h *Host) CondaEnvironment(dir string) (Environment, bool) {
	return h.environment(dir, "conda-meta")
}

func (h *Host) environment(dir, mark string) (Environment, bool) {
	if !h.Exists(path.Join(dir, mark)) {
		return Environment{}, false
	}
	for _, site := range h.glob(dir + "/lib/python3.*/site-packages") {
		return Environment{Dir: dir, SitePackages: site}, true
	}
	return Environment{Dir: dir}, true
}

// Distribution returns the version of an installed Python package by its
// normalized name (lower case, _ for -), "" if it is not there.
func (h *Host) Distribution(sitePackages, name string) string {
	for _, entry := range h.names(sitePackages) {
		base, ok := strings.CutSuffix(entry, ".dist-info")
		if !ok {
			continue
		}
		n, version, ok := strings.Cut(base, "-")
		if ok && strings.ReplaceAll(strings.ToLower(n), "-", "_") == name {
			return version
		}
	}
	return ""
}

// Torch is a PyTorch in a folder of packages.
type Torch struct {
	Version string // 2.15.0+cu130
	CUDA    string // 13.0; "" if it computes on the CPU only
}

var torchCUDA = regexp.MustCompile(`(?m)^cuda(?:\s*:[^=\n]*)?\s*=\s*['"]([0-9.]+)['"]`)

// Torch reads the version of the PyTorch there without starting it.
func (h *Host) Torch(sitePackages string) (Torch, bool) {
	t := Torch{Version: h.Distribution(sitePackages, "torch")}
	if t.Version == "" {
		return Torch{}, false
	}
	b, _ := h.ReadFile(sitePackages + "/torch/version.py")
	if m := torchCUDA.FindSubmatch(b); m != nil {
		t.CUDA = string(m[1])
	}
	return t, true
}
