package clean

import (
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// compose gives Unicode's normal form C.
func compose(s string) string { return norm.NFC.String(s) }

var terminal = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]|\x1b\\][^\x07\x1b\n]{0,1000}(?:\x07|\x1b\\\\)")

// stripControl removes what cannot be seen: control characters but tab and line
// ends (a form feed becomes one), zero-width characters, marks of direction,
// tags. Joiners stay where scripts and emoji need them.
func stripControl(s string) string {
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	if strings.Contains(s, "\x1b") {
		s = terminal.ReplaceAllString(s, "")
	}
	runes := []rune(s)
	var out strings.Builder
	out.Grow(len(s))
	flag := false // within the tags of a flag
	for i, r := range runes {
		switch {
		case r == '\f' || r == '\v':
			out.WriteByte('\n')
		case r == '\u200C' || r == '\u200D':
			if i > 0 && i+1 < len(runes) && joins(runes[i-1]) && (joins(runes[i+1]) || r == '\u200D') {
				out.WriteRune(r)
			}
		case 0xE0000 <= r && r <= 0xE007F:
			if flag {
				out.WriteRune(r)
			}
			flag = flag && r != 0xE007F
		case hidden(r):
		default:
			flag = r == 0x1F3F4 // a black flag, which tags make that of a region
			out.WriteRune(r)
		}
	}
	return out.String()
}

// joins tells whether a joiner next to a character can mean something.
func joins(r rune) bool {
	return unicode.In(r, unicode.So, unicode.Sk, unicode.Mn, unicode.Mc) ||
		unicode.IsLetter(r) && !unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Han, unicode.Hiragana, unicode.Katakana)
}

func hidden(r rune) bool {
	switch {
	case r == '\t' || r == '\n' || r == '\r' || r == 0x85:
		return false
	case r < 0x20, 0x7F <= r && r < 0xA0:
		return true
	case r < 0xA0:
		return false
	case r == 0xAD, // soft hyphen
		r == 0x061C, r == 0x180E,
		0x200B <= r && r <= 0x200F,
		0x202A <= r && r <= 0x202E,
		0x2060 <= r && r <= 0x206F,
		r == 0xFEFF,
		0xFFF9 <= r && r <= 0xFFFB,
		0xE0000 <= r && r <= 0xE007F:
		return true
	}
	return false
}
