package kernel

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Product is a matrix product of training, y [M][N] = a·b.
type Product struct {
	M, N, K    int
	TransposeA bool // a is [K][M], not [M][K]
	TransposeB bool // b is [N][K], not [K][N]

	// DType is the type that both factors are multiplied in; b is rounded to it,
	// and a is expected to have been. Sums are float32.
	DType tensor.DType
	Bias  []float32    // [N], or nil; rounded to DType too, as torch.autocast does it
	Round tensor.DType // the type that the result is rounded to; F32 (or zero): none
	Add   bool         // y += result instead of y = result
	Kept  bool         // a hint: y and Act are not read soon

	// Act [M][N], if there is one, is overwritten with Activation of y, rounded as y is;
	// and y is multiplied by Activation's derivative at Slope, and rounded again.
	Activation Activation
	Act, Slope Numbers
}

func (p *Product) check(y, a, b Numbers) {
	aRows, aCols, bRows, bCols := p.M, p.K, p.K, p.N
	if p.TransposeA {
		aRows, aCols = aCols, aRows
	}
	if p.TransposeB {
		bRows, bCols = bCols, bRows
	}
	if p.M < 0 || p.N < 0 || p.K < 0 || !y.holds(p.M, p.N) || !a.holds(aRows, aCols) || !b.holds(bRows, bCols) || (p.Bias != nil && len(p.Bias) < p.N) ||
		!p.DType.IsFloat() || !p.beside(y, p.Act) || !p.beside(y, p.Slope) || b.Tiles && p.TransposeB || y.Tiles && p.Add {
		panic(fmt.Sprintf("kernel: product %d×%d×%d in %v: y %d, a %d, b %d, bias %d elements", p.M, p.N, p.K, p.DType, y.len(), a.len(), b.len(), len(p.Bias)))
	}
}

// beside says whether there is no n, or one that lies like y.
func (p *Product) beside(y, n Numbers) bool {
	return n.len() == 0 || n.holds(p.M, p.N) && n.Tiles == y.Tiles
}

func (p *Product) rounds() bool { return p.Round == tensor.F16 || p.Round == tensor.BF16 }

// Product computes y = a·b, or adds it. Each number of y is one sum in the order
// of K, begun with what is added to (or, if the result is rounded, with zero), by
// pairs where bf16 is multiplied by bf16; with a matrix unit as trainTiles has it.
func (c *CPU) Product(y, a, b []float32, p Product) {
	c.ProductOf(Floats(y), Floats(a), Floats(b), p)
}

// ProductOf is Product of what may be bfloat16 in memory. Many rows of bf16, and
// what lies as bfloat16, go through a matrix unit where there is one.
func (c *CPU) ProductOf(y, a, b Numbers, p Product) { c.ProductSquares(y, a, b, p) }

// ProductSquares is ProductOf, and returns the sum of the squares of y where that costs
// nothing, not where they overflow.
func (c *CPU) ProductSquares(y, a, b Numbers, p Product) (squares float64, ok bool) {
	p.check(y, a, b)
	if p.M == 0 || p.N == 0 {
		return 0, false
	}
	half := y.BF16 != nil || a.BF16 != nil || b.BF16 != nil
	tiles := half || p.DType == tensor.BF16 && c.ops.tiles != nil && p.M > fewRows && p.K > 0
	act, slope := p.Act, p.Slope
	if !tiles || !p.activates(y) {
		p.Act, p.Slope = Numbers{}, Numbers{}
	}
	c.mu.Lock()
	if tiles {
		c.tileProduct(y, a, b, p)
		squares = c.trainTiles.squares()
		ok = y.BF16 == nil && !p.Add && p.K > 0 && !math.IsNaN(squares) && !math.IsInf(squares, 0)
	} else {
		c.plainProduct(y.F32, a.F32, b.F32, p)
	}
	c.mu.Unlock()
	n := p.M * p.N
	if y.Tiles {
		n = roundUp(p.M, generic.TileStep) * p.N
	}
	if act.len() > p.Act.len() {
		c.Activate(act.part(0, n), y.part(0, n), p.Activation, p.Round)
	}
	if slope.len() > p.Slope.len() {
		c.ActivateGrad(y.part(0, n), slope.part(0, n), p.Activation, p.Round)
		ok = false
	}
	return squares, ok
}

// activates reports whether activations are computed as tiles are stored.
func (p *Product) activates(y Numbers) bool {
	_, _, gate := p.Activation.gate()
	return gate && y.BF16 != nil && !p.Add && p.K > 0 && p.Act.F32 == nil && p.Slope.F32 == nil && (p.Act.BF16 == nil || p.Slope.BF16 == nil)
}

