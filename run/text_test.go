package run

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// play feeds tokens to a transcript as Generate does and returns what is
// released at each step, up to the stop.
func play(t *testing.T, stops []string, prompt string, pieces [][]byte) (tr *transcript, released []Token, steps int) {
	t.Helper()
	tr = newTranscript(stops, prompt)
	for i, p := range pieces {
		tr.add(Token{ID: i}, p)
		last := i == len(pieces)-1
		if last && !tr.stopped() {
			tr.flush()
		}
		before := len(released)
		released = tr.settle(released, last || tr.stopped())
		for _, token := range released[before:] {
			if !utf8.ValidString(token.Text) {
				t.Fatalf("released %q, which is not whole characters", token.Text)
			}
		}
		steps++
		if tr.stopped() {
			break
		}
	}
	return tr, released, steps
}

func join(tokens []Token) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteString(t.Text)
	}
	return b.String()
}

func TestTranscript(t *testing.T) {
	tests := []struct {
		name   string
		stops  []string
		prompt string
		pieces []string
		texts  []string // of the tokens
	}{
		{"nothing", nil, "", nil, nil},
		{"whole tokens", nil, "", []string{"It", " was"}, []string{"It", " was"}},
		{"a character in three tokens", nil, "", []string{"a\xe6", "\x97", "\xa5b"}, []string{"a", "", "日b"}},
		{"an unfinished character at the end", nil, "", []string{"a", "\xe6\x97"}, []string{"a", "\ufffd"}},
		{"a character that breaks off", nil, "", []string{"\xe6\x97", "a"}, []string{"", "\ufffda"}},
		{"bytes that are no character", nil, "", []string{"\xff\xfe", "\x80"}, []string{"\ufffd\ufffd", "\ufffd"}},
		{"as Python: overlong, surrogate, too large", nil, "", []string{"\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80"},
			[]string{"\ufffd\ufffd", "\ufffd\ufffd\ufffd", "\ufffd\ufffd\ufffd\ufffd"}},
		{"a stop", []string{"END"}, "", []string{"a", "E", "N", "D"}, []string{"a", "", "", ""}},
		{"inside a token", []string{"END"}, "", []string{"aENDb"}, []string{"a"}},
		{"not after all", []string{"END"}, "", []string{"E", "N", "d"}, []string{"E", "N", "d"}},
		{"the first to be complete", []string{"abc", "b"}, "", []string{"xabc"}, []string{"xa"}},
		{"the longest of those", []string{"c", "abc", "bc"}, "", []string{"xabc"}, []string{"x"}},
		{"a beginning inside a beginning", []string{"aab"}, "", []string{"a", "a", "a", "b"}, []string{"a", "", "", ""}},
		{"begins in the prompt", []string{"dark night"}, "a dark", []string{" ni", "ght"}, []string{"", ""}},
		{"lies in the prompt", []string{"dark"}, "a dark", []string{" night"}, []string{" night"}},
		{"in the middle of a character", []string{"é"}, "", []string{"a\xc3", "\xa9"}, []string{"a", ""}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var pieces [][]byte
			for _, p := range test.pieces {
				pieces = append(pieces, []byte(p))
			}
			tr, released, _ := play(t, test.stops, test.prompt, pieces)
			var texts []string
			for _, r := range released {
				texts = append(texts, r.Text)
			}
			if !slices.Equal(texts, test.texts) || join(released) != tr.String() {
				t.Errorf("tokens carry %q and the text is %q, want %q", texts, tr, test.texts)
			}
		})
	}
}

// cutReference is the text before the stop string that is complete first.
func cutReference(text string, stops []string) (string, bool) {
	for end := range len(text) + 1 {
		start := -1
		for _, s := range stops {
			if strings.HasSuffix(text[:end], s) && (start < 0 || end-len(s) < start) {
				start = end - len(s)
			}
		}
		if start >= 0 {
			return text[:start], true
		}
	}
	return text, false
}

// TestStopsDoNotDependOnTokens cuts random texts into random tokens: whatever
// has been released at any time begins the reference, and all is in the end.
func TestStopsDoNotDependOnTokens(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString([]string{"a", "b", "ab", "é", "日", " "}[random.IntN(6)])
		}
		return b.String()
	}
	for range 20000 {
		text := word(random.IntN(30))
		var stops []string
		for range random.IntN(4) {
			stops = append(stops, word(1+random.IntN(5)))
		}
		var pieces [][]byte
		for rest := []byte(text); len(rest) > 0; {
			n := 1 + random.IntN(min(5, len(rest)))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		want, cut := cutReference(text, stops)
		tr := newTranscript(stops, "")
		var released []Token
		for _, p := range pieces {
			tr.add(Token{}, p)
			released = tr.settle(released, tr.stopped())
			if have := join(released); !strings.HasPrefix(want, have) {
				t.Fatalf("%q with stops %q: released %q, which does not begin %q", pieces, stops, have, want)
			}
			if tr.stopped() {
				break
			}
		}
		tr.flush()
		released = tr.settle(released, true)
		if join(released) != want || tr.String() != want || tr.stopped() != cut {
			t.Fatalf("%q with stops %q: %q (stopped: %v), want %q (%v)", pieces, stops, join(released), tr.stopped(), want, cut)
		}
	}
}

// TestStopsOfTransformers compares after how many tokens a text stops.
func TestStopsOfTransformers(t *testing.T) {
	var file struct {
		Cases []struct {
			Name       string
			Stops      []string `json:"stop_strings"`
			Text       string
			IDs        []int
			StopsAfter *int `json:"stops_after"`

			Prompt       string // runs of generate
			Max          int    `json:"max_new_tokens"`
			Tokens       []int
			Continuation string
		}
	}
	readJSON(t, "testdata/stops.json", &file)
	tokens := demoTokens(t)
	g := New(loadModel(t, "demo", 1), tokens)
	bytesOf := func(ids []int) (pieces [][]byte) {
		for _, id := range ids {
			pieces = append(pieces, tokens[id])
		}
		return pieces
	}
	for _, c := range file.Cases {
		ids, want := c.IDs, len(c.IDs)
		if c.Tokens != nil {
			ids, want = c.Tokens, len(c.Tokens)
		} else if c.StopsAfter != nil {
			want = *c.StopsAfter
		}
		if c.Tokens != nil {
			s := greedy(func(s *Settings) { s.Stop, s.MaxNewTokens, s.IgnoreEOS = c.Stops, c.Max, true })
			got := generate(t, g, Request{IDs: c.IDs, Settings: s})
			if have := tokenIDs(got.Samples[0]); !slices.Equal(have, c.Tokens) {
				t.Errorf("%s: generates %v, want %v", c.Name, have, c.Tokens)
			}
		}
		tr, _, steps := play(t, c.Stops, c.Prompt, bytesOf(ids))
		if steps != want {
			t.Errorf("%s: stops after %d tokens, want %d", c.Name, steps, want)
		}
		text := c.Text
		if c.Tokens != nil {
			text = c.Continuation
		}
		if !strings.HasPrefix(text, tr.String()) {
			t.Errorf("%s: the text is %q, which does not begin %q", c.Name, tr, text)
		}
	}
}
