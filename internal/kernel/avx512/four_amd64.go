//go:build !noasm

package avx512

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Four adds x times panels of each of four runs, [panels][depth][NR], to NR elements of
// y for each panel, those of runs ld apart. It asks for memory ahead of the hardware.
func Four(d tensor.DType, y []float32, ld int, x []float32, w *[4][]byte, depth, panels int) {
	if depth == 0 || panels == 0 {
		return
	}
	_, _ = y[3*ld+panels*NR-1], x[depth-1]
	holds(w, panels*depth*NR*d.Size())
	switch d {
	case tensor.F32:
		fourF32(&y[0], uintptr(4*ld), &x[0], &w[0][0], &w[1][0], &w[2][0], &w[3][0], depth, panels)
	case tensor.F16:
		fourF16(&y[0], uintptr(4*ld), &x[0], &w[0][0], &w[1][0], &w[2][0], &w[3][0], depth, panels)
	case tensor.BF16:
		fourBF16(&y[0], uintptr(4*ld), &x[0], &w[0][0], &w[1][0], &w[2][0], &w[3][0], depth, panels)
	}
}

// FourDots computes the products of x with rows of each of four runs of an [out][in]
// weight, as Dots does. It asks for memory ahead of the hardware.
func FourDots(d tensor.DType, y []float32, ld int, x []float32, w *[4][]byte, outs int) {
	if len(x) == 0 || outs == 0 {
		for i := range w {
			clear(y[i*ld:][:outs])
		}
		return
	}
	_ = y[3*ld+outs-1]
	holds(w, outs*len(x)*d.Size())
	switch d {
	case tensor.F32:
		fourDotsF32(&y[0], uintptr(4*ld), &x[0], &w[0][0], &w[1][0], &w[2][0], &w[3][0], len(x), outs)
	case tensor.F16:
		fourDotsF16(&y[0], uintptr(4*ld), &x[0], &w[0][0], &w[1][0], &w[2][0], &w[3][0], len(x), outs)
	case tensor.BF16:
		fourDotsBF16(&y[0], uintptr(4*ld), &x[0], &w[0][0], &w[1][0], &w[2][0], &w[3][0], len(x), outs)
	}
}

// FourBlocks computes the products of a quantised row with panels of each of four runs.
// It needs VNNI, and asks for memory ahead of the hardware.
func FourBlocks(d tensor.DType, y []float32, ld int, x []generic.Block, w *[4][]byte, panels int) {
	if len(x) == 0 || panels == 0 {
		for i := range w {
			clear(y[i*ld:][:panels*generic.PanelOuts])
		}
		return
	}
	_ = y[3*ld+panels*generic.PanelOuts-1]
	holds(w, panels*len(x)*generic.PanelBlock(d))
	if d == tensor.Q4_0 {
		fourQ4(&y[0], uintptr(4*ld), &x[0], &w[0][0], &w[1][0], &w[2][0], &w[3][0], len(x), panels)
	} else {
		fourQ8(&y[0], uintptr(4*ld), &x[0], &w[0][0], &w[1][0], &w[2][0], &w[3][0], len(x), panels)
	}
}

func holds(w *[4][]byte, size int) {
	for _, w := range w {
		_ = w[size-1]
	}
}

//go:noescape
func fourF32(y *float32, ld uintptr, x *float32, w0, w1, w2, w3 *byte, k, panels int)

//go:noescape
func fourF16(y *float32, ld uintptr, x *float32, w0, w1, w2, w3 *byte, k, panels int)

//go:noescape
func fourBF16(y *float32, ld uintptr, x *float32, w0, w1, w2, w3 *byte, k, panels int)

//go:noescape
func fourDotsF32(y *float32, ld uintptr, x *float32, w0, w1, w2, w3 *byte, k, outs int)

//go:noescape
func fourDotsF16(y *float32, ld uintptr, x *float32, w0, w1, w2, w3 *byte, k, outs int)

//go:noescape
func fourDotsBF16(y *float32, ld uintptr, x *float32, w0, w1, w2, w3 *byte, k, outs int)

//go:noescape
func fourQ8(y *float32, ld uintptr, x *generic.Block, w0, w1, w2, w3 *byte, k, panels int)

//go:noescape
func fourQ4(y *float32, ld uintptr, x *generic.Block, w0, w1, w2, w3 *byte, k, panels int)
