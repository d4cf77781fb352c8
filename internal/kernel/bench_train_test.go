package kernel

import (
	"math/rand/v2"
	"testing"
)

func BenchmarkAdamW(b *testing.B) {
	c := newCPU(b, "", 2)
	const n = 8 << 20
	v := [4][]float32{}
	for i := range v {
		v[i] = make([]float32, n)
		for j := range v[i] {
			v[i][j] = 0.001 * float32(j%100)
		}
	}
	b.SetBytes(7 * 4 * n)
	for b.Loop() {
		c.AdamW(v[0], v[1], v[2], v[3], Adam{LR: 1e-4, Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8, Step: 3, Scale: 0.5})
	}
}

// One layer of the published small model on 4 × 256 tokens.
func BenchmarkTrainAttention(b *testing.B) {
	c := newCPU(b, "", 2)
	a := TrainAttention{Sequences: 4, Context: 256, Heads: 12, HeadDim: 64, Scale: 0.125}
	rng := rand.New(rand.NewPCG(1, 2))
	rows, width := a.Sequences*a.Context, a.Heads*a.HeadDim
	qkv, dout := random(rng, rows*3*width), random(rng, rows*width)
	out, lse, dqkv := make([]float32, rows*width), make([]float32, rows*a.Heads), make([]float32, rows*3*width)
	b.Run("forward", func(b *testing.B) {
		for b.Loop() {
			c.TrainAttention(out, lse, qkv, a)
		}
	})
	b.Run("backward", func(b *testing.B) {
		for b.Loop() {
			c.TrainAttentionGrad(dqkv, dout, qkv, out, lse, a)
		}
	})
}
