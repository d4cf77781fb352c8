//go:build !noasm

package amx

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

//go:noescape
func q8few(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows, pairs int, work *byte, bias0, bias1 *float32, add bool)

//go:noescape
func q4few(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows, pairs int, work *byte, bias0, bias1 *float32, add bool)

// Few computes the products of up to 8 rows with pairs of panels of two runs. It needs
// GFNI.
func Few(p *generic.FewProduct) {
	n := len(p.X) / generic.FewRows
	if n == 0 || p.Rows == 0 || p.Pairs == 0 {
		return
	}
	size, cols := p.Pairs*n*generic.PanelBlock(p.DType), p.Pairs*generic.PanelOuts
	last := (p.Rows-1)*p.LDY + cols - 1
	_, _, _, _, _ = p.Y0[last], p.Y1[last], p.W0[size-1], p.W1[size-1], p.Work[generic.FewWork-1]
	var bias0, bias1 *float32
	if p.Bias0 != nil {
		_, _ = p.Bias0[cols-1], p.Bias1[cols-1]
		bias0, bias1 = &p.Bias0[0], &p.Bias1[0]
	}
	f := q8few
	if p.DType == tensor.Q4_0 {
		f = q4few
	}
	f(&p.Y0[0], &p.Y1[0], uintptr(p.LDY*4), &p.X[0], uintptr(n)*unsafe.Sizeof(p.X[0]), &p.W0[0], &p.W1[0], n, p.Rows, p.Pairs, &p.Work[0], bias0, bias1, p.Add)
	sums := unsafe.Slice((*float32)(unsafe.Pointer(&p.Work[0])), 16)
	total := float32(0)
	for _, v := range sums {
		total += v
	}
	p.Odd = p.Odd || total*0 != 0
}
