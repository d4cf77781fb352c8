//go:build !noasm

package avx512

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// kind is how a row of W is read and multiplied.
type kind int

const (
	f32 kind = iota
	f16
	bf16      // widened to float32
	pairs     // bf16 times pairs of bf16
	pairPanel // the same where rows of W are pairs already
)

func kindOf(d tensor.DType) kind {
	switch d {
	case tensor.F16:
		return f16
	case tensor.BF16:
		return bf16
	}
	return f32
}

func (k kind) size() int {
	if k == f32 {
		return 4
	}
	return 2
}

// Accumulate adds rows of a matrix to rows of y.
func Accumulate(d tensor.DType, y []float32, ldy int, x []float32, ldx, rows, depth int, w []byte, stride, cols int) {
	widened(d, panelAhead, y, ldy, x, ldx, rows, depth, w, stride, cols)
}

// AccumulateNear is Accumulate for processors that read faster what is asked for later
// (Intel).
func AccumulateNear(d tensor.DType, y []float32, ldy int, x []float32, ldx, rows, depth int, w []byte, stride, cols int) {
	ahead := uintptr(6 << 10)
	if d == tensor.F32 {
		ahead = 2 << 10
	}
	widened(d, ahead, y, ldy, x, ldx, rows, depth, w, stride, cols)
}

// panelAhead is how many bytes ahead a panel is asked for: on a Zen 5 eight rows take 2 to 6 %
// less time than with 6 KB.
const panelAhead = 8 << 10

func widened(d tensor.DType, ahead uintptr, y []float32, ldy int, x []float32, ldx, rows, depth int, w []byte, stride, cols int) {
	if rows == 0 || depth == 0 || cols == 0 {
		return
	}
	_, _, _ = y[(rows-1)*ldy+cols-1], x[(rows-1)*ldx+depth-1], w[(depth-1)*stride+cols*d.Size()-1]
	accumulate(kindOf(d), ahead, y, ldy, unsafe.Pointer(&x[0]), ldx, rows, depth, w, stride, cols)
}

// tileDepth is how many rows of W a tile takes at a time: a member's columns of
// so many rows and of the next ones lie in the second-level cache.
const tileDepth = 64

// accumulate adds by tiles of rows × NR columns. x is in float32, or in pairs. A panel
// is asked for so many bytes ahead.
func accumulate(d kind, panel uintptr, y []float32, ldy int, x unsafe.Pointer, ldx, rows, depth int, w []byte, stride, cols int) {
	lc, la, ls := uintptr(ldy*4), uintptr(ldx*4), uintptr(stride)
	perX := 4 // bytes of x to a row of W
	if d == pairs {
		perX = 2
	}
	if stride == NR*d.size() && cols == NR {
		// A panel, read in a line.
		for r := 0; r < rows; {
			r += tile(d, rows-r, &y[r*ldy], lc, unsafe.Add(x, r*ldx*4), la, &w[0], ls, depth, cols, panel)
		}
		return
	}
	k := 0
	if rows == 1 {
		for ; k+8 <= depth; k += 8 {
			ahead := uintptr(0)
			if k+16 <= depth {
				ahead = 8 * ls
			}
			stream8(d, &y[0], unsafe.Add(x, k*perX), &w[k*stride], ls, cols, ahead)
		}
	}
	for ; k < depth; k += tileDepth {
		n := min(tileDepth, depth-k)
		ahead := uintptr(0)
		if k+n < depth {
			ahead = uintptr(n * stride)
		}
		for col := 0; col < cols; col += NR {
			width := min(NR, cols-col)
			pw := &w[k*stride+col*d.size()]
			for r := 0; r < rows; {
				a := unsafe.Add(x, r*ldx*4+k*perX)
				if r*ldy+col+NR > len(y) || (width < NR && ldy < col+NR) {
					// The last columns, and no room for more: aside.
					var c [NR]float32
					to := y[r*ldy+col:][:width]
					copy(c[:], to)
					tile(d, 1, &c[0], lc, a, la, pw, ls, n, width, ahead)
					copy(to, c[:])
					r++
					continue
				}
				r += tile(d, rows-r, &y[r*ldy+col], lc, a, la, pw, ls, n, width, ahead)
			}
		}
	}
}

// stream8 adds eight rows of W that stream by to one row of y.
func stream8(d kind, y *float32, x unsafe.Pointer, w *byte, stride uintptr, n int, ahead uintptr) {
	switch d {
	case f32:
		stream8F32(y, x, w, stride, n, ahead)
	case f16:
		stream8F16(y, x, w, stride, n, ahead)
	case bf16:
		stream8BF16(y, x, w, stride, n, ahead)
	case pairs:
		stream8Pairs(y, x, w, stride, n, ahead)
	}
}

