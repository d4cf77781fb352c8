package train_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/train"
)

// A step of the published small model on 4 × 256 tokens.
func BenchmarkStep(b *testing.B) {
	cfg, _ := gpt2.Shape("gpt2")
	w := train.Initial(cfg, 1)
	const rows, context_ = 4, 256
	r := train.Rows{Rows: rows, Tokens: make([]int32, rows*context_), Labels: make([]int32, rows*context_)}
	for i := range r.Tokens {
		r.Tokens[i], r.Labels[i] = rand.Int32N(50257), rand.Int32N(50257)
	}
	for _, p := range []train.Precision{train.FP32, train.BF16, train.FP16} {
		b.Run(fmt.Sprint(p), func(b *testing.B) {
			tr, err := train.New(device(b, 2, ""), cfg, w, train.Options{Precision: p})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tr.Step(context.Background(), []train.Rows{r}, train.Hyper{LR: 1e-4, Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8, Clip: 1}, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*len(r.Tokens))/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}
