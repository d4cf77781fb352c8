//go:build !noasm

package avx512

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// The elementwise work of training, as package generic has it.

// AdamW is a step of the optimizer.
func AdamW(p, m, v, g []float32, k *[8]float32) {
	n := len(p) &^ 15
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
	if d == tensor.F16 {
		roundF16(first(x), len(x))
	} else {
		roundBF16(first(x), len(x))
	}
}

// Transpose writes columns as rows, by blocks of 16 × 16.
func Transpose(dst []float32, ldd int, src []float32, lds, rows, cols int) {
	if rows == 0 || cols == 0 {
		return
	}
	_, _ = dst[(cols-1)*ldd+(rows+15)&^15-1], src[(rows-1)*lds+cols-1]
	for c := 0; c < cols; c += 16 {
		for r := 0; r < rows; r += 16 {
			transpose16(&dst[c*ldd+r], uintptr(ldd*4), &src[r*lds+c], uintptr(lds*4), min(16, rows-r), min(16, cols-c))
		}
	}
}

// PackFloats writes a matrix of float32, rows ld apart, as panels of NR columns
// of pairs of bf16. It needs AVX512_BF16.
func PackFloats(dst []uint32, w []float32, ld, rows, cols int) {
	if rows == 0 || cols == 0 {
		return
	}
	deep := (rows + 1) / 2
	_, _ = w[(rows-1)*ld+cols-1], dst[(cols+NR-1)/NR*NR*deep-1]
	for k := 0; k < rows; k += 2 {
		var high *float32
		if k+1 < rows {
			high = &w[(k+1)*ld]
		}
		packFloats(&dst[k/2*NR], &w[k*ld], high, cols, uintptr(deep*NR*4))
	}
}

// GateArgument computes e = -|x·(a + b·x²)|.
func GateArgument(e, x []float32, a, b float32) {
	gateArgument(first(e), first(x[:len(e)]), a, b, len(e))
}

// GateSlope multiplies dy by the derivative of Gate.
func GateSlope(dy, x, e []float32, a, b3 float32) {
	n := len(dy)
	gateSlope(first(dy), first(x[:n]), first(e[:n]), a, b3, n)
}

// SoftmaxGrad computes d = p·(d-delta)·scale.
func SoftmaxGrad(d, p []float32, delta, scale float32) {
	softmaxGrad(first(d), first(p[:len(d)]), delta, scale, len(d))
}

// AddRows adds rows of x to y.
func AddRows(y, x []float32, ldx, rows int) {
	if rows == 0 || len(y) == 0 {
		return
	}
	_ = x[(rows-1)*ldx+len(y)-1]
	addRows(&y[0], &x[0], uintptr(ldx*4), rows, len(y))
}

// NormSums adds up what NormSlope needs of a row.
func NormSums(lanes *[32]float32, dy, x, gain []float32, mean, rstd float32) {
	n := len(dy)
	normSums(lanes, first(dy), first(x[:n]), first(gain[:n]), mean, rstd, n)
}

// NormSlope adds what layer norm passes back of a row.
func NormSlope(out, dy, x, gain []float32, mean, rstd, a, b float32) {
	n := len(out)
	normSlope(first(out), first(dy[:n]), first(x[:n]), first(gain[:n]), mean, rstd, a, b, n)
}

// NormColumns adds up the gradients of layer norm's gain and bias.
func NormColumns(dgain, dbias, dy, x, stats []float32, ld, rows int) {
	n := len(dgain)
	if rows == 0 || n == 0 {
		return
	}
	_, _, _, _ = dbias[n-1], dy[(rows-1)*ld+n-1], x[(rows-1)*ld+n-1], stats[2*rows-1]
	normColumns(&dgain[0], &dbias[0], &dy[0], &x[0], &stats[0], uintptr(ld*4), rows, n)
}

//go:noescape
func squares(lanes *[16]float64, x *float32, n int)

//go:noescape
func adamW(p, m, v, d *float32, n int, k *[8]float32)

//go:noescape
func roundF16(x *float32, n int)

//go:noescape
func roundBF16(x *float32, n int)

//go:noescape
func packFloats(dst *uint32, low, high *float32, cols int, panel uintptr)

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

//go:noescape
func dropout(x *float32, n int, state, limit uint64, keep float32)

// Dropout zeroes numbers by random bits and scales the others.
func Dropout(x []float32, state, limit uint64, keep float32) {
	n := len(x) &^ 15
	if n > 0 {
		dropout(&x[0], n, state, limit, keep)
	}
	generic.Dropout(x[n:], state+uint64(n)*generic.Golden, limit, keep)
}
