package kernel

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Weight is a matrix: floats in the memory of a model file, used in place, or
// Q8_0 or Q4_0 as PackWeight packs them.
type Weight struct {
	In, Out  int
	OutMajor bool         // false: [In][Out] (HF's Conv1D); true: [Out][In] (nn.Linear, a tied embedding); of no meaning if packed
	DType    tensor.DType // F32, F16 or BF16; Q8_0 or Q4_0: packed
	Data     []byte       // little-endian, of any alignment

	// Panels says that Data is [⌈Out/32⌉][In][32], as PackPanels makes it of
	// [In][Out] floats: the products are the same, but memory is read in a line.
	Panels bool
	// Pairs says that Data is [⌈Out/32⌉][⌈In/2⌉][32][2] BF16 as PackPairs makes it: panels
	// for where bf16 is multiplied by bf16, in pairs of inputs.
	Pairs bool
	// Tiles says that Data is BF16 as PackTiles makes it, for a matrix unit.
	Tiles bool

	// Next is the weight that is probably multiplied by next, or nil: it may be asked
	// for before.
	Next *Weight
}

// panelCols is the width of a panel of floats.
const panelCols = 32

// bytes is what Data must hold at least.
func (w *Weight) bytes() int {
	if w.DType.IsQuantized() {
		return PackedBytes(w.DType, w.In, w.Out)
	}
	if w.Tiles {
		return TileBytes(w.Out, w.In)
	}
	if w.Pairs {
		return PairBytes(w.In, w.Out)
	}
	if w.Panels {
		return PanelBytes(w.DType, w.In, w.Out)
	}
	return w.In * w.Out * w.DType.Size()
}

// at is where input k of output col lies; with panels col begins one.
func (w *Weight) at(k, col int) int {
	if w.Panels {
		return (col*w.In + k*panelCols) * w.DType.Size()
	}
	return (k*w.Out + col) * w.DType.Size()
}

// Epilogue is what Linear does with the product before it is stored.
type Epilogue struct {
	Bias       []float32 // [Out], or nil
	Activation Activation
	Add        bool // y += result instead of y = result

	// Tiles, if set, gets the results instead of y, in the form that the next
	// product takes; only where Tiles reports that there is one, and not with Add.
	Tiles []byte
	// Codes, if wanted, get the results instead of y. With rows that TakesCodes of a
	// weight like it, and not with Add.
	Codes Codes
	// HalvesFrom is the column from which Tiles get float16, a multiple of 32: keys and
	// values go to a cache as they are. 0: all are bfloat16.
	HalvesFrom int

	// Blocks says that y is float32 in blocks, see BlockFloats; only where Tiles
	// reports that products are tiles.
	Blocks bool

	// Finite, if set, tells whether the product has seen that all results are finite:
	// some look.
	Finite *bool

	rough bool // the activation is that of many rows in a matrix unit
}

// Blocking. A packed block of W (depthBlock × colBlock) and a member's tile of
// results lie in the second-level cache.
const (
	depthBlock  = 384
	colBlock    = 256
	rowBlock    = 512
	fewRows     = 16 // up to here reading W takes longer than the arithmetic, see isFew
	claimElems  = 256 << 10
	panelClaims = 12
	dotBlock    = 128 // rows of an [Out][In] weight that one claim covers at most when there are many rows
)

// isFew reports whether W streams by so many rows of x, which stay in a cache; more of them
// are multiplied by a block of W that does. The numbers are from a Zen 5, whose caches of the
// second level hold 1 MB.
func (o *ops) isFew(rows int, w *Weight) bool {
	switch {
	case rows <= fewRows:
		return true
	case !o.moreFew:
		return false
	case w.DType.IsQuantized():
		return true // 49 to 256 rows take 5 to 25 % less time so, 512 of Q8_0 up to 5 %
	case !w.Panels && !w.Pairs:
		return rows <= 48
	case w.Pairs:
		return rows <= 64 // 96 take a tenth more
	case w.DType == tensor.F32:
		return rows <= 160 // 2 to 8 % less from 49 on; 192 and more take longer
	}
	return true // 16 bits are widened in registers, not for a block: 64 to 512 rows take 28 to 4 % less
}

