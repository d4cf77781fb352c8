//go:build !noasm

package amx

// normed rows are computed together.
const normed = 8

// NormTile writes the layer norm of up to 32 rows of blocks as tiles. ahead numbers
// further on lies what is probably read next.
func NormTile(dst []byte, x, gain, bias []float32, rows int, epsilon float32, ahead int) {
	n := len(gain) / step
	if n == 0 {
		return
	}
	dst, x, bias = dst[:n*stepBytes], x[:n*step*step], bias[:len(gain)]
	for r := 0; r < rows; r += normed {
		next := uintptr(normed * step * 4)
		if r+normed >= rows {
			next = uintptr((ahead - r*step) * 4)
		}
		normRows(&dst[r*64], &x[r*step], &gain[0], &bias[0], n, float32(len(gain)), epsilon, next)
	}
	if rows == step {
		return
	}
	for i := range n {
		clear(dst[i*stepBytes:][rows*64 : stepBytes])
	}
}

//go:noescape
func normRows(dst *byte, x, gain, bias *float32, blocks int, width, epsilon float32, ahead uintptr)
