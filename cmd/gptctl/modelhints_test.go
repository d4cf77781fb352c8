package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/gguf"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/run"
)

// Each way in which a model cannot be read has a hint that mends that.
func TestModelHints(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bert, err := gguf.Plan([]gguf.KV{{Key: gguf.KeyArchitecture, Value: "bert"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	split, err := gguf.Plan([]gguf.KV{{Key: gguf.KeyArchitecture, Value: "gpt2"}, {Key: gguf.KeySplitCount, Value: uint32(2)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	some, err := gguf.Plan([]gguf.KV{{Key: gguf.KeyArchitecture, Value: "gpt2"}}, []gguf.Info{{Name: "token_embd.weight", DType: tensor.F32, Shape: []int{4, 32}}})
	if err != nil {
		t.Fatal(err)
	}
	quantised := bytes.Clone(some.Head)
	name := []byte("token_embd.weight")
	quantised[bytes.Index(quantised, name)+len(name)+4+2*8] = 3 // Q4_1
	const again = "fetch or copy the file again, or convert the model that it was made from: gptctl convert MODEL --out FILE.gguf"
	for _, c := range []struct{ model, want string }{
		{write("empty.gguf", nil), again},
		{write("other.gguf", []byte("<!DOCTYPE html>")), again},
		{write("cut.gguf", some.Head[:len(some.Head)/2]), again},
		{write("body.gguf", some.Head), again},
		{write("nothing.gguf", append(some.Head, make([]byte, 4*32*4)...)), again},
		{write("old.gguf", []byte("GGUF\x01\x00\x00\x00")), "convert the model that the file was made from: gptctl convert"},
		{write("big.gguf", []byte("GGUF\x00\x00\x00\x03")), "convert the model that the file was made from: gptctl convert"},
		{write("lfs.gguf", []byte("version https://git-lfs.github.com/spec/v1\n")), "git lfs pull"},
		{write("bert.gguf", bert.Head), "gptctl runs the GPT-2 family"},
		{write("split.gguf", split.Head), "join them with llama.cpp's llama-gguf-split"},
		{write("q4_1.gguf", append(quantised, make([]byte, 4*32*4)...)), "convert the model that the file was made from: gptctl convert MODEL --out FILE.gguf --dtype q8_0"},
		{write("notes.txt", []byte("Call me")), "a model is demo, a folder"},
		{filepath.Join(dir, "none.gguf"), "a model is demo, a folder"},
	} {
		_, err := run.Open(t.Context(), c.model, run.OpenOptions{Threads: 1})
		if err == nil {
			t.Fatalf("%s was opened", c.model)
		}
		if hints := hintsOf(modelHints(c.model, err)); len(hints) == 0 || !strings.HasPrefix(hints[0], c.want) {
			t.Errorf("%v: hints %q, want %q", err, hints, c.want)
		}
	}
	damaged := errors.New("cut off")
	for _, c := range []struct {
		model string
		err   error
		want  string
	}{
		{dir, &gpt2.FamilyError{Why: "llama"}, "gptctl runs the GPT-2 family"},
		{dir, damaged, "fetch the model again, or save it again"},
		{"org/model", damaged, "gptctl fetch org/model compares"},
	} {
		if hints := unreadableHints(c.model, c.err); len(hints) != 1 || !strings.HasPrefix(hints[0], c.want) {
			t.Errorf("%s: hints %q, want %q", c.model, hints, c.want)
		}
	}
}
