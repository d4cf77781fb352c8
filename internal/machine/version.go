package machine

import (
	"strconv"
	"strings"
)

// CompareVersions compares dotted numbers part by part (3.9 < 3.11, 12 = 12.0)
// and returns -1, 0 or 1. What follows the numbers is left out of account.
func CompareVersions(a, b string) int {
	for a != "" || b != "" {
		var x, y uint64
		x, a = nextNumber(a)
		y, b = nextNumber(b)
		if x != y {
			if x < y {
				return -1
			}
			return 1
		}
	}
	return 0
}

// nextNumber takes the first number off a version; the rest is empty after
// something that is neither digit nor dot.
func nextNumber(s string) (n uint64, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(s)
	}
	n, err := strconv.ParseUint(s[:end], 10, 64)
	if err != nil && end > 0 {
		n = 1<<64 - 1 // more digits than any version has
	}
	if end < len(s) && s[end] == '.' {
		return n, s[end+1:]
	}
	return n, ""
}
