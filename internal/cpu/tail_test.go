package cpu

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

// whole is a device that computes all rows of the last block.
type whole struct {
	gpt2.Device
	gpt2.Operands
}

// Logits have the same bits whether the last block leaves rows out or not.
func TestTail(t *testing.T) {
	c := gpt2.Config{
		VocabSize: 64, Positions: 700, Embd: 128, Heads: 2, Layers: 2, Inner: 512,
		Activation: gpt2.GELUNew, LayerNormEpsilon: 1e-5, TieWordEmbeddings: true, ScaleAttnWeights: true,
	}
	w := laterWeights(c, tensor.F32)
	k, err := kernel.New(kernel.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	type text struct {
		n      int
		wanted gpt2.Wanted
	}
	last := func(n int) text { return text{n, gpt2.LastLogits} }
	calls := [][]text{
		{last(1)}, {last(16)}, {last(17)}, {last(48)}, {last(49)}, {last(64)}, {last(65)}, {last(100)}, {last(512)}, {last(513)}, {last(600)},
		{last(70), last(40)}, {last(64), last(32), last(3)}, {{80, gpt2.NoLogits}, last(50)}, {last(40), {80, gpt2.NoLogits}}, {{60, gpt2.AllLogits}, last(60)},
		{{90, gpt2.NoLogits}}, {{20, gpt2.NoLogits}, {40, gpt2.AllLogits}},
	}
	for _, d := range []tensor.DType{tensor.Invalid, tensor.F32, tensor.F16, tensor.BF16, tensor.Q8_0, tensor.Q4_0} {
		for _, kv := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16, tensor.Q8_0} {
			dev := New(k, Options{DType: d, KVType: kv})
			defer dev.Close()
			logits := func(dev gpt2.Device, call []text) (all []float32) {
				m, err := gpt2.New(dev, c, w)
				if err != nil {
					t.Fatal(err)
				}
				var inputs []gpt2.Input
				for _, text := range call {
					s, err := m.NewSequence(c.Positions)
					if err != nil {
						t.Fatal(err)
					}
					in := gpt2.Input{Sequence: s, Logits: text.wanted}
					for i := range text.n {
						in.Tokens = append(in.Tokens, i*i%61)
					}
					inputs = append(inputs, in)
				}
				visit := func(_, _ int, l []float32) error { all = append(all, l...); return nil }
				for range 2 { // the second continues
					if err := m.Forward(context.Background(), inputs, visit); err != nil {
						t.Fatal(err)
					}
					for i := range inputs {
						inputs[i].Tokens, inputs[i].Logits = inputs[i].Tokens[:1], gpt2.LastLogits
					}
				}
				return all
			}
			for _, call := range calls {
				name := fmt.Sprintf("%v, keys %v: %v", d, kv, call)
				got, want := logits(dev, call), logits(whole{dev, dev}, call)
				if len(want) == 0 || !slices.Equal(got, want) {
					t.Errorf("%s: other bits than with all rows", name)
				}
			}
		}
	}
}

// So has what a product gave in the form that the next one takes.
func TestTailOfProduct(t *testing.T) {
	const rows, width, from = 100, 128, 64
	k, err := kernel.New(kernel.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for _, d := range []tensor.DType{tensor.Invalid, tensor.F32, tensor.F16, tensor.BF16, tensor.Q8_0, tensor.Q4_0} {
		dev := New(k, Options{DType: d})
		defer dev.Close()
		numbers := make([]float32, width*width)
		for i := range numbers {
			numbers[i] = float32(i*i%61) / 61
		}
		w, err := dev.LoadMatrix(tensor.Tensor{DType: tensor.F32, Shape: []int{width, width}, Data: tensor.Bytes(numbers)}, gpt2.InOut)
		if err != nil {
			t.Fatal(err)
		}
		mid, err := dev.NewOperand(rows*width, []gpt2.Matrix{w}, nil)
		if err != nil {
			t.Fatal(err)
		}
		all, last := make(buffer, rows*width), make(buffer, (rows-from)*width)
		dev.Linear(mid, buffer(numbers[:rows*width]), rows, w, gpt2.Epilogue{})
		dev.Linear(all, mid, rows, w, gpt2.Epilogue{})
		dev.Linear(last, dev.Tail(mid, rows, width, from), rows-from, w, gpt2.Epilogue{})
		if !slices.Equal(last, all[from*width:]) {
			t.Errorf("%v: other bits than with all rows", d)
		}
	}
}
