//go:build !noasm

package avx512

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

//go:noescape
func scoresAheadF32(s, q *float32, k *byte, panels, dim int, nextk, nextv *byte, asks int)

//go:noescape
func scoresAheadF16(s, q *float32, k *byte, panels, dim int, nextk, nextv *byte, asks int)

//go:noescape
func scoresAheadBF16(s, q *float32, k *byte, panels, dim int, nextk, nextv *byte, asks int)

//go:noescape
func valuesAheadF32(out, p *float32, v *byte, stride uintptr, n int, nextk, nextv *byte, asks int)

//go:noescape
func valuesAheadF16(out, p *float32, v *byte, stride uintptr, n int, nextk, nextv *byte, asks int)

//go:noescape
func valuesAheadBF16(out, p *float32, v *byte, stride uintptr, n int, nextk, nextv *byte, asks int)

// askBytes of keys, and of values, are asked for at a time: half of what four rows of keys,
// or 64 columns of two positions of values, have.
func askBytes(d tensor.DType) int { return 64 * d.Size() }

// ScoresAhead is Scores that asks for as much of what is next as it reads itself.
func ScoresAhead(d tensor.DType, s, q []float32, k []byte, panels, dim int, next *generic.Asks) {
	if panels == 0 || dim == 0 || dim%4 != 0 {
		Scores(d, s, q, k, panels, dim, next)
		return
	}
	_, _, _ = s[panels*32-1], q[dim-1], k[panels*dim*32*d.Size()-1]
	f := scoresAheadF32
	switch d {
	case tensor.F16:
		f = scoresAheadF16
	case tensor.BF16:
		f = scoresAheadBF16
	}
	nextK, nextV, asks := next.Take(askBytes(d), panels*dim/4)
	f(&s[0], &q[0], &k[0], panels, dim, nextK, nextV, asks)
}

// ValuesAhead is Values that asks for as much of what is next as it reads itself.
func ValuesAhead(d tensor.DType, out, p []float32, v []byte, dim int, next *generic.Asks) {
	if len(p) == 0 || dim%64 != 0 {
		Values(d, out, p, v, dim, next)
		return
	}
	size := d.Size()
	f := valuesAheadF32
	switch d {
	case tensor.F16:
		f = valuesAheadF16
	case tensor.BF16:
		f = valuesAheadBF16
	}
	for j := 0; j < dim; j += 64 {
		_, _ = out[j+63], v[(len(p)-1)*dim*size+(j+64)*size-1]
		nextK, nextV, asks := next.Take(askBytes(d), len(p)/2)
		f(&out[j], &p[0], &v[j*size], uintptr(dim*size), len(p), nextK, nextV, asks)
	}
}
