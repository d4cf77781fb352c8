//go:build !noasm

package avx512

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// All but PackTile need VNNI as well.

//go:noescape
func q8rows1(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8rows2(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8rows3(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8rows4(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8rows5(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8rows6(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8rows7(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8rows8(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8rows9(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8rows10(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8rows11(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8rows12(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows1(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows2(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows3(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows4(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows5(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows6(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows7(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows8(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows9(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows10(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows11(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows12(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func quantizeFours(dst *generic.Block, x *float32, blocks int, move uint32) (done int)

//go:noescape
func quantize(dst *generic.Block, x *float32, blocks int, move uint32)

//go:noescape
func packTileQ8(dst *byte, tile *float32, ld uintptr) bool

//go:noescape
func packTileQ4(dst *byte, tile *float32, ld uintptr) bool

func peakInt8(n int)

// Quantize rounds a row of x in blocks of 32, four at a time: one alone is a chain of
// instructions that wait for each other, longer than what a processor looks ahead.
func Quantize(dst []generic.Block, x []float32, d tensor.DType) {
	if len(dst) == 0 {
		return
	}
	_ = x[len(dst)*tensor.QuantBlock-1]
	move := uint32(0x80808080)
	if d == tensor.Q4_0 {
		move = 0x08080808
	}
	for len(dst) > 0 {
		done := quantizeFours(&dst[0], &x[0], len(dst), move)
		dst, x = dst[done:], x[done*tensor.QuantBlock:]
		if n := min(4, len(dst)); n > 0 { // one of them is zero or not finite, or there are no four
			quantize(&dst[0], &x[0], n, move)
			dst, x = dst[n:], x[n*tensor.QuantBlock:]
		}
	}
}

// mostRows is how many rows of x are multiplied at once.
const mostRows = 12

type rowsFunc func(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

var (
	q8rows = [mostRows]rowsFunc{q8rows1, q8rows2, q8rows3, q8rows4, q8rows5, q8rows6, q8rows7, q8rows8, q8rows9, q8rows10, q8rows11, q8rows12}
	q4rows = [mostRows]rowsFunc{q4rows1, q4rows2, q4rows3, q4rows4, q4rows5, q4rows6, q4rows7, q4rows8, q4rows9, q4rows10, q4rows11, q4rows12}
)

// Products multiplies twelve rows at a time with a panel, which lies in the
// first-level cache meanwhile.
func Products(d tensor.DType, y []float32, ldy int, x []generic.Block, rows int, w []byte, panels int) {
	n := len(x) / rows
	if n == 0 || panels == 0 {
		return
	}
	panel := n * generic.PanelBlock(d)
	_, _ = y[(rows-1)*ldy+panels*generic.PanelOuts-1], w[panels*panel-1]
	ly, lx := uintptr(ldy*4), uintptr(n)*unsafe.Sizeof(x[0])
	multiply := &q8rows
	if d == tensor.Q4_0 {
		multiply = &q4rows
	}
	for p := range panels {
		for r := 0; r < rows; r += mostRows {
			m := min(mostRows, rows-r)
			multiply[m-1](&y[r*ldy+p*generic.PanelOuts], ly, &x[r*n], lx, &w[p*panel], n)
		}
	}
}

// PackTile quantises 32 inputs × 16 outputs to a block of a panel.
func PackTile(d tensor.DType, dst []byte, tile []float32, ld int) {
	_, _ = dst[generic.PanelBlock(d)-1], tile[(tensor.QuantBlock-1)*ld+generic.PanelOuts-1]
	f := packTileQ8
	if d == tensor.Q4_0 {
		f = packTileQ4
	}
	if !f(&dst[0], &tile[0], uintptr(ld*4)) {
		generic.PackTile(d, dst, tile, ld)
	}
}

// PeakInt8 runs n rounds of multiply-adds of bytes and returns their operations.
func PeakInt8(n int) int {
	if n <= 0 {
		return 0
	}
	peakInt8(n)
	return n * 16 * 64 * 2
}