// plainProduct is Product by vectors. c.mu is held.
func (c *CPU) plainProduct(y, a, b []float32, p Product) {
	t := &c.product
	t.c, t.y, t.b, t.Product, t.a, t.lda = c, y, b, p, a, p.K
	if p.Bias != nil {
		t.bias = append(t.bias[:0], p.Bias[:p.N]...)
		c.ops.rounded(t.bias, p.DType)
		t.Bias = t.bias
	}
	t.paired = p.DType == tensor.BF16 && c.ops.pairs != nil
	t.preparing = true
	t.next.Store(0)
	if t.paired {
		t.lda = roundUp(p.K, 32)/2 + 16
		t.pairs = growPairs(t.pairs, p.M*t.lda)
		c.share(t, p.M*p.K)
	} else if p.TransposeA {
		t.lda = roundUp(p.K, 16) + 16
		t.x = c.room(t.x, &t.huge, p.M*t.lda)
		c.share(t, p.M*p.K)
		t.a = t.x
	}
	t.preparing = false
	t.rows = min(p.M, productRows)
	rowBlocks := ceilDiv(p.M, t.rows)
	t.cols = balanced(p.N, rowBlocks, c.team.Size(), c.ops.nr, colBlock)
	t.colBlocks = ceilDiv(p.N, t.cols)
	t.blocks = t.colBlocks * rowBlocks
	t.next.Store(0)
	c.share(t, p.M*p.N*max(p.K, 1))
	t.y, t.a, t.b, t.Bias = nil, nil, nil, nil
}

// productTask first brings a into the form that is multiplied, and then hands
// out blocks of rows and columns.
type productTask struct {
	Product
	c       *CPU
	y, a, b []float32
	bias    []float32
	lda     int      // numbers, or pairs, from one row of a to the next
	paired  bool     // a is pairs
	pairs   []uint32 // reused
	x       []float32
	huge    reserve

	preparing  bool
	rows, cols int // of a block
	colBlocks  int
	blocks     int
	next       atomic.Int64
}

// Blocks of b, so many of K (twice as many of pairs) by colBlock columns, are
// packed for so many rows: they stay in the second-level cache while these pass by.
const (
	productRows  = 1024
	productDepth = 512
)

// prepareRows is how many rows of a are brought into form at a time.
const prepareRows = 64

// Run claims parts until none is left.
func (t *productTask) Run(member int) {
	s := &t.c.members[member]
	for {
		i := int(t.next.Add(1)) - 1
		switch {
		case t.preparing && i*prepareRows < t.M:
			t.prepare(s, i*prepareRows, min(prepareRows, t.M-i*prepareRows))
		case !t.preparing && i < t.blocks:
			t.block(s, i/t.colBlocks*t.rows, i%t.colBlocks*t.cols)
		default:
			return
		}
	}
}

// prepare transposes n rows of a from row on, or rounds them to pairs.
func (t *productTask) prepare(s *scratch, row, n int) {
	o := t.c.ops
	switch {
	case !t.paired:
		o.train.transpose(t.x[row*t.lda:], t.lda, t.a[row:], t.M, t.K, n)
	case !t.TransposeA:
		for r := row; r < row+n; r++ {
			o.pairs.round(t.pairs[r*t.lda:], t.a[r*t.K:][:t.K])
		}
	default:
		const deep = 256 // a part of them, in the cache
		s.a = grow(s.a, prepareRows*(deep+16))
		for k := 0; k < t.K; k += deep {
			depth := min(deep, t.K-k)
			o.train.transpose(s.a, deep+16, t.a[k*t.M+row:], t.M, depth, n)
			for r := range n {
				o.pairs.round(t.pairs[(row+r)*t.lda+k/2:], s.a[r*(deep+16):][:depth])
			}
		}
	}
}

// block computes a block of y, some of K at a time.
func (t *productTask) block(s *scratch, row, col int) {
	rows, cols := min(t.rows, t.M-row), min(t.cols, t.N-col)
	depth := productDepth
	if t.paired {
		depth *= 2 // as many bytes
	}
	aside := t.Add && t.rounds() // the result is rounded alone
	if t.c.ops.hints && !t.paired && !aside && t.K > 0 && t.M > fewRows {
		t.blockAhead(s, row, col)
		return
	}
	switch {
	case t.K > 0:
	case aside:
		s.c = grow(s.c, rows*roundUp(cols, t.c.ops.nr))
		clear(s.c)
	default:
		t.finishEmpty(row, rows, col, cols)
	}
	for k := 0; k < t.K; k += depth {
		n := min(depth, t.K-k)
		t.pack(s, k, n, col, cols)
		t.tiles(s, row, rows, col, cols, k, n, aside)
	}
	if aside {
		for r := range rows {
			v := s.c[r*roundUp(cols, t.c.ops.nr):][:cols]
			t.finish(v, col)
			t.c.ops.add(t.y[(row+r)*t.N+col:][:cols], v)
		}
	}
}

func (t *productTask) finishEmpty(row, rows, col, cols int) {
	for r := row; r < row+rows; r++ {
		v := t.y[r*t.N+col:][:cols]
		if !t.Add {
			clear(v)
		}
		t.finish(v, col)
	}
}

