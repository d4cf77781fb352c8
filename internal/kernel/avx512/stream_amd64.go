//go:build !noasm

package avx512

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Stream adds x times two panels of a matrix, [depth][NR] each, to NR elements of
// y0 and of y1.
func Stream(d tensor.DType, y0, y1, x []float32, w0, w1 []byte, depth int) {
	if depth == 0 {
		return
	}
	size := depth * NR * d.Size()
	_, _, _, _, _ = y0[NR-1], y1[NR-1], x[depth-1], w0[size-1], w1[size-1]
	switch d {
	case tensor.F32:
		stream2F32(&y0[0], &y1[0], &x[0], &w0[0], &w1[0], depth)
	case tensor.F16:
		stream2F16(&y0[0], &y1[0], &x[0], &w0[0], &w1[0], depth)
	case tensor.BF16:
		stream2BF16(&y0[0], &y1[0], &x[0], &w0[0], &w1[0], depth)
	}
}

// StreamPairs is Stream for pairs of bf16.
func StreamPairs(y0, y1 []float32, x []uint32, w0, w1 []byte, depth int) {
	if depth == 0 {
		return
	}
	size := depth * NR * 2
	_, _, _, _, _ = y0[NR-1], y1[NR-1], x[(depth+1)/2-1], w0[size-1], w1[size-1]
	stream2Pairs(&y0[0], &y1[0], &x[0], &w0[0], &w1[0], depth)
}

// StreamPanels is Stream for panels of pairs.
func StreamPanels(y0, y1 []float32, x []uint32, w0, w1 []byte, depth int) {
	if depth == 0 {
		return
	}
	size := depth * NR * 4
	_, _, _, _, _ = y0[NR-1], y1[NR-1], x[depth-1], w0[size-1], w1[size-1]
	stream2Panels(&y0[0], &y1[0], &x[0], &w0[0], &w1[0], depth)
}

// StreamBlocks computes the products of a quantised row with two panels. It needs
// VNNI.
func StreamBlocks(d tensor.DType, y0, y1 []float32, x []generic.Block, w0, w1 []byte) {
	if len(x) == 0 {
		clear(y0)
		clear(y1)
		return
	}
	size := len(x) * generic.PanelBlock(d)
	_, _, _, _ = y0[generic.PanelOuts-1], y1[generic.PanelOuts-1], w0[size-1], w1[size-1]
	if d == tensor.Q4_0 {
		stream2Q4(&y0[0], &y1[0], &x[0], &w0[0], &w1[0], len(x))
	} else {
		stream2Q8(&y0[0], &y1[0], &x[0], &w0[0], &w1[0], len(x))
	}
}

//go:noescape
func stream2F32(c0, c1, x *float32, w0, w1 *byte, k int)

//go:noescape
func stream2F16(c0, c1, x *float32, w0, w1 *byte, k int)

//go:noescape
func stream2BF16(c0, c1, x *float32, w0, w1 *byte, k int)

//go:noescape
func stream2Pairs(c0, c1 *float32, x *uint32, w0, w1 *byte, k int)

//go:noescape
func stream2Panels(c0, c1 *float32, x *uint32, w0, w1 *byte, k int)

//go:noescape
func stream2Q8(y0, y1 *float32, x *generic.Block, w0, w1 *byte, blocks int)

//go:noescape
func stream2Q4(y0, y1 *float32, x *generic.Block, w0, w1 *byte, blocks int)
