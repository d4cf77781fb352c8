package machine

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Driver is NVIDIA's kernel driver as far as files tell.
type Driver struct {
	Version string // of the loaded module: 580.65.06
	Open    bool   // NVIDIA's open kernel modules
	Library string // version of the libnvidia-ml on disk, which must be the same
}

// Driver returns the zero Driver where none is loaded nor installed.
func (h *Host) Driver() Driver {
	var d Driver
	if b, err := h.ReadFile("/proc/driver/nvidia/version"); err == nil {
		d.Version, d.Open = ParseDriverVersion(b)
	}
	if d.Version == "" {
		d.Version = version(h.line("/sys/module/nvidia/version"))
	}
	for _, dir := range h.libraryDirs() {
		for _, name := range h.names(dir) {
			v, ok := strings.CutPrefix(name, "libnvidia-ml.so.")
			if ok && strings.Contains(v, ".") && version(v) == v && d.Library == "" {
				d.Library = v
			}
		}
	}
	return d
}

var driverVersion = regexp.MustCompile(`NVRM version:.*?\s([0-9]+(?:\.[0-9]+){1,3})\s`)

// ParseDriverVersion reads /proc/driver/nvidia/version.
func ParseDriverVersion(data []byte) (version string, open bool) {
	line, _, _ := strings.Cut(string(data), "\n")
	m := driverVersion.FindStringSubmatch(line + " ")
	if m == nil {
		return "", false
	}
	return m[1], strings.Contains(line, "Open Kernel Module")
}

var dotted = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*$`)

// version returns s if it is dotted numbers.
func version(s string) string {
	if len(s) <= 40 && dotted.MatchString(s) {
		return s
	}
	return ""
}

// libraryDirs are where the loader and NVIDIA's packages keep libraries.
func (h *Host) libraryDirs() []string {
	var dirs []string
	for _, d := range append(strings.Split(h.Getenv("LD_LIBRARY_PATH"), ":"),
		"/usr/lib/wsl/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib",
		"/usr/lib64/nvidia", "/usr/local/nvidia/lib64", "/usr/local/cuda/lib64") {
		if path.IsAbs(d) && !slices.Contains(dirs, path.Clean(d)) {
			dirs = append(dirs, path.Clean(d))
		}
	}
	return dirs
}

// Library finds a shared library by its file name where the loader would
// look, "" if it is in none of the usual places.
func (h *Host) Library(name string) string {
	for _, dir := range h.libraryDirs() {
		if h.Exists(dir + "/" + name) {
			return dir + "/" + name
		}
	}
	return ""
}

// Toolkit is an installed CUDA toolkit.
type Toolkit struct {
	Dir     string // with all links followed
	Version string // 12.4.1 or 12.4; "" if it does not tell
	NVCC    string // its compiler, "" without one
	Active  bool   // nvcc on the PATH is this one's
}

// Toolkits lists the CUDA toolkits: $CUDA_HOME and $CUDA_PATH, nvcc's on the
// PATH, /usr/local/cuda*, /opt/cuda, and a distribution's own below /usr.
func (h *Host) Toolkits() []Toolkit {
	nvcc := h.LookPath("nvcc")
	var active string
	if nvcc != "" {
		active = path.Dir(path.Dir(h.Resolve(nvcc)))
		nvcc = path.Dir(path.Dir(nvcc))
	}
	dirs := []string{nvcc, active, h.Getenv("CUDA_HOME"), h.Getenv("CUDA_PATH")}
	dirs = append(dirs, h.glob("/usr/local/cuda*")...)
	dirs = append(dirs, "/opt/cuda", "/usr/lib/cuda")
	var found []Toolkit
	for _, d := range dirs {
		if !path.IsAbs(d) {
			continue
		}
		d = h.resolveDir(path.Clean(d))
		if slices.ContainsFunc(found, func(t Toolkit) bool { return t.Dir == d }) {
			continue
		}
		t := Toolkit{Dir: d, Version: h.toolkitVersion(d)}
		if h.Exists(d + "/bin/nvcc") {
			t.NVCC = d + "/bin/nvcc"
		}
		t.Active = nvcc != "" && (d == h.resolveDir(nvcc) || d == active)
		if t.Version != "" || t.NVCC != "" {
			found = append(found, t)
		}
	}
	return found
}

// resolveDir follows links in every part of a path.
func (h *Host) resolveDir(dir string) string {
	if !path.IsAbs(dir) {
		return dir
	}
	for range 40 {
		next := ""
		for d := dir; d != "/"; d = path.Dir(d) {
			if to := h.readLink(d); to != "" {
				next = to + strings.TrimPrefix(dir, d)
				break
			}
		}
		if next == "" {
			break
		}
		dir = next
	}
	return dir
}

var (
	cudaInText   = regexp.MustCompile(`CUDA Version ([0-9]+\.[0-9]+(?:\.[0-9]+)?)`)
	cudaInHeader = regexp.MustCompile(`(?m)^\s*#define\s+CUDA_VERSION\s+([0-9]{4,6})\b`)
)

