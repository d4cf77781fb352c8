package corpus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/finetune/corpus/clean"
	"github.com/gptctl/gptctl/internal/demo"
	"github.com/gptctl/gptctl/internal/tokenizer"
)

// letters is a tokenizer of bytes; end is its end of text, -1 for none.
type letters struct{ end, size int32 }

func (letters) EncodePlain(dst []int32, text string) []int32 {
	for i := range len(text) {
		dst = append(dst, int32(text[i]))
	}
	return dst
}
func (l letters) EOS() (int32, bool)            { return l.end, l.end >= 0 }
func (l letters) Len() int                      { return int(l.size) }
func (l letters) Token(id int32) (string, bool) { return string(rune(id)), id < l.size }

var bytesTokenizer = letters{end: 256, size: 257}

// files writes files and gives their folder.
func files(t testing.TB, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range contents {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t testing.TB, o Options) *Data {
	t.Helper()
	if o.Tokenizer == nil {
		o.Tokenizer = bytesTokenizer
	}
	d, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// jsonl writes texts as JSON lines.
func jsonl(t testing.TB, docs ...string) string {
	var b strings.Builder
	for _, d := range docs {
		line, err := json.Marshal(map[string]string{"text": d})
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// The ids and rows that transformers and a plain cut give.
func TestGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Context   int
		Documents [][][2]any
		Rows      []struct{ Tokens, Labels []int32 }
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Load(demo.Files())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "c.tokens")
	w, err := newCacheWriter(path, tok.Len())
	if err != nil {
		t.Fatal(err)
	}
	for i, doc := range g.Documents {
		w.begin(uint64(i))
		for _, p := range doc {
			w.add(tok.EncodePlain(nil, p[0].(string)), p[1].(bool))
		}
	}
	if err := w.finish(meta{Key: "k"}); err != nil {
		t.Fatal(err)
	}
	d := &Data{report: &Report{}}
	if d.cache, err = openCache(path, "k", tok.Len()); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.eos, d.hasEOS = tok.EOS()
	if err := d.split(Split{}); err != nil {
		t.Fatal(err)
	}
	r, err := d.Train(Packing{Context: g.Context, Cross: -1})
	if err != nil {
		t.Fatal(err)
	}
	if r.Len() != len(g.Rows) {
		t.Fatalf("%d rows, want %d", r.Len(), len(g.Rows))
	}
	tokens, labels := make([]int32, g.Context), make([]int32, g.Context)
	var learnt int64
	for i, want := range g.Rows {
		r.Row(i, tokens, labels)
		if !slices.Equal(tokens, want.Tokens) || !slices.Equal(labels, want.Labels) {
			t.Errorf("row %d is\n%v\n%v, want\n%v\n%v", i, tokens, labels, want.Tokens, want.Labels)
		}
		for _, l := range want.Labels {
			if l != Ignored {
				learnt++
			}
		}
	}
	if r.Learnt() != learnt {
		t.Errorf("%d learnt, want %d", r.Learnt(), learnt)
	}
}

// Every packing gives every label once, in order, and keeps to what it said.
func TestPacking(t *testing.T) {
	var docs []string
	var stream []int32
	for i := range 40 {
		text := fmt.Sprintf("%d", i) + strings.Repeat(string(rune('a'+i%26)), i*i%47)
		docs = append(docs, text)
		stream = append(append(stream, 256), bytesTokenizer.EncodePlain(nil, text)...)
	}
	stream = append(stream, 256)
	d := open(t, Options{Paths: []string{files(t, map[string]string{"a.jsonl": jsonl(t, docs...)})}, Steps: clean.Set{}})
	for _, p := range []Packing{{1, -1, false}, {7, -1, false}, {7, 0, false}, {64, 0, true}, {64, 1, false}, {64, 3, true}, {64, -1, true}, {20, -1, true}, {10000, -1, false}, {10000, 2, true}} {
		r, err := d.Train(p)
		if err != nil {
			t.Fatal(err)
		}
		tokens, labels := make([]int32, p.Context), make([]int32, p.Context)
		at := 0
		for i := range r.Len() {
			r.Row(i, tokens, labels)
			ends := 0
			for j := range tokens {
				if labels[j] == Ignored { // the fill
					if tokens[j] != 256 || slices.ContainsFunc(labels[j:], func(l int32) bool { return l != Ignored }) {
						t.Errorf("%+v: row %d is ignored at %d of %v", p, i, j, labels)
					}
					break
				}
				if tokens[j] != stream[at] || labels[j] != stream[at+1] {
					t.Fatalf("%+v: row %d has %d, %d at %d, want %d, %d", p, i, tokens[j], labels[j], j, stream[at], stream[at+1])
				}
				if tokens[j] == 256 && j > 0 {
					ends++
				}
				// Nothing is cut that fits: a row that begins within a document is the
				// next of one that is longer than a row.
				if p.Whole && j == 0 && tokens[0] != 256 && at >= p.Context && slices.Index(stream[at:], 256) > 0 {
					from := at - 1
					for stream[from] != 256 {
						from--
					}
					if to := at + slices.Index(stream[at:], 256); to-from <= p.Context {
						t.Errorf("%+v: row %d cuts a document of %d", p, i, to-from)
					}
				}
				at++
			}
			if p.Cross >= 0 && ends > p.Cross {
				t.Errorf("%+v: row %d crosses %d times", p, i, ends)
			}
		}
		if at != len(stream)-1 || r.Learnt() != int64(at) {
			t.Errorf("%+v: %d labels, learnt %d, want %d", p, at, r.Learnt(), len(stream)-1)
		}
	}
	if _, err := d.Train(Packing{}); err == nil || !strings.Contains(err.Error(), "context is 0") {
		t.Errorf("error is %v", err)
	}
}

// A row of prompts alone teaches nothing and is left out.
func TestMasks(t *testing.T) {
	line := func(prompt, completion string) string {
		b, _ := json.Marshal(map[string]string{"prompt": prompt, "completion": completion})
		return string(b) + "\n"
	}
	dir := files(t, map[string]string{"a.jsonl": line(strings.Repeat("p", 20), "abc") + line("qq", "d")})
	d := open(t, Options{Paths: []string{dir}, Steps: clean.Set{}})
	r, err := d.Train(Packing{Context: 8, Cross: -1})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	tokens, labels := make([]int32, 8), make([]int32, 8)
	for i := range r.Len() {
		r.Row(i, tokens, labels)
		s := ""
		for _, l := range labels {
			switch l {
			case Ignored:
				s += "-"
			case 256:
				s += "$"
			default:
				s += string(rune(l))
			}
		}
		got = append(got, s)
	}
	// E p×20 a b c E q q d E
	if want := []string{"----abc$", "--d$----"}; !slices.Equal(got, want) {
		t.Errorf("labels are %q, want %q", got, want)
	}
	if r.Learnt() != 6 || d.Report().Masked != 22 {
		t.Errorf("learnt %d, masked %d", r.Learnt(), d.Report().Masked)
	}
}

func TestPermute(t *testing.T) {
	for n := uint64(1); n < 200; n++ {
		seen := make([]bool, n)
		for x := range n {
			if y := permute(x, n, 5); y >= n || seen[y] {
				t.Fatalf("%d of %d goes to %d again", x, n, y)
			} else {
				seen[y] = true
			}
		}
	}
	// No place is preferred: over many keys each place of 10 holds each value about as often.
	var count [10][10]int
	for key := range uint64(10000) {
		for x := range uint64(10) {
			count[x][permute(x, 10, mix(key))]++
		}
	}
	for x := range count {
		for y, n := range count[x] {
			if n < 800 || n > 1200 {
				t.Errorf("%d goes to %d in %d of 10000", x, y, n)
			}
		}
	}
}

func TestBatch(t *testing.T) {
	d := open(t, Options{Paths: []string{files(t, map[string]string{"a.txt": strings.Repeat("Some text of a book. ", 100)})}})
	r, err := d.Train(Packing{Context: 16, Cross: -1})
	if err != nil {
		t.Fatal(err)
	}
	n := r.Len()
	order := func(seed uint64, epoch int) (o []int) {
		for i := range n {
			o = append(o, r.Index(seed, int64(epoch*n+i)))
		}
		return o
	}
	for epoch := range 3 {
		o := order(1, epoch)
		if slices.Equal(o, order(1, epoch+1)) || slices.Equal(o, order(2, epoch)) || slices.IsSorted(o) {
			t.Errorf("epoch %d has the order of another", epoch)
		}
		slices.Sort(o)
		for i := range o {
			if o[i] != i {
				t.Fatalf("epoch %d has not every row once", epoch)
			}
		}
	}
	// A batch is the rows one by one, wherever it begins.
	tokens, labels := make([]int32, 5*16), make([]int32, 5*16)
	one, oneLabels := make([]int32, 16), make([]int32, 16)
	for _, at := range []int64{0, int64(n) - 2, 12345} {
		r.Batch(9, at, tokens, labels)
		for i := range 5 {
			r.Batch(9, at+int64(i), one, oneLabels)
			if !slices.Equal(one, tokens[i*16:][:16]) || !slices.Equal(oneLabels, labels[i*16:][:16]) {
				t.Errorf("row %d of the batch at %d differs", i, at)
			}
		}
	}
	if a := testing.AllocsPerRun(10, func() { r.Batch(9, 3, tokens, labels) }); a > 0 {
		t.Errorf("%v allocations a batch", a)
	}
}

func TestRefused(t *testing.T) {
	good := files(t, map[string]string{"a.txt": "Some text.", "b.txt": "Another text."})
	empty := files(t, map[string]string{"a.txt": "", "b.jsonl": "\n"})
	blank := files(t, map[string]string{"a.txt": " \n\n\x00"[:3]})
	tiny := files(t, map[string]string{"a.txt": "x"})
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Tokenizer: bytesTokenizer}, "no data: name files"},
		{Options{Paths: []string{good}}, "needs a tokenizer"},
		{Options{Paths: []string{good}, Tokenizer: bytesTokenizer, Split: Split{Share: 1}}, "validation share is 1, want"},
		{Options{Paths: []string{good}, Tokenizer: bytesTokenizer, Validation: []string{good}, Split: Split{Share: .1}}, "want one of them"},
		{Options{Paths: []string{good}, Tokenizer: letters{end: -1, size: 256}}, "the tokenizer has no end of text, which must stand between 2 documents"},
		{Options{Paths: []string{good}, Tokenizer: letters{end: 99, size: 100}}, "a.txt:1: token 111 is outside the vocabulary of 100"},
		{Options{Paths: []string{good}, Tokenizer: letters{end: 300, size: 256}}, "end of text is token 300 of 256"},
		{Options{Paths: []string{empty}, Tokenizer: bytesTokenizer}, "the corpus is empty: there is no text in its 2 files"},
		{Options{Paths: []string{blank}, Tokenizer: bytesTokenizer}, "the corpus is empty: cleaning left nothing of its 1 documents"},
		{Options{Paths: []string{tiny}, Tokenizer: letters{end: -1, size: 256}}, "the corpus is too small: 1 tokens are left for training"},
		{Options{Paths: []string{tiny}, Tokenizer: bytesTokenizer, Split: Split{Share: .5}}, "the corpus is too small: 0 tokens are left for training"},
		{Options{Paths: []string{filepath.Join(good, "a.txt")}, Validation: []string{filepath.Join(good, "no.txt")}, Tokenizer: bytesTokenizer}, "validation: read "},
		{Options{Paths: []string{filepath.Join(good, "a.txt")}, Validation: []string{good}, Tokenizer: bytesTokenizer}, "nothing to learn"},
	} {
		_, err := Open(context.Background(), c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) && c.want != "nothing to learn" {
			t.Errorf("error is %v, want …%s…", err, c.want)
		}
	}
	_, err := Open(context.Background(), Options{Paths: []string{blank}, Tokenizer: bytesTokenizer})
	if e := (*EmptyError)(nil); !errors.As(err, &e) || e.Report == nil || e.Report.WriteText(io.Discard) != nil {
		t.Errorf("error is %#v", err)
	}
}
