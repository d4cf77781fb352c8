package generic

import (
	"encoding/binary"
	"math"
)

// CrossTiles computes c[i] = a·b[i] for 32 rows, as PackRowTiles writes them, and
// panels of 32 columns that begin stride bytes apart. c is [panels][32][32].
func CrossTiles(c []float32, a, b []byte, stride, steps, panels int) {
	zero := make([]float32, TileStep)
	for i := range panels {
		MultiplyTiles(c[i*TileStep*TileStep:], zero, 0, a, steps*StepBytes, b[i*stride:], steps, 2)
	}
}

// SoftmaxTile takes rows of scores, 32 in a row of each of some panels [32][32], of which
// the first so many count, and writes exp(scale·s - the largest) as rows of steps,
// rounded to bfloat16, and zeros behind. by gets one over the sum, before rounding,
// zero for a row of none, and most (nil: not wanted) the largest scale·s. With most it is
// training, where the exponential is TorchExp.
func SoftmaxTile(dst []byte, s, by, most []float32, lens []int, panels int, scale float32) {
	for r, n := range lens {
		row := make([]float32, panels*TileStep)
		for i := range n {
			row[i] = s[(i/TileStep*TileStep+r)*TileStep+i%TileStep]
		}
		p := row[:n]
		largest := ScaleMax(p, scale)
		var sum float32
		if most != nil {
			most[r] = largest
			for i, v := range p {
				p[i] = TorchExp(v - largest)
				sum += p[i]
			}
		} else {
			sum = ExpSum(p, largest)
		}
		for i, v := range row {
			binary.LittleEndian.PutUint16(dst[i/TileStep*StepBytes+r*64+i%TileStep*2:], roundBF16(v))
		}
		if by[r] = 1 / sum; n == 0 {
			by[r] = 0
		}
	}
}

// TorchExp is exp(x), x ≤ 0, as PyTorch's attention has it on processors, of the same
// operations (Malossi et al. 2015, "Fast exponential computation on SIMD architectures"): a
// float32's bits grow with the power of two, by a polynomial less than it would be linear.
// It is off by 1.1e-4 at most. What is rounded to bfloat16 next is the same bits as torch's.
func TorchExp(x float32) float32 {
	const one, log2e = 1 << 23, 1.44269504
	z := max(float32(x*log2e), -126)
	if z != z {
		return z
	}
	r := float64(z) - math.Floor(float64(z))
	k := fma32(fma32(fma32(-0.079204240219773236, r, -0.22433836478672356), r, 0.30354260500649682), r, 0.00010703434948458272)
	return math.Float32frombits(uint32(math.RoundToEven(fma32(one, float64(z-float32(k)), 127*one))))
}

// fma32 is a·b+c, rounded to float32, of what float32 holds.
func fma32(a, b, c float64) float64 {
	return float64(float32(math.FMA(float64(float32(a)), b, float64(float32(c)))))
}

// ScaleTile multiplies each row of c [rows][32] by a number and writes cols of it
// to rows of y.
func ScaleTile(y []float32, ldy int, c, by []float32, rows, cols int) {
	for r := range rows {
		for i, v := range c[r*TileStep:][:cols] {
			y[r*ldy+i] = v * by[r]
		}
	}
}

// NarrowTile is ScaleTile rounded to bfloat16: rows are ldd bytes apart, 64 in a step of
// tiles.
func NarrowTile(dst []byte, ldd int, c, by []float32, rows, cols int) {
	for r := range rows {
		for i, v := range c[r*TileStep:][:cols] {
			binary.LittleEndian.PutUint16(dst[r*ldd+i*2:], roundBF16(v*by[r]))
		}
	}
}

// TurnTile transposes 32 rows of 32 numbers of 16 bits.
func TurnTile(dst, src []byte) {
	for r := range TileStep {
		for i := range TileStep {
			copy(dst[i*64+r*2:][:2], src[r*64+i*2:])
		}
	}
}
