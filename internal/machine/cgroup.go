package machine

import (
	"math"
	"path"
	"strconv"
	"strings"
)

// Cgroup is what the control groups of this process allow. A limit of 0 means
// that there is none.
type Cgroup struct {
	Version     int    // 1 or 2; 0 if there are none
	MemoryLimit uint64 // bytes
	MemoryUsed  uint64 // bytes, of the group that has the limit; page cache that can be dropped is not counted
	CPUs        float64
}

// Cgroup reads the limits of this process's group and those above it; the
// tightest counts.
func (h *Host) Cgroup() Cgroup {
	b, err := h.ReadFile("/proc/self/cgroup")
	if err != nil {
		return Cgroup{}
	}
	var c Cgroup
	for _, line := range parseCgroup(b) {
		if line.id == "0" && line.controllers == "" {
			root := "/sys/fs/cgroup"
			if h.Exists(root + "/unified/cgroup.controllers") {
				root += "/unified"
			}
			c.Version = max(c.Version, 2)
			h.upwards(root, line.path, func(dir string) {
				c.limitMemory(h, dir, "memory.max", "memory.current", "")
				if quota, period, ok := strings.Cut(h.line(dir+"/cpu.max"), " "); ok {
					c.limitCPU(quota, period)
				}
			})
			continue
		}
		for name := range strings.SplitSeq(line.controllers, ",") {
			root := "/sys/fs/cgroup/" + name
			switch name {
			case "memory":
				c.Version = 1
				h.upwards(root, line.path, func(dir string) {
					c.limitMemory(h, dir, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
				})
			case "cpu":
				c.Version = 1
				h.upwards(root, line.path, func(dir string) {
					c.limitCPU(h.line(dir+"/cpu.cfs_quota_us"), h.line(dir+"/cpu.cfs_period_us"))
				})
			}
		}
	}
	return c
}

// upwards visits a group's directory and those above. In a container the path
// of /proc/self/cgroup may be the host's, which is not there; its own group is
// then the root.
func (h *Host) upwards(root, group string, visit func(dir string)) {
	for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
		visit(path.Join(root, dir))
		if dir == "/" {
			return
		}
	}
}

// limitMemory takes the limit of a group if it is the tightest. What memory.stat, whose
// names begin with prefix, has of files can be dropped, what was used again (a model's
// file that was run twice) as well: MemAvailable of /proc/meminfo counts both, too.
func (c *Cgroup) limitMemory(h *Host, dir, limit, used, prefix string) {
	n, err := strconv.ParseUint(h.line(dir+"/"+limit), 10, 64)
	if err != nil || n == 0 || n >= 1<<60 { // "max", and version 1's "no limit" is almost 1<<63
		return
	}
	if c.MemoryLimit != 0 && c.MemoryLimit <= n {
		return
	}
	c.MemoryLimit = n
	c.MemoryUsed, _ = strconv.ParseUint(h.line(dir+"/"+used), 10, 64)
	stat, _ := h.ReadFile(dir + "/memory.stat")
	for line := range strings.Lines(string(stat)) {
		name, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != prefix+"inactive_file" && name != prefix+"active_file" {
			continue
		}
		if droppable, err := strconv.ParseUint(v, 10, 64); err == nil {
			c.MemoryUsed -= min(c.MemoryUsed, droppable)
		}
	}
}

func (c *Cgroup) limitCPU(quota, period string) {
	q, err1 := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err1 != nil || err2 != nil || !(q > 0) || !(p > 0) || math.IsInf(q/p, 0) {
		return
	}
	if n := q / p; c.CPUs == 0 || n < c.CPUs {
		c.CPUs = n
	}
}

type cgroupLine struct{ id, controllers, path string }

// parseCgroup reads /proc/self/cgroup, cgroups(7).
func parseCgroup(data []byte) []cgroupLine {
	var lines []cgroupLine
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(f) == 3 && strings.HasPrefix(f[2], "/") {
			lines = append(lines, cgroupLine{f[0], f[1], f[2]})
		}
	}
	return lines
}
