package kernel

import "github.com/gptctl/gptctl/internal/tensor"

// streamTask is the product of one row with a weight in panels, of floats or
// quantised. Each member has a run of panels of its own and reads it in two
// streams, the first half beside the second; who is done helps the others.
type streamTask struct {
	*linearTask
	cols, bytes int // of a panel
	panels      int
	claims      []claim // of two panels each
	paired      bool    // x is multiplied as pairs of bf16
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
	t.linearTask, t.cols, t.bytes = l, panelCols, PanelBytes(l.w.DType, l.w.In, panelCols)
	if l.w.DType.IsQuantized() {
		t.cols, t.bytes = panelOuts, PackedBytes(l.w.DType, l.w.In, panelOuts)
	}
	t.panels = ceilDiv(l.w.Out, t.cols)
	t.paired = l.w.DType == tensor.BF16 && c.ops.pairs != nil
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
	step := max(1, streamBytes/(2*t.bytes))
	s.c = grow(s.c, 2*step*t.cols)
	ready := false
	for i := range t.claims {
		owner := (member + i) % len(t.claims)
		c := &t.claims[owner]
		from, to := t.part(owner)
		for {
			pair := int(c.next.Add(int64(step))) - step
			n := min(step, int(c.end)-pair)
			if n <= 0 {
				break
			}
			first, second := from+pair, from+pair+int(c.end)
			if !ready {
				t.prepare(s, first, min(second, t.panels-1))
				ready = true
			}
			t.claim(s, first, second, n, min(n, to-second))
		}
	}
}

// claim computes n panels from first on and m, which is n or one less, from second
// on.
func (t *streamTask) claim(s *scratch, first, second, n, m int) {
	y0, y1 := s.c[:n*t.cols], s.c[n*t.cols:][:m*t.cols]
	for i := range m {
		t.two(s, y0[i*t.cols:][:t.cols], y1[i*t.cols:][:t.cols], t.panel(first+i), t.panel(second+i))
	}
	if m < n {
		t.one(s, y0[m*t.cols:], t.panel(first+m))
	}
	t.store(y0, first)
	if m > 0 {
		t.store(y1, second)
	}
}

// two computes two panels.
func (t *streamTask) two(s *scratch, y0, y1 []float32, w0, w1 []byte) {
	o := t.c.ops
	if t.w.DType.IsQuantized() {
		o.streamBlocks(t.w.DType, y0, y1, s.blocks, w0, w1)
		return
	}
	clear(y0)
	clear(y1)
	if t.paired {
		o.pairs.stream(y0, y1, s.p, w0, w1, t.w.In)
	} else {
		o.stream(t.w.DType, y0, y1, t.x, w0, w1, t.w.In)
	}
}

// one computes a panel.
func (t *streamTask) one(s *scratch, y []float32, w []byte) {
	o, in := t.c.ops, t.w.In
	if t.w.DType.IsQuantized() {
		o.products(t.w.DType, y, t.cols, s.blocks, 1, w[:t.bytes], 1)
		return
	}
	clear(y)
	if t.paired {
		o.pairs.accumulate(y, t.cols, s.p, len(s.p), 1, in, w, 2*t.cols, t.cols)
	} else {
		o.accumulate(t.w.DType, y, t.cols, t.x, in, 1, in, w, t.w.DType.Size()*t.cols, t.cols)
	}
}

// prepare asks for the first weights, and brings x into the form that is multiplied
// while they are on their way: that takes each member less than waiting for another
// to do it.
func (t *streamTask) prepare(s *scratch, first, second int) {
	for _, p := range [...]int{first, second} {
		prefetchRows(&t.panel(p)[0], 0, 1, min(t.bytes, firstRead))
	}
	o, x := t.c.ops, t.x[:t.w.In]
	switch {
	case t.w.DType.IsQuantized():
		s.blocks = growBlocks(s.blocks, len(x)/tensor.QuantBlock)
		o.quantize(s.blocks, x, t.w.DType)
	case t.paired:
		s.p = growPairs(s.p, ceilDiv(len(x), 2))
		o.pairs.round(s.p, x)
	}
}

func (t *streamTask) panel(i int) []byte { return t.w.Data[i*t.bytes:] }

// store finishes the panels from first on.
func (t *streamTask) store(y []float32, first int) {
	col := first * t.cols
	t.finish(y[:min(len(y), t.w.Out-col)], 0, col)
}

// streamed reports whether the product of rows with w is a streamTask.
func (o *ops) streamed(rows int, w *Weight) bool {
	if rows != 1 || w.In == 0 {
		return false
	}
	if w.DType.IsQuantized() {
		return o.streamBlocks != nil
	}
	return w.Panels && o.stream != nil
}
