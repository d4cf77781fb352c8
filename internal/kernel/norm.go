package kernel

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/kernel/generic"
)

// LayerNorm computes y = (x-mean)/√(variance+eps)·gain + bias for each row.
// x and y are [rows][width] and may be the same; gain and bias are [width].
// The mean is taken first, then the variance about it (divided by width).
func (c *CPU) LayerNorm(y, x, gain, bias []float32, rows, width int, eps float32) {
	c.LayerNormOf(Floats(y), x, gain, bias, rows, width, eps)
}

// LayerNormOf is LayerNorm that may write bfloat16.
func (c *CPU) LayerNormOf(y Numbers, x, gain, bias []float32, rows, width int, eps float32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.norm
	t.ops, t.members, t.rows, t.width, t.eps = c.ops, c.members, rows, width, eps
	t.y, t.x, t.gain, t.bias = y.part(0, rows*width), x[:rows*width], gain[:width], bias[:width]
	t.runs = &c.rowRuns
	t.runs.plan(rows, c.team.Size(), normClaim)
	c.share(t, 4*rows*width)
	*t = normTask{claims: t.claims}
}

// LayerNormTiles is LayerNorm that writes the x of LinearTiles.
func (c *CPU) LayerNormTiles(y []byte, x, gain, bias []float32, rows, width int, eps float32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.norm
	t.ops, t.members, t.rows, t.width, t.eps = c.ops, c.members, rows, width, eps
	t.tiles, t.x, t.gain, t.bias = y[:TileBytes(rows, width)], x[:rows*width], gain[:width], bias[:width]
	t.next.Store(0)
	c.share(t, 4*rows*width)
	*t = normTask{claims: t.claims}
}

// LayerNormBlocks is LayerNormTiles for an x in blocks of a whole number of columns.
func (c *CPU) LayerNormBlocks(y []byte, x, gain, bias []float32, rows, width int, eps float32) {
	if width%generic.TileStep != 0 || c.ops.tiles == nil {
		panic(fmt.Sprintf("kernel: layer norm of blocks, %d columns", width))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.norm
	t.ops, t.members, t.rows, t.width, t.eps = c.ops, c.members, rows, width, eps
	t.tiles, t.x, t.gain, t.bias, t.blocks = y[:TileBytes(rows, width)], x[:BlockFloats(rows, width)], gain[:width], bias[:width], true
	t.next.Store(0)
	c.share(t, 4*rows*width)
	*t = normTask{claims: t.claims}
}

// normClaim are claimed at a time.
const normClaim = 4

type normTask struct {
	runs          *rowRuns
	ops           *ops
	tiles         []byte // instead of y
	codes         Codes  // the same
	blocks        bool   // x is in blocks
	members       []scratch
	y             Numbers
	x, gain, bias []float32
	rows, width   int
	eps           float32
	next          atomic.Int64
	claims        []claim // of rows, for codes
}

// Run claims rows until none is left, the same ones as runsTask.
func (t *normTask) Run(member int) {
	switch {
	case t.codes.wanted():
		t.runCodes(member)
		return
	case t.blocks:
		t.runBlocks()
		return
	case t.tiles != nil:
		t.runTiles(&t.members[member])
		return
	}
	s := &t.members[member]
	if t.y.BF16 != nil {
		s.a = grow(s.a, t.width)
	}
	for {
		run, item, ok := t.runs.take(member)
		if !ok {
			return
		}
		from, to := t.runs.rows(run)
		from += item * normClaim
		for r := from; r < min(from+normClaim, to); r++ {
			y := t.y.part(r*t.width, (r+1)*t.width)
			v := y.place(s.a)
			t.row(v, r)
			t.ops.store(y, v)
		}
	}
}

func (t *normTask) row(y []float32, r int) {
	t.ops.norm(y, t.x[r*t.width:][:t.width], t.gain, t.bias, t.eps)
}

func (o *ops) norm(y, x, gain, bias []float32, eps float32) {
	width := float32(len(x))
	mean := o.sum(x) / width
	variance := o.sumSquares(x, mean) / width
	rstd := float32(1 / math.Sqrt(float64(variance+eps)))
	o.normalize(y, x, gain, bias, mean, rstd)
}

// runTiles claims steps of rows until none is left.
func (t *normTask) runTiles(s *scratch) {
	const claim = generic.TileStep
	s.a = grow(s.a, claim*t.width)
	for {
		first := int(t.next.Add(claim)) - claim
		if first >= t.rows {
			return
		}
		n := min(claim, t.rows-first)
		for r := range n {
			t.row(s.a[r*t.width:][:t.width], first+r)
		}
		t.ops.tiles.packRows(t.tiles[TileBytes(first, t.width):], s.a, t.width, n, t.width)
	}
}

// runBlocks claims steps of rows until none is left.
func (t *normTask) runBlocks() {
	const claim = generic.TileStep
	for {
		first := int(t.next.Add(claim)) - claim
		if first >= t.rows {
			return
		}
		x := t.x[BlockFloats(first, t.width):]
		ahead := BlockFloats(claim, t.width) * len(t.members)
		t.ops.tiles.norm(t.tiles[TileBytes(first, t.width):], x, t.gain, t.bias, min(claim, t.rows-first), t.eps, ahead)
	}
}