// Linear computes y = epilogue(x·W). x is [rows][In], y is [rows][Out]; they
// do not overlap.
//
// An [In][Out] weight has one accumulator per output, with multiply-adds in
// order of the input; an [Out][In] weight has sixteen (input mod 16), added by
// a fixed tree. With a packed weight x is quantised too, see linearQuantized.
// Where a processor multiplies bf16 by bf16 faster than float32, x is rounded to
// bf16 for a BF16 weight, and inputs go by pairs; a matrix unit does so with a
// weight in tiles, and with a packed one if there are many rows, see linearTiles.
func (c *CPU) Linear(y, x []float32, rows int, w *Weight, e Epilogue) {
	if rows < 0 || len(x) < rows*w.In {
		panic(fmt.Sprintf("kernel: linear of %d inputs on %d rows: x %d elements", w.In, rows, len(x)))
	}
	c.linearOf(y, x, Codes{}, rows, Norm{}, w, e)
}

// linearOf is Linear of numbers, with a norm where TakesNorm, or of codes.
func (c *CPU) linearOf(y, x []float32, codes Codes, rows int, n Norm, w *Weight, e Epilogue) {
	w.check(y, rows, e)
	if e.Finite != nil {
		*e.Finite = false
	}
	if w.Tiles && c.ops.tiles == nil {
		panic("kernel: linear with tiles and no matrix unit")
	}
	if w.Pairs && c.ops.pairs == nil {
		panic("kernel: linear with pairs and no products of them")
	}
	if rows == 0 || w.Out == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ops.tiled(rows, w) {
		c.linearTiles(y, x, rows, w, e)
		return
	}
	e.rough = w.Tiles
	if e.Tiles != nil || e.Blocks {
		panic(fmt.Sprintf("kernel: linear %d×%d %v on %d rows gives no tiles or blocks", w.In, w.Out, w.DType, rows))
	}
	streamed := c.ops.streamed(rows, w)
	if e.Codes.wanted() && !c.ops.takesCodes(rows, w.DType) {
		panic(fmt.Sprintf("kernel: linear %d×%d %v on %d rows gives no codes", w.In, w.Out, w.DType, rows))
	}
	// (Each member of a stream quantises a few rows for itself.)
	if w.DType.IsQuantized() && !codes.wanted() && rows*w.In > ownElems && !(streamed && rows <= fewRows) {
		codes = c.coded(x, rows, w)
	}
	if w.DType.IsQuantized() && !streamed {
		c.linearQuantized(y, x, codes, rows, w, e)
		return
	}
	t := &c.linear
	t.c, t.y, t.x, t.codes, t.rows, t.norm, t.w, t.e = c, y, x, codes, rows, n, *w, e
	switch {
	case c.ops.fours(rows, w):
		c.four.run(t)
	case streamed:
		c.stream.run(t)
	case c.ops.byRuns(rows, w):
		c.runs.run(t)
	case c.ops.hinted(rows, w):
		c.many.run(t)
	default:
		t.plan(c.team.Size())
		t.prepare()
		c.share(t, rows*w.In*w.Out)
		t.told(true)
	}
	*t = linearTask{claims: t.claims}
}

// check panics if y, the weight or the epilogue are not what their shapes say.
func (w *Weight) check(y []float32, rows int, e Epilogue) {
	room := len(y) >= rows*w.Out
	if e.Codes.check(rows, w.Out); e.Codes.wanted() {
		room = !e.Add
	} else if e.Tiles != nil {
		room = !e.Add && len(e.Tiles) >= TileBytes(rows, w.Out)
	} else if e.Blocks {
		room = len(y) >= BlockFloats(rows, w.Out)
	}
	if !room || len(w.Data) < w.bytes() || (w.Tiles || w.Pairs) && w.DType != tensor.BF16 || w.Pairs && (w.OutMajor || w.Panels) ||
		!(w.DType.IsFloat() || w.DType.IsQuantized() && w.In%tensor.QuantBlock == 0) || (e.Bias != nil && len(e.Bias) < w.Out) {
		panic(fmt.Sprintf("kernel: linear %d×%d %v on %d rows: y %d elements or %d bytes, bias %d, weight %d bytes",
			w.In, w.Out, w.DType, rows, len(y), len(e.Tiles), len(e.Bias), len(w.Data)))
	}
}

