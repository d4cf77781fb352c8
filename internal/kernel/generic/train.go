package generic

import (
	"math"

	"github.com/gptctl/gptctl/internal/tensor"
)

// The elementwise work of training. Nothing is fused, so that all families give
// the same bits.

// AdamW is a step of the optimizer: with d = k0·g the moments become
// m + k1·(d-m) and k2·v + k3·d², the weights k6·p - k7·m/(√v/k4 + k5).
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

// Squares adds x² up in sixteen lanes of float64 (element mod 16).
func Squares(lanes *[16]float64, x []float32) {
	for ; len(x) >= 16; x = x[16:] {
		for i, v := range x[:16] {
			lanes[i] += float64(v) * float64(v) // which is exact
		}
	}
	for i, v := range x {
		lanes[i] += float64(v) * float64(v)
	}
}

// Round rounds x to d, F16 or BF16, to nearest even. F16 overflows to infinity.
func Round(d tensor.DType, x []float32) {
	if d == tensor.F16 {
		for i, v := range x {
			x[i] = tensor.F16ToFloat32(tensor.Float32ToF16(v))
		}
		return
	}
	for i, v := range x {
		x[i] = tensor.BF16ToFloat32(tensor.Float32ToBF16(v))
	}
}

// Transpose writes the columns of src [rows][cols], rows lds apart, as rows of
// dst ldd apart, each filled up with zeros to a multiple of 16.
func Transpose(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	wide := (rows + 15) / 16 * 16
	for c := range cols {
		out := dst[c*ldd:][:wide]
		for r := range rows {
			out[r] = src[r*lds+c]
		}
		clear(out[rows:])
	}
}

// gateLimit bounds x², so that it is not infinite; from gateFlat on the sigmoid
// is 0 or 1, and x may be infinite.
const (
	gateLimit = 1e12
	gateFlat  = 1e6
)

// GateArgument computes e = -|z|, z = x·(a + b·x²).
func GateArgument(e, x []float32, a, b float32) {
	for i, v := range x[:len(e)] {
		z := float32(v * (a + float32(b*min(float32(v*v), gateLimit))))
		e[i] = -float32(math.Abs(float64(z)))
	}
}

// GateSlope multiplies dy by the derivative of Gate: with s = sigmoid(z),
// s + x·s·(1-s)·(a + 3b·x²). e is exp(-|z|), which cannot overflow; b3 is 3b.
func GateSlope(dy, x, e []float32, a, b3 float32) {
	x, e = x[:len(dy)], e[:len(dy)]
	for i, v := range x {
		w := min(float32(v*v), gateLimit)
		q := 1 / (1 + e[i])
		s, rest := q, float32(e[i]*q) // sigmoid(z), 1-sigmoid(z)
		if v < 0 {                    // z has the sign of x
			s, rest = rest, s
		}
		d := s + float32(float32(v*s)*float32(rest*(a+float32(b3*w))))
		if w > gateFlat {
			d = s
		}
		dy[i] = float32(dy[i] * d)
	}
}

// GateParts is GateSlope as torch takes the GELU of transformers back, that is written as
// several operations: the three that x goes into pass something back each, which is rounded
// to d, and so is the sum of the last two. It is one by one what ops.gateParts does.
func GateParts(dy, x, e []float32, a, b3 float32, d tensor.DType) {
	x, e = x[:len(dy)], e[:len(dy)]
	var parts [3][1]float32
	for i := range dy {
		for j, k := range [3][2]float32{{}, {a, 0}, {0, b3}} {
			parts[j][0] = dy[i]
			GateSlope(parts[j][:], x[i:i+1], e[i:i+1], k[0], k[1])
		}
		own := parts[0][0]
		for j := range parts {
			if j > 0 {
				parts[j][0] -= own
			}
			Round(d, parts[j][:])
		}
		parts[1][0] += parts[2][0]
		Round(d, parts[1][:])
		dy[i] = parts[0][0] + parts[1][0]
	}
}

// SoftmaxGrad computes d = p·(d-delta)·scale.
func SoftmaxGrad(d, p []float32, delta, scale float32) {
	p = p[:len(d)]
	for i, v := range p {
		d[i] = float32(float32(v*(d[i]-delta)) * scale)
	}
}

// AddRows adds rows of x, ldx apart, to y, in order.
func AddRows(y, x []float32, ldx, rows int) {
	for r := range rows {
		Add(y, x[r*ldx:][:len(y)])
	}
}

// NormSums adds v = dy·gain and v·(x-mean)·rstd up in sixteen lanes each (element
// mod 16).
func NormSums(lanes *[32]float32, dy, x, gain []float32, mean, rstd float32) {
	*lanes = [32]float32{}
	x, gain = x[:len(dy)], gain[:len(dy)]
	for i, d := range dy {
		v := float32(d * gain[i])
		lanes[i&15] += v
		lanes[16+i&15] += float32(v * float32((x[i]-mean)*rstd))
	}
}

// NormSlope computes out += rstd·(dy·gain - a - b·(x-mean)·rstd).
func NormSlope(out, dy, x, gain []float32, mean, rstd, a, b float32) {
	dy, x, gain = dy[:len(out)], x[:len(out)], gain[:len(out)]
	for i, g := range gain {
		h := float32((x[i] - mean) * rstd)
		out[i] += float32(rstd * (float32(dy[i]*g) - a - float32(h*b)))
	}
}

// NormColumns adds dy·(x-mean)·rstd of all rows to dgain and dy to dbias, in
// order. Rows are ld apart; stats are the mean and rstd of each.
func NormColumns(dgain, dbias, dy, x, stats []float32, ld, rows int) {
	dbias = dbias[:len(dgain)]
	for r := range rows {
		mean, rstd := stats[2*r], stats[2*r+1]
		dy, x := dy[r*ld:][:len(dgain)], x[r*ld:][:len(dgain)]
		for j, d := range dy {
			dgain[j] += float32(d * float32((x[j]-mean)*rstd))
			dbias[j] += d
		}
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
