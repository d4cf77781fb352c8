//go:build !noasm

package avx512

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

//go:noescape
func q8few2(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows int, sums, bias0, bias1 *float32, add bool)

//go:noescape
func q8few4(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows int, sums, bias0, bias1 *float32, add bool)

//go:noescape
func q8few6(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows int, sums, bias0, bias1 *float32, add bool)

//go:noescape
func q8few8(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows int, sums, bias0, bias1 *float32, add bool)

//go:noescape
func q4few2(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows int, sums, bias0, bias1 *float32, add bool)

//go:noescape
func q4few4(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows int, sums, bias0, bias1 *float32, add bool)

//go:noescape
func q4few6(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows int, sums, bias0, bias1 *float32, add bool)

//go:noescape
func q4few8(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows int, sums, bias0, bias1 *float32, add bool)

type fewFunc func(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows int, sums, bias0, bias1 *float32, add bool)

// Of two rows, four, six and eight.
var (
	q8few = [generic.FewRows / 2]fewFunc{q8few2, q8few4, q8few6, q8few8}
	q4few = [generic.FewRows / 2]fewFunc{q4few2, q4few4, q4few6, q4few8}
)

// Few computes the products of up to 8 rows with pairs of panels of two runs. It needs
// VNNI.
func Few(p *generic.FewProduct) {
	n := len(p.X) / generic.FewRows
	if n == 0 || p.Rows == 0 || p.Pairs == 0 {
		return
	}
	panel := n * generic.PanelBlock(p.DType)
	size, cols := p.Pairs*panel, p.Pairs*generic.PanelOuts
	last := (p.Rows-1)*p.LDY + cols - 1
	_, _, _, _, _ = p.Y0[last], p.Y1[last], p.W0[size-1], p.W1[size-1], p.Work[generic.FewWork-1]
	var bias0, bias1 *float32
	if p.Bias0 != nil {
		_, _ = p.Bias0[cols-1], p.Bias1[cols-1]
	}
	multiply := q8few[(p.Rows-1)/2]
	if p.DType == tensor.Q4_0 {
		multiply = q4few[(p.Rows-1)/2]
	}
	sums := unsafe.Slice((*float32)(unsafe.Pointer(&p.Work[0])), generic.PanelOuts)
	clear(sums)
	for i := range p.Pairs {
		at := i * generic.PanelOuts
		if p.Bias0 != nil {
			bias0, bias1 = &p.Bias0[at], &p.Bias1[at]
		}
		multiply(&p.Y0[at], &p.Y1[at], uintptr(p.LDY*4), &p.X[0], uintptr(n)*unsafe.Sizeof(p.X[0]), &p.W0[i*panel], &p.W1[i*panel], n, p.Rows, &sums[0], bias0, bias1, p.Add)
	}
	total := float32(0)
	for _, v := range sums {
		total += v
	}
	p.Odd = p.Odd || total*0 != 0
}
