package nvidia

import (
	"fmt"
	"runtime"
	"slices"
)

// fixed makes a version of a literal in the tables below.
func fixed(s string) Version {
	if s == "" {
		return Version{}
	}
	v, err := ParseVersion(s)
	if err != nil {
		panic(err)
	}
	return v
}

// MinDriver gives the oldest driver on which programs built for this CUDA
// version run, for goos ("" means this system). It counts on minor-version
// compatibility: a 12.4 program runs on the driver of 12.0 unless it brings PTX
// that this driver must compile. A newer driver is always fine.
//
// Source: docs.nvidia.com/deploy/cuda-compatibility; the rows of CUDA 11.0 and
// 10.2 and the Windows column before 12 from the CUDA release notes, from memory.
func MinDriver(cuda Version, goos string) (Version, bool) {
	windows := goos == "windows" || goos == "" && runtime.GOOS == "windows"
	for _, row := range []struct{ cuda, linux, windows string }{
		{"13.0", "580", "580"},
		{"12.0", "525.60.13", "528.33"},
		{"11.1", "450.80.02", "452.39"},
		{"11.0", "450.36.06", "451.22"},
		{"10.2", "440.33", "441.22"},
	} {
		if cuda.AtLeast(fixed(row.cuda)) {
			if windows {
				return fixed(row.windows), true
			}
			return fixed(row.linux), true
		}
	}
	return Version{}, false
}

// capabilityRow says what still, and what already, supports GPUs from a
// compute capability on. Empty: no end in sight.
//
// Sources: CUDA 13.0 release notes (nothing below 7.5), Linux driver 580 notes
// (the last branch for Maxwell, Pascal and Volta; 620 has open modules only,
// which need Turing), cuDNN 9 support matrix (9.10.2 the last below 7.5). The
// Kepler row and the CUDA versions that brought each capability are from memory.
type capabilityRow struct {
	from                          Capability
	minCUDA, maxCUDA              string
	maxDriver                     int
	maxCUDNN                      string
	openModule, proprietaryModule bool
}

var capabilityRows = []capabilityRow{ // newest first
	{Capability{12, 1}, "12.9", "", 0, "", true, false},
	{Capability{12, 0}, "12.8", "", 0, "", true, false},
	{Capability{10, 3}, "12.9", "", 0, "", true, false},
	{Capability{10, 0}, "12.8", "", 0, "", true, false},
	{Capability{8, 9}, "11.8", "", 0, "", true, true},
	{Capability{8, 6}, "11.1", "", 0, "", true, true},
	{Capability{8, 0}, "11.0", "", 0, "", true, true},
	{Capability{7, 5}, "10.0", "", 0, "", true, true},
	{Capability{7, 0}, "9.0", "12.9", 580, "9.10.2", false, true},
	{Capability{5, 0}, "8.0", "12.9", 580, "9.10.2", false, true},
	{Capability{3, 5}, "7.0", "11.8", 470, "8.9.7", false, true},
}

// Support is the range of software for a compute capability. A zero upper end
// means none is known.
type Support struct {
	MinCUDA, MaxCUDA     Version
	MaxDriverBranch      int // 0: none
	MaxCUDNN             Version
	OpenModule, OldStyle bool // which flavours of kernel module drive it: open, proprietary
}

// SupportOf says which software serves GPUs of a compute capability; false for
// those older than any table row.
func SupportOf(c Capability) (Support, bool) {
	for _, r := range capabilityRows {
		if c.AtLeast(r.from.Major, r.from.Minor) {
			return Support{fixed(r.minCUDA), fixed(r.maxCUDA), r.maxDriver, fixed(r.maxCUDNN), r.openModule, r.proprietaryModule}, true
		}
	}
	return Support{}, false
}

// CUDNNFor gives the oldest and newest cuDNN for a CUDA version; a zero newest
// means that current releases serve it.
//
// Source: cuDNN support matrices 9.10.2 (the last with CUDA 11) and 9.17; the
// oldest versions from the release notes, from memory.
func CUDNNFor(cuda Version) (oldest, newest Version, ok bool) {
	switch cuda.Major() {
	case 13:
		return fixed("9.12.0"), Version{}, true
	case 12:
		return fixed("8.8.0"), Version{}, true
	case 11:
		return fixed("8.0.2"), fixed("9.10.2"), true
	case 10:
		if cuda.AtLeast(fixed("10.2")) {
			return fixed("7.6.5"), fixed("8.7.0"), true
		}
	}
	return Version{}, Version{}, false
}