// linearTask hands out blocks of columns (and, with many rows, of rows).
type linearTask struct {
	c         *CPU
	y, x      []float32
	codes     Codes // instead of x
	norm      Norm  // that comes before
	rows      int
	factor        // x as it is multiplied, unless each member has its own
	few       int // rows with those that fill up a tile
	w         Weight
	e         Epilogue
	cols      int // columns of one block
	colBlocks int
	rowsBlock int // rows of one block
	blocks    int
	next      atomic.Int64
	odd       atomic.Bool // a result may not be finite
	most      int         // blocks of a claim, if each member has a run of them
	claims    []claim     // of them
}

// plan chooses the blocks so that every member gets some and both finish
// together. Results do not depend on it.
func (t *linearTask) plan(threads int) {
	const line = 16 // columns in a cache line of float32
	few := t.c.ops.isFew(t.rows, &t.w)
	switch {
	case few && t.w.OutMajor:
		// As many claims for each, long enough to be read in a stream.
		most := max(line, claimElems/max(t.w.In, 1))
		each := ceilDiv(ceilDiv(t.w.Out, threads), most)
		t.cols = roundUp(ceilDiv(t.w.Out, threads*each), line)
	case few && (t.w.Panels || t.w.Pairs):
		// Each has a run, of several claims, so that who is late leaves little behind.
		t.cols = panelCols
		t.most = max(1, ceilDiv(t.w.Out, panelCols)/(panelClaims*threads))
	case few:
		// Each has its columns in one run.
		t.cols = roundUp(ceilDiv(t.w.Out, threads), line)
	case t.w.OutMajor:
		t.cols = balanced(t.w.Out, ceilDiv(t.rows, rowBlock), threads, line, dotBlock)
	default:
		t.cols = balanced(t.w.Out, ceilDiv(t.rows, rowBlock), threads, max(t.c.ops.nr, panelCols), colBlock)
	}
	t.colBlocks = ceilDiv(t.w.Out, t.cols)
	if t.rowsBlock = t.rows; !few {
		t.rowsBlock = min(t.rows, rowBlock)
	}
	t.blocks = t.colBlocks * ceilDiv(t.rows, t.rowsBlock)
	t.next.Store(0)
	if t.most > 0 {
		t.claims = shareOut(t.claims, t.blocks, threads)
	}
}

// balanced returns the width of a block of columns, a multiple of nr up to most, with
// which the member that gets most has least to do. Each block costs about as
// much as eight more columns would.
func balanced(out, rowBlocks, threads, nr, most int) int {
	best, width := 0, 0
	for cols := roundUp(most, nr); cols > 0; cols -= nr {
		cost := ceilDiv(ceilDiv(out, cols)*rowBlocks, threads) * (cols + 8)
		if width == 0 || cost < best {
			best, width = cost, cols
		}
	}
	return width
}

// Run claims blocks until none is left.
func (t *linearTask) Run(member int) {
	s := &t.c.members[member]
	if t.most > 0 {
		t.runs(s, member)
		return
	}
	for {
		i := int(t.next.Add(1)) - 1
		if i >= t.blocks {
			return
		}
		col, row := i%t.colBlocks*t.cols, i/t.colBlocks*t.rowsBlock
		cols, rows := min(t.cols, t.w.Out-col), min(t.rowsBlock, t.rows-row)
		switch {
		case t.w.OutMajor:
			t.dots(s, row, rows, col, cols)
		case t.c.ops.isFew(t.rows, &t.w):
			t.accumulate(s, &t.factor, col, cols)
		default:
			t.multiply(s, row, rows, col, cols)
		}
	}
}

