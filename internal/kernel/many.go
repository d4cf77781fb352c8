package kernel

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// manyTask is the product of many rows with an [In][Out] weight in float32 where
// the micro-kernel asks for memory while it multiplies. x is read where it lies,
// and so is a weight of float32 in panels. Sums are those of linearTask.
//
// Members have runs of items, blocks of columns by some of the rows, column by
// column, since a block of W stays in the second-level cache; who is done helps
// the others.
type manyTask struct {
	*linearTask
	direct bool // W is not packed
	depth  int  // of a block of W
	each   int  // rows of an item
	step   int  // and of a part of it, which stays in the cache
	items  int  // to a block of columns
	claims []claim
}

// A block of W, manyDepth × manyCols at most, stays in a second-level cache of
// 2 MB beside manyRows of x and of results, so that all panels pass by these
// before the next rows come: what is new, panels and rows, comes slowly.
const (
	manyDepth = 768
	manyCols  = 256
	manyRows  = 128
)

// hinted reports whether the product of rows with w is a manyTask.
func (o *ops) hinted(rows int, w *Weight) bool {
	return o.hints && rows > fewRows && w.In > 0 && !w.OutMajor && !(w.DType == tensor.BF16 && o.pairs != nil)
}

func (t *manyTask) run(l *linearTask) {
	c := l.c
	o, members := c.ops, c.team.Size()
	t.linearTask = l
	t.direct = l.w.direct(o)
	t.depth = roundUp(ceilDiv(l.w.In, ceilDiv(l.w.In, manyDepth)), 16)
	most := rowBlock // so rarely is W packed
	if t.direct {
		most = manyRows
	}
	t.each = roundUp(ceilDiv(l.rows, ceilDiv(l.rows, most)), o.mr)
	t.step = min(t.each, roundUp(manyRows, o.mr))
	t.items = ceilDiv(l.rows, t.each)
	l.cols = roundUp(min(manyCols, l.w.Out), panelCols)
	if !t.direct {
		l.cols = balanced(l.w.Out, t.items, members, max(o.nr, panelCols), colBlock)
	}
	l.colBlocks = ceilDiv(l.w.Out, l.cols)
	t.claims = shareOut(t.claims, l.colBlocks*t.items, members)
	c.share(t, l.rows*l.w.In*l.w.Out)
	t.linearTask = nil
}

// Run claims items until none is left.
func (t *manyTask) Run(member int) {
	s := &t.c.members[member]
	for i := range t.claims {
		c := &t.claims[(member+i)%len(t.claims)]
		for {
			item := int(c.next.Add(1)) - 1
			if item >= int(c.end) {
				break
			}
			t.item(s, item)
		}
	}
}

// manyPlace is some of W and rows of x that are multiplied by it.
type manyPlace struct{ k, depth, col, cols, row, rows int }

// place is where an item begins.
func (t *manyTask) place(item int) manyPlace {
	col, row := item/t.items*t.cols, item%t.items*t.each
	return manyPlace{0, min(t.depth, t.w.In), col, min(t.cols, t.w.Out-col), row, min(t.step, t.rows-row)}
}

func (t *manyTask) item(s *scratch, item int) {
	o, in := t.c.ops, t.w.In
	p := t.place(item)
	first, end := p.row, min(p.row+t.each, t.rows)
	// Sums lie where the results will, unless these are added to what is there.
	ends := t.ends()
	c, ldc := t.y[first*t.w.Out+p.col:], t.w.Out
	inPlace := !t.e.Add && t.w.Out%o.nr == 0
	if !inPlace {
		ldc = roundUp(p.cols, o.nr)
		s.c = grow(s.c, (end-first)*ldc)
		c = s.c
	}
	for k := 0; k < in; k += t.depth {
		p.k, p.depth = k, min(t.depth, in-k)
		w, panel := t.panels(s, p)
		for row := first; row < end; row += t.step {
			p.row, p.rows = row, min(t.step, end-row)
			next := p
			switch {
			case row+t.step < end:
				next.row, next.rows = row+t.step, min(t.step, end-row-t.step)
			case k+t.depth < in:
				next.k, next.depth, next.row = k+t.depth, min(t.depth, in-k-t.depth), first
			default:
				next = t.place(min(item+1, t.colBlocks*t.items-1))
			}
			t.part(s, c[(row-first)*ldc:], ldc, w, panel, p, next)
		}
	}
	for r := first; r < end; r++ {
		switch sums := c[(r-first)*ldc:]; {
		case ends:
			t.e.activate(o, t.y[r*t.w.Out+p.col:][:p.cols])
		case inPlace:
			t.e.apply(o, sums[:p.cols], p.col)
		default:
			t.finish(sums[:p.cols], r, p.col)
		}
	}
}

