package cpu

import (
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

// residual is the residual stream: rows, or, where products go through a matrix
// unit, the blocks that these add to.
type residual struct {
	n      int
	memory *operandMemory
	tiles  buffer // the memory of blocks
	floats buffer // in either
	width  int
	blocks bool
}

func (o *residual) Len() int { return o.n }

// NewResidual implements gpt2.Operands.
func (d *Device) NewResidual(n int) (gpt2.Buffer, error) {
	return &residual{n: n, memory: d.newOperandMemory(n)}, nil
}

// plan chooses the form in which rows are written.
func (d *Device) plan(o *residual, rows, width int) {
	if o.width, o.blocks = width, d.tiled(rows, width); !o.blocks {
		o.floats = o.memory.numbers(rows, rows*width, fewRows*width)
		return
	}
	if n := kernel.BlockFloats(rows, width); len(o.tiles) < n {
		o.tiles, _ = tensor.View[float32](d.room(4 * n))
	}
	o.floats = o.tiles
}

// row returns the row i in rows, or writes it to dst.
func (o *residual) row(dst buffer, i int) buffer {
	if !o.blocks {
		return o.floats[i*o.width:][:o.width]
	}
	for j := 0; j < o.width; j += kernel.BlockCols {
		copy(dst[j:o.width], o.floats[kernel.BlockAt(i, j, o.width):][:kernel.BlockCols])
	}
	return dst[:o.width]
}

// setRow writes a row that is not in place.
func (o *residual) setRow(i int, src buffer) {
	for j := 0; j < o.width; j += kernel.BlockCols {
		copy(o.floats[kernel.BlockAt(i, j, o.width):][:kernel.BlockCols], src[j:])
	}
}

// plain returns rows as rows. A model needs that which has matrices of another type
// than it was asked for, since they cannot be quantised.
func (o *residual) plain(rows int) buffer {
	if o.blocks {
		v := make(buffer, o.n)
		for i := range rows {
			o.row(v[i*o.width:], i)
		}
		o.floats, o.blocks = v, false
	}
	return o.floats
}