// runs does a member's own run of blocks, so that it reads memory in a line and mostly
// works on the columns that it worked on before, then helps the others.
func (t *linearTask) runs(s *scratch, member int) {
	f, ready := t.factor, !t.own()
	for i := range t.claims {
		c := &t.claims[(member+i)%len(t.claims)]
		for {
			at, n := c.take(t.most)
			if n <= 0 {
				break
			}
			col := at * t.cols
			if !ready {
				f, ready = t.ownFactor(s, col), true
			}
			t.accumulate(s, &f, col, min(n*t.cols, t.w.Out-col))
		}
	}
}

// accumulate is the product of a few rows: W streams by in order, and is read
// once.
func (t *linearTask) accumulate(s *scratch, f *factor, col, cols int) {
	ld := roundUp(cols, t.c.ops.nr)
	few := t.few
	s.c = grow(s.c, few*ld)
	clear(s.c)
	// Results go to lines that others have read: they come while the product is computed.
	if t.most > 0 {
		claimRows((*byte)(unsafe.Pointer(&t.y[col])), uintptr(t.w.Out*4), t.rows, cols*4)
	}
	t.products(s.c, ld, f, col, cols)
	for r := range t.rows {
		t.finish(s.c[r*ld:][:cols], r, col)
	}
}

// products adds x times some columns of W to y.
func (t *linearTask) products(y []float32, ldy int, f *factor, col, cols int) {
	o, in, size := t.c.ops, t.w.In, t.w.DType.Size()
	if in == 0 {
		return
	}
	if t.w.Pairs {
		_, bytes := t.w.panel()
		for j := 0; j < cols; j += panelCols {
			o.pairs.panel(y[j:], ldy, f.pairs, f.ldp, t.few, ceilDiv(in, 2), t.w.Data[(col+j)/panelCols*bytes:])
		}
		return
	}
	width, stride := cols, t.w.Out*size
	if t.w.Panels {
		width, stride = panelCols, panelCols*size
	}
	for j := 0; j < cols; j += width {
		n, data := min(width, cols-j), t.w.Data[t.w.at(0, col+j):]
		if f.pairs != nil {
			o.pairs.accumulate(y[j:], ldy, f.pairs, f.ldp, t.few, in, data, stride, n)
		} else {
			o.accumulate(t.w.DType, y[j:], ldy, f.floats, f.ldf, t.few, in, data, stride, n)
		}
	}
}

// multiply is the product of many rows, by tiles of mr × nr results.
func (t *linearTask) multiply(s *scratch, row, rows, col, cols int) {
	o, size := t.c.ops, t.w.DType.Size()
	ldc := roundUp(cols, o.nr)
	s.c = grow(s.c, rows*ldc)
	if t.w.In == 0 {
		clear(s.c)
	}
	depth := depthBlock
	if t.pairs != nil {
		depth *= 2 // as many bytes
		s.p, s.q = growPairs(s.p, o.mr*(depthBlock+16)), growPairs(s.q, depthBlock*ldc)
	} else {
		s.a, s.b = grow(s.a, o.mr*(depthBlock+16)), grow(s.b, depthBlock*ldc)
	}
	for k := 0; k < t.w.In; k += depth {
		t.multiplyDepth(s, row, rows, col, cols, ldc, k, min(depth, t.w.In-k), size)
	}
	for r := range rows {
		t.finish(s.c[r*ldc:][:cols], row+r, col)
	}
}

