package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

const separator = "<|endoftext|>"

// read gives the documents of a file, their parts as [text, masked].
func read(t testing.TB, path string, o Options) ([]Document, error) {
	t.Helper()
	files, _, err := Find([]string{path})
	if err != nil {
		return nil, err
	}
	var docs []Document
	err = Read(context.Background(), files[0], o, func(d Document) error {
		docs = append(docs, d)
		return nil
	})
	return docs, err
}

// What Python's json and csv and pyarrow wrote.
func TestGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/golden.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(raw) {
		var g struct {
			File      string
			Documents [][][2]any
		}
		if err := json.Unmarshal(line, &g); err != nil {
			t.Fatal(err)
		}
		t.Run(g.File, func(t *testing.T) {
			docs, err := read(t, filepath.Join("testdata", g.File), Options{Separator: separator})
			if err != nil {
				t.Fatal(err)
			}
			if len(docs) != len(g.Documents) {
				t.Fatalf("%d documents, want %d", len(docs), len(g.Documents))
			}
			for i, want := range g.Documents {
				var parts []Part
				for _, p := range want {
					parts = append(parts, Part{Text: p[0].(string), Masked: p[1].(bool)})
				}
				if !slices.Equal(docs[i].Parts, parts) {
					t.Errorf("document %d is %+v, want %+v", i, docs[i].Parts, parts)
				}
			}
		})
	}
}

func write(t testing.TB, name, data string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(data), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	w.Close()
	return b.String()
}

func TestRefused(t *testing.T) {
	whole, err := os.ReadFile("testdata/text-snappy.parquet")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, data string
		o          Options
		want       string // within the error, after "read PATH"
	}{
		{"a.txt", "good\nbad \xe9\n", Options{}, ":2: byte 0xe9 is not UTF-8; read such lines as windows-1252"},
		{"a.txt", "a\x00b", Options{}, ": not text (a byte 0 in its first 4096 bytes)"},
		{"a.txt", strings.Repeat("line\n", 2000) + "a\x00b", Options{}, ":2001: not text (a byte 0"},
		{"a.txt", "\xff\xfea", Options{}, ": byte 3 is half a character of UTF-16"},
		{"a.txt", "\xff\xfe\x00\xd8a\x00", Options{}, ": byte 3 is not UTF-16"},
		{"a.txt.gz", "plain", Options{}, ": not gzip, though its name says so"},
		{"a.txt.gz", zipped(strings.Repeat("text", 1000))[:30], Options{}, ": the gzip data end too early"},
		{"a.txt.zst", "plain text", Options{}, ": not zstd, though its name says so"},
		{"a.txt", "x", Options{Encoding: "ebcdic"}, `encoding "ebcdic" is not known`},
		{"a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \n", Options{}, ":3: broken JSON: it ends too early"},
		{"a.jsonl", "{\"text\": \"a\"}\n{\"text\" \"b\"}\n", Options{}, ":2: broken JSON: invalid character '\"' after object key"},
		{"a.jsonl", "{\"body\": \"a\", \"id\": 1}\n", Options{}, `:1: no field "text" (nor prompt and completion, instruction and output, or messages); there is "body", "id"; column=NAME`},
		{"a.jsonl", "{\"prompt\": \"a\", \"id\": 1}\n", Options{}, `:1: a field "prompt" without "completion"; there is "id", "prompt"`},
		{"a.jsonl", "{\"text\": \"a\"}\n", Options{Column: "body"}, `:1: no field "body"; there is "text"`},
		{"a.jsonl", "{\"text\": 5}\n", Options{}, `:1: the field "text" is a number, want text`},
		{"a.jsonl", "{\"text\": null}\n", Options{}, `:1: the field "text" has no value (null)`},
		{"a.jsonl", "[1]\n", Options{}, `:1: a record is a JSON object {…}, not a list`},
		{"a.jsonl", "{\"text\": \"\xe9\"}\n", Options{}, ":1: byte 0xe9 is not UTF-8"},
		{"a.jsonl", `{"messages": [{"role": "user", "content": "a"}]}`, Options{}, ":1: a conversation without an answer"},
		{"a.jsonl", `{"messages": [{"role": "robot", "content": "a"}]}`, Options{}, `:1: message 1 has the role "robot", want system, user or assistant`},
		{"a.jsonl", `{"messages": [{"role": "user"}]}`, Options{}, ":1: message 1 has no role or no content"},
		{"a.jsonl", `{"messages": "hello"}`, Options{}, `:1: the field "messages" is not a list of messages`},
		{"a.jsonl", `{"messages": [{"role": "user", "content": [{"type": "image"}]}]}`, Options{}, `:1: the content of message 1 is of type "image", want text`},
		{"a.json", "{\"text\": \"a\"}", Options{}, ": not a list of records; one record a line is called .jsonl"},
		{"a.json", "[{\"text\": \"a\"}, {\"text\"]", Options{}, ": record 2: broken JSON: invalid character ']' after object key"},
		{"a.json", "[{\"text\": \"a\"}", Options{}, ": after record 1: broken JSON: it ends too early"},
		{"a.json", "[] []", Options{}, ": something follows the end of the list"},
		{"a.csv", "id,body\n1,a\n", Options{}, `:1: no field "text"`},
		{"a.csv", "id;text\n1;a\n", Options{}, `:1: no field "text"`},
		{"a.csv", "text,text\n1,a\n", Options{}, `:1: two columns are called "text"`},
		{"a.csv", "id,text\n1,a\n2\n", Options{}, ":3: another number of fields than the header has"},
		{"a.csv", "id,text\n1,a \"b\"\n", Options{}, ":2: a stray \" at column 5"},
		{"a.csv", "id,text\n1,\"a\n\n", Options{}, "a stray \""},
		{"a.csv", "id,text\n1,\"a\nb\xe9\"\n", Options{}, ":3: byte 0xe9 is not UTF-8"},
		{"a.parquet", "PAR1", Options{}, ": not Parquet, 4 bytes are too few"},
		{"a.parquet", "this is no Parquet file at all", Options{}, ": not Parquet, or cut off"},
		{"a.parquet", "PAR1\xff\xff\xff\xffPAR1", Options{}, ": damaged Parquet: a footer of 4294967295 bytes in a file of 12"},
		{"a.parquet", "PAR1\x29\xfc\xff\xff\xff\xff\x07\x07\x00\x00\x00PAR1", Options{}, ": damaged Parquet: its footer is not what it should be"},
		{"a.parquet", string(whole), Options{Column: "body"}, `: no field "body"; there is "id", "text"`},
		{"a.parquet", string(whole), Options{Column: "id"}, `: the column "id" is INT64, want text`},
		{"a.parquet", string(whole[:len(whole)/2]), Options{}, "Parquet"},
	} {
		path := write(t, c.name, c.data)
		_, err := read(t, path, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.30q: error is %v, want …%s…", c.name, c.data, err, c.want)
			continue
		}
		if c.o.Encoding == "" && !strings.HasPrefix(err.Error(), "read "+path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error is %q, want it to begin with the path and have one line", c.name, err)
		}
	}
}

