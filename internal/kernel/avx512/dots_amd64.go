//go:build !noasm

package avx512

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Dots computes products with rows of w, by tiles of four rows of w and six of x.
func Dots(d tensor.DType, y []float32, ldy int, x []float32, rows, in int, w []byte, stride, outs int) {
	if rows > 0 && outs > 0 && in > 0 {
		_ = x[rows*in-1]
	}
	dots(kindOf(d), y, ldy, unsafe.Pointer(unsafe.SliceData(x)), in, rows, in, w, stride, outs)
}

// dotDepth is how many inputs of ten rows lie in the first-level cache, and
// dotBytes what a block of rows of x may take of the second. With more than manyDots rows of
// x to a byte of W's elements, most of W comes from there.
const (
	dotDepth = 768
	dotBytes = 320 << 10
	dotRows  = 6
	manyDots = 8

	// How many bytes further on W is asked for.
	farAhead, nearAhead = 1024, 512
)

// dots has rows of x, in float32 or in pairs, ldx elements or pairs apart.
func dots(d kind, y []float32, ldy int, x unsafe.Pointer, ldx, rows, in int, w []byte, stride, outs int) {
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
	_ = w[(outs-1)*stride+in*d.size()-1]
	if rows%8 == 0 && rows <= 16 && in <= 2*dotDepth {
		dotsOfEight(d, y, ldy, x, ldx, rows, in, w, stride, outs)
		return
	}
	// Four streams far apart, each in order, as a prefetcher likes them.
	q := outs / 4
	if rows == 1 && q > 0 {
		dotRow(d, y, q, x, &w[0], uintptr(stride), in)
		for o := 4 * q; o < outs; o++ {
			dotBlock(d, y[o:], ldy, 0, x, ldx, 1, &w[o*stride], 0, in)
		}
		return
	}
	if rows > manyDots*d.size() && outs >= 4 {
		manyRows(d, y, ldy, x, ldx, rows, in, w, stride, outs)
		return
	}
	block := max(dotRows, dotBytes/(ldx*4)/dotRows*dotRows)
	for r := 0; r < rows; r += block {
		n := min(block, rows-r)
		px := unsafe.Add(x, r*ldx*4)
		for o := range q {
			dotBlock(d, y[r*ldy+o:], ldy, q, px, ldx, n, &w[o*stride], uintptr(q*stride), in)
		}
		for o := 4 * q; o < outs; o++ {
			// One output, four times.
			dotBlock(d, y[r*ldy+o:], ldy, 0, px, ldx, n, &w[o*stride], 0, in)
		}
	}
}

// Of many rows of x, manyDepth bytes of six stay in the first-level cache while rows of W
// stream by, four neighbours at a time (Zen 5: those far apart may be in each other's way),
// and manyBytes of W in the second.
const (
	manyDepth = 4 << 10
	manyBytes = 384 << 10
)

// manyRows is dots for many rows of x.
func manyRows(d kind, y []float32, ldy int, x unsafe.Pointer, ldx, rows, in int, w []byte, stride, outs int) {
	perX, depth := 4, in
	if d == pairs {
		perX = 2
	}
	if parts := (in*perX + manyDepth - 1) / manyDepth; parts > 1 {
		depth = ((in+parts-1)/parts + 63) / 64 * 64
	}
	// Lanes of a part of the inputs wait for the next.
	var lanes [16][4 * dotRows * 16]float32
	group := max(4, manyBytes/stride/4*4)
	if depth < in {
		group = min(group, 4*len(lanes))
	}
	for first := 0; first < outs; first += group {
		last := min(first+group, outs)
		// The first rows of x find W in memory, its next rows are asked for; the others in the
		// second-level cache, and the less of it the first holds the more of x stays there.
		ahead := uintptr(4 * stride)
		for r := 0; r < rows; {
			n := 0
			for k := 0; k < in; k += depth {
				px, deep := unsafe.Add(x, r*ldx*4+k*perX), min(depth, in-k)
				for o := first; o < last; o += 4 {
					c := min(o, outs-4) // the last ones are computed twice rather than apart
					n = dot(d, rows-r, &y[r*ldy+c], uintptr(ldy*4), 4, px, uintptr(ldx*4), &w[c*stride+k*d.size()], uintptr(stride), deep,
						&lanes[(o-first)/4%len(lanes)][0], k > 0, k+deep < in, ahead)
				}
			}
			r += n
			ahead = nearAhead
		}
	}
}

// dotsOfEight is dots for a few rows of x, eight at a time: each element of W is
// widened once for them.
func dotsOfEight(d kind, y []float32, ldy int, x unsafe.Pointer, ldx, rows, in int, w []byte, stride, outs int) {
	q := outs / 3 // streams as above
	for o := range q {
		eightDots(d, y[o:], ldy, q, x, ldx, rows, in, &w[o*stride], uintptr(q*stride))
	}
	for o := 3 * q; o < outs; o++ {
		// One output, three times.
		eightDots(d, y[o:], ldy, 0, x, ldx, rows, in, &w[o*stride], 0)
	}
}

// eightDots is the product with three rows of W.
func eightDots(d kind, y []float32, ldy, step int, x unsafe.Pointer, ldx, rows, in int, w *byte, stride uintptr) {
	f := dots8F32
	switch d {
	case f16:
		f = dots8F16
	case bf16:
		f = dots8BF16
	case pairs:
		f = dots8Pairs
	}
	for r := 0; r < rows; r += 8 {
		f(&y[r*ldy], uintptr(ldy*4), uintptr(step*4), unsafe.Add(x, r*ldx*4), uintptr(ldx*4), w, stride, in)
	}
}

