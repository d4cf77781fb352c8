package kernel

import "testing"

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
