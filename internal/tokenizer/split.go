package tokenizer

import "unicode/utf8"

// Classes of characters in GPT-2's split pattern, and two more properties that added tokens ask for. The tables are
// those of the tokenizers package (unicode_tables.go), not Go's: the Unicode versions differ.
const (
	classOther = iota // also every byte that is not part of valid UTF-8
	classLetter
	classNumber
	classSpace
	classMask  = 3
	wordFlag   = 4 // \w of single_word
	stripFlag  = 8 // \s of lstrip and rstrip
	notASCII   = 16
	blockRunes = 256
)

// byteClass is the class of ASCII characters, notASCII for the other bytes.
var byteClass = func() (t [256]uint8) {
	for i := range t {
		t[i] = notASCII
		if i < utf8.RuneSelf {
			t[i] = runeFlags(rune(i)) & classMask
		}
	}
	return t
}()

func runeFlags(c rune) uint8 {
	pair := runeBlocks[int(runeIndex[c/blockRunes])*(blockRunes/2)+int(c%blockRunes)/2]
	if c&1 == 1 {
		return pair >> 4
	}
	return pair & 15
}

// flagsAt returns the flags and the length of the character at s[i]. A byte that is not part of valid UTF-8 is a
// character of its own, of class "other".
func flagsAt(s string, i int) (flags uint8, size int) {
	if c := s[i]; c < utf8.RuneSelf {
		return runeFlags(rune(c)), 1
	}
	c, size := utf8.DecodeRuneInString(s[i:])
	if c == utf8.RuneError && size == 1 {
		return classOther, 1
	}
	return runeFlags(c), size
}

// flagsBefore is flagsAt for the character that ends at i.
func flagsBefore(s string, i int) (flags uint8, size int) {
	c, size := utf8.DecodeLastRuneInString(s[:i])
	if c == utf8.RuneError && size == 1 {
		return classOther, 1
	}
	return runeFlags(c), size
}

// wordEnd returns the end of the word that begins at s[i], one match of GPT-2's pattern (OpenAI, gpt-2/src/encoder.py):
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// The matches cover the whole of s, so the words follow each other without a gap.
func wordEnd(s string, i int) int {
	c := s[i]
	if c == '\'' {
		if n := contraction(s[i+1:]); n > 0 {
			return i + 1 + n
		}
	}
	j := i
	if c == ' ' && i+1 < len(s) {
		j++
		c = s[j]
	}
	class := byteClass[c]
	if class == notASCII {
		flags, size := flagsAt(s, j)
		class = flags & classMask
		j += size
	} else {
		j++
	}
	if class == classSpace {
		return spaceEnd(s, i)
	}
	return runEnd(s, j, class)
}

// contraction returns the length of the ending that follows an apostrophe, 0 if there is none.
func contraction(s string) int {
	if len(s) == 0 {
		return 0
	}
	switch s[0] {
	case 's', 't', 'm', 'd':
		return 1
	case 'r', 'v':
		if len(s) > 1 && s[1] == 'e' {
			return 2
		}
	case 'l':
		if len(s) > 1 && s[1] == 'l' {
			return 2
		}
	}
	return 0
}

// runEnd returns where the characters of one class from s[j] on end.
func runEnd(s string, j int, class uint8) int {
	for j < len(s) {
		if c := byteClass[s[j]]; c == class {
			j++
			continue
		} else if c != notASCII {
			return j
		}
		flags, size := flagsAt(s, j)
		if flags&classMask != class {
			return j
		}
		j += size
	}
	return j
}

// spaceEnd returns the end of the word of white space at s[i]: the whole run at the end of the text, else the run
// without its last character, which may belong to the word that follows, unless that is all there is.
func spaceEnd(s string, i int) int {
	last, j := i, i
	for j < len(s) {
		flags, size := flagsAt(s, j)
		if flags&classMask != classSpace {
			if last > i {
				return last
			}
			return j
		}
		last = j
		j += size
	}
	return j
}
