package tokenizer

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// Tokenizers that are taken apart and put together again, directly and by way of
// Hugging Face's files, encode and decode as before.
func TestPartsGolden(t *testing.T) {
	refused := map[string]string{}
	rebuilt := compareRebuilt(t, "testdata/golden.jsonl", func(name string, tok *Tokenizer) *Tokenizer {
		p, err := tok.Parts()
		if err != nil {
			refused[name] = err.Error()
			return nil
		}
		again, err := New(p)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return nil
		}
		return again
	})
	fromFiles := compareRebuilt(t, "testdata/golden.jsonl", func(name string, tok *Tokenizer) *Tokenizer {
		p, err := tok.Parts()
		if err != nil {
			return nil
		}
		again, err := Load(fstest.MapFS{
			"config.json":           {Data: []byte(`{"model_type":"gpt2"}`)},
			"tokenizer.json":        {Data: p.TokenizerJSON()},
			"tokenizer_config.json": {Data: p.SettingsJSON(1024)},
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return nil
		}
		return again
	})
	for name, why := range refused {
		t.Logf("%s: %s", name, why)
	}
	if rebuilt.strings < 700 || fromFiles.strings != rebuilt.strings {
		t.Errorf("only %d and %d cases", rebuilt.strings, fromFiles.strings)
	}
}

func TestNew(t *testing.T) {
	good := Parts{
		Tokens: []Piece{{"a", Normal}, {"b", Normal}, {"ab", Normal}, {}, {"<end>", Special}, {"[PAD5]", Hole}},
		Merges: []string{"a b"}, BOS: -1, EOS: 4, UNK: 99, PAD: 3, Before: []int32{4},
	}
	tok, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Encode(nil, "ab<end>ba"); !slices.Equal(got, []int32{4, 2, 4, 1, 0}) {
		t.Errorf("got %v", got)
	}
	if _, ok := tok.PAD(); ok || tok.Len() != 5 || !tok.IsSpecial(4) {
		t.Errorf("PAD %v, %d tokens, special %v", ok, tok.Len(), tok.IsSpecial(4))
	}
	for want, change := range map[string]func(p *Parts){
		"tokens 0 and 1 are both":     func(p *Parts) { p.Tokens[1].Text = "a" },
		"not valid UTF-8":             func(p *Parts) { p.Tokens[1].Text = "\xff" },
		"merge 1":                     func(p *Parts) { p.Merges[0] = "a c" },
		"is not in the vocabulary":    func(p *Parts) { p.Merges[0] = "b a" },
		"one space":                   func(p *Parts) { p.Merges[0] = "ab" },
		"there is no token with id 3": func(p *Parts) { p.After = []int32{3} },
		"no token with id -7":         func(p *Parts) { p.Before = []int32{-7} },
	} {
		p := good
		p.Tokens, p.Merges = slices.Clone(p.Tokens), slices.Clone(p.Merges)
		change(&p)
		if _, err := New(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
}
