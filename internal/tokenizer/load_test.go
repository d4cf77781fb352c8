package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// dirOf makes a directory of texts.
func dirOf(files map[string]string) fstest.MapFS {
	dir := fstest.MapFS{}
	for name, text := range files {
		dir[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return dir
}

const (
	tinyVocab  = `{"a": 0, "b": 1, "ab": 2, "c": 3, "abc": 4}`
	tinyMerges = "#version: 0.2\na b\nab c\n"
	tinyJSON   = `{"version": "1.0", "added_tokens": ADDED, "normalizer": null,
		"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
		"post_processor": POST, "decoder": {"type": "ByteLevel"},
		"model": {"type": "BPE", MODEL "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}`
)

// tiny fills in tinyJSON; replacements are pairs of old and new.
func tiny(replacements ...string) string {
	s := strings.NewReplacer(replacements...).Replace(tinyJSON)
	return strings.NewReplacer("ADDED", "[]", "POST", "null", "MODEL", "").Replace(s)
}

func TestMissing(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		want  []string
	}{
		{nil, []string{"tokenizer.json"}},
		{map[string]string{"tokenizer_config.json": "{}"}, []string{"tokenizer.json"}},
		{map[string]string{"vocab.json": tinyVocab}, []string{"merges.txt"}},
		{map[string]string{"merges.txt": tinyMerges}, []string{"vocab.json"}},
	} {
		_, err := Load(dirOf(c.files))
		var missing *MissingError
		if !errors.As(err, &missing) || !slices.Equal(missing.Files, c.want) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: got %v, want %v missing", slices.Collect(maps.Keys(c.files)), err, c.want)
		}
	}
}

func TestVocabFiles(t *testing.T) {
	for _, text := range []string{tinyMerges, strings.ReplaceAll(tinyMerges, "\n", "\r\n"), "a b\nab c"} {
		tok := mustLoad(t, dirOf(map[string]string{"vocab.json": tinyVocab, "merges.txt": text}))
		if got := tok.Encode(nil, "abcab<|endoftext|>x"); !slices.Equal(got, []int32{4, 2, 5}) {
			t.Errorf("with merges %q: got %v", text, got)
		}
	}
}

func TestHoles(t *testing.T) {
	tok := mustLoad(t, dirOf(map[string]string{"vocab.json": `{"a": 10, "b": 7}`, "merges.txt": ""}))
	if got := tok.Encode(nil, "ab"); !slices.Equal(got, []int32{10, 7}) || tok.Len() != 11 {
		t.Errorf("got %v of %d, want [10 7] of 11", got, tok.Len())
	}
	if _, ok := tok.Token(3); ok || tok.Decode([]int32{3, 10}, false) != "a" {
		t.Error("there is a token in a hole")
	}
}

