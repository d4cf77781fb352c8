package corpus

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/finetune/corpus/clean"
)

// texts gives the documents of one side, by reading its whole stream.
func texts(t *testing.T, r *Rows, err error) []string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	tokens, labels := make([]int32, r.Context()), make([]int32, r.Context())
	for i := range r.Len() {
		r.Row(i, tokens, labels)
		if i == 0 && tokens[0] != 256 {
			b.WriteByte(byte(tokens[0]))
		}
		for _, l := range labels {
			if l == 256 {
				b.WriteByte('|')
			} else if l != Ignored {
				b.WriteByte(byte(l))
			}
		}
	}
	return strings.Split(strings.TrimSuffix(b.String(), "|"), "|")
}

func sides(t *testing.T, d *Data) (train, valid []string) {
	t.Helper()
	p := Packing{Context: 16, Cross: -1}
	r, err := d.Train(p)
	train = texts(t, r, err)
	if r, err = d.Validation(p); r != nil && r.Len() == 0 {
		return train, nil
	}
	return train, texts(t, r, err)
}

func TestSplitDocuments(t *testing.T) {
	var docs []string
	for i := range 300 {
		docs = append(docs, fmt.Sprintf("document %d %s", i%250, strings.Repeat("x", 10+i%7))) // some twice, if nobody drops them
	}
	for i := 250; i < 300; i++ {
		docs[i] = docs[i-250]
	}
	dir := files(t, map[string]string{"a.jsonl": jsonl(t, docs...)})
	var held [][]string
	for seed := range uint64(3) {
		d := open(t, Options{Paths: []string{dir}, Steps: clean.Set{}, Split: Split{Share: 0.1, Seed: seed}})
		train, valid := sides(t, d)
		if len(train)+len(valid) != 300 {
			t.Errorf("%d and %d documents, want 300", len(train), len(valid))
		}
		for _, s := range valid {
			if slices.Contains(train, s) {
				t.Errorf("%q is on both sides", s)
			}
		}
		r := d.Report()
		if share := float64(r.Validation.Tokens) / float64(r.Tokens); share < 0.09 || share > 0.12 {
			t.Errorf("the share is %v", share)
		}
		held = append(held, valid)
	}
	if slices.Equal(held[0], held[1]) || slices.Equal(held[1], held[2]) {
		t.Error("the seed changes nothing")
	}
	d := open(t, Options{Paths: []string{dir}, Steps: clean.Set{}, Split: Split{Share: 0.1, Seed: 1}, Workers: 1})
	if _, valid := sides(t, d); !slices.Equal(valid, held[1]) {
		t.Error("the same seed holds out other documents")
	}
}

// One document is far larger than the rest: it must not be held out for a small share.
func TestSplitUneven(t *testing.T) {
	dir := files(t, map[string]string{"a.jsonl": jsonl(t, strings.Repeat("long ", 1000), "tiny one", "tiny two")})
	for seed := range uint64(20) {
		d := open(t, Options{Paths: []string{dir}, Split: Split{Share: 0.01, Seed: seed}})
		if train, valid := sides(t, d); len(train)+len(valid) != 3 || len(valid) == 0 || strings.HasPrefix(valid[0], "long") {
			t.Errorf("seed %d holds out %.20q", seed, valid)
		}
	}
}

func TestSplitByPosition(t *testing.T) {
	// As nanoGPT: the first int(0.9 n) train. Without an end of text nothing is added.
	text := strings.Repeat("abcdefghij", 10) + "k"
	dir := files(t, map[string]string{"a.txt": text})
	for _, tok := range []letters{{end: -1, size: 256}, bytesTokenizer} {
		d := open(t, Options{Paths: []string{dir}, Tokenizer: tok, Split: Split{Share: 0.1}})
		train, valid := sides(t, d)
		if len(train) != 1 || len(valid) != 1 || train[0] != text[:90] || valid[0] != text[90:] {
			t.Errorf("end %d: %q, %q", tok.end, train, valid)
		}
	}
	// The end of a document that is cut is not learnt.
	d := open(t, Options{Paths: []string{files(t, map[string]string{"a.txt": "0123456789", "b.txt": "abcdefghij"})}, Split: Split{Share: 0.2, Tail: true}})
	train, valid := sides(t, d)
	if want := []string{"01234567abcdefgh"}; !slices.Equal(train, want) {
		t.Errorf("training is %q, want %q", train, want)
	}
	if want := []string{"89", "ij"}; !slices.Equal(valid, want) {
		t.Errorf("validation is %q, want %q", valid, want)
	}
	r, err := d.Train(Packing{Context: 100, Cross: -1})
	if err != nil || r.Learnt() != 16 {
		t.Errorf("%d learnt, want 16, %v", r.Learnt(), err)
	}
}