func TestEncodings(t *testing.T) {
	path := write(t, "a.txt", "caf\xe9 \x93x\x94\ncafé\n")
	for encoding, want := range map[string]string{
		"windows-1252": "café “x”\ncafé\n",
		"replace":      "caf\uFFFD \uFFFDx\uFFFD\ncafé\n",
	} {
		docs, err := read(t, path, Options{Encoding: encoding})
		if err != nil || len(docs) != 1 || docs[0].Text() != want {
			t.Errorf("%s: %v, %v, want %q", encoding, docs, err, want)
		}
	}
}

// A line that never ends must not be read into memory.
func TestLongLine(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 64 MiB")
	}
	path := filepath.Join(t.TempDir(), "long.jsonl.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z, _ := gzip.NewWriterLevel(f, gzip.BestSpeed)
	_, _ = z.Write([]byte("{\"text\": \"a\"}\n{\"text\": \""))
	block := bytes.Repeat([]byte("x"), 1<<20)
	for range 70 {
		_, _ = z.Write(block)
	}
	z.Close()
	f.Close()
	for _, name := range []string{"long.jsonl.gz", "long.txt.gz", "long.json.gz", "long.csv.gz"} {
		at := filepath.Join(filepath.Dir(path), name)
		if at != path {
			if err := os.Link(path, at); err != nil {
				t.Skip(err)
			}
		}
		_, err = read(t, at, Options{})
		want := map[string]string{"long.jsonl.gz": ":2: a line of more than 64 MiB", "long.txt.gz": ":2: a line of more than 64 MiB", "long.json.gz": "not a list", "long.csv.gz": ""}[name]
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// A record of a list or of CSV has the same limit as a line.
func TestLongRecord(t *testing.T) {
	l := &limited{r: endless{}}
	l.reset()
	n := 0
	for b := make([]byte, 1<<20); ; {
		m, err := l.Read(b)
		if n += m; err != nil {
			if !errors.Is(err, errTooLong) {
				t.Fatal(err)
			}
			break
		}
	}
	if n > MaxRecord+1<<16 {
		t.Errorf("%d bytes were read", n)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A large document comes in pieces that are it, cut at the beginnings of lines.
func TestPieces(t *testing.T) {
	var b strings.Builder
	for b.Len() < 3*maxPiece {
		b.WriteString("A line of words that has about sixty bytes, more or less.\n")
		if b.Len()%3 == 0 {
			b.WriteString("\n  \n")
		}
	}
	docs, err := read(t, write(t, "a.txt", b.String()+separator+"\nnext"), Options{Separator: separator})
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for i, d := range docs[:len(docs)-1] {
		if s := d.Text(); d.Continues != (i > 0) || d.More != (i < len(docs)-2) || len(s) > maxPiece+100 || i > 0 && s[0] != 'A' {
			t.Errorf("piece %d: %v %v, %d bytes from %.10q", i, d.Continues, d.More, len(s), s)
		}
		all.WriteString(d.Text())
	}
	if all.String() != b.String() {
		t.Error("the pieces are not the document")
	}
	if last := docs[len(docs)-1]; last.Text() != "next" || last.Piece() {
		t.Errorf("the last document is %+v", last)
	}
}

func TestWhere(t *testing.T) {
	docs, err := read(t, write(t, "a.txt", "one\ntwo\n"+separator+"\nthree\n"+separator+"four"), Options{Separator: separator})
	if err != nil {
		t.Fatal(err)
	}
	var lines []int
	for _, d := range docs {
		lines = append(lines, d.Line)
	}
	if !slices.Equal(lines, []int{1, 4, 5}) {
		t.Errorf("lines are %v, want 1 4 5", lines)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.txt", "b.TXT.gz", "c.bin", ".hidden.txt", "sub/d.md", "sub/deep/e.jsonl", ".git/f.txt", "sub/deep/g.txt"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ paths, want, skipped string }{
		{"", "a.txt b.TXT.gz sub/d.md sub/deep/e.jsonl sub/deep/g.txt", "c.bin"},
		{"*", "a.txt b.TXT.gz", "c.bin"},
		{"**/*.txt", "a.txt sub/deep/g.txt", ""},
		{"sub/**", "sub/d.md sub/deep/e.jsonl sub/deep/g.txt", ""},
		{"s?b/[d]*/*.txt a.txt sub/deep", "sub/deep/g.txt a.txt sub/deep/e.jsonl", ""},
		{"a.txt a.txt sub/../a.txt", "a.txt", ""},
	} {
		var paths []string
		for p := range strings.SplitSeq(c.paths, " ") {
			paths = append(paths, filepath.Join(dir, filepath.FromSlash(p)))
		}
		files, skipped, err := Find(paths)
		if err != nil {
			t.Errorf("%s: %v", c.paths, err)
			continue
		}
		rel := func(name string) string {
			r, _ := filepath.Rel(dir, name)
			return filepath.ToSlash(r)
		}
		var got, left []string
		for _, f := range files {
			got = append(got, rel(f.Path))
		}
		for _, s := range skipped {
			left = append(left, rel(s))
		}
		if strings.Join(got, " ") != c.want || strings.Join(left, " ") != c.skipped {
			t.Errorf("%s: %v, skipped %v; want %s, %s", c.paths, got, left, c.want, c.skipped)
		}
	}
	for path, want := range map[string]string{
		"missing.txt": "no such file",
		"c.bin":       "a format that is not known by its name, want .txt",
		"*.nothing":   "no file has such a name",
		"no/*.txt":    "no such file",
		"[a":          "not a valid pattern",
	} {
		if _, _, err := Find([]string{filepath.Join(dir, path)}); err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "cannot find") {
			t.Errorf("%s: error is %v, want …%s…", path, err, want)
		}
	}
	if _, _, err := Find([]string{t.TempDir()}); err == nil || !strings.Contains(err.Error(), "no file in it that can be read") {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestStopped(t *testing.T) {
	path := write(t, "a.jsonl", strings.Repeat("{\"text\": \"a\"}\n", 100))
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	err := Read(ctx, File{Path: path, Format: JSONLines}, Options{}, func(Document) error {
		if n++; n == 3 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || n != 3 {
		t.Errorf("%v after %d documents", err, n)
	}
}

// Whatever is damaged in a page of LZ4, reading ends: its decoder in the library
// asks for memory without end.
func TestDamagedLZ4(t *testing.T) {
	for _, name := range []string{"text-lz4.parquet", "pages-lz4.parquet", "digests-lz4.parquet"} {
		whole, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		for i := 4; i < len(whole)-8; i++ {
			damaged := bytes.Clone(whole)
			damaged[i] ^= byte(1 + i%255)
			if _, err := read(t, write(t, "a.parquet", string(damaged)), Options{}); err != nil {
				refused++
			}
		}
		t.Logf("%s: %d of %d refused", name, refused, len(whole)-12)
		if refused < len(whole)/10 {
			t.Errorf("%s: %d of %d refused", name, refused, len(whole)-12)
		}
	}
}

// A value of Parquet is no longer than a line may be.
func TestLongParquet(t *testing.T) {
	type row struct {
		Text string `parquet:"text"`
	}
	var b bytes.Buffer
	if err := parquet.Write(&b, []row{{"short"}, {strings.Repeat("long ", MaxRecord/5+1)}}, parquet.Compression(&parquet.Snappy)); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, write(t, "a.parquet", b.String()), Options{}); err == nil || !strings.Contains(err.Error(), ": record 2: a record of more than 64 MiB") {
		t.Errorf("got %v", err)
	}
}
