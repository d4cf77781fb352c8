package lora_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/lora"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
)

// base opens the model that all adapters of testdata are for; change may be nil.
func base(t *testing.T, change func(*gpt2.Config)) (gpt2.Config, *gpt2.Weights) {
	t.Helper()
	text, err := os.ReadFile("testdata/base/config.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := gpt2.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open("testdata/base/model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if change != nil {
		change(&c)
	}
	w, err := gpt2.BindWeights(c, f)
	if err != nil {
		t.Fatal(err)
	}
	return c, w
}

func logits(t *testing.T, dev gpt2.Device, c gpt2.Config, w *gpt2.Weights) (all []float32) {
	t.Helper()
	m, err := gpt2.New(dev, c, w)
	if err != nil {
		t.Fatal(err)
	}
	seq, err := m.NewSequence(c.Positions)
	if err != nil {
		t.Fatal(err)
	}
	tokens := make([]int, 12)
	for i := range tokens {
		tokens[i] = i * 5 % 48
	}
	in := []gpt2.Input{{Sequence: seq, Tokens: tokens, Logits: gpt2.AllLogits}}
	if err := m.Forward(context.Background(), in, func(_, _ int, l []float32) error {
		all = append(all, l...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func distance(got, want []float32) float64 {
	var d, n float64
	for i := range want {
		d += math.Pow(float64(got[i]-want[i]), 2)
		n += math.Pow(float64(want[i]), 2)
	}
	return math.Sqrt(d / n)
}

// The logits are peft's, whichever matrices an adapter is for, and whether the
// weights are used where they lie or copied.
func TestLogits(t *testing.T) {
	golden, err := safetensors.Open("testdata/golden.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer golden.Close()
	plain, _ := golden.Tensor("base")
	without, _ := plain.Float32s()
	for _, test := range []struct {
		name    string
		modules int
	}{
		{"attention", 3}, {"all-linear", 12}, {"rank-stabilised", 9}, {"layers", 4}, {"layer", 1}, {"expression", 4}, {"lookahead", 2},
		{"head", 4}, {"half", 3},
	} {
		expect, ok := golden.Tensor(test.name)
		if !ok {
			t.Fatalf("%s: no golden logits", test.name)
		}
		want, _ := expect.Float32s()
		if distance(without, want) < 0.01 {
			t.Fatalf("%s: the adapter changes nothing", test.name)
		}
		for _, layout := range []gpt2.Layout{gpt2.InOut, gpt2.OutIn} {
			for _, kind := range []struct {
				d    tensor.DType
				wide bool // no matrix unit
			}{{tensor.Invalid, false}, {tensor.F16, true}, {tensor.F16, false}} {
				d := kind.d
				t.Run(fmt.Sprint(test.name, layout, d, kind.wide), func(t *testing.T) {
					c, w := base(t, nil)
					if layout == gpt2.OutIn {
						transpose(w)
					}
					b := bind(t, filepath.Join("testdata", test.name), c, w)
					if b.Modules() != test.modules || len(b.Ignored) > 0 {
						t.Errorf("%d matrices, %v ignored, want %d", b.Modules(), b.Ignored, test.modules)
					}
					k, err := kernel.New(kernel.Options{Threads: 2, Wide: kind.wide})
					if err != nil {
						t.Fatal(err)
					}
					defer k.Close()
					o := cpu.Options{DType: d, Needed: func(data []byte) { b.Fill(k, data) }, Copied: b.Copied}
					got := logits(t, cpu.New(k, o), c, b.Weights)
					most := 1e-5
					if d == tensor.F16 {
						most = 3e-3
						if k.Traits().Held(d) != d { // then they are bfloat16
							most = 3e-2
						}
					}
					if e := distance(got, want); !(e <= most) {
						t.Errorf("relative error %.2g, want at most %g", e, most)
					}
					if err := b.Settle(); err != nil {
						t.Error(err)
					}
					if _, _, bad := b.Weights.FindNonFinite(); bad {
						t.Error("weights that were copied are not the file's again")
					}
				})
			}
		}
	}
}

// transpose lays the projections out as GGUF files do.
func transpose(w *gpt2.Weights) {
	for i := range w.Blocks {
		b := &w.Blocks[i]
		for _, p := range []*gpt2.Projection{&b.QKV, &b.AttnOut, &b.Up, &b.Down} {
			in, out := p.Weight.Shape[0], p.Weight.Shape[1]
			x, _ := p.Weight.Float32s()
			y := make([]float32, len(x))
			for r := range in {
				for c := range out {
					y[c*in+r] = x[r*out+c]
				}
			}
			p.Weight, p.Layout = tensor.Tensor{DType: tensor.F32, Shape: []int{out, in}, Data: tensor.Bytes(y)}, gpt2.OutIn
		}
	}
}

func bind(t *testing.T, dir string, c gpt2.Config, w *gpt2.Weights) *lora.Bound {
	t.Helper()
	a, err := lora.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := a.Bind(c, w)
	if err != nil {
		t.Fatal(err)
	}
	a.Close() // what is needed was read
	t.Cleanup(b.Close)
	return b
}

// FillAll gives the same sums, and the model itself stays as it was.
func TestFillAll(t *testing.T) {
	c, w := base(t, nil)
	before := slices.Clone(w.Blocks[0].QKV.Weight.Data)
	b := bind(t, "testdata/attention", c, w)
	k, err := kernel.New(kernel.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if err := b.FillAll(k); err != nil {
		t.Fatal(err)
	}
	if all, largest := b.Bytes(); all != 3*32*96*4 || largest != 32*96*4 {
		t.Errorf("%d bytes, the largest %d", all, largest)
	}
	if !slices.Equal(before, w.Blocks[0].QKV.Weight.Data) || slices.Equal(before, b.Weights.Blocks[0].QKV.Weight.Data) {
		t.Error("the model was changed, or the sum was not formed")
	}
}

// A folder that cannot be used says why in one sentence.
func TestRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	change := func(name string, f func(dir string)) string {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.CopyFS(dir, os.DirFS("testdata/attention")); err != nil {
			t.Fatal(err)
		}
		f(dir)
		return dir
	}
	config := func(key string, value any) string {
		return change(strings.ReplaceAll(key, "/", ""), func(dir string) { setConfig(t, dir, key, value) })
	}
	for _, test := range []struct {
		dir, want string
		change    func(*gpt2.Config)
	}{
		{filepath.Join(t.TempDir(), "nowhere"), "there is no such folder", nil},
		{file, "it is a file, want the folder", nil},
		{"testdata/base", "it is a whole model, not an adapter", nil},
		{t.TempDir(), "adapter_config.json is missing", nil},
		{"testdata/refused/dora", "uses use_dora, which is not supported", nil},
		{"testdata/refused/bias", `biases of its own (bias "lora_only")`, nil},
		{"testdata/refused/saved-module", `modules_to_save ["ln_f"]`, nil},
		{"testdata/refused/embedding", "for an embedding (wte.lora_embedding_A)", nil},
		{"testdata/refused/pissa", `init_lora_weights "pissa"`, nil},
		{"testdata/refused/lora-bias", "uses lora_bias", nil},
		{"testdata/refused/tokens", "uses trainable_token_indices", nil},
		{config("peft_type", "LOHA"), `of type "LOHA"`, nil},
		{config("peft_type", nil), `"peft_type" is missing`, nil},
		{config("r", 0), `field "r": 0 is no rank`, nil},
		{config("r", 5), "want [5 32] for this model and rank 5", nil},
		{config("rank_pattern", map[string]any{"c_attn": 3}), "want [3 32] for this model and rank 3", nil},
		{config("rank_pattern", map[string]any{"(?!x)c_attn": 3}), "cannot be read here", nil},
		{config("target_modules", []string{"c_fc"}), "lacks base_model.model.transformer.h.0.mlp.c_fc.lora_A.weight", nil},
		{config("target_modules", []string{"q_proj"}), "its target_modules fit none of", nil},
		{config("target_modules", 7), `field "target_modules"`, nil},
		{change("pickle", func(dir string) { rename(t, dir, "adapter_model.bin") }), "only in adapter_model.bin", nil},
		{change("absent", func(dir string) { rename(t, dir, "other") }), "adapter_model.safetensors is missing", nil},
		{change("cut", func(dir string) { truncate(t, dir) }), "adapter_model.safetensors", nil},
		{change("nan", func(dir string) { patch(t, dir, float32(math.NaN())) }), "it is damaged: base_model.model.transformer.h.0.attn.c_attn.lora_A.weight holds a NaN or an infinite number at index 1", nil},
		{change("inf", func(dir string) { patch(t, dir, float32(math.Inf(1))) }), "it is damaged", nil},
		{"testdata/attention", "this model of 2 layers does not have", func(c *gpt2.Config) { c.Layers = 2 }},
	} {
		err := open(t, test.dir, test.change)
		var typed *lora.Error
		if err == nil || !errors.As(err, &typed) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", test.dir, err, test.want)
		}
	}
}

// A matrix that the configuration does not name is left out, as peft does.
func TestIgnored(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if err := os.CopyFS(dir, os.DirFS("testdata/attention")); err != nil {
		t.Fatal(err)
	}
	setConfig(t, dir, "layers_to_transform", []int{1})
	c, w := base(t, nil)
	b := bind(t, dir, c, w)
	if want := []string{"transformer.h.0.attn.c_attn", "transformer.h.2.attn.c_attn"}; b.Modules() != 1 || !slices.Equal(b.Ignored, want) {
		t.Errorf("%d matrices, ignored %v, want 1 and %v", b.Modules(), b.Ignored, want)
	}
}

func open(t *testing.T, dir string, change func(*gpt2.Config)) error {
	t.Helper()
	c, w := base(t, change)
	a, err := lora.Open(dir)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := a.Bind(c, w)
	if err == nil {
		b.Close()
	}
	return err
}

func setConfig(t *testing.T, dir, key string, value any) {
	t.Helper()
	name := filepath.Join(dir, lora.ConfigName)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]any{}
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	fields[key] = value
	if text, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o666); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, dir, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, lora.WeightsName), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, dir string) {
	t.Helper()
	if err := os.Truncate(filepath.Join(dir, lora.WeightsName), 1000); err != nil {
		t.Fatal(err)
	}
}

// patch puts a number into the second place of the first tensor.
func patch(t *testing.T, dir string, v float32) {
	t.Helper()
	name := filepath.Join(dir, lora.WeightsName)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := 8 + binary.LittleEndian.Uint64(data) + 4
	binary.LittleEndian.PutUint32(data[at:], math.Float32bits(v))
	if err := os.WriteFile(name, data, 0o666); err != nil {
		t.Fatal(err)
	}
}
