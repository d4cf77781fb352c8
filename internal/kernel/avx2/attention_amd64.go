//go:build !noasm

package avx2

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
func values64F32(out, p *float32, v *byte, stride uintptr, n int, next *byte)

//go:noescape
func values64F16(out, p *float32, v *byte, stride uintptr, n int, next *byte)

//go:noescape
func values64BF16(out, p *float32, v *byte, stride uintptr, n int, next *byte)

//go:noescape
func values16F32(out, p *float32, v *byte, stride uintptr, n int, next *byte)

//go:noescape
func values16F16(out, p *float32, v *byte, stride uintptr, n int, next *byte)

//go:noescape
func values16BF16(out, p *float32, v *byte, stride uintptr, n int, next *byte)

//go:noescape
func widenF16(dst *float32, src *byte, n int)

//go:noescape
func widenBF16(dst *float32, src *byte, n int)

//go:noescape
func narrowF16(dst *byte, src *float32, n int)

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

// Values adds probabilities × values; dim is a multiple of 16.
func Values(d tensor.DType, out, p []float32, v []byte, dim int, next *generic.Asks) {
	if len(p) == 0 || dim == 0 {
		return
	}
	size := d.Size()
	_, _ = out[dim-1], v[len(p)*dim*size-1]
	f64, f16 := values64F32, values16F32
	switch d {
	case tensor.F16:
		f64, f16 = values64F16, values16F16
	case tensor.BF16:
		f64, f16 = values64BF16, values16BF16
	}
	_, nextV := next.Begin()
	j := 0
	for ; j+64 <= dim; j += 64 {
		f64(&out[j], &p[0], &v[j*size], uintptr(dim*size), len(p), hint(nextV, v))
	}
	for ; j < dim; j += 16 {
		f16(&out[j], &p[0], &v[j*size], uintptr(dim*size), len(p), hint(nextV, v))
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
	n := 0
	if d == tensor.F16 {
		if n = len(src) &^ 7; n > 0 {
			_ = dst[2*n-1]
			narrowF16(&dst[0], &src[0], n)
		}
	}
	tensor.FromFloat32(dst[2*n:], d, src[n:])
}

// Widen converts F16 or BF16 to float32.
func Widen(d tensor.DType, dst []float32, src []byte) {
	if n := len(dst) &^ 7; n > 0 {
		_ = src[2*n-1]
		if d == tensor.BF16 {
			widenBF16(&dst[0], &src[0], n)
		} else {
			widenF16(&dst[0], &src[0], n)
		}
		dst, src = dst[n:], src[2*n:]
	}
	tensor.ToFloat32(dst, d, src)
}
