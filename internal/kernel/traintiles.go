package kernel

import (
	"slices"
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/tensor"
)

// stored is a matrix as its bytes.
type stored struct {
	data []byte
	d    tensor.DType
	ld   int // bytes from one row to the next
	wide int // tiles of a row, 0: it does not lie as tiles
	turn bool
}

// storedOf is n in rows of so many numbers.
func storedOf(n Numbers, width int, turn bool) stored {
	s := stored{data: n.bytes(), d: n.dtype(), ld: width * n.dtype().Size(), turn: turn}
	if n.Tiles {
		s.ld, s.wide = 2*generic.TileStep, width/generic.TileStep
	}
	return s
}

// at is where the number of a row and a column begins, of the matrix that is
// multiplied.
func (s *stored) at(row, col int) []byte { return s.data[s.offset(row, col):] }

func (s *stored) offset(row, col int) int {
	const step = generic.TileStep
	if s.turn {
		row, col = col, row
	}
	if s.wide > 0 {
		return (row/step*s.wide+col/step)*generic.StepBytes + row%step*s.ld + col%step*s.d.Size()
	}
	return row*s.ld + col*s.d.Size()
}

// across is how many bytes 32 columns are from the 32 before.
func (s *stored) across() int {
	if s.wide > 0 {
		return generic.StepBytes
	}
	return generic.TileStep * s.d.Size()
}

// A product is computed in chunks, whose rows are packed whole by all members. Then each
// claims a block of results and packs its columns, which stay in its second-level cache,
// and rows pass by, whose panels stay in the first-level one meanwhile. Where K is too
// deep for that, columns are packed whole as well, and some of K is multiplied at a time.
const (
	trainChunk = 96        // panels of 32 rows, columns or depth
	trainCache = 800 << 10 // bytes of columns: more of them evict each other
	trainSteps = 24        // of K that are multiplied at a time …
	trainLong  = 32        // … where columns stay with all of it
	trainWide  = 8         // panels of columns that stay with all of K, at least
	trainParts = 4         // claims of a member, at least
	trainSums  = 16        // panels of rows of a claim where sums of some of K stay in the cache

	packPanels = 2  // of a claim, all of K that is multiplied at a time
	packLong   = 48 // of a claim of one step, which are read along the rows in memory
)

// blockFloats are the results of 32 rows and columns.
const blockFloats = generic.TileStep * generic.TileStep

// trainTiles is Product through a matrix unit, by tiles of 32 × 32 results, each
// with one accumulator over steps of 32 of K, begun at the bias.
type trainTiles struct {
	c *CPU
	Product
	y, a, b stored

	// The chunk: its first row, column and depth, and how many of them.
	row, col, k, rows, cols, depth int
	tall, wide, steps              int // in panels

	each        int  // steps that are multiplied at a time
	whole       bool // columns stay with all of K
	high, broad int  // panels of a claim
	product     int  // a number of its own

	work              func(t *trainTiles, s *scratch, i int)
	n                 int // claims
	next, front, back atomic.Int64

	summed  []float64 // of 32 rows of a block each: their squares
	writing int       // the first of a chunk that writes results; negative: it does not

	packedA, packedB []byte
	sums             []float32 // [tall][wide] blocks, of the chunks of K before, where there are several
}

// tileProduct is Product through a matrix unit. c.mu is held.
func (c *CPU) tileProduct(y, a, b Numbers, p Product) {
	t := &c.trainTiles
	t.c, t.Product = c, p
	t.product++
	aWidth, bWidth := p.K, p.N
	if p.TransposeA {
		aWidth = p.M
	}
	if p.TransposeB {
		bWidth = p.K
	}
	t.y, t.a, t.b = storedOf(y, p.N, false), storedOf(a, aWidth, p.TransposeA), storedOf(b, bWidth, p.TransposeB)
	t.summed = t.summed[:0]
	rows, cols, depth := chunk(p.M), p.N, chunk(p.K)
	if t.whole = trainCache/(panels(depth)*generic.StepBytes) >= trainWide; !t.whole {
		cols = chunk(p.N)
	}
	none := [2]int{-1, -1}
	inA, inB := none, none // what is packed
	for t.col = 0; t.col < p.N; t.col += cols {
		for t.row = 0; t.row < p.M; t.row += rows {
			for t.k = 0; t.k < p.K; t.k += depth {
				t.rows, t.cols, t.depth = min(rows, p.M-t.row), min(cols, p.N-t.col), min(depth, p.K-t.k)
				t.tall, t.wide, t.steps = panels(t.rows), panels(t.cols), panels(t.depth)
				if t.each = even(t.steps, trainSteps); t.whole {
					t.each = even(t.steps, trainLong)
				}
				if now := [2]int{t.row, t.k}; now != inA {
					inA = now
					t.packA()
				}
				if now := [2]int{t.col, t.k}; now != inB && !t.whole {
					inB = now
					t.packB()
				}
				t.multiply()
			}
		}
	}
	t.Product, t.y, t.a, t.b, t.packedA, t.packedB, t.sums, t.work = Product{}, stored{}, stored{}, stored{}, nil, nil, nil, nil
}