// TorchIndex is a package index of PyTorch wheels,
// https://download.pytorch.org/whl/NAME.
type TorchIndex struct {
	Name        string  // "cu128", "cpu"
	CUDA        Version // that the wheels bring; zero for cpu
	MinDriver   Version
	MinorCompat bool // the driver is older than this CUDA version: minor-version compatibility is needed
}

// torchIndexes lists the indexes with the compute capabilities their wheels
// are built for. Old ones hold only old torch versions, and not every torch
// version is on every index: ask the index before naming it.
//
// Source: the index names from download.pytorch.org/whl, the capabilities from
// PyTorch's release notes (cu128 and later without Maxwell and Pascal, Volta
// left out with them to be safe, cu130 from 7.5; Blackwell from cu128 on).
var torchIndexes = []struct {
	name, cuda string
	from, to   Capability
}{ // newest first
	{"cu132", "13.2", Capability{7, 5}, Capability{99, 0}},
	{"cu130", "13.0", Capability{7, 5}, Capability{12, 1}},
	{"cu129", "12.9", Capability{7, 5}, Capability{12, 1}},
	{"cu128", "12.8", Capability{7, 5}, Capability{12, 1}},
	{"cu126", "12.6", Capability{5, 0}, Capability{9, 0}},
	{"cu124", "12.4", Capability{5, 0}, Capability{9, 0}},
	{"cu121", "12.1", Capability{5, 0}, Capability{9, 0}},
	{"cu118", "11.8", Capability{3, 7}, Capability{9, 0}},
}

// TorchIndexes gives the indexes whose wheels run on a driver and, unless nil,
// on a compute capability, the best first: the newest CUDA that the driver
// knows, then those that need minor-version compatibility. The last is always
// cpu, alone when no GPU can be used. goos "" means this system.
func TorchIndexes(driver, driverCUDA Version, c *Capability, goos string) []TorchIndex {
	var known, compat []TorchIndex
	for _, row := range torchIndexes {
		cuda := fixed(row.cuda)
		need, _ := MinDriver(cuda, goos)
		if !driver.AtLeast(need) || c != nil && (!c.AtLeast(row.from.Major, row.from.Minor) || !row.to.AtLeast(c.Major, c.Minor)) {
			continue
		}
		index := TorchIndex{Name: row.name, CUDA: cuda, MinDriver: need, MinorCompat: !driverCUDA.IsZero() && !driverCUDA.AtLeast(cuda)}
		if index.MinorCompat {
			compat = append(compat, index)
		} else {
			known = append(known, index)
		}
	}
	slices.Reverse(compat) // the nearest to what the driver knows
	return append(append(known, compat...), TorchIndex{Name: "cpu"})
}

// Ability is what arithmetic a compute capability does in hardware.
type Ability struct {
	FP16, FP16Tensor bool // half precision at full rate or better; tensor cores for it
	BF16             bool // native bfloat16, with tensor cores
	TF32             bool
	INT8, INT8Tensor bool // four-way integer dot product; tensor cores for it
	FP8              bool // tensor cores
	FP4              bool
}

// AbilityOf reads the CUDA programming guide's table of arithmetic throughput:
// 6.1 has half precision at a sixty-fourth of the rate, which does not count.
func AbilityOf(c Capability) Ability {
	return Ability{
		FP16:       c.AtLeast(7, 0) || c == Capability{5, 3} || c == Capability{6, 0} || c == Capability{6, 2},
		FP16Tensor: c.AtLeast(7, 0),
		BF16:       c.AtLeast(8, 0),
		TF32:       c.AtLeast(8, 0),
		INT8:       c.AtLeast(6, 1),
		INT8Tensor: c.AtLeast(7, 2),
		FP8:        c.AtLeast(8, 9),
		FP4:        c.AtLeast(10, 0),
	}
}

// Setup is a machine's software and GPU; zero fields are absent or unknown and
// are not judged.
type Setup struct {
	OS         string // GOOS, "" means this system
	Driver     Version
	OpenModule *bool
	Capability *Capability
	Toolkit    Version // CUDA toolkit
	CUDNN      Version
	CUDNNCUDA  Version // CUDA that cuDNN was built for; the toolkit's if zero
	TorchCUDA  Version // that the installed torch brings
}

