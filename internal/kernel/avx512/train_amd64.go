//go:build !noasm

package avx512

import "github.com/gptctl/gptctl/internal/kernel/generic"

//go:noescape
func adamW(p, m, v, d *float32, n int, k *[8]float32)

// AdamW is a step of the optimizer.
func AdamW(p, m, v, g []float32, k *[8]float32) {
	n := len(p) &^ 15
	if n > 0 {
		_, _, _ = m[n-1], v[n-1], g[n-1]
		adamW(&p[0], &m[0], &v[0], &g[0], n, k)
	}
	generic.AdamW(p[n:], m[n:], v[n:], g[n:], k)
}

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

//go:noescape
func gateArguments(e, x *float32, n int, k *[6]float32)

//go:noescape
func gateSlopes(d, x, e *float32, n int, k *[6]float32)

// GateArguments computes e = -|x·(a + b·x²)|.
func GateArguments(e, x []float32, k *[6]float32) {
	_ = e[:len(x)]
	gateArguments(first(e), first(x), len(x), k)
}

// GateSlopes multiplies d by the slope of Gate at x.
func GateSlopes(d, x, e []float32, k *[6]float32) {
	_, _ = d[:len(x)], e[:len(x)]
	gateSlopes(first(d), first(x), first(e), len(x), k)
}

// Transpose writes src [rows][cols], whose rows are ld apart, as dst [cols][rows],
// whose rows are ldDst apart.
func Transpose(dst []float32, ldDst int, src []float32, ld, rows, cols int) {
	whole := rows &^ 15
	for r := 0; r < whole; r += 16 {
		for c := 0; c < cols; c += 16 {
			n := min(16, cols-c)
			_, _ = dst[(c+n-1)*ldDst+r+15], src[(r+15)*ld+c+n-1]
			transpose16(&dst[c*ldDst+r], uintptr(4*ldDst), &src[r*ld+c], uintptr(4*ld), 16, n)
		}
	}
	if whole < rows {
		generic.Transpose(dst[whole:], ldDst, src[whole*ld:], ld, rows-whole, cols)
	}
}
