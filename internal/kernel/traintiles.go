package kernel

import (
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
	turn bool
}

// at is where the number of a row and a column begins, of the matrix that is
// multiplied.
func (s *stored) at(row, col int) []byte {
	if s.turn {
		row, col = col, row
	}
	return s.data[row*s.ld+col*s.d.Size():]
}

// Blocks of a product: of K as much is packed at a time, and of one factor so many
// rows or columns, that they stay in the second-level cache while the other passes by.
const (
	trainDepth  = 3072
	trainShared = 1664 << 10 // bytes of the second factor that is packed by all at once
	trainRows   = 256
	trainCols   = 256 // and results of 32 rows that are computed before they are written
	trainSteps  = 16  // of a panel that stay in the first-level cache
	packClaim   = 64
)

// trainTiles is Product through a matrix unit, by tiles of 32 × 32 results, each
// with one accumulator over steps of 32 of K, begun at the bias.
//
// One factor is packed by all members into memory that they share. Then each
// claims a part of the other, packs it for itself and multiplies it by the first:
// rows of a, where all of b is small enough for the cache, else columns of b.
type trainTiles struct {
	c *CPU
	Product
	y, a, b stored

	k, depth, steps int  // the part of K
	byRows          bool // b is shared
	packing         bool
	claim           int // rows or columns
	next            atomic.Int64

	shared []byte
	sums   []float32 // [⌈M/32⌉·32][ld] of the parts of K before, where there are several
	ld     int
}

// tileProduct is Product through a matrix unit. c.mu is held.
func (c *CPU) tileProduct(y, a, b Numbers, p Product) {
	t := &c.trainTiles
	t.c, t.Product = c, p
	t.y = stored{data: y.bytes(), d: y.dtype(), ld: p.N * y.dtype().Size()}
	t.a = stored{data: a.bytes(), d: a.dtype(), ld: p.K * a.dtype().Size(), turn: p.TransposeA}
	t.b = stored{data: b.bytes(), d: b.dtype(), ld: p.N * b.dtype().Size(), turn: p.TransposeB}
	if p.TransposeA {
		t.a.ld = p.M * t.a.d.Size()
	}
	if p.TransposeB {
		t.b.ld = p.K * t.b.d.Size()
	}
	whole := roundUp(ceilDiv(p.K, ceilDiv(p.K, trainDepth)), generic.TileStep)
	t.ld, t.sums = roundUp(p.N, generic.TileStep)+16, nil
	if whole < p.K {
		t.sums, _ = tensor.View[float32](c.train.sums32.bytes(4 * t.ld * roundUp(p.M, generic.TileStep)))
	}
	for t.k = 0; t.k < p.K; t.k += whole {
		t.part(min(whole, p.K-t.k))
	}
	t.Product, t.y, t.a, t.b, t.shared, t.sums = Product{}, stored{}, stored{}, stored{}, nil, nil
}

// part multiplies a part of K.
func (t *trainTiles) part(depth int) {
	t.depth, t.steps = depth, ceilDiv(depth, generic.TileStep)
	tall, wide := ceilDiv(t.M, generic.TileStep), ceilDiv(t.N, generic.TileStep)
	t.byRows = t.panel(wide) <= trainShared
	panels := tall
	if t.byRows {
		panels = wide
	}
	t.shared = t.c.train.packed.bytes(t.panel(panels))
	t.packing, t.claim = true, packClaim
	t.next.Store(0)
	t.c.share(t, 4*panels*generic.TileStep*depth)

	t.packing = false
	most := trainRows
	if !t.byRows {
		panels, most = wide, trainCols
	} else {
		panels = tall
	}
	t.claim = generic.TileStep * fewest(panels, most/generic.TileStep, t.c.team.Size())
	t.next.Store(0)
	t.c.share(t, t.M*t.N*depth)
}

// panel is where the i-th panel of 32 rows or columns begins.
func (t *trainTiles) panel(i int) int { return i * t.steps * generic.StepBytes }

// fewest returns how many of n panels, at most most, a claim takes, so that the
// member that has most to do has least.
func fewest(n, most, members int) (best int) {
	least := 0
	for p := most; p > 0; p-- {
		work := ceilDiv(ceilDiv(n, p), members) * p
		if best == 0 || work < least {
			best, least = p, work
		}
	}
	return best
}