// TestRefused checks that each error is one sentence that names the file and the field.
func TestRefused(t *testing.T) {
	deep := strings.Repeat("[", 10000) + strings.Repeat("]", 10000)
	base := map[string]string{"tokenizer.json": tiny()}
	slow := map[string]string{"vocab.json": tinyVocab, "merges.txt": tinyMerges}
	with := func(base map[string]string, name, text string) map[string]string {
		files := maps.Clone(base)
		files[name] = text
		return files
	}
	set := func(replacements ...string) map[string]string {
		return with(base, "tokenizer.json", tiny(replacements...))
	}
	added := func(s string) map[string]string { return set("ADDED", s) }
	settings := func(s string) map[string]string { return with(base, "tokenizer_config.json", s) }
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // words in the error, in this order
	}{
		{"empty", set(tinyJSON, ""), "tokenizer.json ends"},
		{"truncated", with(base, "tokenizer.json", tiny()[:200]), "tokenizer.json"},
		{"not an object", with(base, "tokenizer.json", "[1]"), "tokenizer.json '['"},
		{"more after the end", with(base, "tokenizer.json", tiny()+"x"), "tokenizer.json 'x' the end of the file"},
		{"not UTF-8", set("ab", "\xff"), "tokenizer.json UTF-8"},
		{"control character", set("ab", "a\nb"), "tokenizer.json control character"},
		{"half a surrogate pair", set(`"ab"`, `"\ud800x"`), "tokenizer.json surrogate"},
		{"deep", set("POST", deep), "tokenizer.json nests deeper"},
		{"deep and skipped", set(`"normalizer"`, `"truncation": `+deep+`, "normalizer"`), "tokenizer.json nests deeper"},
		{"deep settings", settings(`{"x": ` + deep + `}`), "tokenizer_config.json nests deeper"},
		{"deep config", with(base, "config.json", strings.Repeat(`{"a":`, 10000)), "config.json nests deeper"},
		{"huge value", set("POST", "["+strings.Repeat("[],", 1<<19)+"[]]"), "tokenizer.json a value of more than"},
		{"version", set("1.0", "2.0"), `tokenizer.json version "2.0" "1.0"`},
		{"no model", set(`"model"`, `"other"`), "tokenizer.json no model"},
		{"no merges", set(`"merges"`, `"other"`), "tokenizer.json model no merges"},
		{"model type", set("BPE", "Unigram"), `model.type "Unigram" "BPE"`},
		{"dropout", set("MODEL", `"dropout": 0.1,`), "tokenizer.json model.dropout 0.1"},
		{"prefix", set("MODEL", `"continuing_subword_prefix": "##",`), `model.continuing_subword_prefix "##"`},
		{"suffix", set("MODEL", `"end_of_word_suffix": "</w>",`), `model.end_of_word_suffix "</w>"`},
		{"byte fallback", set("MODEL", `"byte_fallback": true,`), "model.byte_fallback true"},
		{"fuse", set("MODEL", `"fuse_unk": 1,`), "model.fuse_unk 1"},
		{"unk", set("MODEL", `"unk_token": "u",`), `model.unk_token "u"`},
		{"unk in a merge", set("MODEL", `"unk_token": "a",`), `model.unk_token "a" merge`},
		{"normalizer", set(`"normalizer": null`, `"normalizer": {"type": "NFC"}`), `tokenizer.json normalizer "NFC" null`},
		{"pre-tokenizer", set(`"pre_tokenizer": {"type": "ByteLevel"`, `"pre_tokenizer": {"type": "Whitespace"`), `tokenizer.json pre_tokenizer "Whitespace"`},
		{"no pre-tokenizer", set(`"pre_tokenizer"`, `"x"`), "tokenizer.json pre_tokenizer"},
		{"decoder", set(`"decoder": {"type": "ByteLevel"}`, `"decoder": {"type": "WordPiece"}`), `tokenizer.json decoder "WordPiece"`},
		{"post-processor", set("POST", `{"type": "RobertaProcessing"}`), `tokenizer.json post_processor "RobertaProcessing"`},
		{"template", set("POST", `{"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B"}}]}`), "post_processor.single[0]"},
		{"template id", set("POST", `{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}, {"Sequence": {"id": "A"}}], "special_tokens": {"x": {"ids": [77]}}}`), "post_processor 77"},
		{"duplicate id", set(`"ab": 2`, `"ab": 1`), `tokenizer.json model.vocab "b" "ab" 1`},
		{"duplicate token", set(`"ab": 2`, `"ab": 2, "a": 3`), "tokenizer.json model.vocab twice"},
		{"negative id", set(`"ab": 2`, `"ab": -2`), `tokenizer.json model.vocab "ab" -2`},
		{"id with a fraction", set(`"ab": 2`, `"ab": 2.5`), `tokenizer.json model.vocab "ab" 2.5`},
		{"id of 2^40", set(`"ab": 2`, `"ab": 1099511627776`), `tokenizer.json model.vocab "ab" 1099511627776`},
		{"id of 2^30", set(`"ab": 2`, `"ab": 1073741824`), "tokenizer.json model.vocab 1073741824"},
		{"id in quotes", set(`"ab": 2`, `"ab": "2"`), `tokenizer.json "ab" model.vocab`},
		{"merge of unknown tokens", set(`"a b"]`, `"a b", "b x"]`), `tokenizer.json model.merges 2 "x"`},
		{"merge to an unknown token", set(`"a b"]`, `"b a"]`), `tokenizer.json model.merges 1 "ba"`},
		{"merge of three", set(`"a b"]`, `"a b a"]`), `tokenizer.json model.merges 1 "a b a"`},
		{"merge of three in a list", set(`"a b"]`, `["a", "b", "a"]]`), "tokenizer.json model.merges 1 two"},
		{"merge of one in a list", set(`"a b"]`, `["a"]]`), "tokenizer.json model.merges 1 two"},
		{"added token's id", added(`[{"id": -1, "content": "x"}]`), "tokenizer.json added_tokens[0] -1"},
		{"added token's huge id", added(`[{"id": 1099511627776, "content": "x"}]`), "tokenizer.json added_tokens[0] 1099511627776"},
		{"added tokens with one id", added(`[{"id": 7, "content": "x"}, {"id": 7, "content": "y"}]`), `tokenizer.json added_tokens "x" "y" 7`},
		{"added token without content", added(`[{"id": 7}]`), "tokenizer.json added_tokens[0] content"},
		{"added token's flag", added(`[{"id": 7, "content": "x", "lstrip": 1}]`), "tokenizer.json added_tokens[0] lstrip 1"},
		{"class", settings(`{"tokenizer_class": "BertTokenizer"}`), `tokenizer_config.json tokenizer_class "BertTokenizer"`},
		{"class of config.json", with(base, "config.json", `{"tokenizer_class": "BertTokenizer"}`), `config.json tokenizer_class "BertTokenizer"`},
		{"settings", settings(`[]`), "tokenizer_config.json object"},
		{"truncated settings", settings(`{"a": tru`), "tokenizer_config.json"},
		{"a setting", settings(`{"add_prefix_space": "yes"}`), `tokenizer_config.json add_prefix_space "yes"`},
		{"clean up", settings(`{"clean_up_tokenization_spaces": true, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": true}`), "tokenizer_config.json clean_up"},
		{"bos", settings(`{"bos_token": 5}`), "tokenizer_config.json bos_token 5"},
		{"decoder's key", settings(`{"added_tokens_decoder": {"x": {"content": "y"}}}`), `tokenizer_config.json added_tokens_decoder["x"]`},
		{"decoder's list", settings(`{"added_tokens_decoder": []}`), "tokenizer_config.json added_tokens_decoder"},
		{"special", with(base, "special_tokens_map.json", `{"bos_token": {"lstrip": true}}`), "special_tokens_map.json bos_token content"},
		{"added_tokens.json", with(base, "added_tokens.json", `{"x": -1}`), `added_tokens.json "x" -1`},
		{"added_tokens.json twice", with(base, "added_tokens.json", `{"x": 5, "y": 5}`), `added_tokens.json "x" "y" 5`},
		{"vocab.json", with(slow, "vocab.json", `{"a": 1`), "vocab.json"},
		{"vocab.json with a list", with(slow, "vocab.json", `["a"]`), "vocab.json"},
		{"merges.txt", with(slow, "merges.txt", "a b\nx y\n"), `merges.txt 2 "x"`},
		{"merges.txt, not UTF-8", with(slow, "merges.txt", "a \xff"), "merges.txt UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(dirOf(c.files))
			if err == nil {
				t.Fatal("no error")
			}
			rest := err.Error()
			if strings.ContainsAny(rest, "\n") || strings.HasSuffix(rest, ".") || len(rest) > 300 {
				t.Errorf("not one sentence: %q", rest)
			}
			for w := range strings.SplitSeq(c.want, " ") {
				_, after, ok := strings.Cut(rest, w)
				if !ok {
					t.Fatalf("%q lacks %q", err, w)
				}
				rest = after
			}
		})
	}
}

