package bench

import (
	"bytes"
	"os"
	"strconv"
)

// resident is what the process has in memory, in bytes; 0 if that is not known.
func resident() int64 { return status("VmRSS:") }

// residentPeak is the most that resident was since resetPeak.
func residentPeak() int64 { return status("VmHWM:") }

// resetPeak starts residentPeak anew (proc_pid_clear_refs(5)). Where that is not
// allowed the peak stays that of the whole process.
func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

func status(field string) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte(field))
	line, _, _ := bytes.Cut(rest, []byte("kB"))
	n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	if err != nil {
		return 0
	}
	return n * 1024
}