// Conflict is two parts that do not work together.
type Conflict struct {
	Between [2]string // of "driver", "toolkit", "cudnn", "torch", "gpu", "module"
	Why     string
	Need    Version // of the first one to be in order; zero if no version would do
}

// Compatible lists what in a set-up does not fit together; nothing means that
// the tables know no conflict.
func Compatible(s Setup) []Conflict {
	var found []Conflict
	report := func(a, b string, need Version, format string, args ...any) {
		found = append(found, Conflict{[2]string{a, b}, fmt.Sprintf(format, args...), need})
	}
	for _, user := range []struct {
		name string
		cuda Version
	}{{"toolkit", s.Toolkit}, {"torch", s.TorchCUDA}} {
		if user.cuda.IsZero() {
			continue
		}
		if need, ok := MinDriver(user.cuda, s.OS); ok && !s.Driver.IsZero() && !s.Driver.AtLeast(need) {
			report("driver", user.name, need, "CUDA %s needs driver %s, found %s", user.cuda, need, s.Driver)
		}
	}
	if !s.CUDNN.IsZero() {
		cuda := s.CUDNNCUDA
		if cuda.IsZero() {
			cuda = s.Toolkit
		} else if !s.Toolkit.IsZero() && cuda.Major() != s.Toolkit.Major() {
			report("cudnn", "toolkit", Version{}, "cuDNN %s is built for CUDA %d, the toolkit is %s", s.CUDNN, cuda.Major(), s.Toolkit)
		}
		if oldest, newest, ok := CUDNNFor(cuda); ok {
			if !s.CUDNN.AtLeast(oldest) {
				report("cudnn", "toolkit", oldest, "CUDA %s needs cuDNN %s, found %s", cuda, oldest, s.CUDNN)
			} else if !newest.IsZero() && s.CUDNN.Compare(newest) > 0 {
				report("cudnn", "toolkit", newest, "cuDNN %s is the last for CUDA %d, found %s", newest, cuda.Major(), s.CUDNN)
			}
		}
	}
	if s.Capability == nil {
		return found
	}
	c := *s.Capability
	support, ok := SupportOf(c)
	if !ok {
		report("gpu", "driver", Version{}, "compute capability %s is older than anything today's software knows", c)
		return found
	}
	if !s.Toolkit.IsZero() {
		if !s.Toolkit.AtLeast(support.MinCUDA) {
			report("toolkit", "gpu", support.MinCUDA, "compute capability %s needs CUDA %s, found %s", c, support.MinCUDA, s.Toolkit)
		} else if newer(s.Toolkit, support.MaxCUDA) {
			report("toolkit", "gpu", support.MaxCUDA, "CUDA %s is the last for compute capability %s, found %s", support.MaxCUDA, c, s.Toolkit)
		}
	}
	if newer(s.TorchCUDA, support.MaxCUDA) {
		report("torch", "gpu", support.MaxCUDA, "CUDA %s is the last for compute capability %s, torch brings %s", support.MaxCUDA, c, s.TorchCUDA)
	} else if !s.TorchCUDA.IsZero() && !s.TorchCUDA.AtLeast(support.MinCUDA) {
		report("torch", "gpu", support.MinCUDA, "compute capability %s needs CUDA %s, torch brings %s", c, support.MinCUDA, s.TorchCUDA)
	}
	if newer(s.CUDNN, support.MaxCUDNN) {
		report("cudnn", "gpu", support.MaxCUDNN, "cuDNN %s is the last for compute capability %s, found %s", support.MaxCUDNN, c, s.CUDNN)
	}
	if s.OpenModule != nil {
		if *s.OpenModule && !support.OpenModule {
			report("module", "gpu", Version{}, "the open kernel module does not drive compute capability %s", c)
		} else if !*s.OpenModule && !support.OldStyle {
			report("module", "gpu", Version{}, "compute capability %s needs the open kernel module", c)
		}
	}
	if support.MaxDriverBranch > 0 && s.Driver.Major() > support.MaxDriverBranch {
		need, _ := ParseVersion(fmt.Sprint(support.MaxDriverBranch))
		report("driver", "gpu", need, "driver branch %d is the last for compute capability %s, found %s", support.MaxDriverBranch, c, s.Driver)
	}
	return found
}

// newer reports whether v is beyond a known last version; 12.9.1 is not beyond 12.9.
func newer(v, last Version) bool {
	if v.IsZero() || last.IsZero() {
		return false
	}
	return v.Major() > last.Major() || v.Major() == last.Major() && v.Minor() > last.Minor()
}
