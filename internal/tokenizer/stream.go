package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Stream decodes ids as they come and gives only whole characters: the beginning of one is held back until the rest
// has come, or until nothing can make it whole any more, when it becomes U+FFFD. All that Push and Flush return is
// what DecodeText gives for all the ids at once.
type Stream struct {
	tokenizer   *Tokenizer
	skipSpecial bool
	held        []byte // the beginning of a character, at most three bytes
	out         []byte
}

// NewStream returns a decoder that leaves out special tokens if skipSpecial is set.
func (t *Tokenizer) NewStream(skipSpecial bool) *Stream {
	return &Stream{tokenizer: t, skipSpecial: skipSpecial}
}

// Push returns the characters that an id completes. The result is valid until the next call.
func (s *Stream) Push(id int32) []byte {
	s.out = s.out[:0]
	if s.skipSpecial && s.tokenizer.special[id] {
		return s.out
	}
	s.held = append(s.held, s.tokenizer.bytes.at(id)...)
	rest := s.held
	for len(rest) > 0 {
		size, ok := character(rest)
		if !ok && size == len(rest) && begins(rest) {
			break
		}
		s.out = appendCharacter(s.out, rest[:size], ok)
		rest = rest[size:]
	}
	s.held = append(s.held[:0], rest...)
	return s.out
}

// Flush returns U+FFFD if the beginning of a character was held back. The stream can be used on.
func (s *Stream) Flush() []byte {
	s.out = s.out[:0]
	if len(s.held) > 0 {
		s.out = appendCharacter(s.out, nil, false)
		s.held = s.held[:0]
	}
	return s.out
}

func appendCharacter(dst, c []byte, ok bool) []byte {
	if !ok {
		return utf8.AppendRune(dst, utf8.RuneError)
	}
	return append(dst, c...)
}

// character returns the size of the first character of b, or, if there is no valid one, of the bytes that one U+FFFD
// replaces.
func character(b []byte) (size int, ok bool) {
	if _, size := utf8.DecodeRune(b); size > 1 || b[0] < utf8.RuneSelf {
		return size, true
	}
	size = 1
	for size < min(len(b), utf8.UTFMax) && begins(b[:size+1]) {
		size++
	}
	return size, false
}

// begins reports whether b, which is no whole character, can become one.
func begins(b []byte) bool {
	return !utf8.FullRune(b)
}

// replaceInvalid puts U+FFFD for what is not valid UTF-8.
func replaceInvalid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var out strings.Builder
	out.Grow(len(s) + 2)
	b := []byte(s)
	for len(b) > 0 {
		size, ok := character(b)
		if ok {
			out.Write(b[:size])
		} else {
			out.WriteRune(utf8.RuneError)
		}
		b = b[size:]
	}
	return out.String()
}
