package machine

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Governor is how the kernel chooses the processors' clocks
// (Documentation/admin-guide/pm/cpufreq.rst of the kernel).
type Governor struct {
	Driver string   // acpi-cpufreq, intel_pstate, amd-pstate-epp
	Names  []string // of all processors, each once: performance, powersave, schedutil
}

// Governor returns the zero Governor where the kernel does not choose, as in
// most virtual machines.
func (h *Host) Governor() Governor {
	var g Governor
	for _, file := range h.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor") {
		if name := h.line(file); name != "" && !slices.Contains(g.Names, name) {
			g.Names = append(g.Names, name)
		}
		if g.Driver == "" {
			g.Driver = h.line(path.Dir(file) + "/scaling_driver")
		}
	}
	slices.Sort(g.Names)
	return g
}

// Hypervisor names what this virtual machine runs under ("a hypervisor" if it
// does not tell its name), "" on a machine of its own. What is not x86 or does
// not show its firmware is not known.
func (h *Host) Hypervisor() (name string, known bool) {
	maker := strings.ToLower(h.line("/sys/class/dmi/id/sys_vendor") + " " + h.line("/sys/class/dmi/id/product_name"))
	for _, v := range []struct{ sign, name string }{
		{"qemu", "QEMU"}, {"kvm", "KVM"}, {"vmware", "VMware"}, {"virtualbox", "VirtualBox"}, {"innotek", "VirtualBox"}, {"xen", "Xen"},
		{"google compute", "Google Compute Engine"}, {"amazon ec2", "Amazon EC2"}, {"virtual machine", "Hyper-V"}, {"firecracker", "Firecracker"},
		{"openstack", "OpenStack"}, {"parallels", "Parallels"},
	} {
		if strings.Contains(maker, v.sign) {
			return v.name, true
		}
	}
	switch p := h.Processor(); {
	case p.Has("hypervisor"):
		return "a hypervisor", true
	case p.Has("fpu"): // x86 tells it, if it is one
		return "", true
	}
	return "", false
}

// THP is the kernel's setting of transparent huge pages: always, madvise,
// never, or "" where it has none.
func (h *Host) THP() string {
	_, rest, _ := strings.Cut(h.line("/sys/kernel/mm/transparent_hugepage/enabled"), "[")
	word, _, ok := strings.Cut(rest, "]")
	if !ok {
		return ""
	}
	return word
}

// Overcommit is the kernel's vm.overcommit_memory: 0 (by judgement), 1 (always)
// or 2 (never beyond Limit); false if it does not tell.
// Documentation/mm/overcommit-accounting.rst of the kernel.
type Overcommit struct {
	Mode             int
	Limit, Committed uint64 // bytes, of Mode 2
}

// Overcommit reads how the kernel counts memory that is only reserved.
func (h *Host) Overcommit() (Overcommit, bool) {
	mode, err := strconv.Atoi(h.line("/proc/sys/vm/overcommit_memory"))
	if err != nil {
		return Overcommit{}, false
	}
	o := Overcommit{Mode: mode}
	b, _ := h.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		kb, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 54)
		switch {
		case err != nil:
		case key == "CommitLimit":
			o.Limit = kb << 10
		case key == "Committed_AS":
			o.Committed = kb << 10
		}
	}
	return o, true
}

// NVSwitches counts NVIDIA's NVLink switches on the PCI bus: bridges of class
// "other" (0x0680). In a virtual machine they may be hidden.
func (h *Host) NVSwitches() int {
	n := 0
	for _, name := range h.names("/sys/bus/pci/devices") {
		dir := "/sys/bus/pci/devices/" + name
		if h.line(dir+"/vendor") == "0x10de" && strings.HasPrefix(h.line(dir+"/class"), "0x0680") {
			n++
		}
	}
	return n
}

// DKMS is a version of NVIDIA's modules in the tree of DKMS(8).
type DKMS struct {
	Module, Version string
	Kernels         []string // that it is built for
	Log             string   // of the last build, "" if there is none
}

