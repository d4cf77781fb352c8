package run

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// transcript turns the bytes of tokens into text, finds stop strings in it, and
// says which tokens are settled: no later token can change what text they add.
//
// Text is whole characters: bytes that begin one wait for the rest, and the
// token that completes it carries it. Bytes that cannot be UTF-8 become
// U+FFFD, one for each longest beginning of a character (Unicode 16, 3.9;
// as Python's and Rust's decoders do).
//
// A stop string ends in the continuation but may begin in the prompt, as in
// transformers. The one that is complete first counts, of several that end together
// the longest. The text is cut before it, so that it does not depend on how the
// text was cut into tokens.
type transcript struct {
	stops    []string
	longest  int    // of stops, in bytes
	text     []byte // the last of the prompt, then the continuation
	prompt   int    // bytes of text that are prompt
	partial  []byte // of a character that follows text
	waiting  []waitingToken
	cut      int // where a stop string begins, or -1
	released int // end of the text that settled tokens have carried
}

type waitingToken struct {
	token Token
	end   int // of its text
}

func newTranscript(stops []string, prompt string) *transcript {
	t := &transcript{stops: stops, cut: -1}
	for _, s := range stops {
		t.longest = max(t.longest, len(s))
	}
	t.text = []byte(prompt[max(0, len(prompt)-max(0, t.longest-1)):])
	t.prompt, t.released = len(t.text), len(t.text)
	return t
}

// add appends a token that stands for the given bytes.
func (t *transcript) add(token Token, b []byte) {
	from := len(t.text)
	t.partial = append(t.partial, b...)
	n := 0
	t.text, n = appendText(t.text, t.partial, false)
	t.partial = append(t.partial[:0], t.partial[n:]...)
	t.find(from)
	t.waiting = append(t.waiting, waitingToken{token, len(t.text)})
}

// flush gives up waiting for the rest of a character.
func (t *transcript) flush() {
	if len(t.partial) == 0 || t.stopped() {
		return
	}
	from := len(t.text)
	t.text, _ = appendText(t.text, t.partial, true)
	t.partial = t.partial[:0]
	t.find(from)
	t.waiting[len(t.waiting)-1].end = len(t.text)
}

// stopped reports whether a stop string has been found.
func (t *transcript) stopped() bool { return t.cut >= 0 }

// String returns the continuation up to a stop string.
func (t *transcript) String() string {
	if t.stopped() {
		return string(t.text[t.prompt:t.cut])
	}
	return string(t.text[t.prompt:])
}

// find looks for stop strings that end after from.
func (t *transcript) find(from int) {
	for end := from + 1; end <= len(t.text) && !t.stopped(); end++ {
		length := 0
		for _, s := range t.stops {
			if len(s) > length && bytes.HasSuffix(t.text[:end], []byte(s)) {
				length = len(s)
				t.cut = max(end-length, t.prompt)
			}
		}
	}
}

// settle appends the tokens that are settled by now to dst. With final, all
// are: nothing will follow.
func (t *transcript) settle(dst []Token, final bool) []Token {
	limit := len(t.text)
	if t.stopped() {
		limit = t.cut
	} else if !final {
		limit -= t.overlap()
	}
	n := 0
	for i, w := range t.waiting {
		newest := i == len(t.waiting)-1
		if !final && (w.end > limit || newest && len(t.partial) > 0) {
			break
		}
		end := max(min(w.end, limit), t.released)
		w.token.Text = string(t.text[t.released:end])
		t.released = end
		dst = append(dst, w.token)
		n++
	}
	t.waiting = append(t.waiting[:0], t.waiting[n:]...)
	return dst
}

// overlap is the length of the longest end of the text that begins a stop string.
func (t *transcript) overlap() int {
	for n := min(t.longest-1, len(t.text)); n > 0; n-- {
		tail := string(t.text[len(t.text)-n:])
		for _, s := range t.stops {
			if len(s) > n && strings.HasPrefix(s, tail) {
				return n
			}
		}
	}
	return 0
}

// appendText appends b as text and returns how many bytes of b it took: all but
// the beginning of a character at the end, and that too if nothing follows.
func appendText(dst, b []byte, final bool) ([]byte, int) {
	n := 0
	for n < len(b) {
		rest := b[n:]
		if !utf8.FullRune(rest) && !final {
			break
		}
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size == 1 {
			// As much as could still have become a character is one mistake.
			for size < len(rest) && !utf8.FullRune(rest[:size+1]) {
				size++
			}
		}
		dst = utf8.AppendRune(dst, r)
		n += size
	}
	return dst, n
}
