package kernel

// streamTask is the product of one row with a weight in panels. Each member has a
// run of panels of its own and reads it in two streams, the first half beside the
// second; who is done helps the others.
type streamTask struct {
	*linearTask
	panels int
	claims []claim // of pairs of panels
}

// streamBytes is what a claim reads, about: so much that its beginning does not
// count, so little that members finish together.
const streamBytes = 256 << 10

func (t *streamTask) run(l *linearTask) {
	c := l.c
	members := c.team.Size()
	if len(t.claims) < members {
		t.claims = make([]claim, members)
	}
	t.linearTask, t.panels = l, ceilDiv(l.w.Out, panelCols)
	for i := range t.claims {
		from, to := t.part(i)
		t.claims[i].next.Store(0)
		t.claims[i].end = int64(ceilDiv(to-from, 2))
	}
	c.share(t, l.w.In*l.w.Out)
	t.linearTask = nil
}

// part is a member's run of panels.
func (t *streamTask) part(member int) (from, to int) {
	return member * t.panels / len(t.claims), (member + 1) * t.panels / len(t.claims)
}

// Run claims pairs until none is left.
func (t *streamTask) Run(member int) {
	s := &t.c.members[member]
	s.c = grow(s.c, 2*panelCols)
	step := int64(max(1, streamBytes/PanelBytes(t.w.DType, t.w.In, 2*panelCols)))
	for i := range t.claims {
		owner := (member + i) % len(t.claims)
		c := &t.claims[owner]
		from, to := t.part(owner)
		for {
			pair := c.next.Add(step) - step
			if pair >= c.end {
				break
			}
			for p := pair; p < min(pair+step, c.end); p++ {
				t.pair(s.c, from+int(p), from+int(p)+int(c.end), to)
			}
		}
	}
}

// pair computes two panels, or one if the other is not below end.
func (t *streamTask) pair(c []float32, first, second, end int) {
	clear(c)
	in, w0, w1 := t.w.In, t.panel(first), []byte(nil)
	y0, y1 := c[:panelCols], c[panelCols:]
	switch o := t.c.ops; {
	case second < end && t.pairs != nil:
		w1 = t.panel(second)
		o.pairs.stream(y0, y1, t.pairs, w0, w1, in)
	case second < end:
		w1 = t.panel(second)
		o.stream(t.w.DType, y0, y1, t.x, w0, w1, in)
	case t.pairs != nil:
		o.pairs.accumulate(y0, panelCols, t.pairs, t.ldp, 1, in, w0, 2*panelCols, panelCols)
	default:
		o.accumulate(t.w.DType, y0, panelCols, t.x, t.ldx, 1, in, w0, t.w.DType.Size()*panelCols, panelCols)
	}
	t.store(y0, first)
	if w1 != nil {
		t.store(y1, second)
	}
}

func (t *streamTask) panel(i int) []byte { return t.w.Data[t.w.at(0, i*panelCols):] }

func (t *streamTask) store(y []float32, panel int) {
	col := panel * panelCols
	t.finish(y[:min(panelCols, t.w.Out-col)], 0, col)
}
