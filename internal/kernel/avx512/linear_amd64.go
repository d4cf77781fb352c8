//go:build !noasm

package avx512

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Accumulate adds rows of a matrix to rows of y, eight of them at a time.
func Accumulate(d tensor.DType, y []float32, ldy int, x []float32, ldx, rows, depth int, w []byte, stride, cols int) {
	if rows == 0 || depth == 0 || cols == 0 {
		return
	}
	_, _, _ = y[(rows-1)*ldy+cols-1], x[(rows-1)*ldx+depth-1], w[(depth-1)*stride+cols*d.Size()-1]
	eight, one, many := accumulate8F32, accumulate1F32, accumulateRowsF32
	switch d {
	case tensor.F16:
		eight, one, many = accumulate8F16, accumulate1F16, accumulateRowsF16
	case tensor.BF16:
		eight, one, many = accumulate8BF16, accumulate1BF16, accumulateRowsBF16
	}
	if rows > 1 {
		_ = y[(rows-1)*ldy+(cols+NR-1)/NR*NR-1]
	}
	k := 0
	for ; k+8 <= depth; k += 8 {
		p := &w[k*stride]
		if rows == 1 {
			eight(&y[0], &x[k], p, uintptr(stride), cols)
		} else {
			many(&y[0], uintptr(ldy*4), &x[k], uintptr(ldx*4), rows, p, uintptr(stride), cols)
		}
	}
	for ; k < depth; k++ {
		for r := range rows {
			one(&y[r*ldy], x[r*ldx+k], &w[k*stride], cols)
		}
	}
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
			transpose16(&dst[d*NR+r], &src[from+d], uintptr(dim*4), rows, cols)
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

// Dots computes products with rows of w, by blocks of four rows of w and four of x.
func Dots(d tensor.DType, y []float32, ldy int, x []float32, rows, in int, w []byte, stride, outs int) {
	if rows == 0 || outs == 0 {
		return
	}
	_ = y[(rows-1)*ldy+outs-1]
	if in == 0 {
		for r := range rows {
			clear(y[r*ldy:][:outs])
		}
		return
	}
	_, _ = x[rows*in-1], w[(outs-1)*stride+in*d.Size()-1]
	dot44, dot14, dot11 := dot44F32, dot14F32, dot11F32
	switch d {
	case tensor.F16:
		dot44, dot14, dot11 = dot44F16, dot14F16, dot11F16
	case tensor.BF16:
		dot44, dot14, dot11 = dot44BF16, dot14BF16, dot11BF16
	}
	// Four streams far apart, each in order, as a prefetcher likes them.
	q := outs / 4
	ly, lx, step, far := uintptr(ldy*4), uintptr(in*4), uintptr(q*4), uintptr(q*stride)
	for o := range q {
		p, r := &w[o*stride], 0
		for ; r+4 <= rows; r += 4 {
			dot44(&y[r*ldy+o], ly, &x[r*in], lx, p, far, in, step)
		}
		for ; r < rows; r++ {
			dot14(&y[r*ldy+o], step, &x[r*in], p, far, in)
		}
	}
	for o := 4 * q; o < outs; o++ {
		for r := range rows {
			dot11(&y[r*ldy+o], &x[r*in], &w[o*stride], in)
		}
	}
}

func first(s []float32) *float32 { return unsafe.SliceData(s) }
