package kernel

import (
	"fmt"
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// tileSteps bounds the steps of W that are packed at a time: so many of x, 512 rows,
// take 850 KB of the second-level cache, beside what is packed and sums of it.
const tileSteps = 26

// tiled reports whether a product of many rows goes through a matrix unit. That
// rounds x to bfloat16, and so are quantised weights.
func (o *ops) tiled(rows int, w *Weight) bool {
	return o.tiles != nil && rows > fewRows && (w.Tiles || w.DType.IsQuantized()) && w.In > 0
}

// Tiles reports whether products of so many rows go through a matrix unit, if
// the weights are in tiles or quantised. Then x and y may be tiles: TileBytes of memory
// that hold bfloat16, [⌈rows/32⌉][⌈width/32⌉][2][16][32].
func (c *CPU) Tiles(rows int) bool { return c.ops.tiles != nil && rows > fewRows }

// TileBytes returns the memory of rows of so many elements as tiles.
func TileBytes(rows, width int) int {
	return ceilDiv(rows, generic.TileStep) * ceilDiv(width, generic.TileStep) * generic.StepBytes
}

// LinearTiles is Linear for an x of tiles.
func (c *CPU) LinearTiles(y []float32, x []byte, rows int, w *Weight, e Epilogue) {
	if !c.ops.tiled(rows, w) || len(x) < TileBytes(rows, w.In) {
		panic(fmt.Sprintf("kernel: linear %d×%d %v on %d rows of tiles in %d bytes", w.In, w.Out, w.DType, rows, len(x)))
	}
	w.check(y, rows, e)
	if w.Out == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.tiles
	t.prepare(c, y, rows, w, e)
	own := t.a
	t.a = x
	t.multiply()
	*t = tileTask{a: own}
}

// linearTiles is Linear for many rows, as tiles of 32 × 32 results. Each result
// has one accumulator over the steps of 32 inputs, started at the bias, so that a row does not
// depend on the others, or on how the work is split. (With a quantised weight it does
// depend on whether there are more than fewRows of them.)
func (c *CPU) linearTiles(y, x []float32, rows int, w *Weight, e Epilogue) {
	t := &c.tiles
	t.prepare(c, y, rows, w, e)
	t.x = x
	if n := TileBytes(rows, w.In); len(t.a) < n {
		t.a = alignedBytes(n)
	}
	t.next.Store(0)
	c.share(t, rows*w.In)
	t.multiply()
	*t = tileTask{a: t.a}
}

func (t *tileTask) prepare(c *CPU, y []float32, rows int, w *Weight, e Epilogue) {
	t.c, t.y, t.rows, t.w, t.e, t.packed = c, y, rows, *w, e, false
	t.steps = ceilDiv(w.In, generic.TileStep)
}

// multiply shares the product of what is packed.
func (t *tileTask) multiply() {
	c, w, rows := t.c, &t.w, t.rows
	t.packed = true
	t.depth = ceilDiv(t.steps, ceilDiv(t.steps, tileSteps)) * generic.TileStep
	t.rowsBlock = min(rows, rowBlock)
	t.cols = balanced(w.Out, ceilDiv(rows, rowBlock), c.team.Size(), generic.TileStep)
	t.colBlocks = ceilDiv(w.Out, t.cols)
	t.blocks = t.colBlocks * ceilDiv(rows, t.rowsBlock)
	t.next.Store(0)
	c.share(t, rows*w.In*w.Out)
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
	depth     int // inputs that are packed at a time
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

// tile is where the results of a row and a column go as tiles.
func (t *tileTask) tile(row, col int) int {
	return (row/generic.TileStep*ceilDiv(t.w.Out, generic.TileStep) + col/generic.TileStep) * generic.StepBytes
}

// at is where the tiles of a row and an input begin.
func (t *tileTask) at(row, k int) int {
	return (row/generic.TileStep*t.steps + k/generic.TileStep) * generic.StepBytes
}

// block computes a block of columns, some inputs at a time: 32 columns are packed
// and multiplied by all rows, while what is packed next is on its way.
func (t *tileTask) block(s *scratch, i int) {
	col, row := t.part(i)
	cols, rows := min(t.cols, t.w.Out-col), min(t.rowsBlock, t.rows-row)
	wide, tall := roundUp(cols, generic.TileStep), roundUp(rows, generic.TileStep/2)
	s.a = grow(s.a, wide)
	if !t.w.Tiles {
		s.b = grow(s.b, generic.TileStep*t.depth/2)
	}
	s.c = grow(s.c, wide*tall+workFloats)
	bias, p := s.a, &s.product
	clear(bias)
	if t.e.Bias != nil {
		copy(bias, t.e.Bias[col:][:cols])
	}
	p.AStride, p.Rows = t.steps*generic.StepBytes, rows
	for k := 0; k < t.w.In; k += t.depth {
		depth := min(t.depth, t.w.In-k)
		p.A, p.Steps = t.a[t.at(row, k):], ceilDiv(depth, generic.TileStep)
		for j := 0; j < wide; j += generic.TileStep {
			p.Cols = min(generic.TileStep, cols-j)
			p.B = t.panel(s, k, col+j, depth, p.Cols)
			p.Next = t.upcoming(i, k, j, cols)
			p.C = s.c[j*tall:]
			p.Start, p.Ld = p.C, generic.TileStep
			if k == 0 {
				p.Start, p.Ld = bias[j:], 0
			}
			t.columns(s, row, col+j, k+depth == t.w.In)
		}
	}
	*p = generic.Product{}
}

// workFloats is what a product works in whose results do not stay there.
const workFloats = 2 * generic.TileStep * generic.TileStep

// columns computes 32 columns for all rows of a block, or sums of them.
func (t *tileTask) columns(s *scratch, row, col int, last bool) {
	o, p := t.c.ops, &s.product
	p.Y, p.Tiles = nil, nil
	if last && t.e.Activation.fused() {
		if p.Ld == 0 {
			p.C = s.c // the same all the time
		}
		if t.e.Tiles != nil {
			p.Tiles, p.TileStride = t.e.Tiles[t.tile(row, col):], ceilDiv(t.w.Out, generic.TileStep)*generic.StepBytes
		} else {
			p.Y, p.LdY, p.Add = t.y[row*t.w.Out+col:], t.w.Out, t.e.Add
		}
		p.GateA, p.GateB, p.Gate = t.e.Activation.gate()
	}
	o.tiles.product(p)
	switch {
	case !last || t.e.Activation.fused():
	case t.e.Tiles != nil:
		o.activate(p.C[:p.Rows*generic.TileStep], t.e.Activation)
		for r := 0; r < p.Rows; r += generic.TileStep {
			o.tiles.packRows(t.e.Tiles[t.tile(row+r, col):], p.C[r*generic.TileStep:], generic.TileStep, min(generic.TileStep, p.Rows-r), generic.TileStep)
		}
	default:
		for r := range p.Rows {
			c, y := p.C[r*generic.TileStep:][:p.Cols], t.y[(row+r)*t.w.Out+col:]
			if o.activate(c, t.e.Activation); t.e.Add {
				o.add(y, c)
			} else {
				copy(y, c)
			}
		}
	}
}

// panel returns the tiles of inputs k … and up to 32 columns of W.
func (t *tileTask) panel(s *scratch, k, col, depth, cols int) []byte {
	w := t.source(k, col, depth, cols)
	if t.w.Tiles {
		return w.data
	}
	packed := tensor.Bytes(s.b)
	t.c.ops.tiles.pack(t.w.DType, false, packed, w.data, w.stride, depth, cols)
	return packed
}

// part returns the first column and row of a block.
func (t *tileTask) part(i int) (col, row int) {
	return i % t.colBlocks * t.cols, i / t.colBlocks * t.rowsBlock
}

// region is a part of W: so many runs of bytes, stride apart.
type region struct {
	data            []byte
	stride, n, each int
}

// source is where inputs k … and up to 32 columns of W lie.
func (t *tileTask) source(k, col, depth, cols int) region {
	w := &t.w
	if w.Tiles {
		n := TileBytes(1, depth)
		return region{w.Data[TileBytes(col, w.In)+TileBytes(1, k):][:n], n, 1, n}
	}
	stride := PackedBytes(w.DType, w.In, panelOuts)
	return region{w.Data[col/panelOuts*stride+PackedBytes(w.DType, k, panelOuts):], stride, ceilDiv(cols, panelOuts), PackedBytes(w.DType, depth, panelOuts)}
}

// upcoming returns two runs of memory that are packed after inputs k … and columns
// j … of a block: of more columns, more inputs, or of the block that this member
// probably has next.
func (t *tileTask) upcoming(i, k, j, cols int) (next [2][]byte) {
	if j += generic.TileStep; j >= cols {
		j = 0
		if k += t.depth; k >= t.w.In {
			k = 0
			if i += t.c.team.Size(); i >= t.blocks {
				return next
			}
		}
	}
	col, _ := t.part(i)
	if col += j; col >= t.w.Out {
		return next
	}
	r := t.source(k, col, min(t.depth, t.w.In-k), min(generic.TileStep, t.w.Out-col))
	if r.n == 1 {
		half := min(roundUp(r.each/2, 64), r.each)
		next[0], next[1] = r.data[:half], r.data[half:r.each]
		return next
	}
	for i := range r.n {
		next[i] = r.data[i*r.stride:][:r.each]
	}
	return next
}
