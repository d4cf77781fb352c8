package kernel

import (
	"unsafe"

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
	unit        int       // panels that stay together
	step        int       // pairs of units that are claimed at a time
	claims      []claim   // of two units each
	paired      bool      // x is multiplied as pairs of bf16
	bias        []float32 // that the sums of tiles start with
}

// streamBytes is what a claim reads, about: so little that members finish together, and so
// much that claims do not count. Each costs a tenth of a microsecond, since an atomic
// operation waits for what was read ahead (256 KB: a token of Q4_0 takes 2 % longer).
const streamBytes = 1 << 20

// claimBytes is what the results of a claim of many rows take, about: half of the
// second-level cache (512 tokens of Q8_0 in 128 KB take 6 % longer, and without a bound a
// member has 5 MB).
const claimBytes = 512 << 10

// workApart keeps what members work in apart: a processor that reads ahead in one would
// take lines of the other, which are written all the time (side by side: Q4_0 a quarter
// slower, with two threads only; the reason is a guess).
const workApart = 2048

func (t *streamTask) run(l *linearTask) {
	c := l.c
	members := c.team.Size()
	if len(t.claims) < members {
		t.claims = make([]claim, members)
	}
	t.linearTask = l
	if l.w.Tiles {
		t.bias, l.e.Bias = l.e.Bias, nil
	}
	t.cols, t.bytes = l.w.panel()
	t.panels = ceilDiv(l.w.Out, t.cols)
	t.paired = l.w.DType == tensor.BF16 && c.ops.pairs != nil && !l.w.Tiles
	t.unit = 1
	if l.e.Codes.wanted() {
		t.unit = tensor.QuantBlock / panelOuts
	}
	longest := 1
	for i := range t.claims {
		from, to := t.part(i)
		n := ceilDiv(to-from, 2*t.unit)
		t.claims[i].next.Store(0)
		t.claims[i].end = int64(n)
		longest = max(longest, n)
	}
	t.step = min(longest, max(1, streamBytes/(2*t.unit*t.bytes))) // each has room for so many results
	if t.rows > fewRows {
		t.step = min(t.step, max(1, claimBytes/(4*t.rows*2*t.unit*t.cols)))
	}
	c.share(t, l.rows*l.w.In*l.w.Out)
	t.told(!t.fewBlocks() || l.e.Activation == None)
	t.linearTask, t.bias = nil, nil
}

// panel is what a panel holds, in columns and bytes; of an [out][in] weight that is a row.
func (w *Weight) panel() (cols, bytes int) {
	switch {
	case w.DType.IsQuantized():
		return panelOuts, PackedBytes(w.DType, w.In, panelOuts)
	case w.Tiles:
		return panelCols, TileBytes(panelCols, w.In)
	case w.OutMajor && !w.Panels:
		return 1, w.DType.Bytes(w.In)
	}
	if w.Pairs {
		return panelCols, PairBytes(w.In, panelCols)
	}
	return panelCols, PanelBytes(w.DType, w.In, panelCols)
}

// part is a member's run of panels.
func (t *streamTask) part(member int) (from, to int) {
	from, to = part(t.panels/t.unit, member, len(t.claims))
	return from * t.unit, to * t.unit
}

func part(panels, member, members int) (from, to int) {
	return member * panels / members, (member + 1) * panels / members
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
			pair, n := t.take(c)
			if n <= 0 {
				break
			}
			first, second := from+pair*t.unit, from+(pair+int(c.end))*t.unit
			n *= t.unit
			if !ready {
				t.prepare(s, first, min(second, t.panels-1))
				ready = true
			}
			if m := min(n, to-second); t.e.Codes.wanted() {
				t.coded(s, first, second, n, m)
			} else if t.fewBlocks() {
				t.few(s, first, second, n, m)
			} else {
				t.claim(s, first, second, n, m)
			}
		}
	}
	s.x = nil // which is the caller's
	t.c.expect(member, t.w.Next, t.rows)
}

