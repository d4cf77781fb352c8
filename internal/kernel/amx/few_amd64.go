//go:build !noasm

package amx

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

//go:noescape
func q8few(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows, pairs int, work *byte)

//go:noescape
func q4few(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows, pairs int, work *byte)

// Few computes the products of up to 8 rows with pairs of panels of two runs. It needs
// VBMI.
func Few(d tensor.DType, y0, y1 []float32, ldy int, x []generic.Block, rows int, w0, w1 []byte, pairs int, work []byte) {
	n := len(x) / generic.FewRows
	if n == 0 || rows == 0 || pairs == 0 {
		return
	}
	size := pairs * n * generic.PanelBlock(d)
	last := (rows-1)*ldy + pairs*generic.PanelOuts - 1
	_, _, _, _, _ = y0[last], y1[last], w0[size-1], w1[size-1], work[generic.FewWork-1]
	f := q8few
	if d == tensor.Q4_0 {
		f = q4few
	}
	f(&y0[0], &y1[0], uintptr(ldy*4), &x[0], uintptr(n)*unsafe.Sizeof(x[0]), &w0[0], &w1[0], n, rows, pairs, &work[0])
}
