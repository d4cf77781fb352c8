package fetch

import (
	"path"
	"strings"
	"unicode/utf8"
)

// devices are the names that Windows gives to devices in every folder, with
// any extension.
var devices = map[string]bool{"con": true, "prn": true, "aux": true, "nul": true, "conin$": true, "conout$": true}

func isDevice(part string) bool {
	stem, _, _ := strings.Cut(strings.ToLower(part), ".")
	stem = strings.TrimRight(stem, " ")
	if devices[stem] {
		return true
	}
	for _, port := range []string{"com", "lpt"} {
		if number, ok := strings.CutPrefix(stem, port); ok && utf8.RuneCountInString(number) == 1 {
			return strings.ContainsAny(number, "0123456789¹²³")
		}
	}
	return false
}

// checkPath refuses the path of a file in a repository that has no place
// below a folder on one of the systems that gptctl runs on. The rules are the
// same everywhere, so that a cache can be moved. The error is a *PathError.
func checkPath(p string) error {
	refuse := func(reason string) error { return &PathError{p, reason} }
	switch {
	case p == "":
		return refuse("it is empty")
	case len(p) > 1024:
		return refuse("it is longer than 1024 bytes")
	case !utf8.ValidString(p):
		return refuse("it is not UTF-8")
	case p[0] == '/':
		return refuse("it is absolute")
	case strings.Contains(p, `\`):
		return refuse("it has a backslash")
	case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return refuse("it has a control character")
	case strings.ContainsAny(p, `:*?"<>|`):
		return refuse("it has a character that Windows forbids")
	}
	for part := range strings.SplitSeq(p, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return refuse("it leaves its folder")
		case len(part) > 255:
			return refuse("a name in it is longer than 255 bytes")
		case strings.HasSuffix(part, ".") || strings.HasSuffix(part, " "):
			return refuse("a name in it ends with a dot or a space")
		case isDevice(part):
			return refuse("it is the name of a device on Windows")
		}
	}
	if path.Clean(p) != p {
		return refuse("it leaves its folder")
	}
	return nil
}