func TestReadError(t *testing.T) {
	dir := dirOf(map[string]string{"tokenizer.json/x": ""}) // a directory by that name
	if _, err := Load(dir); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "tokenizer.json") {
		t.Errorf("got %v", err)
	}
}

// What is no file is not opened: a named pipe would never answer, a device never end.
func TestNotRegular(t *testing.T) {
	for _, mode := range []fs.FileMode{fs.ModeNamedPipe, fs.ModeDevice | fs.ModeCharDevice, fs.ModeDir} {
		for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "vocab.json"} {
			dir := dirOf(map[string]string{"merges.txt": tinyMerges})
			dir[name] = &fstest.MapFile{Mode: mode}
			_, err := Load(dir)
			if err == nil || !strings.Contains(err.Error(), name+" is not a regular file") {
				t.Errorf("%s of mode %v: got %v", name, mode, err)
			}
		}
	}
}

func TestJSON(t *testing.T) {
	for _, text := range []string{
		`{"a": [1, -0.5e+3, true, false, null, "x\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"], "b": {}, "c": []}`,
		`"\u0000"`, `01`, `1.`, `.5`, `1e`, `-`, `+1`, `tru`, `nul`, `"\x"`, `"\u12"`, `"\ud800"`, `"\ude00"`, `[1,]`, `{,}`, `{"a":1,}`, `{"a" 1}`,
		`{"a":1 "b":2}`, `[1 2]`, `"`, `"\`, `{`, `[`, ``, ` `, `{"a":`, "\"\t\"", `{"a":1,"a":2}`, `1 2`, "\ufeff1", `{1:2}`, `"\ud800\u0041"`,
	} {
		r, err := newJSONReader("x", text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.value()
		if err == nil {
			err = r.end()
		}
		var want any
		wantErr := json.Unmarshal([]byte(text), &want)
		strict := strings.Contains(text, `\ud800`) && !strings.Contains(text, `\ud83d`) || strings.HasPrefix(text, `"\ude00`) // encoding/json takes half pairs
		if (err == nil) != (wantErr == nil && !strict) {
			t.Errorf("%q: error %v, encoding/json says %v", text, err, wantErr)
			continue
		}
		if err == nil && fmt.Sprint(plainJSON(got)) != fmt.Sprint(want) {
			t.Errorf("%q is %v, want %v", text, plainJSON(got), want)
		}
		r.pos, r.depth = 0, 0
		skipErr := r.skip()
		if skipErr == nil {
			skipErr = r.end()
		}
		if (skipErr == nil) != (err == nil) {
			t.Errorf("%q: skip says %v, value %v", text, skipErr, err)
		}
	}
}

// plainJSON turns what value returns into what encoding/json returns.
func plainJSON(v any) any {
	switch v := v.(type) {
	case *jsonObject:
		m := map[string]any{}
		for _, k := range v.keys {
			m[k] = plainJSON(v.values[k])
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plainJSON(v[i])
		}
		return list
	case jsonNumber:
		var f float64
		if json.Unmarshal([]byte(v), &f) != nil {
			return "not a number"
		}
		return f
	}
	return v
}