// finish adds the bias of the columns from col on, and rounds.
func (t *productTask) finish(v []float32, col int) {
	o := t.c.ops
	if t.Bias != nil {
		o.add(v, t.Bias[col:][:len(v)])
	}
	if t.rounds() {
		o.train.round(t.Round, v)
	}
}

// pack brings n of K of some columns of b into panels.
func (t *productTask) pack(s *scratch, k, n, col, cols int) {
	o := t.c.ops
	nr := o.nr
	wide := roundUp(cols, nr)
	if t.paired {
		deep := ceilDiv(n, 2)
		s.q = growPairs(s.q, productDepth*wide)
		if !t.TransposeB {
			o.train.packFloats(s.q, t.b[k*t.N+col:], t.N, n, cols)
			return
		}
		// A panel's columns rounded to pairs, which are transposed like numbers.
		ld := productDepth + 16
		s.p = growPairs(s.p, nr*ld)
		for j := 0; j < cols; j += nr {
			wide := min(nr, cols-j)
			for i := range wide {
				o.pairs.round(s.p[i*ld:], t.b[(col+j+i)*t.K+k:][:n])
			}
			o.train.transpose(pairFloats(s.q[j*deep:]), nr, pairFloats(s.p), ld, wide, deep)
		}
		return
	}
	s.b = t.c.room(s.b, &s.huge, max(n, productDepth)*wide)
	if t.TransposeB {
		for j := 0; j < cols; j += nr {
			o.train.transpose(s.b[j*n:], nr, t.b[(col+j)*t.K+k:], t.K, min(nr, cols-j), n)
		}
	} else {
		o.pack(tensor.F32, s.b, tensor.Bytes(t.b[k*t.N+col:]), t.N*4, n, cols)
	}
	if t.DType != tensor.F32 {
		o.train.round(t.DType, s.b[:n*wide])
	}
}

// tiles adds the products of n of K to a block, by tiles of mr × nr results,
// straight to y but where the result must be apart, or columns are missing.
func (t *productTask) tiles(s *scratch, row, rows, col, cols, k, n int, aside bool) {
	o := t.c.ops
	wide, deep := roundUp(cols, o.nr), n
	if t.paired {
		deep = ceilDiv(n, 2)
	}
	whole := cols / o.nr * o.nr // columns of whole panels
	// Rows of a that lie as they were given may be a power of two apart, where they
	// would evict each other from the cache: a tile of them is copied together.
	together := !t.paired && !t.TransposeA
	lda := t.lda
	if together {
		lda = deep + 16
		s.a = grow(s.a, o.mr*(productDepth+16))
	}
	if aside {
		s.c = grow(s.c, rows*wide)
	} else {
		s.c = grow(s.c, o.mr*o.nr)
	}
	var x []float32
	var pairs []uint32
	for r := 0; r < rows; r += o.mr {
		mr := min(o.mr, rows-r)
		at := (row+r)*t.lda + k
		switch {
		case t.paired:
			pairs = t.pairs[at-k+k/2:]
		case together:
			x = s.a
			for i := range mr {
				copy(x[i*lda:][:deep], t.a[at+i*t.lda:])
			}
		default:
			x = t.a[at:]
		}
		if next := min(o.mr, rows-r-o.mr); next > 0 {
			t.ahead(row+r+o.mr, next, k, n, col, cols)
		}
		for j := 0; j < wide; j += o.nr {
			y, ld, load := t.y[min((row+r)*t.N+col+j, len(t.y)):], t.N, k > 0 || t.Add
			switch {
			case aside:
				y, ld, load = s.c[r*wide+j:], wide, k > 0
			case j >= whole:
				y, ld = s.c, o.nr
				for i := range mr {
					copy(y[i*ld:], t.y[(row+r+i)*t.N+col+j:][:cols-j])
				}
			}
			if t.paired {
				o.pairs.multiply(y, ld, pairs, lda, s.q[j*deep:], mr, deep, load)
			} else {
				o.multiply(y, ld, x, lda, s.b[j*deep:], o.nr, mr, deep, load)
			}
			if !aside && j >= whole {
				for i := range mr {
					copy(t.y[(row+r+i)*t.N+col+j:][:cols-j], y[i*ld:])
				}
			}
		}
		if k+n == t.K && !aside && (t.Bias != nil || t.rounds()) {
			for i := range mr {
				t.finish(t.y[(row+r+i)*t.N+col:][:cols], col)
			}
		}
	}
}

// ahead asks for what the next tile reads: rows of a, and of y.
func (t *productTask) ahead(row, rows, k, n, col, cols int) {
	if t.paired {
		prefetchRows(&pairBytes(t.pairs)[(row*t.lda+k/2)*4], uintptr(t.lda*4), rows, 2*n)
	} else {
		prefetchRows(&tensor.Bytes(t.a)[(row*t.lda+k)*4], uintptr(t.lda*4), rows, 4*n)
	}
	if k > 0 || t.Add {
		prefetchRows(&tensor.Bytes(t.y)[(row*t.N+col)*4], uintptr(t.N*4), rows, 4*cols)
	}
}
