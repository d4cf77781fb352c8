package tokenizer

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// refereeLine is a line of what testdata/referee.py writes.
type refereeLine struct {
	Name  string
	Dir   string // instead of Files
	Files map[string]json.RawMessage
	Named map[string]*int32
	Size  int
	Cases []refereeCase
}

type refereeCase struct {
	Text  string  `json:"t"`
	File  string  `json:"f"`
	IDs   []int32 `json:"ids"`
	Plain []int32 `json:"plain"`
	Out   *string `json:"out"`
	Skip  *string `json:"skip"`
}

type tally struct{ strings, bytes, tokens, differences int }

func (c *tally) differs(t *testing.T, format string, args ...any) {
	t.Helper()
	if c.differences++; c.differences <= 20 {
		t.Errorf(format, args...)
	}
}

func (c *tally) check(t *testing.T, name string, tok *Tokenizer, k refereeCase) {
	t.Helper()
	if k.File != "" {
		b, err := os.ReadFile(k.File)
		if err != nil {
			t.Fatal(err)
		}
		k.Text = replaceInvalid(string(b)) // as Python reads it
	}
	c.strings++
	c.bytes += len(k.Text)
	c.tokens += len(k.IDs)
	show := k.Text[:min(len(k.Text), 200)]
	if got := tok.Encode(nil, k.Text); !slices.Equal(got, k.IDs) {
		if k.File != "" {
			c.differs(t, "%s: the ids of %s differ", name, k.File)
			return
		}
		c.differs(t, "%s: %q gives %v, want %v", name, show, got, k.IDs)
	}
	if k.Plain != nil {
		if got := tok.EncodePlain(nil, k.Text); !slices.Equal(got, k.Plain) {
			c.differs(t, "%s: %q as plain text gives %v, want %v", name, show, got, k.Plain)
		}
	}
	if k.Out != nil {
		if got := tok.DecodeText(k.IDs, false); got != *k.Out {
			c.differs(t, "%s: the ids of %q decode to %q, want %q", name, show, got, *k.Out)
		}
	}
	if k.Skip != nil {
		if got := tok.DecodeText(k.IDs, true); got != *k.Skip {
			c.differs(t, "%s: the ids of %q without special tokens decode to %q, want %q", name, show, got, *k.Skip)
		}
	}
}

// compare runs all the cases of a file.
func compare(t *testing.T, path string) tally {
	return compareRebuilt(t, path, func(_ string, tok *Tokenizer) *Tokenizer { return tok })
}

// compareRebuilt runs them on what rebuild makes of the tokenizers, those aside that it makes nothing of.
func compareRebuilt(t *testing.T, path string, rebuild func(name string, tok *Tokenizer) *Tokenizer) tally {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var c tally
	in := json.NewDecoder(bufio.NewReaderSize(f, 1<<20))
	all := gpt2Merges(t, -1)
	var lastDir string
	var last *Tokenizer
	for {
		var line refereeLine
		if err := in.Decode(&line); err == io.EOF {
			return c
		} else if err != nil {
			t.Fatal(err)
		}
		tok := last
		if line.Dir == "" || line.Dir != lastDir {
			merges := all[:smallMerges]
			if line.Name == "gpt2" {
				merges = all
			}
			dir := directory(t, line.Files, merges)
			if line.Dir != "" {
				dir = os.DirFS(line.Dir)
			}
			if tok, err = Load(dir); err != nil {
				c.differs(t, "%s: %v", line.Name, err)
				continue
			}
			if tok = rebuild(line.Name, tok); tok == nil {
				continue
			}
			last, lastDir = tok, line.Dir
		}
		if tok.Len() != line.Size {
			c.differs(t, "%s: Len() is %d, want %d", line.Name, tok.Len(), line.Size)
		}
		for key, get := range map[string]func() (int32, bool){"bos": tok.BOS, "eos": tok.EOS, "unk": tok.UNK, "pad": tok.PAD} {
			if line.Named == nil {
				break
			}
			id, ok := get()
			if want := line.Named[key]; ok != (want != nil) || ok && id != *want {
				c.differs(t, "%s: the id of %s is %d, %v", line.Name, key, id, ok)
			}
		}
		for _, k := range line.Cases {
			c.check(t, line.Name, tok, k)
		}
	}
}

func TestGolden(t *testing.T) {
	if c := compare(t, "testdata/golden.jsonl"); c.strings < 1000 {
		t.Errorf("only %d cases", c.strings)
	}
}

// TestDifferential compares with what testdata/referee.py differential has written to $GPTCTL_TEST_TOKENIZER.
func TestDifferential(t *testing.T) {
	dir := os.Getenv("GPTCTL_TEST_TOKENIZER")
	if dir == "" {
		t.Skip("GPTCTL_TEST_TOKENIZER is not set")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there is nothing to compare with in %s", dir)
	}
	for _, name := range files {
		c := compare(t, name)
		t.Logf("%s: %d strings, %d bytes, %d tokens: %d differences", filepath.Base(name), c.strings, c.bytes, c.tokens, c.differences)
	}
}
