//go:build !noasm

package amx

import "unsafe"

// SlopeTiles computes probabilities of keys and the gradients of their scores, as steps
// of queries.
func SlopeTiles(dp, ds []byte, s, g, lse, delta, keep []float32, panels int, diagonal bool, scale float32) {
	if panels == 0 {
		return
	}
	n, queries := panels*step*step, panels*step
	_, _, _, _, _, _ = dp[2*n-1], ds[2*n-1], s[n-1], g[n-1], lse[queries-1], delta[queries-1]
	if keep != nil {
		_ = keep[n-1]
	}
	fewer := 0
	if diagonal {
		fewer = 1
	}
	slopeTiles(&dp[0], &ds[0], &s[0], &g[0], &lse[0], &delta[0], unsafe.SliceData(keep), panels, fewer, scale)
}

// KeepTile clears those numbers of 32 rows for which keep has zero.
func KeepTile(dst []byte, keep []float32) {
	_, _ = dst[stepBytes-1], keep[step*step-1]
	keepTile(&dst[0], &keep[0])
}

// HalfDots computes the products of rows of n bfloat16.
func HalfDots(y []float32, a, b []byte, stride, n int) {
	if len(y) == 0 || n == 0 {
		clear(y)
		return
	}
	last := (len(y)-1)*stride + 2*n - 1
	_, _ = a[last], b[last]
	halfDots(&y[0], &a[0], &b[0], uintptr(stride), len(y), n)
}

//go:noescape
func slopeTiles(dp, ds *byte, s, back, lse, delta, keep *float32, panels, diagonal int, scale float32)

//go:noescape
func keepTile(dst *byte, keep *float32)

//go:noescape
func halfDots(y *float32, a, b *byte, stride uintptr, rows, n int)
