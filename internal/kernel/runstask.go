package kernel

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// runsTask is the product of many rows with a weight in panels that are multiplied as they
// lie: of pairs, or of float32 where that is no manyTask. Members have runs of rows, the
// same ones in every product: they mostly read what they wrote themselves, since memory
// that another core wrote is slow where the two share no cache (AMD: on two complexes 17 ns
// a line). Who multiplies rows copies them before, or rounds them to pairs, some at a time,
// which stay in the cache while all panels pass by.
type runsTask struct {
	*linearTask
	step  int // rows that are copied at a time …
	ld    int // … so far apart, in numbers or pairs
	depth int // numbers, or pairs, of a row
	cols  int // of an item
	bytes int // of a panel
	items int // of a step
	runs  *rowRuns
}

const (
	runsStep = 640 << 10 // bytes of copied rows, in a second-level cache of 1 MB
	runsCols = 128       // of an item at most
)

// byRuns reports whether the product of rows with w is a runsTask.
func (o *ops) byRuns(rows int, w *Weight) bool {
	if o.isFew(rows, w) || w.In == 0 {
		return false
	}
	return w.Pairs || !o.hints && o.multiplyAhead != nil && w.direct(o)
}

// direct reports whether panels are multiplied as they lie, in float32.
func (w *Weight) direct(o *ops) bool {
	return w.Panels && w.DType == tensor.F32 && o.nr == panelCols && aligned(w.Data, tensor.F32)
}

func (t *runsTask) run(l *linearTask) {
	c := l.c
	t.linearTask = l
	_, t.bytes = l.w.panel()
	t.depth = l.w.In
	if l.w.Pairs {
		t.depth = ceilDiv(l.w.In, 2)
	}
	t.ld = t.depth + 16 // not a power of two
	t.runs = &c.rowRuns
	t.runs.plan(l.rows, c.team.Size(), rowUnit)
	most := max(l.c.ops.mr, runsStep/(4*t.ld))
	each := t.runs.longest()
	t.step = roundUp(ceilDiv(each, ceilDiv(each, most)), rowUnit)
	t.cols = balanced(l.w.Out, ceilDiv(each, t.step), ceilDiv(c.team.Size(), t.runs.count), panelCols, runsCols)
	t.items = ceilDiv(l.w.Out, t.cols)
	for i := range t.runs.claims {
		from, to := t.runs.rows(i)
		t.runs.begin(i, t.items*ceilDiv(to-from, t.step))
	}
	c.share(t, l.rows*l.w.In*l.w.Out)
	t.linearTask = nil
}

// Run claims items until none is left.
func (t *runsTask) Run(member int) {
	s := &t.c.members[member]
	held := -1 // the rows that are copied begin here
	for {
		run, item, ok := t.runs.take(member)
		if !ok {
			return
		}
		from, to := t.runs.rows(run)
		from += item / t.items * t.step
		n := min(t.step, to-from)
		if held != from {
			held = from
			t.hold(s, from, n)
		}
		col := item % t.items * t.cols
		t.item(s, from, n, col, min(t.cols, t.w.Out-col))
	}
}

// hold copies rows.
func (t *runsTask) hold(s *scratch, from, n int) {
	if t.w.Pairs {
		s.p = growPairs(s.p, t.step*t.ld)
	} else {
		s.a = grow(s.a, t.step*t.ld)
	}
	for r := range n {
		x := t.x[(from+r)*t.w.In:][:t.w.In]
		if t.w.Pairs {
			t.c.ops.pairs.round(s.p[r*t.ld:], x)
		} else {
			copy(s.a[r*t.ld:], x)
		}
	}
}

// item multiplies n rows by some panels, tile by tile, each of which is finished as it is
// stored. What an activation comes after is stored aside before.
func (t *runsTask) item(s *scratch, from, n, col, cols int) {
	o, wide := t.c.ops, t.w.Out
	ends := t.w.Out%panelCols == 0 && !(t.e.Add && t.e.Activation != None)
	aside := !ends || t.e.Activation != None
	ld := roundUp(cols, panelCols)
	s.b = grow(s.b, o.mr*panelCols)
	s.c = grow(s.c, t.step*roundUp(t.cols, panelCols))
	h, e := &s.ahead, &s.end
	if ends {
		h.End, e.LD, e.Add = e, wide, t.e.Add
	}
	tiles := ceilDiv(n, o.mr)
	share := roundUp(ceilDiv(t.bytes, tiles), 64)
	h.LDY, h.Step = uintptr(wide*4), uintptr(ceilDiv(share, max(1, t.depth/4)))
	for j := 0; j < cols; j += panelCols {
		at := (col + j) / panelCols * t.bytes
		w := t.w.Data[at:][:t.bytes]
		if ends && t.e.Bias != nil {
			e.Bias = t.e.Bias[col+j:][:panelCols]
		}
		next := min(at+t.bytes, len(t.w.Data)-1)
		for r := 0; r < n; {
			mr := tileRows(n-r, o.mr)
			y := t.y[(from+r)*wide+col+j:]
			h.Y, h.B = &y[0], &t.w.Data[next]
			next = min(next+share, len(t.w.Data)-1)
			switch {
			case !ends:
				t.tile(s, s.c[r*ld+j:], ld, r, mr, w)
			case aside:
				e.Out, e.LD = s.c[r*ld+j:], ld
				t.tile(s, s.b, panelCols, r, mr, w)
			default:
				e.Out = y
				t.tile(s, s.b, panelCols, r, mr, w)
			}
			r += mr
		}
	}
	*h, *e = generic.Ahead{}, generic.End{}
	for r := 0; r < n && aside; r++ {
		sums := s.c[r*ld:][:cols]
		if !ends {
			t.finish(sums, from+r, col)
			continue
		}
		t.e.activate(o, sums)
		copy(t.y[(from+r)*wide+col:][:cols], sums)
	}
}

// tile multiplies a few of the rows that were copied by a panel.
func (t *runsTask) tile(s *scratch, c []float32, ldc, first, rows int, w []byte) {
	o, h := t.c.ops, &s.ahead
	if t.w.Pairs {
		a := s.p[first*t.ld:]
		h.A = (*float32)(unsafe.Pointer(&a[0]))
		o.pairs.multiplyAhead(c, ldc, a, t.ld, pairsOf(w), rows, t.depth, false, h)
		return
	}
	a := s.a[first*t.ld:]
	h.A = &a[0]
	v, _ := tensor.View[float32](w)
	o.multiplyAhead(c, ldc, a, t.ld, v, rows, t.depth, false, h)
}

// tileRows is how many of the rows that are left a tile takes: kernels of 12 and 8 rows
// are fast, one of 4 is not.
func tileRows(left, mr int) int {
	if mr == 12 && left == 16 {
		return 8
	}
	return min(mr, left)
}
