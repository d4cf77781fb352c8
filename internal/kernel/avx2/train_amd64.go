//go:build !noasm

package avx2

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// The elementwise work of training, as package generic has it, which does what is
// left of a multiple of eight (or sixteen) elements.

// AdamW is a step of the optimizer.
func AdamW(p, m, v, g []float32, k *[8]float32) {
	n := len(p) &^ 7
	if n > 0 {
		_, _, _ = m[n-1], v[n-1], g[n-1]
		adamW(&p[0], &m[0], &v[0], &g[0], n, k)
	}
	generic.AdamW(p[n:], m[n:], v[n:], g[n:], k)
}

// Squares adds x² up in lanes.
func Squares(lanes *[16]float64, x []float32) {
	n := len(x) &^ 15
	if n > 0 {
		squares(lanes, &x[0], n)
	}
	generic.Squares(lanes, x[n:])
}

// Round rounds x to F16 or BF16.
func Round(d tensor.DType, x []float32) {
	n := len(x) &^ 7
	if n > 0 && d == tensor.F16 {
		roundF16(&x[0], n)
	} else if n > 0 {
		roundBF16(&x[0], n)
	}
	generic.Round(d, x[n:])
}

// Transpose writes columns as rows, by blocks of 8 × 8.
func Transpose(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	if rows == 0 || cols == 0 {
		return
	}
	wide := (rows + 15) &^ 15
	_, _ = dst[(cols-1)*ldd+wide-1], src[(rows-1)*lds+cols-1]
	r8, c8 := rows&^7, cols&^7
	for c := 0; c < c8; c += 8 {
		for r := 0; r < r8; r += 8 {
			transpose8(&dst[c*ldd+r], uintptr(ldd*4), &src[r*lds+c], uintptr(lds*4))
		}
	}
	for c := range cols {
		r := r8
		if c >= c8 {
			r = 0
		}
		out := dst[c*ldd:][:wide]
		for ; r < rows; r++ {
			out[r] = src[r*lds+c]
		}
		clear(out[rows:])
	}
}

// GateArgument computes e = -|x·(a + b·x²)|.
func GateArgument(e, x []float32, a, b float32) {
	n := len(e) &^ 7
	if n > 0 {
		_ = x[n-1]
		gateArgument(&e[0], &x[0], a, b, n)
	}
	generic.GateArgument(e[n:], x[n:], a, b)
}

// GateSlope multiplies dy by the derivative of Gate.
func GateSlope(dy, x, e []float32, a, b3 float32) {
	n := len(dy) &^ 7
	if n > 0 {
		_, _ = x[n-1], e[n-1]
		gateSlope(&dy[0], &x[0], &e[0], a, b3, n)
	}
	generic.GateSlope(dy[n:], x[n:], e[n:], a, b3)
}

// SoftmaxGrad computes d = p·(d-delta)·scale.
func SoftmaxGrad(d, p []float32, delta, scale float32) {
	n := len(d) &^ 7
	if n > 0 {
		_ = p[n-1]
		softmaxGrad(&d[0], &p[0], delta, scale, n)
	}
	generic.SoftmaxGrad(d[n:], p[n:], delta, scale)
}

// AddRows adds rows of x to y.
func AddRows(y, x []float32, ldx, rows int) {
	if rows == 0 || len(y) == 0 {
		return
	}
	_ = x[(rows-1)*ldx+len(y)-1]
	n := len(y) &^ 7
	if n > 0 {
		addRows(&y[0], &x[0], uintptr(ldx*4), rows, n)
	}
	if n < len(y) {
		generic.AddRows(y[n:], x[n:], ldx, rows)
	}
}

// NormSums adds up what NormSlope needs of a row.
func NormSums(lanes *[32]float32, dy, x, gain []float32, mean, rstd float32) {
	*lanes = [32]float32{}
	n := len(dy) &^ 15
	if n > 0 {
		_, _ = x[n-1], gain[n-1]
		normSums(lanes, &dy[0], &x[0], &gain[0], mean, rstd, n)
	}
	if n < len(dy) {
		var rest [32]float32
		generic.NormSums(&rest, dy[n:], x[n:], gain[n:], mean, rstd)
		for i := range 2 * (len(dy) - n) { // other lanes have nothing to add
			l := i / 2
			if i&1 == 1 {
				l += 16
			}
			lanes[l] += rest[l]
		}
	}
}

// NormSlope adds what layer norm passes back of a row.
func NormSlope(out, dy, x, gain []float32, mean, rstd, a, b float32) {
	n := len(out) &^ 7
	if n > 0 {
		_, _, _ = dy[n-1], x[n-1], gain[n-1]
		normSlope(&out[0], &dy[0], &x[0], &gain[0], mean, rstd, a, b, n)
	}
	generic.NormSlope(out[n:], dy[n:], x[n:], gain[n:], mean, rstd, a, b)
}

// NormColumns adds up the gradients of layer norm's gain and bias.
func NormColumns(dgain, dbias, dy, x, stats []float32, ld, rows int) {
	if rows == 0 || len(dgain) == 0 {
		return
	}
	n, last := len(dgain)&^7, (rows-1)*ld+len(dgain)-1
	_, _, _, _ = dbias[len(dgain)-1], dy[last], x[last], stats[2*rows-1]
	if n > 0 {
		normColumns(&dgain[0], &dbias[0], &dy[0], &x[0], &stats[0], uintptr(ld*4), rows, n)
	}
	if n < len(dgain) {
		generic.NormColumns(dgain[n:], dbias[n:], dy[n:], x[n:], stats, ld, rows)
	}
}

// n is a multiple of 8, of normSums one of 16.

//go:noescape
func squares(lanes *[16]float64, x *float32, n int)

//go:noescape
func adamW(p, m, v, d *float32, n int, k *[8]float32)

//go:noescape
func roundF16(x *float32, n int)

//go:noescape
func roundBF16(x *float32, n int)

//go:noescape
func gateArgument(e, x *float32, a, b float32, n int)

//go:noescape
func gateSlope(dy, x, e *float32, a, b3 float32, n int)

//go:noescape
func softmaxGrad(d, p *float32, delta, scale float32, n int)

//go:noescape
func addRows(y, x *float32, ldx uintptr, rows, cols int)

//go:noescape
func normSums(lanes *[32]float32, dy, x, gain *float32, mean, rstd float32, n int)

//go:noescape
func normSlope(out, dy, x, gain *float32, mean, rstd, a, b float32, n int)

//go:noescape
func normColumns(dgain, dbias, dy, x, stats *float32, ld uintptr, rows, cols int)