// multiplyDepth adds the products of inputs k … k+depth-1.
func (t *linearTask) multiplyDepth(s *scratch, row, rows, col, cols, ldc, k, depth, size int) {
	o := t.c.ops
	width, stride := cols, t.w.Out*size
	if t.w.Panels {
		width, stride = panelCols, panelCols*size
	}
	w := t.w.Data[t.w.at(k, col):]
	x, ldx, wide := tensor.Bytes(t.x)[(row*t.w.In+k)*4:], t.w.In*4, depth*4
	if t.pairs != nil {
		x, ldx, wide = pairBytes(t.pairs)[(row*t.ldp+k/2)*4:], t.ldp*4, depth*2
	}
	for j := 0; j < cols; j += width {
		n, src := min(width, cols-j), t.w.Data[t.w.at(k, col+j):]
		if t.pairs != nil {
			o.pairs.pack(s.q[j*ceilDiv(depth, 2):], src, stride, depth, n)
		} else {
			o.pack(t.w.DType, s.b[j*depth:], src, stride, depth, n)
		}
	}
	// While one tile is computed, the next rows of x and a part of the next
	// block of W are on their way.
	ahead := min(depth, t.w.In-k-depth)
	if t.w.Panels {
		ahead = 0 // memory that is read in a line comes by itself
	}
	share := ceilDiv(ahead, ceilDiv(rows, o.mr))
	for r, p := 0, 0; r < rows; r, p = r+o.mr, p+share {
		if n := min(share, ahead-p); n > 0 {
			prefetchRows(&w[(depth+p)*stride], uintptr(stride), n, cols*size)
		}
		if n := min(o.mr, rows-r-o.mr); n > 0 {
			prefetchRows(&x[(r+o.mr)*ldx], uintptr(ldx), n, wide)
		}
		mr := min(o.mr, rows-r)
		// A tile of x is copied close together: its rows may be a power of two
		// apart, where they would evict each other from the cache.
		if t.pairs != nil {
			deep := ceilDiv(depth, 2)
			lda := deep + 16
			for i := range mr {
				copy(s.p[i*lda:][:deep], t.pairs[(row+r+i)*t.ldp+k/2:])
			}
			for j := 0; j < ldc; j += o.nr {
				o.pairs.multiply(s.c[r*ldc+j:], ldc, s.p, lda, s.q[j*deep:], mr, deep, k > 0)
			}
			continue
		}
		lda := depth + 16
		for i := range mr {
			copy(s.a[i*lda:][:depth], t.x[(row+r+i)*t.w.In+k:])
		}
		for j := 0; j < ldc; j += o.nr {
			o.multiply(s.c[r*ldc+j:], ldc, s.a, lda, s.b[j*depth:], o.nr, mr, depth, k > 0)
		}
	}
}

// dots is the product with an [Out][In] weight.
func (t *linearTask) dots(s *scratch, row, rows, col, cols int) {
	stride := t.w.In * t.w.DType.Size()
	s.c = grow(s.c, rows*cols)
	if t.pairs != nil {
		t.c.ops.pairs.dots(s.c, cols, t.pairs[row*t.ldp:], t.ldp, rows, t.w.In, t.w.Data[col*stride:], stride, cols)
	} else {
		t.c.ops.dots(t.w.DType, s.c, cols, t.x[row*t.w.In:], rows, t.w.In, t.w.Data[col*stride:], stride, cols)
	}
	for r := range rows {
		t.finish(s.c[r*cols:][:cols], row+r, col)
	}
}

// finish applies the epilogue to part of one row and stores it.
func (t *linearTask) finish(acc []float32, row, col int) {
	y := t.y[row*t.w.Out+col:][:len(acc)]
	t.e.finish(t.c.ops, y, acc, col)
	// While they are in a cache. In a sum NaN and Inf would stay.
	if t.e.Finite != nil && t.c.ops.sum(y)*0 != 0 {
		t.odd.Store(true)
	}
}

// told says that all results are finite if they are and all have been looked at.
func (t *linearTask) told(all bool) {
	if t.e.Finite != nil {
		*t.e.Finite = all && !t.odd.Load()
	}
}

// finish applies the epilogue to the outputs from col on, acc, and stores them.
func (e *Epilogue) finish(o *ops, y, acc []float32, col int) {
	e.apply(o, acc, col)
	if e.Add {
		o.add(y, acc)
	} else {
		copy(y, acc)
	}
}

// apply adds the bias of the outputs from col on and applies the activation.
func (e *Epilogue) apply(o *ops, acc []float32, col int) {
	if e.Bias != nil {
		o.add(acc, e.Bias[col:][:len(acc)])
	}
	e.activate(o, acc)
}

func (e *Epilogue) activate(o *ops, acc []float32) {
	if a, b, ok := e.Activation.gate(); ok && e.rough {
		o.tiles.gate(acc, a, b)
		return
	}
	o.activate(acc, e.Activation)
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

func roundUp(a, b int) int { return ceilDiv(a, b) * b }
