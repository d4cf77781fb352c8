package kernel

// pairsTask is the product of many rows with a weight in panels of pairs. Members have
// runs of rows, the same ones in every product: they mostly read what they wrote
// themselves, since memory that another core wrote is slow where the two share no cache
// (AMD: on two complexes 17 ns a line). Each run of rows is rounded to pairs by who
// multiplies it, some rows at a time, which stay in the cache while all panels pass by.
type pairsTask struct {
	*linearTask
	step  int // rows that are rounded at a time …
	ld    int // … to pairs that are so far apart
	cols  int // of an item
	bytes int // of a panel
	items int // of a step
	runs  *rowRuns
}

const (
	pairsStep = 640 << 10 // bytes of rounded rows, in a second-level cache of 1 MB
	pairsCols = 128
)

func (t *pairsTask) run(l *linearTask) {
	c := l.c
	t.linearTask = l
	_, t.bytes = l.w.panel()
	t.ld = ceilDiv(l.w.In, 2) + 16 // not a power of two
	t.cols = pairsCols
	t.items = ceilDiv(l.w.Out, t.cols)
	t.runs = &c.rowRuns
	t.runs.plan(l.rows, c.team.Size(), rowUnit)
	most := max(l.c.ops.mr, pairsStep/(4*t.ld))
	each := t.runs.longest()
	t.step = roundUp(ceilDiv(each, ceilDiv(each, most)), rowUnit)
	for i := range t.runs.claims {
		from, to := t.runs.rows(i)
		t.runs.begin(i, t.items*ceilDiv(to-from, t.step))
	}
	c.share(t, l.rows*l.w.In*l.w.Out)
	t.linearTask = nil
}

// Run claims items until none is left.
func (t *pairsTask) Run(member int) {
	s := &t.c.members[member]
	held := -1 // the rows that are rounded begin here
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
			t.round(s, from, n)
		}
		col := item % t.items * t.cols
		t.item(s, from, n, col, min(t.cols, t.w.Out-col))
	}
}

func (t *pairsTask) round(s *scratch, from, n int) {
	s.p = growPairs(s.p, t.step*t.ld)
	for r := range n {
		t.c.ops.pairs.round(s.p[r*t.ld:], t.x[(from+r)*t.w.In:][:t.w.In])
	}
}

// item multiplies n rows by some panels. Sums lie where the results will, if these are not
// added to what is there.
func (t *pairsTask) item(s *scratch, from, n, col, cols int) {
	o := t.c.ops
	c, ldc := t.y[from*t.w.Out+col:], t.w.Out
	inPlace := !t.e.Add && cols%panelCols == 0
	if !inPlace {
		ldc = roundUp(cols, panelCols)
		s.c = grow(s.c, t.step*roundUp(t.cols, panelCols))
		c = s.c
	}
	deep := ceilDiv(t.w.In, 2)
	tiles := ceilDiv(n, o.mr)
	share := roundUp(ceilDiv(t.bytes, tiles), 64)
	for j := 0; j < cols; j += panelCols {
		at := (col + j) / panelCols * t.bytes
		w := pairsOf(t.w.Data[at:][:t.bytes])
		next := at + t.bytes
		for r := 0; r < n; {
			mr := tileRows(n-r, o.mr)
			if next < len(t.w.Data) {
				prefetchRows(&t.w.Data[next], 0, 1, min(share, len(t.w.Data)-next))
				next += share
			}
			o.pairs.multiply(c[r*ldc+j:], ldc, s.p[r*t.ld:], t.ld, w, mr, deep, false)
			r += mr
		}
	}
	for r := range n {
		sums := c[r*ldc:][:cols]
		if inPlace {
			t.e.apply(o, sums, col)
		} else {
			t.finish(sums, from+r, col)
		}
	}
}

// tileRows is how many of the rows that are left a tile takes: kernels of 12 and 8 rows
// are fast, one of 4 is not.
func tileRows(left, mr int) int {
	if mr == 12 && left == 16 {
		return 8
	}
	return min(mr, left)
}