// NVIDIADKMS lists what DKMS builds or is to build of NVIDIA's driver.
func (h *Host) NVIDIADKMS() []DKMS {
	const tree = "/var/lib/dkms"
	var found []DKMS
	for _, module := range h.names(tree) {
		// nvidia, nvidia-open, nvidia-current; not nvidia-fs
		if !strings.HasPrefix(module, "nvidia") || strings.HasPrefix(module, "nvidia-fs") || strings.HasPrefix(module, "nvidia-peermem") {
			continue
		}
		for _, v := range h.names(tree + "/" + module) {
			dir := tree + "/" + module + "/" + v
			if version(v) == "" {
				continue // a link of an installed kernel
			}
			d := DKMS{Module: module, Version: v}
			for _, k := range h.names(dir) {
				if built := h.glob(dir + "/" + k + "/*/module/nvidia*"); len(built) > 0 {
					d.Kernels = append(d.Kernels, k)
				}
			}
			if log := dir + "/build/make.log"; h.Exists(log) {
				d.Log = log
			}
			found = append(found, d)
		}
	}
	return found
}

// LibC names the C library that programs are linked with here: "glibc" with
// its version, "musl" without, or "" if neither is found.
func (h *Host) LibC(ctx context.Context) (kind, number string) {
	if said, err := h.Run(ctx, "getconf", "GNU_LIBC_VERSION"); err == nil {
		if v, ok := strings.CutPrefix(strings.TrimSpace(string(said)), "glibc "); ok && version(v) != "" {
			return "glibc", v
		}
	}
	if len(h.glob("/lib/ld-musl-*")) > 0 {
		return "musl", ""
	}
	for _, dir := range h.libraryDirs() {
		for _, name := range h.names(dir) { // as it was called up to 2.33
			if v, ok := strings.CutPrefix(name, "libc-"); ok {
				if v = version(strings.TrimSuffix(v, ".so")); strings.Contains(v, ".") {
					return "glibc", v
				}
			}
		}
	}
	return "", ""
}

// ErrKernelLog says that this user may not read the kernel's messages.
var ErrKernelLog = errors.New("the kernel's messages may not be read by this user")

// KernelLog returns the kernel's messages since it started, as far back as they
// are kept. That none may be read is ErrKernelLog.
func (h *Host) KernelLog(ctx context.Context) ([]byte, error) {
	if log, err := h.Run(ctx, "dmesg"); err == nil && len(bytes.TrimSpace(log)) > 0 {
		return log, nil
	}
	// Without permission journalctl succeeds, and shows nothing.
	if log, err := h.Run(ctx, "journalctl", "-k", "-b", "-q", "-o", "cat", "--no-pager"); err == nil && len(bytes.TrimSpace(log)) > 0 {
		return log, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, ErrKernelLog
}

// Xid is an error that NVIDIA's driver reported
// (docs.nvidia.com/deploy/xid-errors).
type Xid struct {
	Code  int
	BusID string // 0000:3b:00
	Count int
}

var xidLine = regexp.MustCompile(`NVRM: Xid \(PCI:([0-9A-Fa-f:.]{7,16})\): ([0-9]{1,4})\b`)

// ParseXids finds NVIDIA's errors in the kernel's messages, in the order in
// which they first came.
func ParseXids(log []byte) []Xid {
	var found []Xid
	for _, m := range xidLine.FindAllSubmatch(log, -1) {
		code, err := strconv.Atoi(string(m[2]))
		if err != nil {
			continue
		}
		bus := strings.ToLower(string(m[1]))
		i := slices.IndexFunc(found, func(x Xid) bool { return x.Code == code && x.BusID == bus })
		if i < 0 {
			found = append(found, Xid{Code: code, BusID: bus})
			i = len(found) - 1
		}
		found[i].Count++
	}
	return found
}

// NodeCPUs tells whether this process may run on a processor of a memory node;
// known is false where the kernel does not tell.
func (h *Host) NodeCPUs(node int) (near, known bool) {
	cpus := cpuList(h.line("/sys/devices/system/node/node" + strconv.Itoa(node) + "/cpulist"))
	b, err := h.ReadFile("/proc/self/status")
	if err != nil || cpus == nil {
		return false, false
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			for cpu := range cpuList(strings.TrimSpace(rest)) {
				if cpus[cpu] {
					return true, true
				}
			}
			return false, true
		}
	}
	return false, false
}

