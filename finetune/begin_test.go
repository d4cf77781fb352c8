package finetune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/modelfiles"
)

// tinyRun is a real training of a real model, a small one.
func tinyRun(t *testing.T, overrides ...string) Options {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.json")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write(config, `{"model_type":"gpt2","n_layer":2,"n_head":2,"n_embd":32,"n_positions":32}`)
	texts := filepath.Join(dir, "texts.txt")
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, "Line %d of this text says that %d is less than %d.\n", i, i, i+1)
	}
	write(texts, b.String())
	s := Defaults()
	s.Init, s.Tokenizer, s.Data, s.Out = config, "bytes", []string{texts}, filepath.Join(dir, "out")
	s.Steps, s.Batch, s.Accumulate, s.SampleTokens, s.Dropout, s.Validation = 12, 2, 2, 4, 0.1, 0.1
	for _, o := range overrides {
		if err := Override(&s, o); err != nil {
			t.Fatal(err)
		}
	}
	return Options{Settings: s, Threads: 2}
}

// A real run that is interrupted and resumed, with another number of threads,
// ends with the same weights as one in one go.
func TestRunAndResume(t *testing.T) {
	for _, settings := range []string{"precision=fp32", "precision=bf16", "precision=fp16", "lora.rank=2 lora.targets=c_attn,c_fc", "checkpointing=true freeze=wte.*,h.0.*"} {
		t.Run(settings, func(t *testing.T) {
			words := strings.Fields(settings)
			whole := tinyRun(t, words...)
			var first, last float64
			whole.Events = func(e Event) {
				if e, ok := e.(EvalEvent); ok {
					if e.Step == 0 {
						first = e.Loss
					}
					last = e.Loss
				}
			}
			if _, err := Run(t.Context(), whole); err != nil {
				t.Fatal(err)
			}
			if math.Abs(first-math.Log(257)) > 0.1 || !(last < first) {
				t.Errorf("the loss went from %v to %v, want from log 257 down", first, last)
			}
			for _, stop := range []int{1, 5, 12} {
				o := tinyRun(t, words...)
				o.Settings.Data, o.Settings.Init = whole.Settings.Data, whole.Settings.Init // the paths are no part of it
				ctx, cancel := context.WithCancel(t.Context())
				o.Events = func(e Event) {
					if e, ok := e.(StepEvent); ok && e.Step == stop {
						cancel()
					}
				}
				_, err := Run(ctx, o)
				cancel()
				var stopped *InterruptedError
				if err != nil && !errors.As(err, &stopped) {
					t.Fatal(err)
				}
				o.Settings, err = LastSettings(o.Settings.Out)
				if err != nil {
					t.Fatal(err)
				}
				o.Events, o.Threads, o.Resume = nil, 1, true
				if _, err := Run(t.Context(), o); err != nil {
					t.Fatal(err)
				}
				if weightsOf(t, o.Settings.Out) != weightsOf(t, whole.Settings.Out) {
					t.Errorf("interrupted after step %d: other weights", stop)
				}
			}
			m, err := modelfiles.Open(whole.Settings.Out, modelfiles.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if m.Config.Layers != 2 || m.Config.VocabSize != 257 || m.Config.EOS[0] != 256 {
				t.Errorf("the finished model has %+v", m.Config)
			}
			const text = "naïve \x00\x80\xff 世界"
			if got := m.Tokenizer.Decode(m.Tokenizer.EncodePlain(nil, text), false); got != text {
				t.Errorf("the tokenizer turns %q into %q", text, got)
			}
		})
	}
}

// transformers gives a small vocabulary the bos_token_id of GPT-2's, and other programs
// none: samples begin as the texts do.
func TestSamplesWithoutStart(t *testing.T) {
	base := tinyRun(t)
	if _, err := Run(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	for _, bos := range []string{"50256", "null"} {
		for name, text := range map[string]string{
			"config.json":            `{"model_type":"gpt2","n_layer":2,"n_head":2,"n_embd":32,"n_positions":32,"vocab_size":257,"bos_token_id":` + bos + `,"eos_token_id":` + bos + `}`,
			"generation_config.json": `{"bos_token_id":` + bos + `}`,
		} {
			if err := os.WriteFile(filepath.Join(base.Settings.Out, name), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		o := tinyRun(t, "steps=2", "sample_every=1")
		o.Settings.Init, o.Settings.Tokenizer, o.Settings.Model = "", "", base.Settings.Out
		samples := 0
		o.Events = func(e Event) {
			if _, ok := e.(SampleEvent); ok {
				samples++
			}
		}
		if _, err := Run(t.Context(), o); err != nil || samples == 0 {
			t.Errorf("bos_token_id %s: %d samples, %v", bos, samples, err)
		}
	}
}

func TestRunErrors(t *testing.T) {
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Settings.Data = nil }, "data is empty"},
		{func(o *Options) { o.Settings.Data = []string{"/nowhere.txt"} }, "/nowhere.txt"},
		{func(o *Options) { o.Settings.Init = "/nowhere.json" }, "/nowhere.json"},
		{func(o *Options) { o.Settings.Tokenizer = "" }, "needs a tokenizer"},
		{func(o *Options) { o.Settings.Tokenizer = "/nowhere" }, "read tokenizer of /nowhere"},
		{func(o *Options) { o.Settings.Init, o.Settings.Model = "", "/nowhere" }, "/nowhere"},
		{func(o *Options) { o.Settings.LR = 2 }, "a learning rate of 2 would destroy"},
		{func(o *Options) { o.Settings.NoClean = []string{"dusting"} }, `no_clean is "dusting", want cleaning steps: mojibake, `},
		{func(o *Options) { o.Settings.Context = 64 }, "at most the model's 32 positions"},
		{func(o *Options) { o.Free = func() (int64, bool) { return 1 << 20, true } }, "and 0.0 GB are free"},
		{func(o *Options) { o.Resume = true }, "there is no checkpoint to resume from"},
		{func(o *Options) { o.Settings.LoRA.Rank, o.Settings.LoRA.Targets = 2, []string{"c_qkv"} }, `lora.targets is "c_qkv", want c_attn`},
		{func(o *Options) { o.Settings.LoRA.Rank = 100_000 }, "lora.rank is 100000, want at most"},
		{func(o *Options) { o.Settings.LoRA.Rank = 1 << 10 }, "lora.rank is 1024, want at most the model's width"},
		{func(o *Options) { o.Settings.Freeze = []string{"transformer.h.*"} }, `freeze "transformer.h.*" is no tensor of the model`},
		{func(o *Options) { o.Settings.Freeze = []string{"[a"} }, `freeze is "[a", want`},
		{func(o *Options) { o.Settings.Freeze = []string{"*"} }, "want something that is left to train"},
		{func(o *Options) { o.Settings.Data = []string{few(t)} }, "too little to learn from: 4 tokens to train on, and one row has 32"},
	} {
		o := tinyRun(t)
		c.change(&o)
		_, err := Run(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %s", err, c.want)
		}
		if _, err := os.Stat(o.Settings.Out); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: OUT was made: %v", c.want, err)
		}
	}
}
