package cpu

import (
	"context"
	"errors"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Each matrix says that the one loaded after it is multiplied by next, the last the first.
func TestNextMatrix(t *testing.T) {
	d := newDevice(t, tensor.F32)
	var loaded []*matrix
	for range 4 {
		m, err := d.LoadMatrix(tensor.Tensor{DType: tensor.F32, Shape: []int{3, 5}, Data: make([]byte, 60)}, gpt2.InOut)
		if err != nil {
			t.Fatal(err)
		}
		loaded = append(loaded, m.(*matrix))
	}
	for i, m := range loaded {
		if m.Next != &loaded[(i+1)%len(loaded)].Weight {
			t.Errorf("matrix %d is followed by another", i)
		}
	}
}

// Half floats are held as bfloat16 where that is multiplied faster, from whatever they come and
// rounded once; else as they are.
func TestHalfFloats(t *testing.T) {
	d := newDevice(t, tensor.F16)
	d.options.DType = tensor.F16
	want := d.cpu.Traits().Held(tensor.F16)
	x := float32(1 + 1.0/256 + 1.0/4096) // as F16 it is 1 + 1/256, which BF16 would round to even
	for _, layout := range []gpt2.Layout{gpt2.InOut, gpt2.OutIn} {
		loaded, err := d.LoadMatrix(tensor.Tensor{DType: tensor.F32, Shape: []int{1, 1}, Data: tensor.Bytes([]float32{x})}, layout)
		if err != nil {
			t.Fatal(err)
		}
		m := loaded.(*matrix)
		if m.DType != want {
			t.Errorf("%v are held as %v, want %v", tensor.F16, m.DType, want)
		}
		y, in := []float32{0}, []float32{1}
		d.Linear(buffer(y), buffer(in), 1, m, gpt2.Epilogue{})
		if rounded := map[tensor.DType]float32{tensor.F16: 1 + 1.0/256, tensor.BF16: 1 + 1.0/128}[want]; y[0] != rounded {
			t.Errorf("%v became %v, want %v", x, y[0], rounded)
		}
	}
}

// Loading ends where it is to stop.
func TestStop(t *testing.T) {
	k, err := kernel.New(kernel.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	c := gpt2.Config{VocabSize: 64, Positions: 8, Embd: 32, Heads: 4, Layers: 2, Inner: 64, Activation: gpt2.GELUNew, LayerNormEpsilon: 1e-5, TieWordEmbeddings: true}
	left := 5
	d := New(k, Options{Stop: func() error {
		if left--; left < 0 {
			return context.Canceled
		}
		return nil
	}})
	defer d.Close()
	if _, err := gpt2.New(d, c, laterWeights(c, tensor.F32)); !errors.Is(err, context.Canceled) || left != -1 {
		t.Errorf("%v, %d", err, left)
	}
}
