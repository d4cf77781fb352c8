package kernel

import (
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// tileBlock is the depth for which W is packed at a time: with it, 32 columns
// of W stay in the first-level cache (24 KB) while the rows of x pass by from
// the second.
const tileBlock = 12 * generic.TileStep

// tiled reports whether a product goes through a matrix unit. That rounds x to
// bfloat16, and so do F16 and quantised weights; a product of float32, and one
// of a few rows, which reading W bounds anyway, is left as it is.
func (o *ops) tiled(rows int, w *Weight) bool {
	return o.tiles != nil && rows > fewRows && w.DType != tensor.F32 && w.In > 0
}

// linearTiles is Linear for many rows, as tiles of 32 × 32 results. Each result
// has one accumulator over the steps of 32 inputs, started at the bias, so that a row does not
// depend on the others, or on how the work is split. (It does depend on whether
// there are more than fewRows of them.)
func (c *CPU) linearTiles(y, x []float32, rows int, w *Weight, e Epilogue) {
	t := &c.tiles
	t.c, t.y, t.x, t.rows, t.w, t.e = c, y, x, rows, *w, e
	t.steps = ceilDiv(w.In, generic.TileStep)
	if n := ceilDiv(rows, generic.TileStep) * t.steps * generic.StepBytes; len(t.a) < n {
		t.a = alignedBytes(n)
	}
	t.packed = false
	t.next.Store(0)
	c.share(t, rows*w.In)

	t.packed = true
	t.rowsBlock = min(rows, rowBlock)
	t.cols = balanced(w.Out, ceilDiv(rows, rowBlock), c.team.Size(), generic.TileStep)
	t.colBlocks = ceilDiv(w.Out, t.cols)
	t.blocks = t.colBlocks * ceilDiv(rows, t.rowsBlock)
	t.next.Store(0)
	c.share(t, rows*w.In*w.Out)
	*t = tileTask{a: t.a}
}

// tileTask first has the rows of x packed, then hands out blocks of columns
// (and, with very many rows, of rows).
type tileTask struct {
	c         *CPU
	y, x      []float32
	rows      int
	w         Weight
	e         Epilogue
	a         []byte // x, [⌈rows/32⌉][steps] steps of tiles
	steps     int
	packed    bool
	cols      int // columns of one block
	colBlocks int
	rowsBlock int // rows of one block
	blocks    int
	next      atomic.Int64
}

// Run claims parts until none is left.
func (t *tileTask) Run(member int) {
	s := &t.c.members[member]
	for {
		i := int(t.next.Add(1)) - 1
		switch {
		case t.packed && i < t.blocks:
			t.block(s, i)
		case !t.packed && i*generic.TileStep < t.rows:
			row := i * generic.TileStep
			t.c.ops.tiles.packRows(t.a[t.at(row, 0):], t.x[row*t.w.In:], t.w.In, min(generic.TileStep, t.rows-row), t.w.In)
		default:
			return
		}
	}
}

// at is where the tiles of a row and an input begin.
func (t *tileTask) at(row, k int) int {
	return (row/generic.TileStep*t.steps + k/generic.TileStep) * generic.StepBytes
}

// block computes a block of columns, some inputs at a time. While 32 of the
// columns are computed, a part of what will be packed next is on its way.
func (t *tileTask) block(s *scratch, i int) {
	o := t.c.ops
	col, row := t.part(i)
	cols, rows := min(t.cols, t.w.Out-col), min(t.rowsBlock, t.rows-row)
	tiles := ceilDiv(rows, generic.TileStep/2)
	wide, tall := roundUp(cols, generic.TileStep), tiles*generic.TileStep/2
	s.a = grow(s.a, wide)
	s.b = grow(s.b, wide*tileBlock/2)
	s.c = grow(s.c, wide*tall)
	bias, packed := s.a, tensor.Bytes(s.b)
	clear(bias)
	if t.e.Bias != nil {
		copy(bias, t.e.Bias[col:][:cols])
	}
	for k := 0; k < t.w.In; k += tileBlock {
		depth := min(tileBlock, t.w.In-k)
		steps := ceilDiv(depth, generic.TileStep)
		w := t.source(k, col, depth, cols)
		if t.w.Panels {
			for p := range w.n {
				o.tiles.pack(t.w.DType, false, packed[p*steps*generic.StepBytes:], w.data[p*w.stride:], panelCols*t.w.DType.Size(), depth, min(panelCols, cols-p*panelCols))
			}
		} else {
			o.tiles.pack(t.w.DType, t.w.OutMajor, packed, w.data, w.stride, depth, cols)
		}
		ahead := t.after(i, k+depth)
		for j := 0; j < wide; j += generic.TileStep {
			ahead.prefetch(j, wide)
			c := s.c[j*tall:][:generic.TileStep*tall]
			start, ld := c, generic.TileStep
			if k == 0 {
				start, ld = bias[j:], 0
			}
			o.tiles.multiply(c, start, ld, t.a[t.at(row, k):], t.steps*generic.StepBytes,
				packed[j/generic.TileStep*steps*generic.StepBytes:], steps, tiles)
			if k+depth == t.w.In {
				t.finish(c[:rows*generic.TileStep], row, rows, col+j, min(generic.TileStep, cols-j))
			}
		}
	}
}

// part returns the first column and row of a block.
func (t *tileTask) part(i int) (col, row int) {
	return i % t.colBlocks * t.cols, i / t.colBlocks * t.rowsBlock
}

// finish applies the epilogue to 32 columns, which are still in the cache.
func (t *tileTask) finish(c []float32, row, rows, col, cols int) {
	t.c.ops.activate(c, t.e.Activation)
	t.c.ops.tiles.store(t.y[row*t.w.Out+col:], t.w.Out, c, rows, cols, t.e.Add)
}

// region is a part of W: so many runs of bytes, stride apart.
type region struct {
	data            []byte
	stride, n, each int
}

// source is where inputs k … and columns col … of W lie.
func (t *tileTask) source(k, col, depth, cols int) region {
	w := &t.w
	switch {
	case w.DType.IsQuantized():
		stride := PackedBytes(w.DType, w.In, panelOuts)
		return region{w.Data[col/panelOuts*stride+PackedBytes(w.DType, k, panelOuts):], stride, ceilDiv(cols, panelOuts), PackedBytes(w.DType, depth, panelOuts)}
	case w.Panels:
		return region{w.Data[w.at(k, col):], w.at(0, panelCols), ceilDiv(cols, panelCols), depth * panelCols * w.DType.Size()}
	case w.OutMajor:
		stride := w.In * w.DType.Size()
		return region{w.Data[col*stride+k*w.DType.Size():], stride, cols, depth * w.DType.Size()}
	}
	stride := w.Out * w.DType.Size()
	return region{w.Data[k*stride+col*w.DType.Size():], stride, depth, cols * w.DType.Size()}
}

// after returns what is packed after the inputs before k of a block: more
// inputs of it, or the first of the block that this member probably has next.
func (t *tileTask) after(i, k int) region {
	if k == t.w.In {
		if i, k = i+t.c.team.Size(), 0; i >= t.blocks {
			return region{}
		}
	}
	col, _ := t.part(i)
	return t.source(k, col, min(tileBlock, t.w.In-k), min(t.cols, t.w.Out-col))
}

// prefetch asks for a share of the region: that of columns j … j+31 of wide.
func (r region) prefetch(j, wide int) {
	first, last := r.n*j/wide, min(r.n, r.n*(j+generic.TileStep)/wide)
	if first < last {
		prefetchRows(&r.data[first*r.stride], uintptr(r.stride), last-first, r.each)
	}
}
