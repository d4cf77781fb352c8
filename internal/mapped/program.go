package mapped

import (
	"bufio"
	"os"
	"strconv"
	"strings"
)

// Program returns how many bytes of the running program's code and constants are in
// memory, 0 where the system does not tell. Where its file lies in the page cache in
// huge pages, all of it is.
func Program() int64 { return ProgramOf(os.Getpid()) }

// ProgramOf is Program of another process.
func ProgramOf(pid int) int64 {
	proc := "/proc/" + strconv.Itoa(pid)
	exe, err := os.Readlink(proc + "/exe")
	if err != nil {
		return 0
	}
	f, err := os.Open(proc + "/smaps")
	if err != nil {
		return 0
	}
	defer f.Close()
	return programOf(bufio.NewScanner(f), exe)
}

// programOf adds up what is resident of the mappings of a file that are not written to. They
// follow each other; what comes after them is not asked for, since the system looks at each
// page of a large mapping (8 ms for weights of 500 MB).
func programOf(lines *bufio.Scanner, exe string) (total int64) {
	found, counts := false, false
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 5 && strings.Contains(fields[0], "-") && !strings.HasSuffix(fields[0], ":"):
			its := len(fields) >= 6 && strings.HasSuffix(lines.Text(), " "+exe)
			if found && !its {
				return total
			}
			found, counts = its, its && !strings.Contains(fields[1], "w")
		case counts && len(fields) == 3 && fields[0] == "Rss:":
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0
			}
			total += kb << 10
		}
	}
	return total
}
