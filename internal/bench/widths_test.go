package bench

import (
	"context"
	"math"
	"testing"

	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

// A matrix whose inputs are no whole blocks stays as it is, while those after it are
// quantised: prompts of any length go through both.
func TestWidthsOfNoBlocks(t *testing.T) {
	k, err := kernel.New(kernel.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	ids := make([]int, 40)
	for i := range ids {
		ids[i] = i * 7 % 90
	}
	for _, embd := range []int{8, 48, 64} {
		cfg := gpt2.Config{
			VocabSize: 90, Positions: 64, Embd: embd, Heads: 2, Layers: 2, Inner: 4 * embd,
			Activation: gpt2.GELUNew, LayerNormEpsilon: 1e-5, ScaleAttnWeights: true, TieWordEmbeddings: true,
		}
		last := func(d tensor.DType, n int) (logits []float32) {
			s, err := Random("odd", cfg, cpu.Options{DType: d, KVType: tensor.F16}, k)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			seq, err := s.Model.NewSequence(n)
			if err != nil {
				t.Fatal(err)
			}
			err = s.Model.Forward(context.Background(), []gpt2.Input{{Sequence: seq, Tokens: ids[:n]}}, func(_, _ int, v []float32) error {
				logits = append(logits[:0], v...)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return logits
		}
		for _, n := range []int{1, 5, 12, 40} {
			want := last(tensor.F32, n)
			for _, d := range []tensor.DType{tensor.F16, tensor.BF16, tensor.Q8_0, tensor.Q4_0} {
				var off, all float64
				for i, v := range last(d, n) {
					off += math.Pow(float64(v-want[i]), 2)
					all += math.Pow(float64(want[i]), 2)
				}
				if !(off < 0.05*all) {
					t.Errorf("width %d, %v, %d tokens: logits are off by %.3g", embd, d, n, math.Sqrt(off/all))
				}
			}
		}
	}
}
