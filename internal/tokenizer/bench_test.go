package tokenizer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkEncode measures English prose: $GPTCTL_TEST_TEXT, a directory of .txt files, or a made-up text without it.
func BenchmarkEncode(b *testing.B) {
	tok := mustLoad(b, gpt2Dir(b))
	text := benchText(b)
	b.SetBytes(int64(len(text)))
	var ids []int32
	for b.Loop() {
		ids = tok.Encode(ids[:0], text)
	}
	b.ReportMetric(float64(len(ids)), "tokens")
}

// BenchmarkEncodeCold is BenchmarkEncode with an empty cache of words each time.
func BenchmarkEncodeCold(b *testing.B) {
	tok := mustLoad(b, gpt2Dir(b))
	text := benchText(b)
	b.SetBytes(int64(len(text)))
	var ids []int32
	for b.Loop() {
		ids = newEncoder(&tok.bpe).words(ids[:0], text)
	}
}

func benchText(b *testing.B) string {
	dir := os.Getenv("GPTCTL_TEST_TEXT")
	if dir == "" {
		var text strings.Builder
		merges := gpt2Merges(b, -1)
		for i, x := 0, uint32(1); i < 1<<18; i++ {
			x = x*1664525 + 1013904223
			m := merges[x%(1+x>>16%40000)%40000]
			text.WriteString(string(unspell(nil, m[0]+m[1])))
		}
		return text.String()
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		b.Fatal(err, len(files))
	}
	var text strings.Builder
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		text.Write(data)
	}
	return text.String()
}

func BenchmarkEncodeLongWord(b *testing.B) {
	tok := mustLoad(b, gpt2Dir(b))
	text := strings.Repeat("thequickbrownfoxjumpsoverthelazydog", 1<<20/35)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tok.Encode(nil, text)
	}
}

func BenchmarkLoad(b *testing.B) {
	dir := gpt2Dir(b)
	for b.Loop() {
		if _, err := Load(dir); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	tok := mustLoad(b, gpt2Dir(b))
	ids := tok.Encode(nil, benchText(b))
	var out []byte
	b.SetBytes(int64(len(tok.AppendBytes(nil, ids, false))))
	for b.Loop() {
		out = tok.AppendBytes(out[:0], ids, false)
	}
}
