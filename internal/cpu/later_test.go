package cpu

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Matrices that become panels later give the same bits before, meanwhile and afterwards, as do
// those that never do and those that are panels from the beginning.
func TestLater(t *testing.T) {
	c := gpt2.Config{
		VocabSize: 64, Positions: 128, Embd: 320, Heads: 5, Layers: 8, Inner: 1280,
		Activation: gpt2.GELUNew, LayerNormEpsilon: 1e-5, TieWordEmbeddings: true, ScaleAttnWeights: true,
	}
	w := laterWeights(c)
	all := 3 * c.Layers // of each layer one is too small, and so is the head
	tokens := []int{3, 1, 4, 1, 5}
	want := laterLogits(t, c, w, Options{DType: tensor.F32, Copy: true}, tokens, nil)
	for _, d := range []tensor.DType{tensor.Invalid, tensor.F32} {
		var forgotten int
		o := Options{DType: d, Later: true, Copied: func([]byte) { forgotten++ }}
		var waiting []int
		got := laterLogits(t, c, w, o, tokens, func(d *Device) { waiting = append(waiting, len(d.later)) })
		if !slices.Equal(got, want) {
			t.Errorf("%v: other bits than panels give", d)
		}
		if w := waiting[laterAfter-1:]; w[0] != all || w[1] == 0 || w[1] >= w[0] || w[2] != 0 || forgotten != all {
			t.Errorf("%v: %v matrices wait after each call, %d were given back, want %v at first", d, waiting, forgotten, all)
		}
		forgotten = 0
		got = laterLogits(t, c, w, o, tokens, func(d *Device) { d.StayInFile() })
		if !slices.Equal(got, want) || forgotten != 0 {
			t.Errorf("%v: in the file: %v, %d were given back", d, slices.Equal(got, want), forgotten)
		}
		got = laterLogits(t, c, w, o, tokens, func(d *Device) { d.Settle() })
		if !slices.Equal(got, want) || forgotten != all {
			t.Errorf("%v: settled: %v, %d were given back", d, slices.Equal(got, want), forgotten)
		}
	}
}

// laterLogits are those of a prompt and more tokens; after is called after each.
func laterLogits(t *testing.T, c gpt2.Config, w *gpt2.Weights, o Options, tokens []int, after func(*Device)) (logits []float32) {
	t.Helper()
	k, err := kernel.New(kernel.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	d := New(k, o)
	defer d.Close()
	m, err := gpt2.New(d, c, w)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.NewSequence(64)
	if err != nil {
		t.Fatal(err)
	}
	for range laterAfter + 4 {
		err := m.Forward(context.Background(), []gpt2.Input{{Sequence: s, Tokens: tokens}}, func(_, _ int, l []float32) error {
			logits = append(logits, l...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if after != nil {
			after(d)
		}
		tokens = []int{len(logits) % c.VocabSize}
	}
	return logits
}

func laterWeights(c gpt2.Config) *gpt2.Weights {
	random := rand.New(rand.NewPCG(1, 2))
	of := func(shape ...int) tensor.Tensor {
		t := tensor.Tensor{DType: tensor.F32, Shape: shape}
		values := make([]float32, t.Len())
		for i := range values {
			values[i] = float32(random.NormFloat64()) * 0.1
		}
		t.Data = tensor.Bytes(values)
		return t
	}
	norm := func() gpt2.Norm { return gpt2.Norm{Gain: of(c.Embd), Bias: of(c.Embd)} }
	projection := func(in, out int) gpt2.Projection { return gpt2.Projection{Weight: of(in, out), Bias: of(out)} }
	w := &gpt2.Weights{TokenEmbedding: of(c.VocabSize, c.Embd), PositionEmbedding: of(c.Positions, c.Embd), FinalNorm: norm(), Tied: true}
	w.Head = w.TokenEmbedding
	for range c.Layers {
		w.Blocks = append(w.Blocks, gpt2.BlockWeights{
			AttnNorm: norm(), QKV: projection(c.Embd, 3*c.Embd), AttnOut: projection(c.Embd, c.Embd),
			MLPNorm: norm(), Up: projection(c.Embd, c.Inner), Down: projection(c.Inner, c.Embd),
		})
	}
	return w
}
