package kernel

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// streamTask is the product of one row with a weight in panels, of floats or
// quantised, or of a few rows with one in tiles or a quantised one. Each member has a
// run of panels of its own and reads it in two streams, the first half beside the
// second; who is done helps the others.
type streamTask struct {
	*linearTask
	cols, bytes int // of a panel
	panels      int
	step        int       // pairs of panels that are claimed at a time
	claims      []claim   // of two panels each
	paired      bool      // x is multiplied as pairs of bf16
	bias        []float32 // that the sums of tiles start with
}

// streamBytes is what a claim reads, about: so much that its beginning does not
// count, so little that members finish together.
const streamBytes = 256 << 10

// streamClaims is how many claims a member has at least with a few rows, which take it
// longer.
const streamClaims = 4

func (t *streamTask) run(l *linearTask) {
	c := l.c
	members := c.team.Size()
	if len(t.claims) < members {
		t.claims = make([]claim, members)
	}
	t.linearTask, t.cols, t.bytes = l, panelCols, PanelBytes(l.w.DType, l.w.In, panelCols)
	switch {
	case l.w.DType.IsQuantized():
		t.cols, t.bytes = panelOuts, PackedBytes(l.w.DType, l.w.In, panelOuts)
	case l.w.Tiles:
		t.bytes, t.bias, l.e.Bias = TileBytes(panelCols, l.w.In), l.e.Bias, nil
	}
	t.panels = ceilDiv(l.w.Out, t.cols)
	t.paired = l.w.DType == tensor.BF16 && c.ops.pairs != nil && !l.w.Tiles
	t.step = max(1, streamBytes/(2*t.bytes))
	if l.rows > 1 {
		t.step = min(t.step, ceilDiv(t.panels, 2*streamClaims*members))
	}
	for i := range t.claims {
		from, to := t.part(i)
		t.claims[i].next.Store(0)
		t.claims[i].end = int64(ceilDiv(to-from, 2))
	}
	c.share(t, l.rows*l.w.In*l.w.Out)
	t.linearTask, t.bias = nil, nil
}

// part is a member's run of panels.
func (t *streamTask) part(member int) (from, to int) {
	return member * t.panels / len(t.claims), (member + 1) * t.panels / len(t.claims)
}

// Run claims pairs until none is left.
func (t *streamTask) Run(member int) {
	s := &t.c.members[member]
	s.c = grow(s.c, t.rows*t.ld())
	ready := false
	for i := range t.claims {
		owner := (member + i) % len(t.claims)
		c := &t.claims[owner]
		from, to := t.part(owner)
		for {
			pair := int(c.next.Add(int64(t.step))) - t.step
			n := min(t.step, int(c.end)-pair)
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

// ld is the distance of the rows of a claim's results: those of the second stream lie
// behind those of the first.
func (t *streamTask) ld() int { return 2 * t.step * t.cols }

// claim computes n panels from first on and m, which is n or one less, from second
// on.
func (t *streamTask) claim(s *scratch, first, second, n, m int) {
	y0, y1 := s.c, s.c[t.step*t.cols:]
	if t.w.Tiles {
		again := n - m
		t.tiles(s, y0, y1, first, second-again, n)
		t.store(y0, first, n)
		t.store(y1[again*t.cols:], second, m)
		return
	}
	if t.rows > 1 && m > 0 {
		t.c.ops.tiles.few(t.w.DType, y0, y1, t.ld(), s.blocks, t.rows, t.panel(first), t.panel(second), m, s.few)
	} else {
		for i := range m {
			t.two(s, y0[i*t.cols:][:t.cols], y1[i*t.cols:][:t.cols], t.panel(first+i), t.panel(second+i))
		}
	}
	if m < n {
		t.one(s, y0[m*t.cols:], t.panel(first+m))
	}
	t.store(y0, first, n)
	t.store(y1, second, m)
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
		o.products(t.w.DType, y, t.ld(), s.blocks[:t.rows*in/tensor.QuantBlock], t.rows, w[:t.bytes], 1)
		return
	}
	y = y[:t.cols]
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
	o, x := t.c.ops, t.x[:t.rows*t.w.In]
	switch {
	case t.w.DType.IsQuantized():
		n := len(x) / tensor.QuantBlock
		room := n
		if t.rows > 1 {
			room = n / t.rows * generic.FewRows
			s.few = growBytes(s.few, generic.FewWork)
		}
		s.blocks = growBlocks(s.blocks, room)
		o.quantize(s.blocks[:n], x, t.w.DType)
	case t.paired:
		s.p = growPairs(s.p, ceilDiv(len(x), 2))
		o.pairs.round(s.p, x)
	case t.w.Tiles:
		s.p = growPairs(s.p, ceilDiv(t.w.In, generic.TileStep)*generic.TileStep/2*t.rows)
		o.tiles.packStream(pairBytes(s.p), x, t.w.In, t.rows, t.w.In)
	}
}

func (t *streamTask) panel(i int) []byte { return t.w.Data[i*t.bytes:] }

// store finishes n panels from first on.
func (t *streamTask) store(y []float32, first, n int) {
	col := first * t.cols
	cols := min(n*t.cols, t.w.Out-col)
	for r := 0; r < t.rows && cols > 0; r++ {
		t.finish(y[r*t.ld():][:cols], r, col)
	}
}

// leastFew is from how many rows on tiles are faster: they take as long for one row as
// for eight.
const leastFew = 5

// streamed reports whether the product of rows with w is a streamTask.
func (o *ops) streamed(rows int, w *Weight) bool {
	switch {
	case w.In == 0:
		return false
	case w.Tiles:
		return rows <= fewRows
	case rows > 1:
		return rows >= leastFew && rows <= generic.FewRows && w.DType.IsQuantized() && o.tiles != nil && o.tiles.few != nil
	}
	if w.DType.IsQuantized() {
		return o.streamBlocks != nil
	}
	return w.Panels && o.stream != nil
}