// dotRow is the product of one row of x with 4·q rows of W.
func dotRow(d kind, y []float32, q int, x unsafe.Pointer, w *byte, stride uintptr, in int) {
	f := dotRowF32
	switch d {
	case f16:
		f = dotRowF16
	case bf16:
		f = dotRowBF16
	case pairs:
		f = dotRowPairs
	}
	f(&y[0], uintptr(q*4), x, w, stride, uintptr(q)*stride, in, q)
}

// dotBlock is the product with four rows of W.
func dotBlock(d kind, y []float32, ldy, step int, x unsafe.Pointer, ldx, rows int, w *byte, stride uintptr, in int) {
	if in > 2*dotDepth && rows > 4 {
		dotBlockDeep(d, y, ldy, step, x, ldx, rows, w, stride, in)
		return
	}
	for r := 0; r < rows; {
		r += dot(d, rows-r, &y[r*ldy], uintptr(ldy*4), uintptr(step*4), unsafe.Add(x, r*ldx*4), uintptr(ldx*4), w, stride, in, nil, false, false, farAhead)
	}
}

// dotBlockDeep takes the inputs in parts, so that W stays in the first-level
// cache; the lanes wait meanwhile.
func dotBlockDeep(d kind, y []float32, ldy, step int, x unsafe.Pointer, ldx, rows int, w *byte, stride uintptr, in int) {
	const few = 4 * dotRows
	var lanes [few][4 * 16]float32
	perX := 4
	if d == pairs {
		perX = 2
	}
	for first := 0; first < rows; first += few {
		n := min(few, rows-first)
		for k := 0; k < in; k += dotDepth {
			depth := min(dotDepth, in-k)
			pw := (*byte)(unsafe.Add(unsafe.Pointer(w), k*d.size()))
			for i := 0; i < n; {
				r := first + i
				i += dot(d, n-i, &y[r*ldy], uintptr(ldy*4), uintptr(step*4), unsafe.Add(x, r*ldx*4+k*perX), uintptr(ldx*4), pw, stride, depth,
					&lanes[i][0], k > 0, k+depth < in, farAhead)
			}
		}
	}
}

// dot computes as many of the rows as there is a kernel for, and returns how many.
func dot(d kind, rows int, y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr) int {
	switch {
	case rows >= 6 && rows != 8:
		switch d {
		case f32:
			dots6F32(y, ldy, step, x, ldx, w, stride, n, lanes, load, keep, ahead)
		case f16:
			dots6F16(y, ldy, step, x, ldx, w, stride, n, lanes, load, keep, ahead)
		case bf16:
			dots6BF16(y, ldy, step, x, ldx, w, stride, n, lanes, load, keep, ahead)
		case pairs:
			dots6Pairs(y, ldy, step, x, ldx, w, stride, n, lanes, load, keep, ahead)
		}
		return 6
	case rows >= 4:
		switch d {
		case f32:
			dots4F32(y, ldy, step, x, ldx, w, stride, n, lanes, load, keep, ahead)
		case f16:
			dots4F16(y, ldy, step, x, ldx, w, stride, n, lanes, load, keep, ahead)
		case bf16:
			dots4BF16(y, ldy, step, x, ldx, w, stride, n, lanes, load, keep, ahead)
		case pairs:
			dots4Pairs(y, ldy, step, x, ldx, w, stride, n, lanes, load, keep, ahead)
		}
		return 4
	}
	switch d {
	case f32:
		dots1F32(y, ldy, step, x, ldx, w, stride, n, lanes, load, keep, ahead)
	case f16:
		dots1F16(y, ldy, step, x, ldx, w, stride, n, lanes, load, keep, ahead)
	case bf16:
		dots1BF16(y, ldy, step, x, ldx, w, stride, n, lanes, load, keep, ahead)
	case pairs:
		dots1Pairs(y, ldy, step, x, ldx, w, stride, n, lanes, load, keep, ahead)
	}
	return 1
}

//go:noescape
func dots6F32(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)

//go:noescape
func dots6F16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)

//go:noescape
func dots6BF16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)

//go:noescape
func dots6Pairs(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)

//go:noescape
func dots4F32(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)

//go:noescape
func dots4F16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)

//go:noescape
func dots4BF16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)

//go:noescape
func dots4Pairs(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)

//go:noescape
func dots1F32(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)

//go:noescape
func dots1F16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)

//go:noescape
func dots1BF16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)

//go:noescape
func dots1Pairs(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)

//go:noescape
func dots8F32(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int)

//go:noescape
func dots8F16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int)

//go:noescape
func dots8BF16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int)

//go:noescape
func dots8Pairs(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int)

//go:noescape
func dotRowF32(y *float32, step uintptr, x unsafe.Pointer, w *byte, stride, apart uintptr, n, count int)

//go:noescape
func dotRowF16(y *float32, step uintptr, x unsafe.Pointer, w *byte, stride, apart uintptr, n, count int)

//go:noescape
func dotRowBF16(y *float32, step uintptr, x unsafe.Pointer, w *byte, stride, apart uintptr, n, count int)

//go:noescape
func dotRowPairs(y *float32, step uintptr, x unsafe.Pointer, w *byte, stride, apart uintptr, n, count int)
