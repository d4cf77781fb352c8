package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/finetune"
)

// parseFinetune returns what a command line asks for.
func parseFinetune(t *testing.T, args ...string) (o finetuneOptions, started bool, err error) {
	t.Helper()
	term := &terminal{out: &bytes.Buffer{}, err: &bytes.Buffer{}, env: func(string) (string, bool) { return "", false }}
	cmd := newFinetune(term, func(_ context.Context, _ *terminal, got finetuneOptions) error {
		o, started = got, true
		return nil
	})
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(t.Context())
	return o, started, err
}

func TestFinetuneFlags(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{
		"f.toml": "steps = 10\nlr = 1e-4\nmodel = \"recipe\"\n[lora]\nrank = 2\n", "a.txt": "a", "b.txt": "b", "x=1.txt": "c",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var o finetuneOptions
	var started bool
	run := func(args ...string) finetune.Settings {
		t.Helper()
		term := &terminal{out: &bytes.Buffer{}, err: &bytes.Buffer{}, env: func(string) (string, bool) { return "", false }}
		started = false
		cmd := newFinetune(term, func(_ context.Context, _ *terminal, got finetuneOptions) error {
			o, started = got, true
			return nil
		})
		cmd.SetArgs(args)
		if err := cmd.ExecuteContext(t.Context()); err != nil || !started {
			t.Fatalf("%q: %v", args, err)
		}
		return o.settings
	}
	s := run("--recipe", "f.toml", "--model", "flag", "--data", "a.txt", "b.txt", "--out", "o", "lr=2e-4", "lora.targets=c_fc")
	if s.Steps != 10 || s.LR != 2e-4 || s.Model != "flag" || s.LoRA.Rank != 2 || !reflect.DeepEqual(s.LoRA.Targets, []string{"c_fc"}) ||
		!reflect.DeepEqual(s.Data, []string{"a.txt", "b.txt"}) || s.Out != "o" {
		t.Errorf("got %+v", s)
	}
	if s := run("--data", "a.txt", "--out", "o", "model=word"); s.Model != "word" || s.Precision != "fp32" {
		t.Errorf("got %+v", s)
	}
	if s := run("-d", "a.txt", "-d", "b.txt", "-o", "o", "--precision", "bf16", "--init", "c.json", "--tokenizer", "bytes"); s.Precision != "bf16" || s.Init != "c.json" || s.Tokenizer != "bytes" || len(s.Data) != 2 {
		t.Errorf("got %+v", s)
	}
	if run("--data", "a.txt", "--data-report"); !o.dataReport {
		t.Error("--data-report was forgotten")
	}
}

func TestFinetuneUsage(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("bad.toml", []byte("\nstepz = 1\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args  string
		want  string
		usage bool
	}{
		{"", "there is no text to train on", true},
		{"--data a", "--out is missing", true},
		{"--data a --out o stepz=1", `there is no setting "stepz", did you mean "steps"?`, true},
		{"--data a --out o steps", `"steps": want key=value`, true},
		{"--data a --out o steps=x", `steps is "x", want a whole number`, true},
		{"--data a --out o batch=0", "batch is 0, want at least 1", true},
		{"--data a --out o --precision fp8", `precision is "fp8", want fp32, bf16 or fp16`, true},
		{"--data a --out o --recipe bad.toml", `bad.toml:2: there is no setting "stepz"`, true},
		{"--data a --out o --recipe none.toml", "read recipe: open none.toml", false},
		{"--data a --out o --init c.json", "a new model needs a tokenizer", true},
		{"--data a --out o --resume --force", "want one of them", true},
		{"--data a --out o --threads 5000", "--threads 5000", true},
		{"--resume --out o", "there is no checkpoint to resume from", false},
	} {
		_, started, err := parseFinetune(t, strings.Fields(c.args)...)
		var usage *usageError
		if err == nil || started || !strings.Contains(err.Error(), c.want) || errors.As(err, &usage) != c.usage {
			t.Errorf("%s: got %v (started: %v), want %s, usage %v", c.args, err, started, c.want, c.usage)
		}
	}
}

// A moving line shows whole words, those that matter most first.
func TestFitWords(t *testing.T) {
	words := []string{"step 10000 of 20000", "loss 3.4567", "lr 5.00e-05", "380 tok/s", "12m30s left", "2.51 GB"}
	for width, want := range map[int]string{
		100: "50% |██   |  step 10000 of 20000  loss 3.4567  lr 5.00e-05  380 tok/s  12m30s left  2.51 GB",
		79:  "step 10000 of 20000  loss 3.4567  lr 5.00e-05  380 tok/s  12m30s left  2.51 GB",
		77:  "step 10000 of 20000  loss 3.4567  380 tok/s  12m30s left  2.51 GB",
		40:  "step 10000 of 20000  loss 3.4567",
		3:   "step 10000 of 20000",
	} {
		if got := fitWords(width, "50% |██   |", words); got != want {
			t.Errorf("in %d: %q", width, got)
		}
	}
	if words[2] != "lr 5.00e-05" {
		t.Error("the words are changed")
	}
}