// fewBlocks reports whether x is a few rows of blocks.
func (t *streamTask) fewBlocks() bool { return t.rows > 1 && t.w.DType.IsQuantized() }

// take claims some pairs. With a few rows of blocks, which take longer, claims become
// smaller towards the end.
func (t *streamTask) take(c *claim) (pair, n int) {
	if t.fewBlocks() {
		return c.take(t.step)
	}
	pair = int(c.next.Add(int64(t.step))) - t.step
	return pair, min(t.step, int(c.end)-pair)
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
	for i := range m {
		t.two(s, y0[i*t.cols:][:t.cols], y1[i*t.cols:][:t.cols], t.panel(first+i), t.panel(second+i))
	}
	if m < n {
		t.one(s, y0[m*t.cols:][:t.cols], t.panel(first+m))
	}
	t.store(y0, first, n)
	t.store(y1, second, m)
}

// few is claim of a few rows. Results go to y at once, but those of the last panel if y
// has no room for all of it, and what an activation comes before it is added.
func (t *streamTask) few(s *scratch, first, second, n, m int) {
	pairs := m
	if m > 0 && (second+m)*t.cols > t.w.Out {
		pairs--
	}
	if t.e.Add && t.e.Activation != None {
		pairs = 0
	}
	if pairs > 0 {
		t.pairs(s, first*t.cols, second*t.cols, pairs)
	}
	for i := pairs; i < n; i++ {
		t.alone(s, first+i)
	}
	for i := pairs; i < m; i++ {
		t.alone(s, second+i)
	}
}

// coded is few that quantises the results while they are in a cache.
func (t *streamTask) coded(s *scratch, first, second, n, m int) {
	o, ld := t.c.ops, (n+m)*t.cols
	t.e.Codes.claim(0, t.rows, t.w.Out, first*t.cols, n*t.cols)
	t.e.Codes.claim(0, t.rows, t.w.Out, second*t.cols, m*t.cols)
	s.c = grow(s.c, t.rows*ld)
	if m > 0 {
		t.sums(s, s.c, s.c[n*t.cols:], ld, first*t.cols, second*t.cols, m)
	}
	if alone := n - m; alone > 0 {
		y := s.c[m*t.cols:]
		o.products(t.w.DType, y, ld, t.coding(s)[:t.rows*t.w.In/tensor.QuantBlock], t.rows, t.panel(first + m)[:alone*t.bytes], alone)
		for r := 0; r < t.rows && t.e.Bias != nil; r++ {
			o.add(y[r*ld:][:alone*t.cols], t.e.Bias[(first+m)*t.cols:])
		}
	}
	for r := range t.rows {
		row := s.c[r*ld:][:ld]
		o.activate(row, t.e.Activation)
		t.e.Codes.put(o, row[:n*t.cols], r, t.w.Out, first*t.cols)
		t.e.Codes.put(o, row[n*t.cols:], r, t.w.Out, second*t.cols)
	}
}

// coding returns the blocks of x: what came as such, or what the member has quantised.
func (t *streamTask) coding(s *scratch) []generic.Block {
	if t.codes.wanted() {
		return t.codes.Blocks
	}
	return s.blocks
}

// pairs computes panels of a few rows from the columns first and second on: all of them
// for as many rows as fewBlocks takes, then for the next ones, from the second-level cache.
func (t *streamTask) pairs(s *scratch, first, second, pairs int) {
	t.sums(s, t.y[first:], t.y[second:], t.w.Out, first, second, pairs)
	for r := range t.rows {
		for _, col := range [...]int{first, second} {
			t.c.ops.activate(t.y[r*t.w.Out+col:][:pairs*t.cols], t.e.Activation)
		}
	}
}

