package source

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// check reads bytes as a file of a format: no panic, and what comes is UTF-8 and
// not empty of parts.
func check(t *testing.T, f File, data []byte, o Options) {
	r := &stream{Reader: bufio.NewReader(bytes.NewReader(data))}
	yield := func(d Document) error {
		if len(d.Parts) == 0 {
			t.Error("a document without parts")
		}
		for _, p := range d.Parts {
			if !utf8.ValidString(p.Text) {
				t.Errorf("%q is not UTF-8", p.Text)
			}
		}
		return nil
	}
	f.Path = "fuzz"
	var err error
	switch f.Format {
	case Text:
		err = readText(r, f, o, yield)
	case JSONLines:
		err = readJSONLines(r, f, o, yield)
	case JSON:
		err = readJSON(r, f, o, yield)
	default:
		err = readCSV(r, f, o, yield)
	}
	if err != nil && !strings.HasPrefix(err.Error(), "read fuzz") {
		t.Errorf("error %q does not name the file", err)
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte("one\r\n<|endoftext|>\ntwo\xe9"), byte(0))
	f.Add([]byte("a\n\n b<|endoftext|><|endoftext|>"), byte(1))
	f.Fuzz(func(t *testing.T, data []byte, e byte) {
		o := Options{Separator: separator, Encoding: []string{"", "replace", "windows-1252"}[e%3]}
		check(t, File{Format: Text}, data, o)
		if e%3 == 0 && utf8.Valid(data) && !bytes.ContainsRune(data, 0) && !strings.Contains(string(data), separator) {
			r := &stream{Reader: bufio.NewReader(bytes.NewReader(data))}
			got := ""
			if err := readText(r, File{Path: "fuzz"}, o, func(d Document) error { got += d.Text(); return nil }); err != nil || got != string(data) {
				t.Errorf("%q came back as %q, %v", data, got, err)
			}
		}
	})
}

func FuzzJSONLines(f *testing.F) {
	for _, s := range []string{`{"text": "a"}`, `{"prompt": "a", "completion": "\ud800"}`, `{"messages": [{"role": "assistant", "content": [{"type": "text", "text": "x"}]}]}`,
		"{\"instruction\": \"a\", \"input\": null, \"output\": \"b\"}\n\n[]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) { check(t, File{Format: JSONLines}, data, Options{Encoding: "replace"}) })
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`[{"text": "a"}, {"text": "b"}]`, `[{"instruction": "a", "output": "b"}]`, "[", "{}", "[1] x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) { check(t, File{Format: JSON}, data, Options{}) })
}

func FuzzCSV(f *testing.F) {
	for _, s := range []string{"text\na\n", "id,text\n1,\"a\"\"b\nc\"\n", "prompt,completion\n,\n", "messages\n\"[{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"x\"\"}]\"\n", "\"", "a\nb,c\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) { check(t, File{Format: CSV}, data, Options{Encoding: "windows-1252"}) })
}

func FuzzParquet(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.parquet")
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	path := filepath.Join(f.TempDir(), "fuzz.parquet")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		n := 0
		_ = Read(context.Background(), File{Path: path, Format: Parquet}, Options{}, func(d Document) error {
			if n++; n > 10_000 {
				t.Skip("more documents than a fuzz run has time for")
			}
			for _, p := range d.Parts {
				if !utf8.ValidString(p.Text) {
					t.Errorf("%q is not UTF-8", p.Text)
				}
			}
			return nil
		})
	})
}

func FuzzFooter(f *testing.F) {
	f.Add([]byte{0x15, 2, 0x19, 0x1c, 0x18, 1, 'a', 0, 0})
	f.Add([]byte{0x1b, 1, 0x88, 1, 'k', 1, 'v', 0})
	f.Add([]byte{0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 7})
	f.Fuzz(func(t *testing.T, b []byte) { _ = (&compact{rest: b}).structure() })
}
