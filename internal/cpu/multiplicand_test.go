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

// The matrices of a layer, in the order in which they are loaded, after the embedding.
const (
	qkv = iota
	attnOut
	up
	down
	perLayer
)

// watched is a device that compares in what form the matrices of a layer get their rows.
type watched struct {
	*Device
	t      *testing.T
	name   string
	loaded map[gpt2.Matrix]int
	want   [perLayer]tensor.DType // of the codes; Invalid: none
}

func (d watched) LoadMatrix(t tensor.Tensor, layout gpt2.Layout) (gpt2.Matrix, error) {
	m, err := d.Device.LoadMatrix(t, layout)
	d.loaded[m] = len(d.loaded)
	return m, err
}

func (d watched) Linear(y, x gpt2.Buffer, rows int, w gpt2.Matrix, e gpt2.Epilogue) {
	if i := d.loaded[w]; i > 0 {
		kind := (i - 1) % perLayer
		want := d.want[kind]
		if !d.cpu.TakesCodes(rows, want) || kind == attnOut && rows > fewRows { // of many rows attention gives numbers
			want = tensor.Invalid
		}
		have := tensor.Invalid
		if in := x.(*multiplicand); in.coded {
			have = in.codes.DType
		}
		if have != want {
			d.t.Errorf("%s: %d rows for matrix %d in codes %v, want %v", d.name, rows, i, have, want)
		}
	}
	d.Device.Linear(y, x, rows, w, e)
}

// A quantised file that is used as it is gives the bits of its type asked for by name, and the
// same rows in codes. In one of several types who reads codes gets them of its own type, who
// does not gets numbers. Numbers throughout give the same bits.
func TestCodesOfReaders(t *testing.T) {
	c := gpt2.Config{
		VocabSize: 64, Positions: 128, Embd: 128, Heads: 2, Layers: 2, Inner: 512,
		Activation: gpt2.GELUNew, LayerNormEpsilon: 1e-5, TieWordEmbeddings: true, ScaleAttnWeights: true,
	}
	floats := laterWeights(c, tensor.F32)
	const q8, q4, f16, no = tensor.Q8_0, tensor.Q4_0, tensor.F16, tensor.Invalid
	type types = []tensor.DType
	files := []struct {
		name      string
		embedding tensor.DType
		types     types // of the matrices of two layers
		asked     tensor.DType
		codes     [perLayer]tensor.DType
	}{
		{"Q8_0", q8, types{q8, q8, q8, q8, q8, q8, q8, q8}, no, [...]tensor.DType{q8, q8, q8, q8}},
		{"Q4_0", q4, types{q4, q4, q4, q4, q4, q4, q4, q4}, no, [...]tensor.DType{q4, q4, q4, q4}},
		{"another embedding", q8, types{q4, q4, q4, q4, q4, q4, q4, q4}, no, [...]tensor.DType{q4, q4, q4, q4}},
		{"one F16", q8, types{q8, q8, q8, q8, q8, q8, q8, f16}, no, [...]tensor.DType{q8, q8, q8, no}},
		{"one Q4_0", q8, types{q8, q8, q8, q8, q8, q4, q8, q8}, no, [...]tensor.DType{q8, no, q8, q8}},
		{"by kind", q8, types{q8, q4, q8, q4, q8, q4, q8, q4}, no, [...]tensor.DType{q8, q4, q8, q4}},
		{"up in F16", f16, types{q8, q8, f16, q8, q8, q8, f16, q8}, no, [...]tensor.DType{no, q8, no, no}},
		{"by layer", q4, types{q4, q4, q4, q4, q8, q8, q8, q8}, no, [...]tensor.DType{no, no, no, no}},
		{"mixed, Q4_0 asked for", q8, types{q8, q8, f16, q8, q8, q4, f16, q8}, q4, [...]tensor.DType{q4, q4, q4, q4}},
	}
	calls := [][]int{{1}, {3}, {1, 1, 1, 1, 1, 1, 1, 1}, {16}, {17}, {60}, {40, 1, 5}}
	for _, family := range kernel.Families() {
		k, err := kernel.New(kernel.Options{Threads: 2, Family: family})
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		for _, kv := range []tensor.DType{tensor.F32, tensor.Q8_0} {
			for _, f := range files {
				for _, texts := range calls {
					name := fmt.Sprintf("%s, %s, keys %v: %v", family, f.name, kv, texts)
					dev := New(k, Options{DType: f.asked, KVType: kv})
					defer dev.Close()
					w := byOutputs(floats, f.embedding, f.types)
					got := logitsOf(t, watched{dev, t, name, map[gpt2.Matrix]int{}, f.codes}, c, w, texts)
					if f.asked == no || !k.Traits().Tiles { // what was asked for is rounded there
						if plain := logitsOf(t, struct{ gpt2.Device }{dev}, c, w, texts); !slices.Equal(got, plain) {
							t.Errorf("%s: other bits than of numbers", name)
						}
					}
					if d := f.embedding; !slices.ContainsFunc(f.types, func(o tensor.DType) bool { return o != d }) && !k.Traits().Tiles {
						dev := New(k, Options{DType: d, KVType: kv})
						defer dev.Close()
						if asked := logitsOf(t, dev, c, floats, texts); !slices.Equal(got, asked) {
							t.Errorf("%s: other bits than of %v asked for", name, d)
						}
					}
				}
			}
		}
	}
}

