package cpu

import (
	"context"
	"fmt"
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
		VocabSize: 64, Positions: 128, Embd: 480, Heads: 8, Layers: 6, Inner: 1920,
		Activation: gpt2.GELUNew, LayerNormEpsilon: 1e-5, TieWordEmbeddings: true, ScaleAttnWeights: true,
	}
	all := 3 * c.Layers // of each layer one is too small, and so is the head
	tokens := []int{3, 1, 4, 1, 5}
	for _, file := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
		for _, wide := range []bool{true, false} {
			k, err := kernel.New(kernel.Options{Threads: 2, Wide: wide})
			if err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			if k.Traits().Copied(file) {
				continue
			}
			w := laterWeights(c, file)
			want := laterLogits(t, c, w, k, Options{DType: file, Copy: true}, tokens, nil)
			for _, d := range []tensor.DType{tensor.Invalid, file} {
				name := fmt.Sprintf("%v by %v, wide %v", file, d, wide)
				forgotten := map[*byte]bool{} // where they begin
				o := Options{DType: d, Later: true, Copied: func(data []byte) { forgotten[&data[0]] = true }}
				check := func(how string, back int, got []float32) {
					if !slices.Equal(got, want) {
						t.Errorf("%s, %s: other bits than panels give", name, how)
					}
					if len(forgotten) != back {
						t.Errorf("%s, %s: %d matrices were given back, want %d", name, how, len(forgotten), back)
					}
					clear(forgotten)
				}
				var waiting []int
				check("later", all, laterLogits(t, c, w, k, o, tokens, func(d *Device) { waiting = append(waiting, len(d.later)) }))
				if w := waiting[laterAfter-1:]; w[0] != all || w[1] == 0 || w[1] >= all || w[len(w)-1] != 0 {
					t.Errorf("%s: %v matrices wait after each call, want %d at first", name, waiting, all)
				}
				check("in the file", 0, laterLogits(t, c, w, k, o, tokens, (*Device).StayInFile))
				var inFile []int
				check("settled", all, laterLogits(t, c, w, k, o, tokens, func(d *Device) {
					inFile = append(inFile, len(d.InFile()))
					d.Settle()
					inFile = append(inFile, len(d.InFile()))
				}))
				if inFile[0] != all+c.Layers+1 || inFile[1] != c.Layers+1 {
					t.Errorf("%s: %v matrices are in the file before and after, want %d and %d", name, inFile[:2], all+c.Layers+1, c.Layers+1)
				}
			}
		}
	}
}

// What a prompt was computed in goes back with the first token after it, and the next prompt
// gives the same bits in new memory.
func TestManyRowsGoBack(t *testing.T) {
	c := gpt2.Config{
		VocabSize: 64, Positions: 128, Embd: 480, Heads: 8, Layers: 2, Inner: 1920,
		Activation: gpt2.GELUNew, LayerNormEpsilon: 1e-5, TieWordEmbeddings: true, ScaleAttnWeights: true,
	}
	k, err := kernel.New(kernel.Options{Threads: 2, Wide: true})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	d := New(k, Options{Later: true})
	defer d.Close()
	m, err := gpt2.New(d, c, laterWeights(c, tensor.F32))
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.NewSequence(c.Positions)
	if err != nil {
		t.Fatal(err)
	}
	prompt := make([]int, 60)
	for i := range prompt {
		prompt[i] = i * 7 % c.VocabSize
	}
	call := func(tokens []int) (logits []float32) {
		err := m.Forward(context.Background(), []gpt2.Input{{Sequence: s, Tokens: tokens}}, func(_, _ int, l []float32) error {
			logits = slices.Clone(l)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return logits
	}
	memory := func(want int) {
		t.Helper()
		n := 0
		for _, p := range d.operands {
			if m := p.Value(); m != nil && m.many != nil {
				n++
			}
		}
		if n != want {
			t.Errorf("%d operands have memory for many rows, want %d", n, want)
		}
	}
	want := call(prompt)
	memory(0) // matrices wait to be copied
	for range laterAfter + 1 {
		call(prompt[:1])
	}
	s.Truncate(0)
	if got := call(prompt); !slices.Equal(got, want) {
		t.Error("the same prompt gives other bits afterwards")
	}
	memory(3)
}

// laterLogits are those of a prompt and more tokens; after is called after each.
func laterLogits(t *testing.T, c gpt2.Config, w *gpt2.Weights, k *kernel.CPU, o Options, tokens []int, after func(*Device)) (logits []float32) {
	t.Helper()
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
	for range laterAfter + 5 {
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

func laterWeights(c gpt2.Config, d tensor.DType) *gpt2.Weights {
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
	half := func(shape ...int) tensor.Tensor {
		t := of(shape...)
		if d != tensor.F32 {
			values, _ := t.Float32s()
			t.DType, t.Data = d, make([]byte, d.Bytes(t.Len()))
			tensor.FromFloat32(t.Data, d, values)
		}
		return t
	}
	norm := func() gpt2.Norm { return gpt2.Norm{Gain: of(c.Embd), Bias: of(c.Embd)} }
	projection := func(in, out int) gpt2.Projection { return gpt2.Projection{Weight: half(in, out), Bias: of(out)} }
	w := &gpt2.Weights{TokenEmbedding: half(c.VocabSize, c.Embd), PositionEmbedding: half(c.Positions, c.Embd), FinalNorm: norm(), Tied: true}
	w.Head = w.TokenEmbedding
	for range c.Layers {
		w.Blocks = append(w.Blocks, gpt2.BlockWeights{
			AttnNorm: norm(), QKV: projection(c.Embd, 3*c.Embd), AttnOut: projection(c.Embd, c.Embd),
			MLPNorm: norm(), Up: projection(c.Embd, c.Inner), Down: projection(c.Inner, c.Embd),
		})
	}
	return w
}