// squares is the sum of the squares of the product before, which c.mu protects.
func (t *trainTiles) squares() (sum float64) {
	for _, v := range t.summed {
		sum += v
	}
	return sum
}

// panels is how many panels n rows or columns are.
func panels(n int) int { return ceilDiv(n, generic.TileStep) }

// chunk is how many of n rows, columns or depth make a chunk.
func chunk(n int) int { return even(panels(n), trainChunk) * generic.TileStep }

// even splits n into as few parts of at most so many as it takes, of about one size.
func even(n, most int) int { return ceilDiv(n, ceilDiv(n, most)) }

// share has the members claim work.
func (t *trainTiles) share(work func(t *trainTiles, s *scratch, i int), n, operations int) {
	t.work, t.n = work, n
	t.next.Store(0)
	t.front.Store(0)
	t.back.Store(0)
	t.c.share(t, operations)
}

// Run claims parts until none is left. Members begin at both ends, so that one
// multiplies much of what it has packed.
func (t *trainTiles) Run(member int) {
	s := &t.c.members[member]
	for int(t.next.Add(1)) <= t.n {
		if member%2 == 0 {
			t.work(t, s, int(t.front.Add(1))-1)
		} else {
			t.work(t, s, t.n-int(t.back.Add(1)))
		}
	}
}

// at is where step k of a panel of so many is packed: steps that are multiplied at a
// time are together, of one panel after the other.
func (t *trainTiles) at(panels, panel, k int) int {
	part, inside := k/t.each*t.each, k%t.each
	return (panels*part + panel*min(t.each, t.steps-part) + inside) * generic.StepBytes
}

// deep is how much of K so many steps from k on are.
func (t *trainTiles) deep(k, steps int) int {
	return min(steps*generic.TileStep, t.depth-k*generic.TileStep)
}

// packA packs the rows of a chunk, if they do not lie as tiles.
func (t *trainTiles) packA() {
	if t.a.wide > 0 && !t.a.turn {
		return
	}
	t.packedA = t.c.train.packedA.bytes(t.tall * t.steps * generic.StepBytes)
	if t.a.turn {
		t.share((*trainTiles).packTurned, ceilDiv(t.tall, packLong)*t.steps, 4*t.rows*t.depth)
	} else {
		t.share((*trainTiles).packRows, ceilDiv(t.tall, packPanels)*ceilDiv(t.steps, t.each), 4*t.rows*t.depth)
	}
}

// rowsOf are so many steps of a panel of rows as tiles.
func (t *trainTiles) rowsOf(panel, k, steps int) []byte {
	if t.a.wide > 0 && !t.a.turn {
		return t.a.at(t.row+panel*generic.TileStep, t.k+k*generic.TileStep)[:steps*generic.StepBytes]
	}
	return t.packedA[t.at(t.tall, panel, k):][:steps*generic.StepBytes]
}

// packRows packs some rows.
func (t *trainTiles) packRows(_ *scratch, i int) {
	parts := ceilDiv(t.steps, t.each)
	t.rowPanels(i/parts*packPanels, packPanels, i%parts*t.each, t.each)
}

// packTurned packs a step of many rows, which are columns in memory.
func (t *trainTiles) packTurned(_ *scratch, i int) {
	t.rowPanels(i/t.steps*packLong, packLong, i%t.steps, 1)
}

func (t *trainTiles) rowPanels(first, n, k, steps int) {
	for p := first; p < min(first+n, t.tall); p++ {
		row := p * generic.TileStep
		t.c.ops.tiles.rows(t.a.d, t.a.turn, t.packedA[t.at(t.tall, p, k):], t.a.at(t.row+row, t.k+k*generic.TileStep), t.a.ld,
			min(generic.TileStep, t.rows-row), t.deep(k, steps))
	}
}

// packB packs the columns of a chunk.
func (t *trainTiles) packB() {
	t.packedB = t.c.train.packedB.bytes(t.wide * t.steps * generic.StepBytes)
	if t.b.turn {
		t.share((*trainTiles).packColumns, ceilDiv(t.wide, packPanels)*ceilDiv(t.steps, t.each), 4*t.cols*t.depth)
	} else {
		t.share((*trainTiles).packStep, ceilDiv(t.wide, packLong)*t.steps, 4*t.cols*t.depth)
	}
}

