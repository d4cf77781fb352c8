//go:build !noasm

package avx2

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

//go:noescape
func q8rows1(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8rows2(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q8rows4(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows1(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows2(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func q4rows4(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)

//go:noescape
func quantize(dst *generic.Block, x *float32, blocks int, move int32)

//go:noescape
func packHalfQ8(scales, codes *byte, tile *float32, ld uintptr) bool

//go:noescape
func packHalfQ4(scales, codes *byte, tile *float32, ld uintptr) bool

func peakInt8(n int)

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

// Products multiplies up to four rows at a time with a panel.
func Products(d tensor.DType, y []float32, ldy int, x []generic.Block, rows int, w []byte, panels int) {
	n := len(x) / rows
	if n == 0 || panels == 0 {
		return
	}
	panel := n * generic.PanelBlock(d)
	_, _ = y[(rows-1)*ldy+panels*generic.PanelOuts-1], w[panels*panel-1]
	one, two, four := q8rows1, q8rows2, q8rows4
	if d == tensor.Q4_0 {
		one, two, four = q4rows1, q4rows2, q4rows4
	}
	for r := range rows {
		clear(y[r*ldy:][:panels*generic.PanelOuts])
	}
	ly, lx := uintptr(ldy*4), uintptr(n)*unsafe.Sizeof(x[0])
	for p := range panels {
		pw := &w[p*panel]
		for r := 0; r < rows; {
			py, px := &y[r*ldy+p*generic.PanelOuts], &x[r*n]
			switch left := rows - r; {
			case left >= 4:
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
	f := packHalfQ8
	if d == tensor.Q4_0 {
		f = packHalfQ4
	}
	if !f(&dst[0], &dst[32], &tile[0], uintptr(ld*4)) || !f(&dst[16], &dst[64], &tile[8], uintptr(ld*4)) {
		generic.PackTile(d, dst, tile, ld)
	}
}

// PeakInt8 runs n rounds of multiply-adds of bytes and returns their operations.
func PeakInt8(n int) int {
	if n <= 0 {
		return 0
	}
	peakInt8(n)
	return n * 7 * 32 * 2
}
