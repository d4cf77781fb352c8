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
func q8tile(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int, panel uintptr)

//go:noescape
func q4tile(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int, panel uintptr)

//go:noescape
func quantize(dst *generic.Block, x *float32, blocks int, move uint32)

//go:noescape
func packTileQ8(dst *byte, tile *float32, ld uintptr) bool

//go:noescape
func packTileQ4(dst *byte, tile *float32, ld uintptr) bool

func peakInt8(n int)

// Quantize rounds a row of x in blocks of 32.
func Quantize(dst []generic.Block, x []float32, d tensor.DType) {
	if len(dst) == 0 {
		return
	}
	_ = x[len(dst)*tensor.QuantBlock-1]
	move := uint32(0x80808080)
	if d == tensor.Q4_0 {
		move = 0x08080808
	}
	quantize(&dst[0], &x[0], len(dst), move)
}

// Products multiplies with panels: few rows one panel at a time, which streams
// by, many by tiles of six rows and two panels.
func Products(d tensor.DType, y []float32, ldy int, x []generic.Block, rows int, w []byte, panels int) {
	n := len(x) / rows
	if n == 0 || panels == 0 {
		return
	}
	panel := n * generic.PanelBlock(d)
	_, _ = y[(rows-1)*ldy+panels*generic.PanelOuts-1], w[panels*panel-1]
	ly, lx := uintptr(ldy*4), uintptr(n)*unsafe.Sizeof(x[0])
	const few = 16
	tile := q8tile
	if d == tensor.Q4_0 {
		tile = q4tile
	}
	p := 0
	if rows > few {
		for ; p+2 <= panels; p += 2 {
			r := 0
			for ; r+6 <= rows; r += 6 {
				tile(&y[r*ldy+p*generic.PanelOuts], ly, &x[r*n], lx, &w[p*panel], n, uintptr(panel))
			}
			if r < rows {
				rowsN(d, rows-r, &y[r*ldy+p*generic.PanelOuts], ly, &x[r*n], lx, &w[p*panel], n)
				rowsN(d, rows-r, &y[r*ldy+(p+1)*generic.PanelOuts], ly, &x[r*n], lx, &w[(p+1)*panel], n)
			}
		}
	}
	for ; p < panels; p++ {
		for r := 0; r < rows; {
			m := min(8, rows-r)
			if rows-r > 8 && rows-r < 16 {
				m = (rows - r + 1) / 2
			}
			rowsN(d, m, &y[r*ldy+p*generic.PanelOuts], ly, &x[r*n], lx, &w[p*panel], n)
			r += m
		}
	}
}

func rowsN(d tensor.DType, rows int, y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int) {
	if d == tensor.Q4_0 {
		[...]func(*float32, uintptr, *generic.Block, uintptr, *byte, int){
			q4rows1, q4rows2, q4rows3, q4rows4, q4rows5, q4rows6, q4rows7, q4rows8,
		}[rows-1](y, ldy, x, ldx, w, blocks)
		return
	}
	[...]func(*float32, uintptr, *generic.Block, uintptr, *byte, int){
		q8rows1, q8rows2, q8rows3, q8rows4, q8rows5, q8rows6, q8rows7, q8rows8,
	}[rows-1](y, ldy, x, ldx, w, blocks)
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