// packColumns packs some columns, which are rows in memory.
func (t *trainTiles) packColumns(_ *scratch, i int) {
	parts := ceilDiv(t.steps, t.each)
	k, p := i%parts*t.each, i/parts*packPanels
	col := p * generic.TileStep
	t.c.ops.tiles.pack(t.b.d, true, t.packedB[t.at(t.wide, p, k):], t.b.at(t.k+k*generic.TileStep, t.col+col), t.b.ld,
		t.deep(k, t.each), min(packPanels*generic.TileStep, t.cols-col))
}

// packStep packs a step of many columns.
func (t *trainTiles) packStep(_ *scratch, i int) {
	k, p := i%t.steps, i/t.steps*packLong
	col := p * generic.TileStep
	next := t.at(t.wide, 1, k) - t.at(t.wide, 0, k)
	t.columnStep(t.packedB[t.at(t.wide, p, k):], next, k, t.col+col, min(packLong*generic.TileStep, t.cols-col))
}

// columns packs the columns of a block with all of K, if the member has not. A panel's
// steps are together.
func (t *trainTiles) columns(s *scratch, b trainBlock) {
	col := b.col * generic.TileStep
	now := packedColumns{t.product, t.k, t.col + col}
	if s.columns == now {
		return
	}
	s.columns = now
	panel := t.steps * generic.StepBytes
	dst, n := s.packed.bytes(b.cols*panel), min(b.cols*generic.TileStep, t.cols-col)
	if t.b.turn {
		t.c.ops.tiles.pack(t.b.d, true, dst, t.b.at(t.k, now.col), t.b.ld, t.depth, n)
		return
	}
	for k := range t.steps {
		t.columnStep(dst[k*generic.StepBytes:], panel, k, now.col, n)
	}
}

// columnStep packs a step of n columns, of which those of a panel begin so many bytes
// after those of the panel before.
func (t *trainTiles) columnStep(dst []byte, panel, k, col, n int) {
	each := n // columns that lie next to each other
	if t.b.wide > 0 {
		each = generic.TileStep
	}
	for j := 0; j < n; j += each {
		t.c.ops.tiles.packStep(t.b.d, dst[j/generic.TileStep*panel:], panel, t.b.at(t.k+k*generic.TileStep, col+j), t.b.ld, t.deep(k, 1), min(each, n-j))
	}
}

// packedColumns says which columns of which product a member has packed, from where on,
// and with what of K.
type packedColumns struct{ product, k, col int }

// multiply multiplies a chunk.
func (t *trainTiles) multiply() {
	if t.whole {
		t.broad = even(t.wide, trainCache/(t.steps*generic.StepBytes))
		// Members that share columns pack them each: claims are as high as may be.
		t.high = max(t.tall*ceilDiv(t.wide, t.broad)/(trainParts*len(t.c.members)), 1)
	} else {
		t.broad, t.high = even(t.wide, trainCache/(t.each*generic.StepBytes)), trainSums
	}
	t.high = even(t.tall, t.high)
	across := ceilDiv(t.wide, t.broad)
	if t.depth < t.K {
		t.sums, _ = tensor.View[float32](t.c.train.sums32.bytes(4 * blockFloats * t.tall * t.wide))
	}
	if t.writing = len(t.summed); t.k+t.depth == t.K {
		t.summed = slices.Grow(t.summed, t.tall*across)[:t.writing+t.tall*across]
		clear(t.summed[t.writing:])
	} else {
		t.writing = -1
	}
	t.share((*trainTiles).block, ceilDiv(t.tall, t.high)*across, t.rows*t.cols*t.depth)
}

// trainBlock is what a claim computes, in panels.
type trainBlock struct{ row, rows, col, cols int }

// block computes a block of a chunk.
func (t *trainTiles) block(s *scratch, i int) {
	groups := ceilDiv(t.tall, t.high)
	b := trainBlock{row: i % groups * t.high, col: i / groups * t.broad}
	b.rows, b.cols = min(t.high, t.tall-b.row), min(t.broad, t.wide-b.col)
	if t.Bias != nil {
		s.a = grow(s.a, b.cols*generic.TileStep)
		clear(s.a)
		from := t.col + b.col*generic.TileStep
		copy(s.a, t.Bias[from:min(from+len(s.a), t.N)])
		t.c.ops.rounded(s.a, tensor.BF16)
	}
	if t.whole {
		t.columns(s, b)
		for r := range b.rows {
			for k := 0; k < t.steps; k += t.each {
				t.multiplyRows(s, b, r, k)
			}
			t.square(s, b, r)
		}
		return
	}
	for k := 0; k < t.steps; k += t.each {
		for r := range b.rows {
			if t.multiplyRows(s, b, r, k); k+t.each >= t.steps {
				t.square(s, b, r)
			}
		}
	}
}