// Files of their own for validation: what is in both is not trained on.
func TestValidationFiles(t *testing.T) {
	dir := files(t, map[string]string{"train.jsonl": jsonl(t, "one", "two", "three"), "valid.jsonl": jsonl(t, "two", "four"), "copy.jsonl": jsonl(t, "two", "four")})
	for _, steps := range []clean.Set{{}, nil} {
		d := open(t, Options{Paths: []string{dir}, Validation: []string{filepath.Join(dir, "valid.jsonl")}, Steps: steps})
		train, valid := sides(t, d)
		if !slices.Equal(train, []string{"one", "three"}) || !slices.Equal(valid, []string{"two", "four"}) {
			t.Errorf("%q, %q", train, valid)
		}
		var b strings.Builder
		if err := d.Report().WriteText(&b); err != nil || !strings.Contains(b.String(), "copy.jsonl  jsonl, 31 bytes, the same as ") {
			t.Errorf("%v: report is %s", err, b.String())
		}
	}
}

func TestNoValidation(t *testing.T) {
	d := open(t, Options{Paths: []string{files(t, map[string]string{"a.txt": "text"})}})
	train, valid := sides(t, d)
	if len(valid) != 0 || !slices.Equal(train, []string{"text"}) {
		t.Errorf("%q, %q", train, valid)
	}
}

