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

// Golden is what the state of SplitMix64 grows by from one number to the next.
const Golden = 0x9e3779b97f4a7c15

// Mix returns the output of SplitMix64 (Steele et al. 2014) for a state.
func Mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Dropout zeroes a number where the upper half of its output is below limit, and
// multiplies it by keep else. The states begin at state.
func Dropout(x []float32, state, limit uint64, keep float32) {
	for i := range x {
		if Mix(state)>>32 < limit {
			x[i] = 0
		} else {
			x[i] *= keep
		}
		state += Golden
	}
}

// GateConstants are what GateArguments and GateSlopes need of a and b: a, b, 3b,
// the largest square that counts (it is not infinite), 1, and the square from
// which the sigmoid is 0 or 1, and x may be infinite.
func GateConstants(a, b float32) [6]float32 { return [6]float32{a, b, 3 * b, 1e12, 1, 1e6} }

// GateArguments computes e = -|x·(a + b·x²)|: the exponential of it cannot overflow.
func GateArguments(e, x []float32, k *[6]float32) {
	e = e[:len(x)]
	for i, v := range x {
		z := float32(v * (k[0] + float32(k[1]*min(v*v, k[3]))))
		e[i] = -float32(math.Abs(float64(z)))
	}
}

// GateSlopes multiplies d by the slope of Gate at x: with z = x·(a + b·x²) and
// s = sigmoid(z), s + x·s·(1-s)·(a + 3b·x²). e is exp(-|z|).
func GateSlopes(d, x, e []float32, k *[6]float32) {
	d, e = d[:len(x)], e[:len(x)]
	for i, v := range x {
		w := min(v*v, k[3])
		q := 1 / (1 + e[i])
		s, rest := q, float32(e[i]*q) // sigmoid(z), 1-sigmoid(z)
		if v < 0 {                    // z has the sign of x
			s, rest = rest, s
		}
		slope := s + float32(float32(v*s)*float32(rest*(k[0]+float32(k[2]*w))))
		if w > k[5] {
			slope = s
		}
		d[i] = float32(d[i] * slope)
	}
}

// Transpose writes src [rows][cols], whose rows are ld apart, as dst [cols][rows],
// whose rows are ldDst apart.
func Transpose(dst []float32, ldDst int, src []float32, ld, rows, cols int) {
	for c := range cols {
		out := dst[c*ldDst:][:rows]
		for r := range out {
			out[r] = src[r*ld+c]
		}
	}
}
