//go:build !noasm

package avx2

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
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
	whole := cols &^ 7
	k := 0
	for ; k+8 <= depth; k += 8 {
		p := &w[k*stride]
		if rows == 1 {
			eight(&y[0], &x[k], p, uintptr(stride), cols)
			continue
		}
		if whole > 0 {
			many(&y[0], uintptr(ldy*4), &x[k], uintptr(ldx*4), rows, p, uintptr(stride), whole)
		}
		if whole < cols {
			for r := range rows {
				eight(&y[r*ldy+whole], &x[r*ldx+k], &w[k*stride+whole*d.Size()], uintptr(stride), cols-whole)
			}
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
	whole := cols &^ (NR - 1)
	if whole > 0 {
		const ahead = 4 // rows
		for k := range rows {
			row(&dst[k*NR], &w[k*stride], whole, uintptr(rows*NR*4), uintptr(ahead*stride))
		}
	}
	if whole < cols {
		generic.Pack(NR, d, dst[whole*rows:], w[whole*d.Size():], stride, rows, cols-whole)
	}
}

// PackTransposed writes n rows of dim elements as one panel [dim][NR].
func PackTransposed(dst, src []float32, n, dim int) {
	if n == 0 || dim == 0 {
		return
	}
	_, _ = dst[dim*NR-1], src[n*dim-1]
	wholeRows, wholeDims := n&^7, dim&^7
	for d := 0; d < wholeDims; d += 8 {
		for r := 0; r < wholeRows; r += 8 {
			transpose8(&dst[d*NR+r], NR*4, &src[r*dim+d], uintptr(dim*4))
		}
	}
	for d := range dim {
		out := dst[d*NR:][:NR]
		r := 0
		if d < wholeDims {
			r = wholeRows
		}
		for ; r < n; r++ {
			out[r] = src[r*dim+d]
		}
		clear(out[n:])
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
		case n >= 6:
			multiply6(pc, lc, pa, la, &b[0], lb, k, load)
			i += 6
		case n >= 3:
			multiply3(pc, lc, pa, la, &b[0], lb, k, load)
			i += 3
		default:
			multiply1(pc, lc, pa, la, &b[0], lb, k, load)
			i++
		}
	}
}

// Dots computes products with rows of w, by blocks of two rows of w and three
// of x, or four rows of w and one of x.
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
	whole := in &^ 15
	var wt, xt [4 * 16]float32 // the last few elements of four rows
	var pwt, pxt *float32
	if whole < in {
		pwt, pxt = &wt[0], &xt[0]
	}
	tailW := func(i, o int) { tensor.ToFloat32(wt[i*16:][:in-whole], d, w[o*stride+whole*d.Size():]) }
	tailX := func(i, r int) { copy(xt[i*16:], x[r*in+whole:(r+1)*in]) }
	o := 0
	if rows == 1 {
		tailX(0, 0)
		// Four streams far apart, each in order, as a prefetcher likes them.
		q := outs / 4
		for ; o < q; o++ {
			if pwt != nil {
				for i := range 4 {
					tailW(i, o+i*q)
				}
			}
			dot41(d, &y[o], q, &x[0], &w[o*stride], q*stride, whole, pxt, pwt)
		}
		o = 4 * q
	}
	for o < outs {
		nw := min(4, outs-o)
		if pwt != nil {
			for i := range nw {
				tailW(i, o+i)
			}
		}
		for r := 0; r < rows; {
			nx := 1
			if rows-r >= 3 && nw == 4 {
				nx = 3
			}
			if pxt != nil {
				for i := range nx {
					tailX(i, r+i)
				}
			}
			py, px, pw := &y[r*ldy+o], &x[r*in], &w[o*stride]
			switch {
			case nx == 3:
				dot23(d, py, ldy, px, in, pw, stride, whole, pxt, pwt)
				dot23(d, &y[r*ldy+o+2], ldy, px, in, &w[(o+2)*stride], stride, whole, pxt, after(pwt, 2*16))
			case nw == 4:
				dot41(d, py, 1, px, pw, stride, whole, pxt, pwt)
			default:
				for i := range nw {
					dot11(d, &y[r*ldy+o+i], px, &w[(o+i)*stride], whole, pxt, after(pwt, i*16))
				}
			}
			r += nx
		}
		o += nw
	}
}

func dot23(d tensor.DType, y *float32, ldy int, x *float32, in int, w *byte, stride, n int, xt, wt *float32) {
	ly, lx, lw := uintptr(ldy*4), uintptr(in*4), uintptr(stride)
	switch d {
	case tensor.F32:
		dot23F32(y, ly, x, lx, w, lw, n, xt, wt)
	case tensor.F16:
		dot23F16(y, ly, x, lx, w, lw, n, xt, wt)
	default:
		dot23BF16(y, ly, x, lx, w, lw, n, xt, wt)
	}
}

func dot41(d tensor.DType, y *float32, ldy int, x *float32, w *byte, stride, n int, xt, wt *float32) {
	switch d {
	case tensor.F32:
		dot41F32(y, uintptr(ldy*4), x, w, uintptr(stride), n, xt, wt)
	case tensor.F16:
		dot41F16(y, uintptr(ldy*4), x, w, uintptr(stride), n, xt, wt)
	default:
		dot41BF16(y, uintptr(ldy*4), x, w, uintptr(stride), n, xt, wt)
	}
}

func dot11(d tensor.DType, y, x *float32, w *byte, n int, xt, wt *float32) {
	switch d {
	case tensor.F32:
		dot11F32(y, x, w, n, xt, wt)
	case tensor.F16:
		dot11F16(y, x, w, n, xt, wt)
	default:
		dot11BF16(y, x, w, n, xt, wt)
	}
}

// after returns the address n elements on, nil for nil.
func after(p *float32, n int) *float32 {
	if p == nil {
		return nil
	}
	return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*n))
}

func first(s []float32) *float32 { return unsafe.SliceData(s) }
