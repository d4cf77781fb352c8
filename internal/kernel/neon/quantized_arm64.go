//go:build !noasm

package neon

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

//go:noescape
func q8dot1(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8dot2(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8dot4(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4dot1(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4dot2(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4dot4(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8long1(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8long2(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4long1(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4long2(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func quantize(dst *generic.Block, x *float32, blocks int, move int32)

//go:noescape
func packTileQ8(dst *byte, tile *float32, ld uintptr)

//go:noescape
func packTileQ4(dst *byte, tile *float32, ld uintptr)

func peakDot(n int)

func peakLong(n int)

// Quantize rounds a row of x in blocks of 32.
func Quantize(dst []generic.Block, x []float32, d tensor.DType) {
	if len(dst) == 0 {
		return
	}
	_ = x[len(dst)*tensor.QuantBlock-1]
	move := int32(-128)
	if d == tensor.Q4_0 {
		move = -8
	}
	quantize(&dst[0], &x[0], len(dst), move)
}

type rowsFunc func(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

// Products multiplies up to two rows at a time with a panel.
func Products(d tensor.DType, y []float32, ldy int, x []generic.Block, rows int, w []byte, panels int) {
	if d == tensor.Q4_0 {
		products(d, y, ldy, x, rows, w, panels, q4long1, q4long2, nil)
		return
	}
	products(d, y, ldy, x, rows, w, panels, q8long1, q8long2, nil)
}

// DotProducts is Products, up to four rows at a time, for a processor that has
// the instruction SDOT.
func DotProducts(d tensor.DType, y []float32, ldy int, x []generic.Block, rows int, w []byte, panels int) {
	if d == tensor.Q4_0 {
		products(d, y, ldy, x, rows, w, panels, q4dot1, q4dot2, q4dot4)
		return
	}
	products(d, y, ldy, x, rows, w, panels, q8dot1, q8dot2, q8dot4)
}

func products(d tensor.DType, y []float32, ldy int, x []generic.Block, rows int, w []byte, panels int, one, two, four rowsFunc) {
	n := len(x) / rows
	if n == 0 || panels == 0 {
		return
	}
	panel := n * generic.PanelBlock(d)
	_, _ = y[(rows-1)*ldy+panels*generic.PanelOuts-1], w[panels*panel-1]
	for r := range rows {
		clear(y[r*ldy:][:panels*generic.PanelOuts])
	}
	ly, lx := uintptr(ldy*4), uintptr(n)*unsafe.Sizeof(x[0])
	for p := range panels {
		pw := &w[p*panel]
		for r := 0; r < rows; {
			py, px := &y[r*ldy+p*generic.PanelOuts], &x[r*n]
			switch left := rows - r; {
			case left >= 4 && four != nil:
				four(py, ly, px, lx, pw, n)
				r += 4
			case left >= 2:
				two(py, ly, px, lx, pw, n)
				r += 2
			default:
				one(py, ly, px, lx, pw, n)
				r++
			}
		}
	}
}

// PackTile quantises 32 inputs × 16 outputs to a block of a panel.
func PackTile(d tensor.DType, dst []byte, tile []float32, ld int) {
	_, _ = dst[generic.PanelBlock(d)-1], tile[(tensor.QuantBlock-1)*ld+generic.PanelOuts-1]
	if d == tensor.Q4_0 {
		packTileQ4(&dst[0], &tile[0], uintptr(ld*4))
	} else {
		packTileQ8(&dst[0], &tile[0], uintptr(ld*4))
	}
}

// PeakInt8 runs n rounds of multiply-adds of bytes and returns their operations.
func PeakInt8(n int) int {
	if n <= 0 {
		return 0
	}
	peakLong(n)
	return n * 8 * 16 * 2
}

// DotPeakInt8 is PeakInt8 by SDOT.
func DotPeakInt8(n int) int {
	if n <= 0 {
		return 0
	}
	peakDot(n)
	return n * 24 * 16 * 2
}
