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
func q8six(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks int, load bool, ahead *byte)

//go:noescape
func q4six(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks int, load bool, ahead *byte)

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

// Six rows are multiplied at once by two panels, of which so many bytes lie in the
// first-level cache beside the rows.
const (
	sixRows  = 6
	sixBytes = 28 << 10
)

// Products multiplies six rows at a time with two panels, as much of the inputs as the
// first-level cache has room for, or twelve with one.
func Products(d tensor.DType, y []float32, ldy int, x []generic.Block, rows int, w []byte, panels int) {
	n := len(x) / rows
	if n == 0 || panels == 0 {
		return
	}
	panel := n * generic.PanelBlock(d)
	_, _ = y[(rows-1)*ldy+panels*generic.PanelOuts-1], w[panels*panel-1]
	if rows >= mostRows && panels > 1 {
		r, p := rows/sixRows*sixRows, panels/2*2
		productsOfSix(d, y, ldy, x, n, r, w, p)
		if r < rows {
			products(d, y[r*ldy:], ldy, x[r*n:], n, rows-r, w, p)
		}
		if y, w = y[p*generic.PanelOuts:], w[p*panel:]; p == panels {
			return
		}
		panels = 1
	}
	products(d, y, ldy, x, n, rows, w, panels)
}

func productsOfSix(d tensor.DType, y []float32, ldy int, x []generic.Block, n, rows int, w []byte, panels int) {
	size := generic.PanelBlock(d)
	panel := n * size
	multiply := q8six
	if d == tensor.Q4_0 {
		multiply = q4six
	}
	ly, lx := uintptr(ldy*4), uintptr(n)*unsafe.Sizeof(x[0])
	parts := (2*panel + sixBytes - 1) / sixBytes
	for part := range parts {
		k := n * part / parts
		blocks := n*(part+1)/parts - k
		for p := 0; p < panels; p += 2 {
			w0, w1 := p*panel+k*size, (p+1)*panel+k*size
			next := (k + blocks) * size // the next part begins with the first panels again
			if p+2 < panels {
				next = w0 + 2*panel
			}
			ask := 0
			for r := 0; r < rows; r += sixRows {
				multiply(&y[r*ldy+p*generic.PanelOuts], ly, &x[r*n+k], lx, &w[w0], &w[w1], blocks, part > 0, &w[min(next+ask, len(w)-1)])
				if ask += 64 * blocks; ask >= blocks*size && ask < panel {
					ask = panel // of the second one
				}
			}
		}
	}
}

// products multiplies up to twelve rows at a time with a panel.
func products(d tensor.DType, y []float32, ldy int, x []generic.Block, n, rows int, w []byte, panels int) {
	panel := n * generic.PanelBlock(d)
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
