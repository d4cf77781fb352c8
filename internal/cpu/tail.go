package cpu

import (
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

// tailStep is a multiple of the rows that tiles and blocks take together.
const tailStep = kernel.BlockCols

// TailFrom implements gpt2.Tailed: whole steps are left out, and more rows stay than
// those few that have kernels of their own.
func (d *Device) TailFrom(rows, first int) int {
	if first == rows {
		return rows
	}
	return max(0, min(first, rows-fewRows-1)) / tailStep * tailStep
}

// Tail implements gpt2.Tailed.
func (d *Device) Tail(x gpt2.Buffer, rows, width, from int) gpt2.Buffer {
	switch o := x.(type) {
	case *multiplicand:
		left := o.n - from*width
		tail := &multiplicand{n: left, operandMemory: &operandMemory{n: left}, tiled: o.tiled, coded: o.coded}
		switch {
		case from == 0:
			return o
		case o.coded:
			tail.codes = o.codes
			tail.codes.Blocks = o.codes.Blocks[from*width/tensor.QuantBlock:]
		case o.tiled:
			tail.tiles = o.tiles[kernel.TileBytes(from, width):]
		default:
			tail.floats = o.numbers(rows, width)[from*width:]
		}
		return tail
	case *residual:
		tail := &residual{n: o.n - from*width, width: o.width, blocks: o.blocks, floats: o.floats[from*width:]}
		if o.blocks {
			tail.floats = o.floats[kernel.BlockFloats(from, width):]
		}
		return tail
	}
	return x.(buffer)[from*width:]
}
