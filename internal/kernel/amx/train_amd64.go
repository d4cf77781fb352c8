//go:build !noasm

package amx

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/tensor"
)

// rowsAhead is how many rows further a matrix that is read across is asked for.
const rowsAhead = 8

// turnAhead is how many bytes further one is asked for whose columns become rows.
const turnAhead = 256

// tilesAhead is how many bytes further tiles are asked for that follow each other.
const tilesAhead = 2 * stepBytes

// PackRows writes up to 32 rows of float32 or bfloat16 as tiles of x; turned,
// they are columns of src.
func PackRows(d tensor.DType, turned bool, dst, src []byte, stride, rows, depth int) {
	n := steps(depth)
	if n == 0 {
		return
	}
	dst = dst[:n*stepBytes]
	if rows < step {
		clear(dst)
	}
	if rows == 0 {
		return
	}
	if turned {
		turnRows(d, dst, src, stride, rows, depth)
		return
	}
	_ = src[(rows-1)*stride+depth*d.Size()-1]
	whole, rest := depth/step, depth%step
	if whole > 0 && d == tensor.BF16 {
		rowsBF16(&dst[0], &src[0], uintptr(stride), rows, whole)
	} else if whole > 0 {
		rowsFloats(&dst[0], &src[0], uintptr(stride), rows, whole)
	}
	if rest == 0 {
		return
	}
	for r := range rows {
		to, from := &dst[whole*stepBytes+r*64], &src[r*stride+whole*step*d.Size()]
		if d == tensor.BF16 {
			rowBF16(to, from, rest)
		} else {
			rowFloats(to, from, rest)
		}
	}
}

func turnRows(d tensor.DType, dst, src []byte, stride, rows, depth int) {
	size := d.Size()
	_ = src[(depth-1)*stride+rows*size-1]
	ahead := step * stride
	switch {
	case stride == 64: // a tile, behind which lies the next one
		ahead = tilesAhead
	case depth <= step: // then one goes along the rows of src
		ahead = turnAhead
	}
	for s := range depth / step {
		for r := 0; r < rows; r += 16 {
			turn(d, &dst[s*stepBytes+r*64], &src[s*step*stride+r*size], uintptr(stride), min(16, rows-r), uintptr(ahead))
		}
	}
	rest := depth % step
	if rest == 0 {
		return
	}
	var last [step * step * 4]byte // filled up with zeros
	width := rows * size
	for k := range rest {
		copy(last[k*step*4:][:width], src[(depth-rest+k)*stride:])
	}
	for r := 0; r < rows; r += 16 {
		turn(d, &dst[depth/step*stepBytes+r*64], &last[r*size], step*4, min(16, rows-r), 0)
	}
}

func turn(d tensor.DType, dst, src *byte, stride uintptr, cols int, ahead uintptr) {
	if d == tensor.BF16 {
		turnBF16(dst, src, stride, cols, ahead)
	} else {
		turnFloats(dst, src, stride, cols, ahead)
	}
}

// packFloats is packPairs of float32.
func packFloats(dst, w []byte, stride, depth, cols int) {
	n := steps(depth)
	_ = w[(depth-1)*stride+cols*4-1]
	if depth%step != 0 {
		for p := range steps(cols) {
			clear(dst[(p*n+n-1)*stepBytes:][:stepBytes])
		}
	}
	for k := 0; k < depth; k += 2 {
		var hi *byte
		if k+1 < depth {
			hi = &w[(k+1)*stride]
		}
		pairFloats(&dst[k/step*stepBytes+k%step/2*64], uintptr(n*stepBytes), &w[k*stride], hi, cols, uintptr(rowsAhead*stride))
	}
}

// PackStep is PackTiles of at most one step, of which those of a panel begin so many
// bytes after those of the one before.
func PackStep(d tensor.DType, dst []byte, panel int, w []byte, stride, depth, cols int) {
	if depth == 0 || cols == 0 {
		return
	}
	size := d.Size()
	_, _ = w[(depth-1)*stride+cols*size-1], dst[(steps(cols)-1)*panel+stepBytes-1]
	if d == tensor.BF16 && stride == 64 && depth == step && cols == step {
		pairTile(&dst[0], &w[0], tilesAhead)
		return
	}
	if depth < step {
		for p := range steps(cols) {
			clear(dst[p*panel:][:stepBytes])
		}
	}
	for k := 0; k < depth; k += 2 {
		var hi *byte
		if k+1 < depth {
			hi = &w[(k+1)*stride]
		}
		to := &dst[k/2*64]
		if d == tensor.F32 {
			pairFloats(to, uintptr(panel), &w[k*stride], hi, cols, uintptr(rowsAhead*stride))
		} else {
			pairBF16(to, uintptr(panel), &w[k*stride], hi, cols)
		}
	}
}