func (h *Host) toolkitVersion(dir string) string {
	if b, err := h.ReadFile(dir + "/version.json"); err == nil {
		if v := ParseToolkitVersion(b); v != "" {
			return v
		}
	}
	if m := cudaInText.FindStringSubmatch(h.line(dir + "/version.txt")); m != nil { // 10.x
		return m[1]
	}
	for _, header := range []string{dir + "/include/cuda.h", dir + "/targets/x86_64-linux/include/cuda.h", dir + "/targets/sbsa-linux/include/cuda.h"} {
		b, err := h.ReadFile(header)
		if err != nil {
			continue
		}
		if m := cudaInHeader.FindSubmatch(b); m != nil {
			n, _ := strconv.Atoi(string(m[1])) // 1000·major + 10·minor
			return strconv.Itoa(n/1000) + "." + strconv.Itoa(n%1000/10)
		}
	}
	return ""
}

// ParseToolkitVersion reads a toolkit's version.json, "" if it is none.
func ParseToolkitVersion(data []byte) string {
	var file struct {
		CUDA struct{ Version string } `json:"cuda"`
	}
	if json.Unmarshal(data, &file) != nil {
		return ""
	}
	return version(file.CUDA.Version)
}

// StubsOnLibraryPath lists the folders of LD_LIBRARY_PATH that hold a stub of
// libcuda: it is for linking only and finds no GPU.
func (h *Host) StubsOnLibraryPath() []string {
	var found []string
	for d := range strings.SplitSeq(h.Getenv("LD_LIBRARY_PATH"), ":") {
		if path.IsAbs(d) && path.Base(path.Clean(d)) == "stubs" && (h.Exists(d+"/libcuda.so") || h.Exists(d+"/libcuda.so.1")) {
			found = append(found, path.Clean(d))
		}
	}
	return found
}

// CuDNN is one cuDNN on the machine.
type CuDNN struct {
	Version string // 9.17.0, or 9 if only the library's name tells
	Path    string // the header, library or package that says so
	CUDA    string // the CUDA major it is built for where that is known: "12"
}

var (
	cudnnPart    = regexp.MustCompile(`(?m)^\s*#define\s+CUDNN_(MAJOR|MINOR|PATCHLEVEL)\s+([0-9]{1,5})\b`)
	cudnnPackage = regexp.MustCompile(`^lib(?:cudnn)([0-9]+)(?:-cuda-([0-9]+))?$`)
	cudnnWheel   = regexp.MustCompile(`^nvidia_cudnn_cu([0-9]+)-([0-9.]+)\.dist-info$`)
)

// CuDNNs looks at packages (nil for none), headers, libraries, and the wheels
// in folders of Python packages. One version is listed once, as the first of
// these tells it.
func (h *Host) CuDNNs(packages map[string]Package, sitePackages ...string) []CuDNN {
	var found []CuDNN
	add := func(c CuDNN) {
		same := func(o CuDNN) bool {
			return (o.Version == c.Version || strings.HasPrefix(o.Version, c.Version+".")) && (c.CUDA == "" || c.CUDA == o.CUDA)
		}
		if c.Version != "" && !slices.ContainsFunc(found, same) {
			found = append(found, c)
		}
	}
	for _, p := range packages {
		if m := cudnnPackage.FindStringSubmatch(p.Name); m != nil && p.Installed {
			v, _, _ := strings.Cut(p.Version, "-")
			cuda := m[2]
			if _, suffix, ok := strings.Cut(p.Version, "+cuda"); ok && cuda == "" { // libcudnn8 8.9.7.29-1+cuda12.2
				cuda, _, _ = strings.Cut(suffix, ".")
			}
			add(CuDNN{Version: firstThree(version(v)), Path: p.Name, CUDA: version(cuda)})
		}
	}
	slices.SortFunc(found, func(a, b CuDNN) int { return strings.Compare(a.Path, b.Path) })
	var headers []string
	for _, dir := range []string{"/usr/include", "/usr/include/x86_64-linux-gnu", "/usr/include/aarch64-linux-gnu", "/usr/local/cuda/include", path.Clean(h.Getenv("CUDA_HOME") + "/include")} {
		headers = append(headers, h.glob(dir+"/cudnn_version*.h")...)
	}
	for _, file := range headers {
		if b, err := h.ReadFile(file); err == nil {
			add(CuDNN{Version: ParseCuDNNHeader(b), Path: file})
		}
	}
	for _, site := range sitePackages {
		for _, name := range h.names(site) {
			if m := cudnnWheel.FindStringSubmatch(name); m != nil {
				add(CuDNN{Version: firstThree(version(m[2])), Path: site + "/" + name, CUDA: m[1]})
			}
		}
	}
	for _, dir := range h.libraryDirs() {
		for _, name := range h.names(dir) {
			if v, ok := strings.CutPrefix(name, "libcudnn.so."); ok {
				add(CuDNN{Version: version(v), Path: dir + "/" + name})
			}
		}
	}
	return found
}

// firstThree cuts 9.17.0.29 to 9.17.0, which is how the header counts.
func firstThree(v string) string {
	parts := strings.Split(v, ".")
	return strings.Join(parts[:min(3, len(parts))], ".")
}

// ParseCuDNNHeader reads cudnn_version.h, "" if a part is missing.
func ParseCuDNNHeader(data []byte) string {
	parts := map[string]string{}
	for _, m := range cudnnPart.FindAllSubmatch(data, -1) {
		parts[string(m[1])] = string(m[2])
	}
	if len(parts) != 3 {
		return ""
	}
	return parts["MAJOR"] + "." + parts["MINOR"] + "." + parts["PATCHLEVEL"]
}
