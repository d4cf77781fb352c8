//go:build !noasm

package avx512

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
)

// The functions of bf16 weights by VDPBF16PS, as package generic has them:
// needs AVX512_BF16.

// RoundPairs rounds src to pairs.
func RoundPairs(dst []uint32, src []float32) {
	if len(src) > 0 {
		_ = dst[(len(src)+1)/2-1]
		roundPairs(&dst[0], &src[0], len(src))
	}
}

// AccumulatePairs adds rows of a matrix to rows of y.
func AccumulatePairs(y []float32, ldy int, x []uint32, ldx, rows, depth int, w []byte, stride, cols int) {
	if rows == 0 || depth == 0 || cols == 0 {
		return
	}
	_, _, _ = y[(rows-1)*ldy+cols-1], x[(rows-1)*ldx+(depth+1)/2-1], w[(depth-1)*stride+cols*2-1]
	accumulate(pairs, panelAhead, y, ldy, unsafe.Pointer(&x[0]), ldx, rows, depth, w, stride, cols)
}

// AccumulatePanel adds rows of pairs times a panel of pairs to rows of y.
func AccumulatePanel(y []float32, ldy int, x []uint32, ldx, rows, depth int, w []byte) {
	if rows == 0 || depth == 0 {
		return
	}
	_, _, _ = y[(rows-1)*ldy+NR-1], x[(rows-1)*ldx+depth-1], w[depth*NR*4-1]
	lc, la := uintptr(ldy*4), uintptr(ldx*4)
	for r := 0; r < rows; {
		r += tile(pairPanel, rows-r, &y[r*ldy], lc, unsafe.Pointer(&x[r*ldx]), la, &w[0], NR*4, depth, NR, panelAhead)
	}
}

// PackPairs writes a matrix as panels of NR columns of pairs of rows.
func PackPairs(dst []uint32, w []byte, stride, rows, cols int) {
	if rows == 0 || cols == 0 {
		return
	}
	deep := (rows + 1) / 2
	_ = w[(rows-1)*stride+cols*2-1]
	_ = dst[(cols+NR-1)/NR*NR*deep-1]
	for k := 0; k < rows; k += 2 {
		packPairs(&dst[k/2*NR], &w[k*stride], uintptr(stride), min(2, rows-k), cols, uintptr(deep*NR*4))
	}
}

// MultiplyPairs computes a tile of mr × NR results.
func MultiplyPairs(c []float32, ldc int, a []uint32, lda int, b []uint32, mr, k int, load bool) {
	if mr == 0 {
		return
	}
	if k == 0 {
		if !load {
			for i := range mr {
				clear(c[i*ldc:][:NR])
			}
		}
		return
	}
	_, _, _ = c[(mr-1)*ldc+NR-1], a[(mr-1)*lda+k-1], b[k*NR-1]
	lc, la := uintptr(ldc*4), uintptr(lda*4)
	for i := 0; i < mr; {
		pc, pa := &c[i*ldc], &a[i*lda]
		switch n := mr - i; {
		case n >= 12:
			multiply12Pairs(pc, lc, pa, la, &b[0], k, load)
			i += 12
		case n >= 8:
			multiply8Pairs(pc, lc, pa, la, &b[0], k, load)
			i += 8
		case n >= 4:
			multiply4Pairs(pc, lc, pa, la, &b[0], k, load)
			i += 4
		default:
			multiply1Pairs(pc, lc, pa, la, &b[0], k, load)
			i++
		}
	}
}

// MultiplyPairsAhead is MultiplyPairs that asks for memory meanwhile, see MultiplyAhead.
func MultiplyPairsAhead(c []float32, ldc int, a []uint32, lda int, b []uint32, mr, k int, load bool, h *generic.Ahead) {
	if mr < MR || k < 4 {
		MultiplyPairs(c, ldc, a, lda, b, mr, k, load)
		if h.End != nil {
			h.End.Rows(c, ldc, mr, NR, Add)
		}
		return
	}
	_, _, _ = c[(MR-1)*ldc+NR-1], a[(MR-1)*lda+k-1], b[k*NR-1]
	h.End.Check(MR, NR)
	multiply12PairsAhead(&c[0], uintptr(ldc*4), &a[0], uintptr(lda*4), &b[0], k, load, h)
}

// DotsPairs computes products with rows of w.
func DotsPairs(y []float32, ldy int, x []uint32, ldx, rows, in int, w []byte, stride, outs int) {
	if rows > 0 && outs > 0 && in > 0 {
		_ = x[(rows-1)*ldx+(in+1)/2-1]
	}
	dots(pairs, y, ldy, unsafe.Pointer(unsafe.SliceData(x)), ldx, rows, in, w, stride, outs)
}

// PeakPairs runs n rounds of VDPBF16PS and returns their operations.
func PeakPairs(n int) int {
	if n <= 0 {
		return 0
	}
	peakPairs(n)
	return n * 16 * 16 * 4
}

func peakPairs(n int)

//go:noescape
func multiply12Pairs(c *float32, ldc uintptr, a *uint32, lda uintptr, b *uint32, k int, load bool)

//go:noescape
func multiply8Pairs(c *float32, ldc uintptr, a *uint32, lda uintptr, b *uint32, k int, load bool)

//go:noescape
func multiply4Pairs(c *float32, ldc uintptr, a *uint32, lda uintptr, b *uint32, k int, load bool)

//go:noescape
func multiply1Pairs(c *float32, ldc uintptr, a *uint32, lda uintptr, b *uint32, k int, load bool)

//go:noescape
func multiply12PairsAhead(c *float32, ldc uintptr, a *uint32, lda uintptr, b *uint32, k int, load bool, h *generic.Ahead)

//go:noescape
func packPairs(dst *uint32, w *byte, stride uintptr, rows, cols int, panel uintptr)

//go:noescape
func roundPairs(dst *uint32, src *float32, n int)