// Run claims parts until none is left.
func (t *trainTiles) Run(member int) {
	s := &t.c.members[member]
	end := t.N
	if t.packing != t.byRows { // rows of a
		end = t.M
	}
	for {
		from := (int(t.next.Add(1)) - 1) * t.claim
		if from >= end {
			return
		}
		n := min(t.claim, end-from)
		switch {
		case t.packing && t.byRows:
			t.packCols(t.shared[t.panel(from/generic.TileStep):], from, n)
		case t.packing:
			t.packRows(t.shared[t.panel(from/generic.TileStep):], from, n)
		case t.byRows:
			own := s.tiles.bytes(t.panel(t.claim / generic.TileStep))
			t.packRows(own, from, n)
			t.multiply(s, own, from, n, t.shared, 0, t.N)
		default:
			own := s.tiles.bytes(t.panel(t.claim / generic.TileStep))
			t.packCols(own, from, n)
			t.multiply(s, t.shared, 0, t.M, own, from, n)
		}
	}
}

// packRows packs rows of a.
func (t *trainTiles) packRows(dst []byte, row, n int) {
	for i := 0; i < n; i += generic.TileStep {
		t.c.ops.tiles.rows(t.a.d, t.a.turn, dst[t.panel(i/generic.TileStep):], t.a.at(row+i, t.k), t.a.ld, min(generic.TileStep, n-i), t.depth)
	}
}

// packCols packs columns of b.
func (t *trainTiles) packCols(dst []byte, col, n int) {
	t.c.ops.tiles.pack(t.b.d, t.b.turn, dst, t.b.at(t.k, col), t.b.ld, t.depth, n)
}

// multiply computes rows of a times columns of b, of which the packed ones begin at
// a and b.
func (t *trainTiles) multiply(s *scratch, a []byte, row, rows int, b []byte, col, cols int) {
	var bias []float32
	if t.Bias != nil {
		s.a = grow(s.a, roundUp(cols, generic.TileStep))
		clear(s.a)
		copy(s.a, t.Bias[col:][:cols])
	}
	const ld = trainCols + 16
	s.c = grow(s.c, generic.TileStep*ld)
	for j := 0; j < cols; j += trainCols {
		n := min(trainCols, cols-j)
		for r := 0; r < rows; r += generic.TileStep {
			if t.Bias != nil {
				bias = s.a[j:]
			}
			t.tile(s, a[t.panel(r/generic.TileStep):], row+r, min(generic.TileStep, rows-r), b[t.panel(j/generic.TileStep):], col+j, n, bias)
		}
	}
}

// tile computes 32 rows and up to trainCols columns. a and b begin with their tiles.
func (t *trainTiles) tile(s *scratch, a []byte, row, rows int, b []byte, col, cols int, bias []float32) {
	o, panels := t.c.ops.tiles, ceilDiv(cols, generic.TileStep)
	const ld = trainCols + 16
	s.c = grow(s.c, generic.TileStep*ld)
	last := t.k+t.depth == t.K
	if last && t.y.d == tensor.BF16 {
		prefetchRows(&t.y.at(row, col)[0], uintptr(t.y.ld), rows, 2*cols)
	}
	start, lds := bias, 0
	if t.k > 0 {
		start, lds = t.sums[row*t.ld+col:], t.ld
	}
	c, ldc, ahead := s.c, ld, a[t.panel(1):]
	each := ceilDiv(t.steps, ceilDiv(t.steps, trainSteps))
	for k := 0; k < t.steps; k += each {
		n := min(each, t.steps-k)
		if k+n == t.steps && !last {
			c, ldc = t.sums[row*t.ld+col:], t.ld
		}
		o.panels(c, ldc, start, lds, a[k*generic.StepBytes:], b[k*generic.StepBytes:], t.panel(1), panels, n, ahead)
		start, lds = c, ldc
		ahead = ahead[min(len(ahead), n*panels*512):]
	}
	if last {
		o.finish(t.y.d, t.rounds(), t.Add, !t.Add, t.y.at(row, col), t.y.ld, c, ldc, rows, cols)
	}
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
