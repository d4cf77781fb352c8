package generic

import "math"

// AdamW is a step of the optimizer: with d = k0·g the moments become
// m + k1·(d-m) and k2·v + k3·d², the weights k6·p - k7·m/(√v/k4 + k5). Nothing is
// fused, so that all families give the same bits.
func AdamW(p, m, v, g []float32, k *[8]float32) {
	m, v, g = m[:len(p)], v[:len(p)], g[:len(p)]
	for i := range p {
		d := float32(k[0] * g[i])
		m1 := m[i] + float32(k[1]*(d-m[i]))
		v1 := float32(k[2]*v[i]) + float32(k[3]*float32(d*d))
		m[i], v[i] = m1, v1
		p[i] = float32(k[6]*p[i]) - float32(k[7]*(m1/(float32(math.Sqrt(float64(v1)))/k[4]+k[5])))
	}
}
