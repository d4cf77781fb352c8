package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Mount is one line of /proc/self/mountinfo.
type Mount struct {
	Device string // major:minor, as /sys/dev/block knows it
	Target string // where it is mounted
	Type   string // ext4, nfs4, overlay
	Source string // /dev/sda1, server:/export
	// Options are those of the mount and of the file system, with commas.
	Options string
	// ReadOnly holds for this mount or for the whole file system.
	ReadOnly bool
}

// Mounts lists what is mounted, in the kernel's order.
func (h *Host) Mounts() ([]Mount, error) {
	b, err := h.ReadFile("/proc/self/mountinfo")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ParseMountInfo(b), nil
}

// ParseMountInfo reads the format of proc_pid_mountinfo(5); a line that does
// not have it is passed over.
func ParseMountInfo(data []byte) []Mount {
	var mounts []Mount
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(strings.TrimRight(line, "\n"), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 2 || !strings.HasPrefix(f[4], "/") {
			continue
		}
		m := Mount{Device: f[2], Target: unescape(f[4]), Type: g[0], Source: unescape(g[1])}
		m.Options = f[5]
		if len(g) > 2 {
			m.Options += "," + g[2]
		}
		m.ReadOnly = m.Has("ro")
		mounts = append(mounts, m)
	}
	return mounts
}

// Has tells whether one of the options is set.
func (m Mount) Has(options ...string) bool {
	for o := range strings.SplitSeq(m.Options, ",") {
		name, _, _ := strings.Cut(o, "=")
		if slices.Contains(options, name) {
			return true
		}
	}
	return false
}

// unescape undoes the kernel's \040 for a space, and others alike.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// MountOf returns the mount that holds an absolute path. Of several at one
// place the last hides the others.
func MountOf(mounts []Mount, name string) (Mount, bool) {
	var best Mount
	found := false
	for _, m := range mounts {
		inside := m.Target == "/" || name == m.Target || strings.HasPrefix(name, strings.TrimSuffix(m.Target, "/")+"/")
		if inside && len(m.Target) >= len(best.Target) {
			best, found = m, true
		}
	}
	return best, found
}

// Disk is the block device under a mount.
type Disk struct {
	Name       string // sda, nvme0n1, vda
	Rotational bool   // a spinning disk
	Virtual    bool   // a hypervisor's, which may say rotational of anything
}

// DiskOf finds the disk under a mount; the error says why it cannot be known.
func (h *Host) DiskOf(m Mount) (Disk, error) {
	dir := ""
	if link := h.readLink("/sys/dev/block/" + m.Device); link != "" {
		dir = link
	} else if name, ok := strings.CutPrefix(m.Source, "/dev/"); ok && !strings.Contains(name, "/") {
		// btrfs has no device number of its own
		dir = h.Resolve("/sys/class/block/" + name)
	}
	if dir == "" {
		return Disk{}, fmt.Errorf("%s on %s has no block device of its own", m.Type, m.Target)
	}
	for _, d := range []string{dir, path.Dir(dir)} { // a disk, or the disk of a partition
		if disk, ok := h.disk(d); ok {
			return disk, nil
		}
	}
	return Disk{}, fmt.Errorf("the kernel does not say what kind of disk %s is", m.Source)
}

func (h *Host) disk(dir string) (Disk, bool) {
	rotational := h.line(dir + "/queue/rotational")
	if rotational == "" {
		return Disk{}, false
	}
	name := path.Base(dir)
	d := Disk{Name: name, Rotational: rotational == "1"}
	model := strings.ToLower(h.line(dir+"/device/vendor") + " " + h.line(dir+"/device/model"))
	d.Virtual = strings.HasPrefix(name, "vd") || strings.HasPrefix(name, "xvd") || strings.Contains(dir, "/virtio") ||
		strings.Contains(model, "qemu") || strings.Contains(model, "vmware") || strings.Contains(model, "vbox") ||
		strings.Contains(model, "virtual disk") || strings.Contains(model, "persistentdisk")
	return d, true
}

// Limits are the process's resource limits by the kernel's names ("Max locked
// memory"); -1 is unlimited.
func (h *Host) Limits() (map[string]int64, error) {
	b, err := h.ReadFile("/proc/self/limits")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ParseLimits(b), nil
}

// ParseLimits reads the soft limits of /proc/self/limits, whose columns are
// 26 and 21 characters wide.
func ParseLimits(data []byte) map[string]int64 {
	limits := map[string]int64{}
	for line := range strings.Lines(string(data)) {
		if len(line) < 27 {
			continue
		}
		f := strings.Fields(line[26:])
		if len(f) == 0 {
			continue
		}
		if f[0] == "unlimited" {
			limits[strings.TrimSpace(line[:26])] = -1
		} else if n, err := strconv.ParseInt(f[0], 10, 64); err == nil && n >= 0 {
			limits[strings.TrimSpace(line[:26])] = n
		}
	}
	return limits
}
