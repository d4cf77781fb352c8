//go:build !noasm

package avx512

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

//go:noescape
func scoresF32(s, q *float32, k *byte, panels, dim int, next *byte)

//go:noescape
func scoresF16(s, q *float32, k *byte, panels, dim int, next *byte)

//go:noescape
func scoresBF16(s, q *float32, k *byte, panels, dim int, next *byte)

//go:noescape
func scoreRowsF16(s, q *float32, k *byte, n, dim int, nextk, nextv *byte)

//go:noescape
func scoreRowsBF16(s, q *float32, k *byte, n, dim int, nextk, nextv *byte)

//go:noescape
func values64F32(out, p *float32, v *byte, stride uintptr, n int, next *byte)

//go:noescape
func values64F16(out, p *float32, v *byte, stride uintptr, n int, next *byte)

//go:noescape
func values64BF16(out, p *float32, v *byte, stride uintptr, n int, next *byte)

//go:noescape
func values32F32(out, p *float32, v *byte, stride uintptr, n int, next *byte)

//go:noescape
func values32F16(out, p *float32, v *byte, stride uintptr, n int, next *byte)

//go:noescape
func values32BF16(out, p *float32, v *byte, stride uintptr, n int, next *byte)

//go:noescape
func narrowF16(dst *byte, src *float32, n int)

//go:noescape
func narrowBF16(dst *byte, src *float32, n int)

//go:noescape
func widenF16(dst *float32, src *byte, n int)

//go:noescape
func widenBF16(dst *float32, src *byte, n int)

//go:noescape
func triangle12(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr)

// Triangle adds to a tile of MR × NR results: to row i the products with the first i
// rows of b.
func Triangle(c []float32, ldc int, a []float32, lda int, b []float32, ldb int) {
	_, _, _ = c[(MR-1)*ldc+NR-1], a[(MR-1)*lda+MR-2], b[(MR-2)*ldb+NR-1]
	triangle12(&c[0], uintptr(ldc*4), &a[0], uintptr(lda*4), &b[0], uintptr(ldb*4))
}

// Scores computes the products of one query with panels of 32 keys.
func Scores(d tensor.DType, s, q []float32, k []byte, panels, dim int, next *generic.Asks) {
	if panels == 0 {
		return
	}
	_ = s[panels*32-1]
	if dim == 0 {
		clear(s[:panels*32])
		return
	}
	_, _ = q[dim-1], k[panels*dim*32*d.Size()-1]
	f := scoresF32
	switch d {
	case tensor.F16:
		f = scoresF16
	case tensor.BF16:
		f = scoresBF16
	}
	nextK, _ := next.Begin()
	f(&s[0], &q[0], &k[0], panels, dim, hint(nextK, k))
}

// ScoreRows computes the products of one query with n keys of 16 bits, 1 to 32, that lie
// row by row in a panel; dim is a multiple of 8. It asks for as much of what is
// next.
func ScoreRows(d tensor.DType, s, q []float32, k []byte, n, dim int, next *generic.Asks) {
	_ = s[31]
	if dim == 0 {
		clear(s[:32])
		return
	}
	_, _ = q[dim-1], k[32*dim*2-1]
	f := scoreRowsF16
	if d == tensor.BF16 {
		f = scoreRowsBF16
	}
	nextK, nextV, asks := next.Take((n+7)/8*dim*8, 1)
	if asks == 0 {
		nextK, nextV = &k[0], &k[0] // which it reads anyway
	}
	f(&s[0], &q[0], &k[0], n, dim, nextK, nextV)
}

// Values adds probabilities × values; dim is a multiple of 32.
func Values(d tensor.DType, out, p []float32, v []byte, dim int, next *generic.Asks) {
	if len(p) == 0 || dim == 0 {
		return
	}
	size := d.Size()
	_, _ = out[dim-1], v[len(p)*dim*size-1]
	f64, f32 := values64F32, values32F32
	switch d {
	case tensor.F16:
		f64, f32 = values64F16, values32F16
	case tensor.BF16:
		f64, f32 = values64BF16, values32BF16
	}
	_, nextV := next.Begin()
	j := 0
	for ; j+64 <= dim; j += 64 {
		f64(&out[j], &p[0], &v[j*size], uintptr(dim*size), len(p), hint(nextV, v))
	}
	if j < dim {
		f32(&out[j], &p[0], &v[j*size], uintptr(dim*size), len(p), hint(nextV, v))
	}
}

// hint returns where what is read next begins, or own if that is not known.
func hint(next, own []byte) *byte {
	if len(next) == 0 {
		return &own[0]
	}
	return &next[0]
}

// Narrow rounds float32 to F16 or BF16.
func Narrow(d tensor.DType, dst []byte, src []float32) {
	if len(src) == 0 {
		return
	}
	_ = dst[2*len(src)-1]
	if d == tensor.BF16 {
		narrowBF16(&dst[0], &src[0], len(src))
	} else {
		narrowF16(&dst[0], &src[0], len(src))
	}
}

// Widen converts F16 or BF16 to float32.
func Widen(d tensor.DType, dst []float32, src []byte) {
	if len(dst) == 0 {
		return
	}
	_ = src[2*len(dst)-1]
	if d == tensor.BF16 {
		widenBF16(&dst[0], &src[0], len(dst))
	} else {
		widenF16(&dst[0], &src[0], len(dst))
	}
}
