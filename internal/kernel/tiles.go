package kernel

import (
	"fmt"
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// tileSteps are so many steps that 512 rows of x take 850 KB of the second-level cache.
// Of more, someSteps are multiplied at a time, by tileCols columns, whose sums stay in
// that cache too: x, which comes from further away, is read once for all of them.
const (
	tileSteps = 26
	someSteps = 12
	tileCols  = 384
)

// tiled reports whether a product of many rows goes through a matrix unit. That
// rounds x to bfloat16, and so are quantised weights.
func (o *ops) tiled(rows int, w *Weight) bool {
	return o.tiles != nil && rows > fewRows && (w.Tiles || w.DType.IsQuantized()) && w.In > 0
}

// Tiles reports whether products of so many rows go through a matrix unit, if
// the weights are in tiles or quantised. Then x and y may be tiles: TileBytes of memory
// that hold bfloat16, [⌈rows/32⌉][⌈width/32⌉][2][16][32].
func (c *CPU) Tiles(rows int) bool { return c.ops.tiles != nil && rows > fewRows }

// Tiled reports whether the product of so many rows with w does.
func (c *CPU) Tiled(rows int, w *Weight) bool { return c.ops.tiled(rows, w) }

// TileBytes returns the memory of rows of so many elements as tiles.
func TileBytes(rows, width int) int {
	return ceilDiv(rows, generic.TileStep) * ceilDiv(width, generic.TileStep) * generic.StepBytes
}

// BlockFloats returns the memory of rows of so many elements as blocks of 32 × 32:
// [⌈rows/32⌉][⌈width/32⌉][32][32]. The results of a product follow each other
// then; in rows they would come to lines that lie far apart, one by one.
func BlockFloats(rows, width int) int { return TileBytes(rows, width) / 2 }

// BlockCols is the width of a block.
const BlockCols = generic.TileStep

// BlockAt is where 32 elements of a row begin in blocks.
func BlockAt(row, col, width int) int {
	const step = generic.TileStep
	return ((row/step*ceilDiv(width, step)+col/step)*step + row%step) * step
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
	t.a = x
	t.multiply()
	*t = tileTask{}
}

// linearTiles is Linear for many rows, as tiles of 32 × 32 results. Each result
// has one accumulator over the steps of 32 inputs, started at the bias, so that a row does not
// depend on the others, or on how the work is split. (With a quantised weight it does
// depend on whether there are more than fewRows of them.)
func (c *CPU) linearTiles(y, x []float32, rows int, w *Weight, e Epilogue) {
	t := &c.tiles
	t.prepare(c, y, rows, w, e)
	t.x = x
	t.a = c.tilesOfX.bytes(TileBytes(rows, w.In))
	t.next.Store(0)
	c.share(t, rows*w.In)
	t.multiply()
	*t = tileTask{}
}

func (t *tileTask) prepare(c *CPU, y []float32, rows int, w *Weight, e Epilogue) {
	t.c, t.y, t.rows, t.w, t.e, t.packed = c, y, rows, *w, e, false
	t.steps = ceilDiv(w.In, generic.TileStep)
}

// multiply shares the product of what is packed.
func (t *tileTask) multiply() {
	c, w, rows := t.c, &t.w, t.rows
	t.packed = true
	t.rowsBlock = min(rows, rowBlock)
	t.depth, t.cols = t.steps*generic.TileStep, generic.TileStep
	if t.steps > tileSteps {
		t.depth = ceilDiv(t.steps, ceilDiv(t.steps, someSteps)) * generic.TileStep
		members := c.team.Size() // have as many blocks each
		t.cols = roundUp(ceilDiv(w.Out, members*ceilDiv(w.Out, members*tileCols)), generic.TileStep)
	}
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
	if !t.packed {
		t.packX()
		return
	}
	s.product, s.ready = generic.Product{}, false
	for i := t.claim(); i < t.blocks; {
		i = t.block(s, i)
	}
	s.product = generic.Product{}
}

func (t *tileTask) claim() int { return int(t.next.Add(1)) - 1 }

// packX packs 32 rows of x at a time.
func (t *tileTask) packX() {
	const step = generic.TileStep
	for row := t.claim() * step; row < t.rows; row = t.claim() * step {
		t.c.ops.tiles.packRows(t.a[t.at(row, 0):], t.x[row*t.w.In:], t.w.In, min(step, t.rows-row), t.w.In)
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

// panel is what is packed and multiplied by all rows of a block at a time: inputs
// k … of 32 columns, column j … of the block.
type panel struct{ block, k, j int }

// after returns the panel after p; following is the block after that of p.
func (t *tileTask) after(p panel, following int) panel {
	col, _ := t.part(p.block)
	if p.j += generic.TileStep; p.j < min(t.cols, t.w.Out-col) {
		return p
	}
	p.j = 0
	if p.k += t.depth; p.k < t.w.In {
		return p
	}
	return panel{block: following}
}

// block computes a block of columns, some inputs at a time, and claims the one that
// is computed next. While a panel is multiplied, the next one is packed, and the
// one after that brought nearer.
func (t *tileTask) block(s *scratch, i int) (following int) {
	col, row := t.part(i)
	cols, rows := min(t.cols, t.w.Out-col), min(t.rowsBlock, t.rows-row)
	wide, tall := roundUp(cols, generic.TileStep), roundUp(rows, generic.TileStep/2)
	s.a = grow(s.a, wide)
	size := generic.TileStep * 2 * t.depth
	memory := s.tiles.bytes(2*size + 4*(wide*tall+workFloats))
	b := memory[:2*size]
	sums, _ := tensor.View[float32](memory[2*size:])
	bias, p := s.a, &s.product
	clear(bias)
	if t.e.Bias != nil {
		copy(bias, t.e.Bias[col:][:cols])
	}
	p.AStride, p.Rows = t.steps*generic.StepBytes, rows
	for now := (panel{block: i}); now.block == i; {
		depth := min(t.depth, t.w.In-now.k)
		p.A, p.Steps = t.a[t.at(row, now.k):], ceilDiv(depth, generic.TileStep)
		p.Cols = min(generic.TileStep, cols-now.j)
		next := t.after(now, t.blocks)
		if next.block != i {
			following = t.claim()
			next.block = following
		}
		if t.w.Tiles {
			p.B, p.Next = t.source(now).data, t.runs(next)
		} else {
			t.packW(s, b, now, next)
		}
		p.C = sums[now.j*tall:]
		p.Start, p.Ld = p.C, generic.TileStep
		if now.k == 0 {
			p.Start, p.Ld = bias[now.j:], 0
		}
		last := now.k+depth == t.w.In
		if last && p.Ld == 0 && t.e.Activation.fused() {
			p.C = sums // they do not stay there
		}
		t.columns(p, row, col+now.j, last)
		now = next
	}
	return following
}

// packW makes the tiles of a panel, if they are not there, and has those of the
// next one made. The two take turns in the halves of b.
func (t *tileTask) packW(s *scratch, b []byte, now, next panel) {
	p := &s.product
	half := len(b) / 2
	p.B = b[s.turn*half:][:half]
	s.turn = 1 - s.turn
	if !s.ready {
		w := t.source(now)
		t.c.ops.tiles.pack(t.w.DType, false, p.B, w.data, w.stride, w.depth, w.cols)
	}
	p.Pack, p.Next = generic.Packing{}, t.runs(t.after(next, next.block+t.c.team.Size()))
	if s.ready = next.block < t.blocks; !s.ready {
		return
	}
	w := t.source(next)
	if s.ready = w.cols == generic.TileStep; s.ready {
		p.Pack = generic.Packing{DType: t.w.DType, Dst: b[s.turn*half:], Src: w.data, Stride: w.stride, Steps: w.depth / generic.TileStep}
	}
}

// workFloats is what a product works in whose results do not stay there.
const workFloats = 2 * generic.TileStep * generic.TileStep

// columns computes 32 columns for all rows of a block, or sums of them.
func (t *tileTask) columns(p *generic.Product, row, col int, last bool) {
	o := t.c.ops
	p.Y, p.Tiles = nil, nil
	if last && t.e.Activation.fused() {
		if t.e.Tiles != nil {
			p.Tiles, p.TileStride = t.e.Tiles[t.tile(row, col):], ceilDiv(t.w.Out, generic.TileStep)*generic.StepBytes
			p.Half = t.e.HalvesFrom > 0 && col >= t.e.HalvesFrom
		} else {
			p.Y, p.LdY, p.YStride, p.Add = t.result(row, col), t.w.Out, t.w.Out*generic.TileStep, t.e.Add
			if t.e.Blocks {
				p.LdY, p.YStride = generic.TileStep, BlockFloats(generic.TileStep, t.w.Out)
			}
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
			c, y := p.C[r*generic.TileStep:][:p.Cols], t.result(row+r, col)[:p.Cols]
			if o.activate(c, t.e.Activation); t.e.Add {
				o.add(y, c)
			} else {
				copy(y, c)
			}
		}
	}
}

// result is where the results of a row and a column go.
func (t *tileTask) result(row, col int) []float32 {
	if t.e.Blocks {
		return t.y[BlockAt(row, col, t.w.Out):]
	}
	return t.y[row*t.w.Out+col:]
}

// part returns the first column and row of a block.
func (t *tileTask) part(i int) (col, row int) {
	return i % t.colBlocks * t.cols, i / t.colBlocks * t.rowsBlock
}

// region is a panel of W: so many runs of bytes, stride apart.
type region struct {
	data            []byte
	stride, n, each int
	depth, cols     int
}

// source is where a panel lies.
func (t *tileTask) source(p panel) region {
	w := &t.w
	col, _ := t.part(p.block)
	col += p.j
	r := region{depth: min(t.depth, w.In-p.k), cols: min(generic.TileStep, w.Out-col)}
	if w.Tiles {
		r.n, r.each = 1, TileBytes(1, r.depth)
		r.data = w.Data[TileBytes(col, w.In)+TileBytes(1, p.k):][:r.each]
		return r
	}
	r.stride, r.n, r.each = PackedBytes(w.DType, w.In, panelOuts), ceilDiv(r.cols, panelOuts), PackedBytes(w.DType, r.depth, panelOuts)
	r.data = w.Data[col/panelOuts*r.stride+PackedBytes(w.DType, p.k, panelOuts):]
	return r
}

// runs returns the memory of a panel, if there is one, in two runs.
func (t *tileTask) runs(p panel) (next [2][]byte) {
	if p.block >= t.blocks {
		return next
	}
	r := t.source(p)
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
