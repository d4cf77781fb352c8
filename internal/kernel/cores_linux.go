package kernel

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Cores counts the physical cores that this process may run on, at most
// as many as the cgroup's quota pays for. Two threads of one core share its
// multipliers and its path to memory, so a second one brings nothing here.
func Cores() int {
	n := runtime.GOMAXPROCS(0)
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) == nil {
		cores := map[string]bool{}
		for cpu := range 8 * len(set) * 8 {
			if set.IsSet(cpu) {
				cores[coreOf("/sys", cpu)] = true
			}
		}
		if len(cores) > 0 {
			n = min(n, len(cores))
		}
	}
	if q := cgroupQuota("/sys/fs/cgroup", "/proc/self/cgroup"); q > 0 {
		n = min(n, max(1, int(q)))
	}
	return n
}

// coreOf names the physical core of a logical one; unknown, it is its own.
func coreOf(sys string, cpu int) string {
	dir := fmt.Sprintf("%s/devices/system/cpu/cpu%d/topology/", sys, cpu)
	pkg, err1 := os.ReadFile(dir + "physical_package_id")
	core, err2 := os.ReadFile(dir + "core_id")
	if err1 != nil || err2 != nil {
		return "cpu" + strconv.Itoa(cpu)
	}
	return string(pkg) + "/" + string(core)
}

// cgroupQuota returns the processors that the cgroup (version 2 or 1) and
// those above it allow, 0 if there is no limit.
func cgroupQuota(root, self string) float64 {
	b, err := os.ReadFile(self)
	if err != nil {
		return 0
	}
	least := 0.0
	note := func(quota, period string) {
		q, err1 := strconv.ParseFloat(strings.TrimSpace(quota), 64)
		p, err2 := strconv.ParseFloat(strings.TrimSpace(period), 64)
		if err1 == nil && err2 == nil && q > 0 && p > 0 && (least == 0 || q/p < least) {
			least = q / p
		}
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for dir := path.Clean("/" + f[2]); ; dir = path.Dir(dir) {
			if f[0] == "0" {
				if b, err := os.ReadFile(root + dir + "/cpu.max"); err == nil {
					if quota, period, ok := strings.Cut(string(b), " "); ok {
						note(quota, period)
					}
				}
			} else if strings.Contains(","+f[1]+",", ",cpu,") {
				quota, err1 := os.ReadFile(root + "/cpu" + dir + "/cpu.cfs_quota_us")
				period, err2 := os.ReadFile(root + "/cpu" + dir + "/cpu.cfs_period_us")
				if err1 == nil && err2 == nil {
					note(string(quota), string(period))
				}
			}
			if dir == "/" {
				break
			}
		}
	}
	return least
}
