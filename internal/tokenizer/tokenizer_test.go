package tokenizer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

const flaggedSettings = `{"tokenizer_class": "GPT2Tokenizer", "pad_token": "<pad>", "added_tokens_decoder": {
	"656": {"content": "<|endoftext|>", "special": true},
	"657": {"content": "<pad>", "special": true, "lstrip": true},
	"658": {"content": "word", "single_word": true},
	"659": {"content": "\u00e9"}}}`

func TestVocabulary(t *testing.T) {
	tok := smallTokenizer(t, flaggedSettings)
	if tok.Len() != 659 {
		t.Errorf("Len() is %d, want 659", tok.Len())
	}
	for _, c := range []struct {
		id      int32
		text    string
		bytes   string
		special bool
	}{
		{0, "!", "!", false},
		{94, "¡", "\xa1", false},
		{220, "Ġ", " ", false},
		{262, "Ġthe", " the", false},
		{656, endOfText, endOfText, true},
		{657, "<pad>", "<pad>", true},
		{658, "word", "word", false},
		{165, "é", "\xe9", false}, // added, but it is the name of a byte, as in tokenizers
	} {
		text, ok := tok.Token(c.id)
		if !ok || text != c.text || string(tok.Bytes(c.id)) != c.bytes || tok.IsSpecial(c.id) != c.special {
			t.Errorf("id %d is %q, bytes %q, special %v; want %q, %q, %v", c.id, text, tok.Bytes(c.id), tok.IsSpecial(c.id), c.text, c.bytes, c.special)
		}
		if id, ok := tok.ID(c.text); !ok || id != c.id {
			t.Errorf("ID(%q) is %d, %v, want %d", c.text, id, ok, c.id)
		}
	}
	for _, id := range []int32{-1, 659, 1 << 30} {
		if text, ok := tok.Token(id); ok || len(tok.Bytes(id)) > 0 || tok.IsSpecial(id) {
			t.Errorf("id %d is %q, want no token", id, text)
		}
	}
	if _, ok := tok.ID("no such token"); ok {
		t.Error("ID knows a token that does not exist")
	}
	for name, get := range map[string]func() (int32, bool){"BOS": tok.BOS, "EOS": tok.EOS, "UNK": tok.UNK} {
		if id, ok := get(); !ok || id != 656 {
			t.Errorf("%s is %d, %v, want 656", name, id, ok)
		}
	}
	if id, ok := tok.PAD(); !ok || id != 657 {
		t.Errorf("PAD is %d, %v, want 657", id, ok)
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"a", "a"},
		{"Hello world", "Hello| world"},
		{"Hello  world", "Hello| | world"},
		{"  a", " | a"},
		{"a  ", "a|  "},
		{"a \n b", "a| \n| b"},
		{"a\r\n\r\nb", "a|\r\n\r|\n|b"},
		{"\n", "\n"},
		{" \t", " \t"},
		{"it's 's ''s", "it|'s| '|s| ''|s"},
		{"we'll'd've're'm't", "we|'ll|'d|'ve|'re|'m|'t"},
		{"I'LL 'Tis", "I|'|LL| '|Tis"},
		{"'l'v'r'", "'|l|'|v|'|r|'"},
		{"abc123 456 ½²", "abc|123| 456| ½²"},
		{"x=-1;", "x|=-|1|;"},
		{"日本 語", "日本| 語"},
		{"e\u0301a", "e|\u0301|a"},
		{"a\u00a0b", "a|\u00a0|b"},
		{"a \u00a0b", "a| |\u00a0|b"},
		{" \u00a0", " \u00a0"},
		{"a\x00b", "a|\x00|b"},
		{"a\xffb", "a|\xff|b"},
		{" \xff\xfe!", " \xff\xfe!"},
		{"\xe2\x82a\xf0\x9f", "\xe2\x82|a|\xf0\x9f"},
		{"\xed\xa0\x80", "\xed\xa0\x80"},
	} {
		var words []string
		for i := 0; i < len(c.text); {
			end := wordEnd(c.text, i)
			words = append(words, c.text[i:end])
			i = end
		}
		if got := strings.Join(words, "|"); got != c.want {
			t.Errorf("%q is split into %q, want %q", c.text, got, c.want)
		}
	}
}

