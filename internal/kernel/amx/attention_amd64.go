//go:build !noasm

package amx

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
)

// CrossTiles computes c[i] = a·b[i] for 32 rows and panels of 32 columns.
func CrossTiles(c []float32, a, b []byte, stride, steps, panels int) {
	if panels == 0 {
		return
	}
	if steps == 0 {
		clear(c[:panels*step*step])
		return
	}
	_, _, _ = c[panels*step*step-1], a[steps*stepBytes-1], b[(panels-1)*stride+steps*stepBytes-1]
	cross(&c[0], &a[0], &b[0], uintptr(stride), steps, panels)
}

// SoftmaxTile writes rows of weights and what they are to be multiplied by. With most it is
// training, and rounds as torch does.
func SoftmaxTile(dst []byte, s, by, most []float32, lens []int, panels int, scale float32) {
	if len(lens) == 0 {
		return
	}
	if panels == 0 {
		generic.SoftmaxTile(dst, s, by, most, lens, panels, scale)
		return
	}
	rows := len(lens)
	if most != nil {
		_ = most[rows-1]
	}
	_, _, _ = dst[(panels-1)*stepBytes+rows*64-1], s[(panels-1)*step*step+rows*step-1], by[rows-1]
	for _, n := range lens {
		if n > panels*step {
			panic("amx: more scores than panels hold")
		}
	}
	if most != nil {
		torchSoftmax(&dst[0], &s[0], &by[0], &most[0], &lens[0], rows, panels, scale)
		return
	}
	softmax(&dst[0], &s[0], &by[0], nil, &lens[0], rows, panels, scale)
}

// ScaleTile multiplies the rows of c and writes them as rows of y.
func ScaleTile(y []float32, ldy int, c, by []float32, rows, cols int) {
	if rows == 0 || cols == 0 {
		return
	}
	_, _, _ = y[(rows-1)*ldy+cols-1], c[rows*step-1], by[rows-1]
	scaleStore(&y[0], uintptr(ldy*4), &c[0], &by[0], rows, cols)
}

// NarrowTile multiplies the rows of c and writes them as bfloat16.
func NarrowTile(dst []byte, ldd int, c, by []float32, rows, cols int) {
	if rows == 0 || cols == 0 {
		return
	}
	_, _, _ = dst[(rows-1)*ldd+2*cols-1], c[rows*step-1], by[rows-1]
	scaleNarrow(&dst[0], uintptr(ldd), &c[0], &by[0], rows, cols)
}

// TurnTile transposes 32 rows of 32 numbers of 16 bits.
func TurnTile(dst, src []byte) {
	_, _ = dst[stepBytes-1], src[stepBytes-1]
	var pairs [stepBytes]byte // of columns
	transposeBF16(&pairs[0], &src[0], 64, 16, step)
	transposeBF16(&pairs[1024], &src[1024], 64, 16, step)
	splitPairs(&dst[0], &pairs[0])
}

//go:noescape
func splitPairs(dst, pairs *byte)

//go:noescape
func cross(c *float32, a, b *byte, stride uintptr, steps, panels int)

//go:noescape
func softmax(dst *byte, s, by, most *float32, lens *int, rows, panels int, scale float32)

//go:noescape
func torchSoftmax(dst *byte, s, by, most *float32, lens *int, rows, panels int, scale float32)

//go:noescape
func scaleStore(dst *float32, ld uintptr, c, a *float32, rows, cols int)

//go:noescape
func scaleNarrow(dst *byte, ld uintptr, c, a *float32, rows, cols int)
