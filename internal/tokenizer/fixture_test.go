package tokenizer

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// smallMerges is how many of GPT-2's merges the small tokenizers of the tests have.
const smallMerges = 400

// gpt2Merges returns the first n of GPT-2's merges, all for n < 0.
func gpt2Merges(tb testing.TB, n int) [][2]string {
	tb.Helper()
	f, err := os.Open("testdata/gpt2-merges.txt.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	var list [][2]string
	for line := range strings.Lines(string(text)) {
		left, right, _ := strings.Cut(strings.TrimSpace(line), " ")
		if left == "#version:" || left == "" {
			continue
		}
		list = append(list, [2]string{left, right})
	}
	if n < 0 {
		return list
	}
	return list[:n]
}

// dirOptions say how a test's tokenizer.json or vocab.json is made from merges, as in testdata/referee.py.
type dirOptions struct {
	Drop  string `json:"drop"`
	Holes int    `json:"holes"`
	End   *bool  `json:"end"`
	Pairs bool   `json:"pairs"`

	Model         map[string]any  `json:"model"`
	MoreTokens    []any           `json:"more_tokens"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
}

func (o dirOptions) vocab(merges [][2]string) map[string]int {
	var tokens []string
	add := func(printable bool) {
		for b, r := range byteRunes {
			if (int(r) == b) == printable && !strings.ContainsRune(o.Drop, r) {
				tokens = append(tokens, string(r))
			}
		}
	}
	add(true)
	add(false)
	for _, m := range merges {
		tokens = append(tokens, m[0]+m[1])
	}
	if o.End == nil || *o.End {
		tokens = append(tokens, endOfText)
	}
	vocab := map[string]int{}
	for i, t := range tokens {
		if i >= 256 {
			i += o.Holes
		}
		vocab[t] = i
	}
	return vocab
}

func (o dirOptions) tokenizerJSON(tb testing.TB, all [][2]string) []byte {
	var merges [][2]string
	for _, m := range all {
		if o.Drop == "" || !strings.ContainsAny(m[0]+m[1], o.Drop) {
			merges = append(merges, m)
		}
	}
	vocab := o.vocab(merges)
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}
	added := []any{}
	if id, ok := vocab[endOfText]; ok {
		added = append(added, map[string]any{
			"id": id, "content": endOfText, "special": true, "normalized": true,
			"single_word": false, "lstrip": false, "rstrip": false,
		})
	}
	var list []any
	for _, m := range merges {
		if o.Pairs {
			list = append(list, []string{m[0], m[1]})
		} else {
			list = append(list, m[0]+" "+m[1])
		}
	}
	model := map[string]any{
		"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": "", "end_of_word_suffix": "",
		"fuse_unk": false, "vocab": vocab, "merges": list,
	}
	for k, v := range o.Model {
		model[k] = v
	}
	file := map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": append(added, o.MoreTokens...),
		"normalizer": nil, "pre_tokenizer": byteLevel, "post_processor": byteLevel, "decoder": byteLevel, "model": model,
	}
	if o.PreTokenizer != nil {
		file["pre_tokenizer"] = o.PreTokenizer
	}
	if o.PostProcessor != nil {
		file["post_processor"] = o.PostProcessor
	}
	return marshal(tb, file)
}

func marshal(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func mergesText(merges [][2]string) string {
	var b strings.Builder
	b.WriteString("#version: 0.2\n")
	for _, m := range merges {
		b.WriteString(m[0] + " " + m[1] + "\n")
	}
	return b.String()
}

// directory makes the files of a directory; {"@tokenizer": …}, {"@vocab": …} and "@merges" are made from merges.
func directory(tb testing.TB, files map[string]json.RawMessage, merges [][2]string) fs.FS {
	tb.Helper()
	dir := fstest.MapFS{}
	for name, content := range files {
		var made struct {
			Tokenizer *dirOptions `json:"@tokenizer"`
			Vocab     *dirOptions `json:"@vocab"`
		}
		var text string
		data := []byte(content)
		if json.Unmarshal(content, &text) == nil {
			if data = []byte(text); text == "@merges" {
				data = []byte(mergesText(merges))
			}
		} else if json.Unmarshal(content, &made) == nil && made.Tokenizer != nil {
			data = made.Tokenizer.tokenizerJSON(tb, merges)
		} else if made.Vocab != nil {
			data = marshal(tb, made.Vocab.vocab(merges))
		}
		dir[name] = &fstest.MapFile{Data: data}
	}
	return dir
}

// gpt2Dir is a directory with GPT-2's own tokenizer.
func gpt2Dir(tb testing.TB) fs.FS {
	return directory(tb, map[string]json.RawMessage{
		"config.json":    json.RawMessage(`{"model_type": "gpt2"}`),
		"tokenizer.json": json.RawMessage(`{"@tokenizer": {}}`),
	}, gpt2Merges(tb, -1))
}

func mustLoad(tb testing.TB, dir fs.FS) *Tokenizer {
	tb.Helper()
	t, err := Load(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// smallTokenizer is a GPT-2 tokenizer with few merges and some added tokens.
func smallTokenizer(tb testing.TB, settings string) *Tokenizer {
	return mustLoad(tb, directory(tb, map[string]json.RawMessage{
		"tokenizer.json":        json.RawMessage(`{"@tokenizer": {}}`),
		"tokenizer_config.json": json.RawMessage(settings),
	}, gpt2Merges(tb, smallMerges)))
}