// TestUnicodeVersion pins characters on which Go's tables and those of tokenizers may differ.
func TestUnicodeVersion(t *testing.T) {
	for _, c := range []struct {
		r    rune
		want uint8
	}{
		{'a', classLetter | wordFlag}, {'0', classNumber | wordFlag}, {'_', classOther | wordFlag}, {' ', classSpace | stripFlag},
		{'½', classNumber}, {'\u0301', classOther | wordFlag}, {'\u0085', classSpace | stripFlag}, {'\u180e', classOther},
		{'\u200b', classOther}, {'\u200d', classOther | wordFlag}, {'\U0010ffff', classOther}, {0xd800, classOther},
		{0x2ebf0, classLetter | wordFlag}, {0x1c89, classLetter | wordFlag}, // of Unicode 15.1 and 16, which Go 1.26 does not know
	} {
		if got := runeFlags(c.r); got != c.want {
			t.Errorf("%U has flags %b, want %b", c.r, got, c.want)
		}
	}
}

func TestInvalidUTF8(t *testing.T) {
	tok := smallTokenizer(t, flaggedSettings)
	for _, s := range []string{
		"\xff", "\x80\x80", "a\xffb", " \xff", "\xe2\x82", "\xe2\x82\xe2\x82\xac", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\xaf",
		"\xf0\x9f\x98", "<|endoftext|>\xff<pad>", "\xffword\xff", strings.Repeat("\xfe", 100),
	} {
		if got := tok.Decode(tok.Encode(nil, s), false); got != s {
			t.Errorf("%q comes back as %q", s, got)
		}
	}
	// Each invalid byte is encoded by its own token.
	for b := 0x80; b <= 0xff; b++ {
		id, _ := tok.ID(string(byteRunes[b]))
		if b == 0xe9 {
			id = tok.bpe.byteID[b] // the added token é has taken the name
		}
		if got := tok.Encode(nil, string([]byte{byte(b)})); !slices.Equal(got, []int32{id}) {
			t.Errorf("byte %#x gives %v, want %d", b, got, id)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	tok := mustLoad(t, gpt2Dir(t))
	rng := rand.New(rand.NewPCG(1, 2))
	alphabets := []string{"ab ", " \n\t\r", "'stredmvl ", "0123456789", "日本語é\u0301", "<|endoftext|>", "\xff\x80\xe2\x82\xac\xf0\x9f"}
	for i := range 3000 {
		b := make([]byte, rng.IntN(80))
		alphabet := alphabets[i%len(alphabets)]
		for k := range b {
			if b[k] = byte(rng.Uint32()); i%3 > 0 {
				b[k] = alphabet[rng.IntN(len(alphabet))]
			}
		}
		s := string(b)
		ids := tok.Encode(nil, s)
		if got := tok.Decode(ids, false); got != s {
			t.Fatalf("%q comes back as %q", s, got)
		}
		if got := tok.Decode(tok.EncodePlain(nil, s), false); got != s {
			t.Fatalf("%q as plain text comes back as %q", s, got)
		}
		if got, want := stream(tok, ids), tok.DecodeText(ids, false); got != want {
			t.Fatalf("the stream of %q is %q, want %q", s, got, want)
		}
	}
}

func stream(tok *Tokenizer, ids []int32) string {
	var out []byte
	s := tok.NewStream(false)
	for _, id := range ids {
		part := s.Push(id)
		if !utf8.Valid(part) {
			panic(fmt.Sprintf("half a character: %q", part))
		}
		out = append(out, part...)
	}
	return string(append(out, s.Flush()...))
}

func TestStream(t *testing.T) {
	tok := smallTokenizer(t, flaggedSettings)
	for _, c := range []struct {
		bytes string
		want  []string // after each byte, and by Flush
	}{
		{"ab", []string{"a", "b", ""}},
		{"é", []string{"", "é", ""}},
		{"€", []string{"", "", "€", ""}},
		{"😀!", []string{"", "", "", "😀", "!", ""}},
		{"\xff", []string{"\ufffd", ""}},
		{"\x80a", []string{"\ufffd", "a", ""}},
		{"\xe2\x82a", []string{"", "", "\ufffda", ""}},
		{"\xe2\x82", []string{"", "", "\ufffd"}},
		{"\xe2a", []string{"", "\ufffda", ""}},
		{"\xf0\x9f\x98", []string{"", "", "", "\ufffd"}},
		{"\xf0\x9f\xe2\x82\xac", []string{"", "", "\ufffd", "", "€", ""}},
		{"\xed\xa0\x80", []string{"", "\ufffd\ufffd", "\ufffd", ""}},
		{"\xe0\x80", []string{"", "\ufffd\ufffd", ""}},
		{"\xf4\x90", []string{"", "\ufffd\ufffd", ""}},
		{"\xc0\xaf", []string{"\ufffd", "\ufffd", ""}},
		{"\xc3\xc3\xa9", []string{"", "\ufffd", "é", ""}},
	} {
		s := tok.NewStream(false)
		var got []string
		var ids []int32
		for _, b := range []byte(c.bytes) {
			ids = append(ids, tok.bpe.byteID[b])
			got = append(got, string(s.Push(tok.bpe.byteID[b])))
		}
		got = append(got, string(s.Flush()))
		if !slices.Equal(got, c.want) {
			t.Errorf("%q byte by byte gives %q, want %q", c.bytes, got, c.want)
		}
		if whole := tok.DecodeText(ids, false); whole != strings.Join(c.want, "") {
			t.Errorf("%q at once gives %q, want %q", c.bytes, whole, strings.Join(c.want, ""))
		}
	}
	s := tok.NewStream(true)
	if got := string(s.Push(656)) + string(s.Push(64)) + string(s.Push(99999)); got != "a" {
		t.Errorf("a special token, a, no token: got %q, want %q", got, "a")
	}
}

// slowMerge is the definition of byte pair encoding.
func slowMerge(b *bpe, ids []int32) []int32 {
	for {
		best, at, to := uint32(noRank), -1, int32(0)
		for i := 0; i+1 < len(ids); i++ {
			if rank, id := b.pairs.get(ids[i], ids[i+1]); rank < best {
				best, at, to = rank, i, id
			}
		}
		if at < 0 {
			return ids
		}
		ids = slices.Replace(ids, at, at+2, to)
	}
}

func TestMerge(t *testing.T) {
	tok := mustLoad(t, gpt2Dir(t))
	rng := rand.New(rand.NewPCG(3, 4))
	e := newEncoder(&tok.bpe)
	for i := range 600 {
		alphabet := []string{"a", "ab", "the in", "abcdefghijklmnopqrstuvwxyz", "-=", " "}[i%6]
		var word []byte
		for range 1 + rng.IntN(6*shortWord) {
			word = append(word, alphabet[rng.IntN(len(alphabet))])
		}
		cells := make([]int32, len(word))
		for k, c := range word {
			cells[k] = tok.bpe.byteID[c]
		}
		want := slowMerge(&tok.bpe, slices.Clone(cells))
		if got := e.mergeLong(nil, slices.Clone(cells)); !slices.Equal(got, want) {
			t.Fatalf("the heap gives %v for %q, want %v", got, word, want)
		}
		if got := e.merge(nil, slices.Clone(cells)); !slices.Equal(got, want) {
			t.Fatalf("merge gives %v for %q, want %v", got, word, want)
		}
	}
}

func TestLongWord(t *testing.T) {
	tok := mustLoad(t, gpt2Dir(t))
	for _, s := range []string{strings.Repeat("thequickbrownfox", 1<<14), strings.Repeat("a", 1<<18), strings.Repeat(" ", 1<<18), strings.Repeat("\n", 1<<18)} {
		if got := tok.Decode(tok.Encode(nil, s), false); got != s {
			t.Errorf("a word of %d bytes does not come back", len(s))
		}
	}
}

func TestConcurrent(t *testing.T) {
	tok := mustLoad(t, gpt2Dir(t))
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				s := fmt.Sprintf("goroutine %d says %d times <|endoftext|> don't %s", g, i, strings.Repeat("é", i))
				if got := tok.Decode(tok.Encode(nil, s), false); got != s {
					t.Errorf("%q comes back as %q", s, got)
				}
			}
		})
	}
	wg.Wait()
}

func TestAppends(t *testing.T) {
	tok := smallTokenizer(t, flaggedSettings)
	if got := tok.Encode([]int32{7, 8}, "a<|endoftext|>"); !slices.Equal(got, []int32{7, 8, 64, 656}) {
		t.Errorf("got %v", got)
	}
	if got := tok.Decode([]int32{656, 64, 656, 65}, true); got != "ab" {
		t.Errorf("got %q, want %q", got, "ab")
	}
	if got := tok.Decode([]int32{64, 656}, false); got != "a"+endOfText {
		t.Errorf("got %q", got)
	}
}