// logitsOf are those of texts of so many tokens, and of one more token for each.
func logitsOf(t *testing.T, d gpt2.Device, c gpt2.Config, w *gpt2.Weights, texts []int) (logits []float32) {
	t.Helper()
	m, err := gpt2.New(d, c, w)
	if err != nil {
		t.Fatal(err)
	}
	var inputs []gpt2.Input
	for i, n := range texts {
		s, err := m.NewSequence(c.Positions)
		if err != nil {
			t.Fatal(err)
		}
		in := gpt2.Input{Sequence: s}
		for j := range n {
			in.Tokens = append(in.Tokens, (i+j*j)%c.VocabSize)
		}
		inputs = append(inputs, in)
	}
	for range 2 {
		err := m.Forward(context.Background(), inputs, func(_, _ int, l []float32) error {
			logits = append(logits, l...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range inputs {
			inputs[i].Tokens = inputs[i].Tokens[:1]
		}
	}
	return logits
}

// byOutputs are weights as a GGUF file has them: matrices by their outputs, each of its type.
func byOutputs(w *gpt2.Weights, embedding tensor.DType, types []tensor.DType) *gpt2.Weights {
	as := func(x tensor.Tensor, d tensor.DType) tensor.Tensor {
		values, _ := x.Float32s()
		x.DType, x.Data = d, make([]byte, d.Bytes(x.Len()))
		tensor.FromFloat32(x.Data, d, values)
		return x
	}
	turned := func(p *gpt2.Projection, d tensor.DType) {
		in, out := p.Weight.Shape[0], p.Weight.Shape[1]
		values, _ := p.Weight.Float32s()
		y := make([]float32, len(values))
		for i := range in {
			for o := range out {
				y[o*in+i] = values[i*out+o]
			}
		}
		p.Weight, p.Layout = as(tensor.Tensor{DType: tensor.F32, Shape: []int{out, in}, Data: tensor.Bytes(y)}, d), gpt2.OutIn
	}
	n := *w
	n.TokenEmbedding = as(w.TokenEmbedding, embedding)
	n.Head, n.Blocks = n.TokenEmbedding, slices.Clone(w.Blocks)
	for i := range n.Blocks {
		b := &n.Blocks[i]
		for j, p := range []*gpt2.Projection{&b.QKV, &b.AttnOut, &b.Up, &b.Down} {
			turned(p, types[i*perLayer+j])
		}
	}
	return &n
}