// ends reports whether tiles of results are finished as they are stored, but for an
// activation, which comes after.
func (t *manyTask) ends() bool {
	return t.w.Out%t.c.ops.nr == 0 && !(t.e.Add && t.e.Activation != None)
}

// panels returns a block of W, and how far its panels are apart.
func (t *manyTask) panels(s *scratch, p manyPlace) (w []float32, panel int) {
	o := t.c.ops
	if t.direct {
		v, _ := tensor.View[float32](t.w.Data[t.w.at(p.k, p.col):])
		return v, t.w.In * panelCols
	}
	size := t.w.DType.Size()
	width, stride := p.cols, t.w.Out*size
	if t.w.Panels {
		width, stride = panelCols, panelCols*size
	}
	s.b = grow(s.b, t.depth*roundUp(t.cols, o.nr))
	for j := 0; j < p.cols; j += width {
		o.pack(t.w.DType, s.b[j*p.depth:], t.w.Data[t.w.at(p.k, p.col+j):], stride, p.depth, min(width, p.cols-j))
	}
	return s.b, p.depth * o.nr
}

// part adds the products of a block of W, panel by panel, and asks for what comes
// next meanwhile: for two rows of the next x in each tile, for a part of the next
// panel, and for the results that will be overwritten.
func (t *manyTask) part(s *scratch, c []float32, ldc int, w []float32, panel int, p, next manyPlace) {
	o, in := t.c.ops, t.w.In
	h := &s.ahead
	tiles := ceilDiv(p.rows, o.mr)
	bytes := ceilDiv(p.depth*o.nr*4, tiles*64) * 64 // of a panel during a tile
	x := next.row
	h.End = nil
	if p.k+p.depth == in && t.ends() {
		h.End = &s.end
		s.end.LD, s.end.Add = t.w.Out, t.e.Add
	}
	for j := 0; j < p.cols; j += o.nr {
		b := w[j/o.nr*panel:]
		if t.e.Bias != nil && h.End != nil {
			s.end.Bias = t.e.Bias[p.col+j:][:o.nr]
		}
		ahead := t.nextPanel(b, panel, j+o.nr < p.cols, p, next)
		for i := range tiles {
			r := i * o.mr
			h.A = &t.x[min(x, t.rows-2)*in+next.k]
			x = min(x+2, next.row+next.rows-2)
			h.B, h.Step = (*byte)(unsafe.Pointer(h.A)), 0
			if at := i * bytes; at < len(ahead) {
				h.B, h.Step = &ahead[at], uintptr(ceilDiv(min(bytes, len(ahead)-at), max(1, p.depth/4)))
			}
			h.Y, h.LDY = &c[r*ldc+j], uintptr(ldc*4)
			if p.k+p.depth == in {
				h.Y, h.LDY = &t.y[(p.row+r)*t.w.Out+min(p.col+j, t.w.Out-1)], uintptr(t.w.Out*4)
			}
			if h.End != nil {
				s.end.Out = t.y[(p.row+r)*t.w.Out+p.col+j:]
			}
			o.multiplyAhead(c[r*ldc+j:], ldc, t.x[(p.row+r)*in+p.k:], in, b, min(o.mr, p.rows-r), p.depth, p.k > 0, h)
		}
	}
	h.End, s.end = nil, generic.End{}
}

// nextPanel returns the memory of the panel after b.
func (t *manyTask) nextPanel(b []float32, panel int, same bool, p, next manyPlace) []byte {
	n := p.depth * t.c.ops.nr * 4
	switch {
	case same:
		return tensor.Bytes(b[panel:])[:n]
	case t.direct:
		n = min(n, next.depth*panelCols*4)
		return t.w.Data[t.w.at(next.k, next.col):][:n]
	}
	return nil
}