// tile computes as many of the rows as there is a kernel for, and returns how many.
func tile(d kind, rows int, c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr) int {
	switch {
	case rows >= 12 && rows != 16:
		switch d {
		case f32:
			tile12F32(c, ldc, a, lda, w, stride, k, cols, ahead)
		case f16:
			tile12F16(c, ldc, a, lda, w, stride, k, cols, ahead)
		case bf16:
			tile12BF16(c, ldc, a, lda, w, stride, k, cols, ahead)
		case pairs:
			tile12Pairs(c, ldc, a, lda, w, stride, k, cols, ahead)
		case pairPanel:
			tile12Panel(c, ldc, a, lda, w, stride, k, cols, ahead)
		}
		return 12
	case rows >= 8:
		switch d {
		case f32:
			tile8F32(c, ldc, a, lda, w, stride, k, cols, ahead)
		case f16:
			tile8F16(c, ldc, a, lda, w, stride, k, cols, ahead)
		case bf16:
			tile8BF16(c, ldc, a, lda, w, stride, k, cols, ahead)
		case pairs:
			tile8Pairs(c, ldc, a, lda, w, stride, k, cols, ahead)
		case pairPanel:
			tile8Panel(c, ldc, a, lda, w, stride, k, cols, ahead)
		}
		return 8
	case rows >= 4:
		switch d {
		case f32:
			tile4F32(c, ldc, a, lda, w, stride, k, cols, ahead)
		case f16:
			tile4F16(c, ldc, a, lda, w, stride, k, cols, ahead)
		case bf16:
			tile4BF16(c, ldc, a, lda, w, stride, k, cols, ahead)
		case pairs:
			tile4Pairs(c, ldc, a, lda, w, stride, k, cols, ahead)
		case pairPanel:
			tile4Panel(c, ldc, a, lda, w, stride, k, cols, ahead)
		}
		return 4
	}
	switch d {
	case f32:
		tile1F32(c, ldc, a, lda, w, stride, k, cols, ahead)
	case f16:
		tile1F16(c, ldc, a, lda, w, stride, k, cols, ahead)
	case bf16:
		tile1BF16(c, ldc, a, lda, w, stride, k, cols, ahead)
	case pairs:
		tile1Pairs(c, ldc, a, lda, w, stride, k, cols, ahead)
	case pairPanel:
		tile1Panel(c, ldc, a, lda, w, stride, k, cols, ahead)
	}
	return 1
}

// Pack writes a matrix as panels of NR columns.
func Pack(d tensor.DType, dst []float32, w []byte, stride, rows, cols int) {
	if rows == 0 || cols == 0 {
		return
	}
	_ = w[(rows-1)*stride+cols*d.Size()-1]
	_ = dst[(cols+NR-1)/NR*NR*rows-1]
	row := packRowF32
	switch d {
	case tensor.F16:
		row = packRowF16
	case tensor.BF16:
		row = packRowBF16
	}
	const ahead = 4 // rows
	for k := range rows {
		row(&dst[k*NR], &w[k*stride], cols, uintptr(rows*NR*4), uintptr(ahead*stride))
	}
}

// PackTransposed writes n rows of dim elements as one panel [dim][NR].
func PackTransposed(dst, src []float32, n, dim int) {
	if n == 0 || dim == 0 {
		return
	}
	_, _ = dst[dim*NR-1], src[n*dim-1]
	for d := 0; d < dim; d += 16 {
		cols := min(16, dim-d)
		for r := 0; r < NR; r += 16 {
			rows := min(16, n-r)
			from := min(r, n-1) * dim // rows ≤ 0 reads nothing
			transpose16(&dst[d*NR+r], NR*4, &src[from+d], uintptr(dim*4), rows, cols)
		}
	}
}

// Multiply computes a tile of mr × NR results.
func Multiply(c []float32, ldc int, a []float32, lda int, b []float32, ldb, mr, k int, load bool) {
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
	_, _, _ = c[(mr-1)*ldc+NR-1], a[(mr-1)*lda+k-1], b[(k-1)*ldb+NR-1]
	lc, la, lb := uintptr(ldc*4), uintptr(lda*4), uintptr(ldb*4)
	for i := 0; i < mr; {
		pc, pa := &c[i*ldc], &a[i*lda]
		switch n := mr - i; {
		case n >= 12:
			multiply12(pc, lc, pa, la, &b[0], lb, k, load)
			i += 12
		case n >= 8:
			multiply8(pc, lc, pa, la, &b[0], lb, k, load)
			i += 8
		case n >= 4:
			multiply4(pc, lc, pa, la, &b[0], lb, k, load)
			i += 4
		default:
			multiply1(pc, lc, pa, la, &b[0], lb, k, load)
			i++
		}
	}
}

// MultiplyAhead is Multiply by a panel whose rows follow each other, and asks for
// memory meanwhile.
func MultiplyAhead(c []float32, ldc int, a []float32, lda int, b []float32, mr, k int, load bool, h *generic.Ahead) {
	if mr < MR || k < 4 {
		Multiply(c, ldc, a, lda, b, NR, mr, k, load)
		if h.End != nil {
			h.End.Rows(c, ldc, mr, NR, Add)
		}
		return
	}
	_, _, _ = c[(MR-1)*ldc+NR-1], a[(MR-1)*lda+k-1], b[k*NR-1]
	h.End.Check(MR, NR)
	multiply12Ahead(&c[0], uintptr(ldc*4), &a[0], uintptr(lda*4), &b[0], k, load, h)
}

func first(s []float32) *float32 { return unsafe.SliceData(s) }