// sums is pairs before the activation; results go to y0 and y1, rows of which are ld apart.
func (t *streamTask) sums(s *scratch, y0, y1 []float32, ld, first, second, pairs int) {
	p, n := &s.few, t.w.In/tensor.QuantBlock
	p.DType, p.LDY, p.Pairs, p.Add = t.w.DType, ld, pairs, t.e.Add
	p.W0, p.W1 = t.panel(first/t.cols), t.panel(second/t.cols)
	if t.e.Bias != nil {
		p.Bias0, p.Bias1 = t.e.Bias[first:], t.e.Bias[second:]
	}
	// Kernels are of an even number of rows: 10 are 6 and 4, not 5 and 5.
	each := 2 * ceilDiv(t.rows, 2*ceilDiv(t.rows, generic.FewRows))
	for r := 0; r < t.rows; r += each {
		p.Rows, p.X = min(each, t.rows-r), t.coding(s)[r*n:][:generic.FewRows*n]
		p.Y0, p.Y1 = y0[r*ld:], y1[r*ld:]
		t.c.ops.fewBlocks(p)
	}
	if p.Odd {
		t.odd.Store(true)
	}
	*p = generic.FewProduct{Work: p.Work}
}

// alone computes a panel of a few rows.
func (t *streamTask) alone(s *scratch, panel int) {
	col := panel * t.cols
	t.c.ops.products(t.w.DType, s.c, t.cols, t.coding(s)[:t.rows*t.w.In/tensor.QuantBlock], t.rows, t.panel(panel)[:t.bytes], 1)
	for r := range t.rows {
		t.finish(s.c[r*t.cols:][:min(t.cols, t.w.Out-col)], r, col)
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
	if t.w.Pairs {
		o.pairs.streamPanels(y0, y1, s.p, w0, w1, len(s.p))
	} else if t.paired {
		o.pairs.stream(y0, y1, s.p, w0, w1, t.w.In)
	} else {
		o.stream(t.w.DType, y0, y1, s.x, w0, w1, t.w.In)
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
	if t.w.Pairs {
		o.pairs.panel(y, t.cols, s.p, len(s.p), 1, len(s.p), w)
	} else if t.paired {
		o.pairs.accumulate(y, t.cols, s.p, len(s.p), 1, in, w, 2*t.cols, t.cols)
	} else {
		o.accumulate(t.w.DType, y, t.cols, s.x, in, 1, in, w, t.w.DType.Size()*t.cols, t.cols)
	}
}

// prepare asks for the first weights, and brings x into the form that is multiplied
// while they are on their way: that takes each member less than waiting for another
// to do it.
func (t *streamTask) prepare(s *scratch, first, second int) {
	for _, p := range [...]int{first, second} {
		prefetchRows(&t.panel(p)[0], 0, 1, min(t.bytes, firstRead))
	}
	if t.fewBlocks() && s.few.Work == nil {
		s.few.Work = alignedBytes(generic.FewWork + 2*workApart)[workApart:][:generic.FewWork]
	}
	if t.codes.wanted() {
		b := t.codes.Blocks[:t.rows*t.w.In/tensor.QuantBlock]
		prefetchRows((*byte)(unsafe.Pointer(&b[0])), 0, 1, len(b)*int(unsafe.Sizeof(b[0])))
		return
	}
	o, x := t.c.ops, t.c.input(s, t.x, t.rows, t.w.In, &t.norm)
	s.x = x
	switch {
	case t.w.DType.IsQuantized():
		n := len(x) / tensor.QuantBlock
		room := n
		if t.rows > 1 {
			room = n + n/t.rows*generic.FewRows
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

// fewOf reports whether products of a few rows with weights of type d are a streamTask.
func (o *ops) fewOf(rows int, d tensor.DType) bool {
	return rows > 1 && d.IsQuantized() && o.fewBlocks != nil && o.isFew(rows, &Weight{DType: d}) && o.fewPays(d, rows)
}

// streamed reports whether the product of rows with w is a streamTask.
func (o *ops) streamed(rows int, w *Weight) bool {
	switch {
	case w.In == 0:
		return false
	case w.Tiles:
		return rows <= fewRows
	case rows > 1:
		return o.fewOf(rows, w.DType)
	}
	if w.DType.IsQuantized() {
		return o.streamBlocks != nil
	}
	return (w.Panels || w.Pairs) && o.stream != nil
}
