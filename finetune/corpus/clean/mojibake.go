package clean

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// windows1252 maps the characters that windows-1252 has in 0x80–0x9F to their
// bytes; those below U+0100 are their own.
var windows1252 = func() map[rune]byte {
	m := make(map[rune]byte)
	for i, r := range []rune("€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ") {
		m[r] = 0x80 + byte(i)
	}
	return m
}()

// fromByte is the reverse for 0x80–0x9F.
var fromByte = func() (t [32]rune) {
	for r, b := range windows1252 {
		t[b-0x80] = r
	}
	return t
}()

// asByte is the byte of a character that is not ASCII in windows-1252 or
// Latin-1, which differ in 0x80–0x9F only.
func asByte(r rune) (byte, bool) {
	if 0x80 <= r && r <= 0xFF {
		return byte(r), true
	}
	b, ok := windows1252[r]
	return b, ok
}

// quoteLike are characters that follow a letter in honest text, so that a pair
// with them proves nothing.
func quoteLike(b byte) bool {
	return 0x91 <= b && b <= 0x97 || b == 0x85 || b == 0x82 || b == 0x84 || b == 0xA0 || b == 0xAB || b == 0xBB || b == 0x8B || b == 0x9B
}

// repair finds UTF-8 that was read as windows-1252 or Latin-1, once or several
// times, and undoes it. Each character is judged by itself, because real files
// mix good text and bad; a sequence that honest text may contain stays:
//
//   - two bytes: only after Â and Ã, which begin the Latin-1 letters and signs;
//     Ã with a quote, a dash or a space only where no capital stands before it
//     (NÃO” is Portuguese)
//   - three and four bytes: unless what follows the first looks like quotes
//     after an accented letter (“é”…)
//
// Then C1 control characters, which nobody means, become what windows-1252 has
// in their place.
func repair(s string) string {
	if ascii(s) {
		return s
	}
	for range 4 {
		t := repairOnce(s)
		if t == s {
			break
		}
		s = t
	}
	if strings.ContainsFunc(s, isC1) {
		s = strings.Map(func(r rune) rune {
			if isC1(r) {
				return fromByte[r-0x80]
			}
			return r
		}, s)
	}
	return s
}

func isC1(r rune) bool { return 0x80 <= r && r < 0xA0 }

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func repairOnce(s string) string {
	var out strings.Builder
	kept := 0 // s[:kept] is in out
	before := ' '
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if n > 1 {
			if good, used := undo(before, s[i:]); used > 0 {
				out.WriteString(s[kept:i])
				out.WriteRune(good)
				i += used
				kept, before = i, good
				continue
			}
		}
		before = r
		i += n
	}
	if kept == 0 {
		return s
	}
	out.WriteString(s[kept:])
	return out.String()
}

// undo reads one character from the beginning of s as if its characters were
// bytes. used is 0 if that gives nothing that is better.
func undo(before rune, s string) (good rune, used int) {
	first, n := utf8.DecodeRuneInString(s)
	lead, ok := asByte(first)
	want := 0
	switch {
	case !ok:
		return 0, 0
	case lead == 0xC2 || lead == 0xC3:
		want = 2
	case 0xC4 <= lead && lead <= 0xDF:
		return 0, 0
	case 0xE0 <= lead && lead <= 0xEF:
		want = 3
	case 0xF0 <= lead && lead <= 0xF4:
		want = 4
	default:
		return 0, 0
	}
	var b [4]byte
	b[0] = lead
	used = n
	for i := 1; i < want; i++ {
		r, n := utf8.DecodeRuneInString(s[used:])
		c, ok := asByte(r)
		if !ok || c < 0x80 || c > 0xBF {
			return 0, 0
		}
		b[i] = c
		used += n
	}
	good, n = utf8.DecodeRune(b[:want])
	if good == utf8.RuneError && n <= 1 || n != want {
		return 0, 0
	}
	switch want {
	case 2:
		if lead == 0xC3 && quoteLike(b[1]) && unicode.IsUpper(before) {
			return 0, 0
		}
	default:
		if quoteLike(b[1]) && (unicode.IsLetter(before) || quoteLike(b[2])) {
			return 0, 0
		}
	}
	return good, used
}