// cpuList reads "0-3,8", nil if it is no list.
func cpuList(s string) map[int]bool {
	list := map[int]bool{}
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, err1 := strconv.Atoi(first)
		b, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || a < 0 || b < a || b > 1<<16 {
			return nil
		}
		for cpu := a; cpu <= b; cpu++ {
			list[cpu] = true
		}
	}
	return list
}

// Compat is a folder of NVIDIA's forward-compatibility package that stands in
// the way of the driver's own libcuda.
type Compat struct {
	Dir     string
	Version string // of the libcuda in it: 550.54.15
}

// CompatOnLibraryPath lists such folders of LD_LIBRARY_PATH and of the loader's
// configuration.
func (h *Host) CompatOnLibraryPath() []Compat {
	dirs := strings.Split(h.Getenv("LD_LIBRARY_PATH"), ":")
	for _, file := range h.glob("/etc/ld.so.conf.d/*.conf") {
		b, err := h.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			dirs = append(dirs, strings.TrimSpace(line))
		}
	}
	var found []Compat
	for _, d := range dirs {
		if !path.IsAbs(d) || !strings.HasPrefix(path.Base(path.Clean(d)), "compat") {
			continue
		}
		c := Compat{Dir: path.Clean(d)}
		for _, name := range h.names(c.Dir) {
			if v, ok := strings.CutPrefix(name, "libcuda.so."); ok && strings.Contains(v, ".") {
				c.Version = version(v)
			}
		}
		if c.Version != "" && !slices.Contains(found, c) {
			found = append(found, c)
		}
	}
	return found
}

// DeviceNodes counts the files /dev/nvidia0, /dev/nvidia1 and so on, and names
// those among them and /dev/nvidiactl to which no link in /dev/char leads.
func (h *Host) DeviceNodes() (gpus int, unlinked []string) {
	const major = "195" // NVIDIA's, Documentation/admin-guide/devices.txt of the kernel
	for _, name := range h.names("/dev") {
		n, err := strconv.ParseUint(strings.TrimPrefix(name, "nvidia"), 10, 8)
		if err != nil || !strings.HasPrefix(name, "nvidia") {
			continue
		}
		gpus++
		if _, err := fs.Lstat(h.FS, rel("/dev/char/"+major+":"+strconv.FormatUint(n, 10))); err != nil {
			unlinked = append(unlinked, "/dev/"+name)
		}
	}
	if h.Exists("/dev/nvidiactl") {
		if _, err := fs.Lstat(h.FS, rel("/dev/char/"+major+":255")); err != nil {
			unlinked = append(unlinked, "/dev/nvidiactl")
		}
	}
	return gpus, unlinked
}

// Quota is what of a file system this user may fill; 0 is no limit.
type Quota struct{ Used, Limit uint64 } // bytes

// ParseQuota reads what quota -w -p prints of the file system from a source
// such as /dev/sda1; false if it has none for it. Of the soft and the hard
// limit the lower counts.
func ParseQuota(data []byte, source string) (Quota, bool) {
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[0] != source {
			continue
		}
		var kb [3]uint64
		for i := range kb {
			n, err := strconv.ParseUint(strings.TrimSuffix(f[i+1], "*"), 10, 50) // * is over the limit
			if err != nil {
				return Quota{}, false
			}
			kb[i] = n
		}
		q := Quota{Used: kb[0] << 10, Limit: kb[2] << 10}
		if kb[1] > 0 && (q.Limit == 0 || kb[1]<<10 < q.Limit) {
			q.Limit = kb[1] << 10
		}
		return q, true
	}
	return Quota{}, false
}