func TestCache(t *testing.T) {
	dir := files(t, map[string]string{"a.txt": "A text of some words.<|endoftext|>Another one.", "b.jsonl": jsonl(t, "third", "fourth"),
		"c.jsonl": `{"prompt": "p", "completion": "c"}`})
	at := filepath.Join(t.TempDir(), "new", "cache")
	o := Options{Paths: []string{dir}, CacheDir: at, Split: Split{Share: 0.3}}
	first := open(t, o)
	want, held := sides(t, first)
	if first.Report().Cached || len(first.Hash()) != 64 {
		t.Error("the first is from a cache")
	}
	names := func() (n []string) {
		found, err := os.ReadDir(at)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range found {
			n = append(n, e.Name())
		}
		return n
	}
	if n := names(); len(n) != 1 || !strings.HasSuffix(n[0], ".tokens") {
		t.Fatalf("the folder holds %v", n)
	}
	path := filepath.Join(at, names()[0])
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	same := func(cached bool) {
		t.Helper()
		d := open(t, o)
		train, valid := sides(t, d)
		if d.Report().Cached != cached || !slices.Equal(train, want) || !slices.Equal(valid, held) || d.Report().Kept != first.Report().Kept {
			t.Errorf("cached %v, %q, %q", d.Report().Cached, train, valid)
		}
	}
	same(true)

	// Damage anywhere is found, and the cache made again, byte for byte, however many work on it.
	replace := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(path+".new", b, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(whole); i += 1 + len(whole)/20 {
		bad := slices.Clone(whole)
		bad[i] ^= 0x10
		replace(bad)
		o.Workers = 1 + i%5
		same(false)
		if again, _ := os.ReadFile(path); !slices.Equal(again, whole) {
			t.Fatalf("%d workers make another file", o.Workers)
		}
	}
	replace(whole[:len(whole)/2])
	same(false)
	if len(names()) != 1 {
		t.Errorf("the folder holds %v", names())
	}

	// Everything that changes the tokens changes the key.
	keys := map[string]string{first.Hash(): "the first"}
	for what, change := range map[string]func(*Options){
		"steps":     func(o *Options) { o.Steps = clean.Set{} },
		"separator": func(o *Options) { o.Read.Separator = NoSeparator },
		"encoding":  func(o *Options) { o.Read.Encoding = "replace" },
		"template":  func(o *Options) { o.Read.Template.User = "U" },
		"tokenizer": func(o *Options) { o.Tokenizer = letters{end: 255, size: 257} },
		"files":     func(o *Options) { o.Paths = []string{filepath.Join(dir, "a.txt")} },
		"validation": func(o *Options) {
			o.Validation, o.Split = []string{filepath.Join(dir, "b.jsonl")}, Split{}
		},
	} {
		changed := o
		change(&changed)
		d := open(t, changed)
		if other, twice := keys[d.Hash()]; twice {
			t.Errorf("%s has the key of %s", what, other)
		}
		keys[d.Hash()] = what
	}
	if err := os.WriteFile(filepath.Join(dir, "b.jsonl"), []byte(jsonl(t, "third", "FOURTH")), 0o666); err != nil {
		t.Fatal(err)
	}
	if d := open(t, o); keys[d.Hash()] != "" {
		t.Error("a file that changed keeps the key")
	}
}

// Nothing is left behind where making a cache fails.
func TestFailureLeavesNothing(t *testing.T) {
	dir := files(t, map[string]string{"a.txt": "good", "b.jsonl": jsonl(t, "good") + "{broken\n"})
	at := t.TempDir()
	_, err := Open(t.Context(), Options{Paths: []string{dir}, CacheDir: at, Tokenizer: bytesTokenizer})
	if err == nil || !strings.Contains(err.Error(), "b.jsonl:2: broken JSON") {
		t.Errorf("error is %v", err)
	}
	if e, _ := os.ReadDir(at); len(e) > 0 {
		t.Errorf("%v are left", e)
	}
	t.Setenv("TMPDIR", at)
	d, err := Open(t.Context(), Options{Paths: []string{filepath.Join(dir, "a.txt")}, Tokenizer: bytesTokenizer})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if e, _ := os.ReadDir(at); len(e) > 0 {
		t.Errorf("%v are left", e)
	}
}

// A document that comes in pieces is one.
func TestPieces(t *testing.T) {
	line := "This is a line of a book that is very long indeed, as books are.\n"
	book := strings.Repeat(line, 9<<20/len(line))
	d := open(t, Options{Paths: []string{files(t, map[string]string{"a.txt": book + "<|endoftext|>end"})}})
	r := d.Report()
	if r.Documents != 2 || r.Kept != 2 || r.Tokens != int64(len(book)-1+len("end")) {
		t.Errorf("%d documents, %d kept, %d tokens", r.Documents, r.Kept, r.Tokens)
	}
}

func TestProgress(t *testing.T) {
	dir := files(t, map[string]string{"a.jsonl": jsonl(t, "one", "two"), "b.txt": "three"})
	last := map[string]Progress{}
	open(t, Options{Paths: []string{dir}, Progress: func(p Progress) {
		if p.Bytes < last[p.Stage].Bytes || p.Bytes > p.Total {
			t.Errorf("%+v after %+v", p, last[p.Stage])
		}
		last[p.Stage] = p
	}})
	if last["hash"].Bytes != last["hash"].Total || last["tokenize"].Documents != 3 || len(last) != 3 {
		t.Errorf("the last are %+v", last)
	}
}

// sealed puts the right checksum on a cache file, so that what it holds is looked at.
func sealed(b []byte) []byte {
	if len(b) < trailerSize {
		return b
	}
	b = slices.Clone(b)
	at := len(b) - len(magic) - 4
	copy(b[at+4:], magic)
	binary.LittleEndian.PutUint32(b[at:], crc32.Checksum(b[:at], castagnoli))
	return b
}

func FuzzCache(f *testing.F) {
	dir := f.TempDir()
	w, err := newCacheWriter(filepath.Join(dir, "seed"), 300)
	if err != nil {
		f.Fatal(err)
	}
	w.begin(1)
	w.add([]int32{1, 2, 3}, true)
	w.begin(2)
	w.add([]int32{4, 5}, false)
	if err := w.finish(meta{Key: "k"}); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(filepath.Join(dir, "seed"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	path := filepath.Join(dir, "fuzz")
	f.Fuzz(func(t *testing.T, b []byte) {
		b = sealed(b)
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
		c, err := openCache(path, "k", 300)
		if err != nil {
			return
		}
		d := &Data{cache: c, eos: 299, hasEOS: true, report: &Report{}}
		defer d.Close()
		if d.split(Split{}) != nil {
			return
		}
		r, err := d.Train(Packing{Context: 4, Cross: -1})
		if err != nil {
			return
		}
		tokens, labels := make([]int32, 4), make([]int32, 4)
		for i := range min(r.Len(), 1000) {
			r.Row(i, tokens, labels)
		}
	})
}
