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
// times, and undoes it. It is judged where it stands, because real files mix good
// text and bad. Two or more characters in a row that make UTF-8 are never honest
// text; one by itself is
//
//   - with two bytes only after Â and Ã, which begin the Latin-1 letters and
//     signs: Ã with a quote, a dash or a space only where no capital stands before
//     it (NÃO” is Portuguese)
//   - with three or four bytes, unless what follows the first looks like quotes
//     after an accented letter (“é”…)
//   - once a text is known to have such faults, also after the signs that begin
//     other Latin letters, Greek and Cyrillic (Ä™ for ę), not at what may be the
//     end of a quotation
//
// Then C1 control characters, which nobody means, become what windows-1252 has
// in their place.
func repair(s string) string {
	if ascii(s) {
		return s
	}
	known := false
	for range 4 {
		t := repairOnce(s, known)
		if t == s {
			break
		}
		known = true
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

func repairOnce(s string, known bool) string {
	var out strings.Builder
	kept := 0 // s[:kept] is in out
	before := ' '
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if n > 1 {
			if good, used := undo(before, s[i:], known); used > 0 {
				out.WriteString(s[kept:i])
				out.WriteString(good)
				i += used
				kept = i
				before, _ = utf8.DecodeLastRuneInString(good)
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

// undo reads the characters at the beginning of s as if they were bytes. used is
// 0 if that gives nothing that is better.
func undo(before rune, s string, known bool) (good string, used int) {
	b, used := sequence(s)
	if used == 0 {
		return "", 0
	}
	all, more := b, used
	for {
		next, n := sequence(s[more:])
		if n == 0 {
			break
		}
		all += next
		more += n
	}
	if more > used {
		return all, more
	}
	after, _ := utf8.DecodeRuneInString(s[used:])
	ok := false
	switch lead := b[0]; {
	case lead == 0xC2:
		ok = true
	case lead == 0xC3:
		ok = !quoteLike(b[1]) || !unicode.IsUpper(before)
	case lead == 0xC4 || lead == 0xC5 || 0xCE <= lead && lead <= 0xD1:
		ok = known && (!quoteLike(b[1]) || b[1] != 0x92 && unicode.IsLetter(after))
	case lead >= 0xE0:
		ok = !quoteLike(b[1]) || !unicode.IsLetter(before) && !quoteLike(b[2])
	}
	if !ok {
		return "", 0
	}
	return b, used
}

// sequence reads one UTF-8 character from characters that stand for its bytes.
// used counts bytes of s; 0: there is none.
func sequence(s string) (char string, used int) {
	var b [utf8.UTFMax]byte
	want := 1
	for i := 0; i < want; i++ {
		r, n := utf8.DecodeRuneInString(s[used:])
		c, ok := asByte(r)
		if !ok {
			return "", 0
		}
		if i == 0 {
			switch {
			case 0xC2 <= c && c <= 0xDF:
				want = 2
			case 0xE0 <= c && c <= 0xEF:
				want = 3
			case 0xF0 <= c && c <= 0xF4:
				want = 4
			default:
				return "", 0
			}
		}
		b[i] = c
		used += n
	}
	if r, n := utf8.DecodeRune(b[:want]); r == utf8.RuneError && n <= 1 {
		return "", 0
	}
	return string(b[:want]), used
}
