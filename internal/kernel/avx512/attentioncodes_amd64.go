//go:build !noasm

package avx512

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

//go:noescape
func codeScores(s *float32, x *generic.Block, k *byte, panels, blocks int, nextk, nextv *byte, asks int)

//go:noescape
func codeValues64(out, p *float32, v, scales *byte, stride, panel uintptr, n int, nextk, nextv *byte, asks int)

//go:noescape
func codeValues32(out, p *float32, v, scales *byte, stride, panel uintptr, n int)

//go:noescape
func putCodes(k, v *byte, key, value *generic.Block, blocks, pos int)

//go:noescape
func widenKeyBlock(dst *float32, block *byte)

//go:noescape
func widenValueBlock(dst *float32, v, scales *byte, stride uintptr)

const positions = 32 // of a panel of codes

// CodeScores is Products of one row with panels of 16 keys, that asks for half as much
// of what is next as it reads itself.
func CodeScores(s []float32, x []generic.Block, k []byte, panels int, next *generic.Asks) {
	if panels == 0 || len(x) == 0 {
		clear(s[:panels*generic.PanelOuts])
		return
	}
	_, _ = s[panels*generic.PanelOuts-1], k[panels*len(x)*generic.PanelBlock(tensor.Q8_0)-1]
	nextK, nextV, asks := next.Take(128, panels/2*len(x)*4)
	codeScores(&s[0], &x[0], &k[0], panels, len(x), nextK, nextV, asks)
}

// CodeValues is generic.CodeValues that asks for half as much of what is next as it reads
// itself. It needs AVX-512 VNNI.
func CodeValues(out, p []float32, v []byte, dim int, next *generic.Asks) {
	n, panel := len(p), positions*tensor.Q8_0.Bytes(dim)
	if n == 0 || dim == 0 {
		return
	}
	_, _ = out[dim-1], v[(n+positions-1)/positions*panel-1]
	codes, j := positions*dim/16, 0
	for ; j+64 <= dim; j += 64 {
		nextK, nextV, asks := next.Take(128, n/positions*8)
		codeValues64(&out[j], &p[0], &v[codes+4*j], &v[positions*j/16], uintptr(4*dim), uintptr(panel), n, nextK, nextV, asks)
	}
	if j < dim {
		codeValues32(&out[j], &p[0], &v[codes+4*j], &v[positions*j/16], uintptr(4*dim), uintptr(panel), n)
	}
}

// PutCodes is generic.PutCodes.
func PutCodes(k, v []byte, key, value []generic.Block, pos int) {
	n, size := len(key), generic.PanelBlock(tensor.Q8_0)
	if n == 0 {
		return
	}
	_, _, _ = value[n-1], k[(pos/generic.PanelOuts+1)*n*size-1], v[(pos/positions+1)*2*n*size-1]
	putCodes(&k[0], &v[0], &key[0], &value[0], n, pos)
}

// WidenKeys makes numbers [dim][32] of a panel of keys.
func WidenKeys(dst []float32, panel []byte, dim int) {
	n, size := dim/tensor.QuantBlock, generic.PanelBlock(tensor.Q8_0)
	if n == 0 {
		return
	}
	_, _ = dst[positions*dim-1], panel[2*n*size-1]
	for i := range 2 {
		for b := range n {
			widenKeyBlock(&dst[b*tensor.QuantBlock*positions+i*generic.PanelOuts], &panel[(i*n+b)*size])
		}
	}
}

// WidenValues makes numbers [32][dim] of a panel of values.
func WidenValues(dst []float32, panel []byte, dim int) {
	if dim == 0 {
		return
	}
	_, _ = dst[positions*dim-1], panel[positions*tensor.Q8_0.Bytes(dim)-1]
	for j := 0; j < dim; j += tensor.QuantBlock {
		widenValueBlock(&dst[j], &panel[positions*dim/16+4*j], &panel[positions*j/16], uintptr(4*dim))
	}
}
