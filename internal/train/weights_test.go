package train_test

import (
	"context"
	"math"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
)

// named is a model file in memory.
type named []safetensors.Named

func (n named) Names() (names []string) {
	for _, t := range n {
		names = append(names, t.Name)
	}
	return names
}

func (n named) Tensor(name string) (tensor.Tensor, bool) {
	for _, t := range n {
		if t.Name == name {
			return t.Tensor, true
		}
	}
	return tensor.Tensor{}, false
}

// What is exported runs, and has the loss that the trainer has.
func TestWeights(t *testing.T) {
	for _, name := range []string{"plain", "lora-untied-all", "untied-gelu-inner"} {
		t.Run(name, func(t *testing.T) {
			f, d := load(t, name), device(t, 2, "")
			tr := f.trainer(t, d, f.options())
			f.run(t, tr, 0, 3)
			all, err := tr.Weights()
			if err != nil {
				t.Fatal(err)
			}
			w, err := gpt2.BindWeights(f.cfg, named(all))
			if err != nil {
				t.Fatal(err)
			}
			m, err := gpt2.New(d, f.cfg, w)
			if err != nil {
				t.Fatal(err)
			}
			r := f.Steps[0][0]
			want, _, err := tr.Evaluate(context.Background(), r)
			if err != nil {
				t.Fatal(err)
			}
			var got float64
			n := len(r.Tokens) / r.Rows
			for row := range r.Rows {
				s, err := m.NewSequence(n)
				if err != nil {
					t.Fatal(err)
				}
				in := gpt2.Input{Sequence: s, Logits: gpt2.AllLogits}
				for _, id := range r.Tokens[row*n:][:n] {
					in.Tokens = append(in.Tokens, int(id))
				}
				err = m.Forward(context.Background(), []gpt2.Input{in}, func(_, i int, logits []float32) error {
					if label := r.Labels[row*n+i]; label >= 0 {
						var sum float64
						for _, v := range logits {
							sum += math.Exp(float64(v))
						}
						got += math.Log(sum) - float64(logits[label])
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if !(math.Abs(got-want) <= 1e-5*want) {
				t.Errorf("loss %v, the trainer says %v", got, want)
			}
		})
	}
}
