package tokenizer

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzLoad reads hostile files: it must neither panic nor take much memory, and what loads must work.
func FuzzLoad(f *testing.F) {
	f.Add(tiny(), `{}`)
	f.Add(tiny("ADDED", `[{"id": 3, "content": "<s>", "lstrip": true, "special": true}]`), `{"bos_token": "<s>", "tokenizer_class": "GPT2Tokenizer"}`)
	f.Add(tiny("POST", `{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}, {"Sequence": {"id": "A"}}], "special_tokens": {"x": {"ids": [0]}}}`), `{"added_tokens_decoder": {"9": {"content": "x"}}}`)
	f.Add(tiny("MODEL", `"unk_token": "b", "ignore_merges": true,`, `["a b"]`, `[]`), `{"extra_special_tokens": {"a_token": "b"}}`)
	f.Add(tiny(`"a b"`, `["a", "b"]`), `{"additional_special_tokens": ["q"], "split_special_tokens": true}`)
	f.Add(`{"model": {"vocab": {"a": 1099511627776}, "merges": []}}`, `{`)
	f.Add(strings.Repeat("[", 200), strings.Repeat(`{"a":`, 200))
	f.Add(`{"model": {"vocab": {"\u0120\ud83d\ude00": 1048575}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel"}, "decoder": {"type": "ByteLevel"}}`, `{"a_token": "\u0120"}`)
	f.Fuzz(func(t *testing.T, file, settings string) {
		tok, err := Load(dirOf(map[string]string{"tokenizer.json": file, "tokenizer_config.json": settings}))
		if err != nil {
			return
		}
		for _, s := range []string{"ab<s> aab\xff", settings} {
			for _, id := range tok.Encode(nil, s) {
				if _, ok := tok.Token(id); !ok || int(id) >= tok.Len() {
					t.Fatalf("id %d has no token", id)
				}
			}
		}
	})
}

// FuzzRoundTrip checks that decoding undoes encoding for every sequence of bytes, and that streams agree.
func FuzzRoundTrip(f *testing.F) {
	tok := mustLoad(f, directory(f, map[string]json.RawMessage{
		"tokenizer.json": json.RawMessage(`{"@tokenizer": {"more_tokens": [
			{"id": 657, "content": "<s>", "special": true}, {"id": 658, "content": "word", "single_word": true},
			{"id": 659, "content": "wordy", "normalized": true}]}}`),
	}, gpt2Merges(f, smallMerges)))
	for _, s := range []string{
		"", " ", "Hello  world\r\n\n", "don't <|endoftext|><s> word wordy words", "\xff\xfe\x80", "\xe2\x82", "日本語 ½²", strings.Repeat("the ", 40),
		strings.Repeat("a", 200), "\x00\x01 \u00a0\u2003\u3000", "👩‍👩‍👧‍👦",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ids := tok.Encode(nil, s)
		if got := tok.Decode(ids, false); got != s {
			t.Fatalf("%q comes back as %q", s, got)
		}
		if got := tok.Decode(tok.EncodePlain(nil, s), false); got != s {
			t.Fatalf("%q as plain text comes back as %q", s, got)
		}
		if again := tok.Encode(nil, s); !slices.Equal(again, ids) {
			t.Fatalf("%q gives %v, then %v", s, ids, again)
		}
		text := tok.DecodeText(ids, false)
		if got := stream(tok, ids); got != text || !utf8.ValidString(text) {
			t.Fatalf("the stream of %q is %q, want %q", s, got, text)
		}
	})
}
