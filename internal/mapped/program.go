package mapped

import (
	"bufio"
	"fmt"
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
	total := int64(0)
	for _, m := range programOf(bufio.NewScanner(f), exe) {
		total += m.resident
	}
	return total
}

// mapping is a part of the program's file that is not written to.
type mapping struct {
	from, to           uint64
	resident, separate int64 // bytes; separate are those that are not the file's any more
}

// programOf returns the mappings of a file that are not written to. They follow each other;
// what comes after them is not asked for, since the system looks at each page of a large
// mapping (8 ms for weights of 500 MB).
func programOf(lines *bufio.Scanner, exe string) (list []mapping) {
	found, counts := false, false
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 5 && strings.Contains(fields[0], "-") && !strings.HasSuffix(fields[0], ":"):
			its := len(fields) >= 6 && strings.HasSuffix(lines.Text(), " "+exe)
			if found && !its {
				return list
			}
			found, counts = its, its && !strings.Contains(fields[1], "w")
			if counts {
				var m mapping
				if n, err := fmt.Sscanf(fields[0], "%x-%x", &m.from, &m.to); n != 2 || err != nil {
					return nil
				}
				list = append(list, m)
			}
		case counts && len(fields) == 3 && (fields[0] == "Rss:" || fields[0] == "Anonymous:"):
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return nil
			}
			if m := &list[len(list)-1]; fields[0] == "Rss:" {
				m.resident = kb << 10
			} else {
				m.separate = kb << 10
			}
		}
	}
	return list
}

// ForgetProgram lets go of the pages of the program's code and constants: most were only
// needed by its start, or came with such as were, and the others come back from the page
// cache. Mappings with pages that are no longer the file's stay.
func ForgetProgram() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer f.Close()
	for _, m := range programOf(bufio.NewScanner(f), exe) {
		if m.separate == 0 && m.resident > 0 {
			forgetAt(uintptr(m.from), uintptr(m.to-m.from))
		}
	}
}
