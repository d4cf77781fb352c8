//go:build unix

package fit

import (
	"os"
	"runtime"
	"syscall"
)

// peakOf is the most memory that a process had resident, in bytes.
func peakOf(p *os.ProcessState) (int64, bool) {
	u, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, false
	}
	peak := int64(u.Maxrss)
	if runtime.GOOS != "darwin" {
		peak *= 1024
	}
	return peak, true
}
