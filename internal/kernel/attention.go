package kernel

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// AttentionRow is what one row of queries attends to: positions 0 … Len-1 of
// its sequence. K and V are [heads][Cap][headDim].
type AttentionRow struct {
	K, V     []float32
	Cap, Len int
}

// Attention computes out = softmax(scale·q·Kᵀ)·V for each row and head. The
// query of row r and head h lies at q[r·ldq+h·headDim]; out is
// [len(rows)][heads·headDim] and overlaps nothing else. A row that attends to nothing gives zeros.
//
// Neighbouring rows of one sequence are best given in one call: they share
// the reading of K and V. Each score and each output has one accumulator,
// over headDim and over the positions in order.
func (c *CPU) Attention(out, q []float32, ldq int, rows []AttentionRow, heads, headDim int, scale float32) {
	width := heads * headDim
	if len(rows) == 0 || width == 0 {
		return
	}
	if len(out) < len(rows)*width || len(q) < (len(rows)-1)*ldq+width {
		panic(fmt.Sprintf("kernel: attention of %d rows %d×%d: q %d (stride %d), out %d elements",
			len(rows), heads, headDim, len(q), ldq, len(out)))
	}
	longest := 0
	for i := range rows {
		r := &rows[i]
		if n := heads * r.Cap * headDim; r.Len > r.Cap || r.Len < 0 || len(r.K) < n || len(r.V) < n {
			panic(fmt.Sprintf("kernel: attention row %d: length %d of %d, K %d and V %d of %d elements",
				i, r.Len, r.Cap, len(r.K), len(r.V), n))
		}
		longest = max(longest, r.Len)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.attention
	t.c, t.out, t.q, t.ldq, t.rows, t.heads, t.dim, t.scale = c, out, q, ldq, rows, heads, headDim, scale
	t.plan(longest)
	t.next.Store(0)
	c.team.Run(t)
	blocks := t.blocks[:0]
	*t = attentionTask{blocks: blocks}
}

// scoreElems bounds the scores that a member holds at a time, as long as one
// tile of rows fits.
const scoreElems = 64 << 10

// attentionTask hands out pairs of a block of rows and a head.
type attentionTask struct {
	c          *CPU
	out, q     []float32
	ldq        int
	rows       []AttentionRow
	heads, dim int
	scale      float32
	blocks     []rowRange
	next       atomic.Int64
}

// rowRange is a run of rows of one sequence, and the longest of their lengths.
type rowRange struct{ first, n, longest int }

func (t *attentionTask) plan(longest int) {
	mr := t.c.ops.mr
	most := max(mr, min(4*mr, scoreElems/max(longest, 1)/mr*mr))
	t.blocks = t.blocks[:0]
	for i := 0; i < len(t.rows); {
		r := &t.rows[i]
		b := rowRange{first: i, n: 1, longest: r.Len}
		for b.n < most && i+b.n < len(t.rows) {
			next := &t.rows[i+b.n]
			if unsafe.SliceData(next.K) != unsafe.SliceData(r.K) || unsafe.SliceData(next.V) != unsafe.SliceData(r.V) || next.Cap != r.Cap {
				break
			}
			b.longest = max(b.longest, next.Len)
			b.n++
		}
		t.blocks = append(t.blocks, b)
		i += b.n
	}
}

// Run claims pairs until none is left, the last rows (the longest) first.
func (t *attentionTask) Run(member int) {
	s := &t.c.members[member]
	n := len(t.blocks) * t.heads
	for {
		i := int(t.next.Add(1)) - 1
		if i >= n {
			return
		}
		t.block(s, t.blocks[len(t.blocks)-1-i/t.heads], i%t.heads)
	}
}

// block computes one head of a run of rows.
func (t *attentionTask) block(s *scratch, b rowRange, head int) {
	o, dim := t.c.ops, t.dim
	r0 := &t.rows[b.first]
	k := r0.K[head*r0.Cap*dim:][:r0.Cap*dim]
	v := r0.V[head*r0.Cap*dim:][:r0.Cap*dim]

	ld := roundUp(b.longest, o.nr) + 16 // of the scores; not a power of two
	ldo := roundUp(dim, o.nr)
	s.c = grow(s.c, b.n*ld)
	s.b = grow(s.b, max(dim, o.nr)*o.nr)
	s.a = grow(s.a, b.n*(dim+ldo))
	q, acc := s.a[:b.n*dim], s.a[b.n*dim:]
	for i := range b.n {
		copy(q[i*dim:][:dim], t.q[(b.first+i)*t.ldq+head*dim:])
	}

	// Scores: keys are transposed nr at a time into a panel [dim][nr].
	for p := 0; p < b.longest; p += o.nr {
		o.packTransposed(s.b, k[p*dim:], min(o.nr, b.longest-p), dim)
		for i := 0; i < b.n; i += o.mr {
			mr := min(o.mr, b.n-i)
			if p < t.longest(b.first+i, mr) {
				o.multiply(s.c[i*ld+p:], ld, q[i*dim:], dim, s.b, o.nr, mr, dim, false)
			}
		}
	}
	clear(acc)
	for i := 0; i < b.n; i += o.mr {
		mr := min(o.mr, b.n-i)
		t.tile(s, acc[i*ldo:], ldo, s.c[i*ld:], ld, v, b.first+i, mr, head)
	}
}

func (t *attentionTask) longest(first, n int) int {
	m := 0
	for i := range n {
		m = max(m, t.rows[first+i].Len)
	}
	return m
}

// tile turns the scores of up to mr rows into probabilities and adds up the
// values. What all rows attend to is done together, the rest row by row: a
// zero probability would not do, since zero times a NaN further on is NaN.
func (t *attentionTask) tile(s *scratch, acc []float32, ldo int, scores []float32, ld int, v []float32, first, mr, head int) {
	o := t.c.ops
	common := t.rows[first].Len
	for i := range mr {
		common = min(common, t.rows[first+i].Len)
	}
	var sums [maxTileRows]float32
	for i := range mr {
		p := scores[i*ld:][:t.rows[first+i].Len]
		sums[i] = o.expSum(p, o.scaleMax(p, t.scale))
	}
	t.values(s, acc, ldo, scores, ld, v, 0, common, mr)
	for i := range mr {
		if n := t.rows[first+i].Len; n > common {
			t.values(s, acc[i*ldo:], ldo, scores[i*ld:], ld, v, common, n, 1)
		}
		row := acc[i*ldo:][:t.dim]
		if t.rows[first+i].Len > 0 {
			o.scale(row, 1/sums[i])
		}
		copy(t.out[(first+i)*t.heads*t.dim+head*t.dim:], row)
	}
}

// maxTileRows is at least every family's mr.
const maxTileRows = 16

// One row passes V once, in order: so many positions are used for all of a
// head's columns before the next ones. A tile of rows takes them longer.
const (
	valueBlock     = 64
	valueBlockTile = 256
)

// values adds probabilities × values of positions from … to-1 to acc.
func (t *attentionTask) values(s *scratch, acc []float32, ldo int, p []float32, ld int, v []float32, from, to, mr int) {
	o, dim := t.c.ops, t.dim
	if dim%o.nr == 0 {
		block := valueBlockTile
		if mr == 1 {
			block = valueBlock
		}
		for from < to {
			n := min(block, to-from)
			for j := 0; j < dim; j += o.nr {
				o.multiply(acc[j:], ldo, p[from:], ld, v[from*dim+j:], dim, mr, n, true)
			}
			from += n
		}
		return
	}
	// Rows of V end within a panel: copy nr positions at a time, zero-padded.
	for ; from < to; from += o.nr {
		n := min(o.nr, to-from)
		for j := 0; j < dim; j += o.nr {
			cols := min(o.nr, dim-j)
			for i := range n {
				row := s.b[i*o.nr:][:o.nr]
				clear(row[copy(row, v[(from+i)*dim+j:][:cols]):])
			}
			o.multiply(acc[j:], ldo, p[from:], ld, s.b, o.nr, mr, n, true)
		}
	}
}