// square keeps the squares of 32 rows that have been written, if they have.
func (t *trainTiles) square(s *scratch, b trainBlock, r int) {
	if t.writing >= 0 {
		t.summed[t.writing+(b.row+r)*ceilDiv(t.wide, t.broad)+b.col/t.broad] = s.rows.Squares
	}
}

// sumsOf is where the sums of 32 rows of a block stay.
func (t *trainTiles) sumsOf(s *scratch, b trainBlock, r int) []float32 {
	if t.sums != nil {
		return t.sums[((b.row+r)*t.wide+b.col)*blockFloats:]
	}
	rows := 1
	if !t.whole {
		rows = b.rows
	}
	c, _ := tensor.View[float32](s.tiles.bytes(4 * blockFloats * max(2, rows*b.cols)))
	return c[r%rows*b.cols*blockFloats:]
}

// multiplyRows computes 32 rows of a block for the steps from k on.
func (t *trainTiles) multiplyRows(s *scratch, b trainBlock, r, k int) {
	o, p := t.c.ops.tiles, &s.rows
	row, col := (b.row+r)*generic.TileStep, b.col*generic.TileStep
	p.Steps, p.Panels = min(t.each, t.steps-k), b.cols
	p.A, p.B, p.BStride = t.rowsOf(b.row+r, k, p.Steps), nil, p.Steps*generic.StepBytes
	if t.whole {
		p.B, p.BStride = s.packed.m.Data[k*generic.StepBytes:], t.steps*generic.StepBytes
	} else {
		p.B = t.packedB[t.at(t.wide, b.col, k):]
	}
	p.Rows, p.Cols = min(generic.TileStep, t.rows-row), min(b.cols*generic.TileStep, t.cols-col)
	c := t.sumsOf(s, b, r)
	p.C, p.Start, p.Again = c, nil, t.k+k > 0
	switch {
	case p.Again:
		p.Start = c
	case t.Bias != nil:
		p.Start = s.a
	}
	p.Next = t.upcoming(b, r, k)
	last := t.k+(k+p.Steps)*generic.TileStep >= t.K
	y := t.y.at(t.row+row, t.col+col)
	straight := !t.Add || t.y.d == tensor.F32
	if p.Y = nil; last && straight {
		p.DType, p.Y, p.LdY, p.YStride, p.Add, p.Round = t.y.d, y, t.y.ld, t.y.across(), t.Add, t.rounds()
		p.Past = t.Kept
		t.activation(p, t.row+row, t.col+col)
	}
	o.multiplyRows(p)
	if last && !straight {
		for j := range b.cols {
			at := j * generic.TileStep
			o.finish(t.y.d, t.rounds(), t.Add, false, y[at*t.y.d.Size():], t.y.ld, c[j*blockFloats:], generic.TileStep, p.Rows, min(generic.TileStep, p.Cols-at))
		}
	}
}

// activation adds that of a block that is stored.
func (t *trainTiles) activation(p *generic.Rows, row, col int) {
	at := t.y.offset(row, col)
	if p.Act = nil; t.Act.BF16 != nil {
		p.Act = tensor.Bytes(t.Act.BF16)[at:]
	}
	if p.Slope = nil; t.Slope.BF16 != nil {
		p.Slope = tensor.Bytes(t.Slope.BF16)[at:]
	}
	p.GateA, p.GateB, _ = t.Activation.gate()
	p.Parts = t.Activation == GELUNew
}

// upcoming is what comes after 32 rows of a block: the next ones; and where columns
// do not stay with all of K, some of those with the next of it.
func (t *trainTiles) upcoming(b trainBlock, r, k int) (next [2][]byte) {
	if r+1 < b.rows {
		a := t.rowsOf(b.row+r+1, k, min(t.each, t.steps-k))
		if n := len(a); t.whole {
			return [2][]byte{a[:n/2], a[n/2:]}
		}
		next[0] = a
	}
	if after := k + t.each; !t.whole && after < t.steps {
		all := t.packedB[t.at(t.wide, b.col, after):][:b.cols*min(t.each, t.steps-after)*generic.StepBytes]
		n := roundUp(ceilDiv(len(all), b.rows), 64)
		next[1] = all[min(r*n, len(all)):min((r+1)*n, len(all))]
	}
	return next
}

// leastReserve is the least that is on huge pages. Small ones, at places that do not
// follow each other, would evict each other from a cache that has room for all.
const leastReserve = 2 << 20

// reserve is memory that is reused, on huge pages.
type reserve struct{ m *mapped.Memory }

func (r *reserve) bytes(n int) []byte {
	if r.m == nil || len(r.m.Data) < n {
		r.free()
		r.m = mapped.Anonymous(max(n, leastReserve))
	}
	return r.m.Data[:n]
}

func (r *reserve) free() {
	if r.m != nil {
		_ = r.m.Free()
		r.m = nil
	}
}
