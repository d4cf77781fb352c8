//go:build !noasm

package amx

import "github.com/gptctl/gptctl/internal/tensor"

const (
	step      = 32   // rows, columns, or depth
	stepBytes = 2048 // of x or W

	q8Bytes = 32 + 512 // of 32 inputs for 16 outputs: scales and numbers
	q4Bytes = 32 + 256
)

func steps(n int) int { return (n + step - 1) / step }

// PackRowTiles rounds up to 32 rows of x to bfloat16 and writes them as tiles.
func PackRowTiles(dst []byte, x []float32, ldx, rows, depth int) {
	n := steps(depth)
	dst = dst[:n*stepBytes]
	if rows < step {
		clear(dst)
	}
	if rows == 0 || depth == 0 {
		return
	}
	_ = x[(rows-1)*ldx+depth-1]
	for r := range rows {
		packRow(&dst[r*64], &x[r*ldx], depth)
	}
}

// PackTiles writes a matrix of 16-bit floats or quantised blocks as tiles.
func PackTiles(d tensor.DType, outMajor bool, dst, w []byte, stride, depth, cols int) {
	n := steps(depth)
	panels := steps(cols)
	if n == 0 || panels == 0 {
		return
	}
	dst = dst[:panels*n*stepBytes]
	switch {
	case d.IsQuantized():
		packBlocks(d, dst, w, stride, n, cols)
	case d == tensor.F32 && outMajor:
		packTransposedFloats(dst, w, stride, depth, cols)
	case d == tensor.F32:
		packFloats(dst, w, stride, depth, cols)
	case outMajor:
		packTransposed(d, dst, w, stride, depth, cols)
	default:
		packPairs(d, dst, w, stride, depth, cols)
	}
}

func packPairs(d tensor.DType, dst, w []byte, stride, depth, cols int) {
	n := steps(depth)
	_ = w[(depth-1)*stride+cols*2-1]
	if depth%step != 0 {
		for p := range steps(cols) {
			clear(dst[(p*n+n-1)*stepBytes:][:stepBytes])
		}
	}
	pair, panel := pairBF16, panelBF16
	if d == tensor.F16 {
		pair, panel = pairF16, panelF16
	}
	if stride == 2*step && cols == step && depth%2 == 0 {
		panel(&dst[0], &w[0], depth/2)
		return
	}
	for k := 0; k < depth; k += 2 {
		var hi *byte
		if k+1 < depth {
			hi = &w[(k+1)*stride]
		}
		pair(&dst[k/step*stepBytes+k%step/2*64], uintptr(n*stepBytes), &w[k*stride], hi, cols)
	}
}

func packTransposed(d tensor.DType, dst, w []byte, stride, depth, cols int) {
	n := steps(depth)
	_ = w[(cols-1)*stride+depth*2-1]
	transpose := transposeBF16
	if d == tensor.F16 {
		transpose = transposeF16
	}
	for c := 0; c < steps(cols)*step; c += 16 {
		to := dst[c/step*n*stepBytes+c%step/16*1024:]
		rows := min(16, cols-c)
		from := w
		if rows > 0 {
			from = w[c*stride:]
		}
		for s := range n {
			// No rows: nothing is read, the tile is zero.
			transpose(&to[s*stepBytes], &from[s*step*2], uintptr(stride), rows, min(step, depth-s*step))
		}
	}
}

func packBlocks(d tensor.DType, dst, w []byte, stride, n, cols int) {
	block, unpack := q8Bytes, dequantizeQ8
	if d == tensor.Q4_0 {
		block, unpack = q4Bytes, dequantizeQ4
	}
	for c := 0; c < steps(cols)*step; c += 16 {
		to := dst[c/step*n*stepBytes+c%step/16*1024:]
		if c >= cols {
			for s := range n {
				clear(to[s*stepBytes:][:1024])
			}
			continue
		}
		from := w[c/16*stride:][:n*block]
		unpack(&to[0], &from[0], n, stepBytes)
	}
}

// PeakBF16 runs n rounds of multiply-adds of bfloat16 and returns their operations.
func PeakBF16(n int) int {
	if n <= 0 {
		return 0
	}
	peakBF16(n)
	return n * 4 * 16 * 16 * 32 * 2
}

// PeakInt8 runs n rounds of multiply-adds of bytes and returns their operations.
func PeakInt8(n int) int {
	if n <= 0 {
		return 0
	}
	peakInt8(n)
	return n * 4 * 16 * 16 * 64 * 2
}

//go:noescape
func packRow(dst *byte, x *float32, n int)

//go:noescape
func pairBF16(dst *byte, panel uintptr, lo, hi *byte, n int)

//go:noescape
func pairF16(dst *byte, panel uintptr, lo, hi *byte, n int)

//go:noescape
func panelBF16(dst, src *byte, pairs int)

//go:noescape
func panelF16(dst, src *byte, pairs int)

//go:noescape
func transposeBF16(dst, src *byte, stride uintptr, rows, n int)

//go:noescape
func transposeF16(dst, src *byte, stride uintptr, rows, n int)

//go:noescape
func dequantizeQ8(dst, block *byte, n int, panel uintptr)

//go:noescape
func dequantizeQ4(dst, block *byte, n int, panel uintptr)

func peakBF16(n int)

func peakInt8(n int)