// packTransposedFloats is packTransposed of float32.
func packTransposedFloats(dst, w []byte, stride, depth, cols int) {
	n := steps(depth)
	_ = w[(cols-1)*stride+depth*4-1]
	for c := 0; c < steps(cols)*step; c += 16 {
		to := dst[c/step*n*stepBytes+c%step/16*1024:]
		rows := min(16, cols-c)
		from := w
		if rows > 0 {
			from = w[c*stride:]
		}
		for s := range n {
			transposeFloats(&to[s*stepBytes], &from[s*step*4], uintptr(stride), rows, min(step, depth-s*step))
		}
	}
}

// MultiplyPanels computes c = start + a·b (nil: zeros) for 32 rows and n panels of b. With
// each step of a panel 512 bytes of ahead are brought to the second-level cache.
func MultiplyPanels(c []float32, ldc int, start []float32, lds int, a, b []byte, next, n, steps int, ahead []byte) {
	if n == 0 || steps == 0 {
		for r := range step {
			if start == nil {
				clear(c[r*ldc:][:n*step])
			} else {
				copy(c[r*ldc:][:n*step], start[r*lds:])
			}
		}
		return
	}
	_ = c[(step-1)*ldc+n*step-1]
	if start != nil {
		_ = start[(step-1)*lds+n*step-1]
	}
	_, _ = a[steps*stepBytes-1], b[(n-1)*next+steps*stepBytes-1]
	if len(ahead) == 0 {
		ahead = a // nothing, and no address that is none
	}
	panels(&c[0], uintptr(ldc*4), unsafe.SliceData(start), uintptr(lds*4), &a[0], &b[0], uintptr(next), n, steps, unsafe.SliceData(ahead))
}

// AddRows adds rows of bfloat16 to y.
func AddRows(y []float32, x []uint16, ldx, rows int) {
	if rows == 0 || len(y) == 0 {
		return
	}
	_ = x[(rows-1)*ldx+len(y)-1]
	addRows(&y[0], &x[0], uintptr(ldx*2), rows, len(y))
}

// Finish writes results to y.
func Finish(d tensor.DType, round, add, past bool, y []byte, ldy int, c []float32, ldc, rows, cols int) {
	if rows == 0 || cols == 0 {
		return
	}
	_, _ = y[(rows-1)*ldy+cols*d.Size()-1], c[(rows-1)*ldc+cols-1]
	finish := finishCopy
	switch {
	case d == tensor.BF16 && add:
		finish = finishHalfSum
	case d == tensor.BF16:
		finish = finishHalf
	case round && add:
		finish = finishRoundSum
	case round:
		finish = finishRound
	case add:
		finish = finishSum
	case past && wholeLines(y, ldy, cols):
		finish = finishPast
	}
	finish(&y[0], uintptr(ldy), &c[0], uintptr(ldc*4), rows, cols)
}

// wholeLines says whether rows begin and end at multiples of 64 bytes.
func wholeLines(y []byte, ldy, cols int) bool {
	return uintptr(unsafe.Pointer(&y[0]))%64 == 0 && ldy%64 == 0 && cols%16 == 0
}

//go:noescape
func rowsBF16(dst, src *byte, stride uintptr, rows, steps int)

//go:noescape
func rowsFloats(dst, src *byte, stride uintptr, rows, steps int)

//go:noescape
func rowBF16(dst, src *byte, n int)

//go:noescape
func rowFloats(dst, src *byte, n int)

//go:noescape
func turnFloats(dst, src *byte, stride uintptr, cols int, ahead uintptr)

//go:noescape
func turnBF16(dst, src *byte, stride uintptr, cols int, ahead uintptr)

//go:noescape
func pairFloats(dst *byte, panel uintptr, lo, hi *byte, n int, ahead uintptr)

//go:noescape
func pairTile(dst, src *byte, ahead uintptr)

//go:noescape
func transposeFloats(dst, src *byte, stride uintptr, rows, n int)

//go:noescape
func panels(c *float32, ldc uintptr, start *float32, lds uintptr, a, b *byte, next uintptr, n, steps int, ahead *byte)

//go:noescape
func addRows(y *float32, x *uint16, ldx uintptr, rows, cols int)

//go:noescape
func finishCopy(y *byte, ldy uintptr, c *float32, ldc uintptr, rows, cols int)

//go:noescape
func finishPast(y *byte, ldy uintptr, c *float32, ldc uintptr, rows, cols int)

//go:noescape
func finishSum(y *byte, ldy uintptr, c *float32, ldc uintptr, rows, cols int)

//go:noescape
func finishRound(y *byte, ldy uintptr, c *float32, ldc uintptr, rows, cols int)

//go:noescape
func finishRoundSum(y *byte, ldy uintptr, c *float32, ldc uintptr, rows, cols int)

//go:noescape
func finishHalf(y *byte, ldy uintptr, c *float32, ldc uintptr, rows, cols int)

//go:noescape
func finishHalfSum(y *byte, ldy uintptr, c *float32, ldc uintptr, rows, cols int)
