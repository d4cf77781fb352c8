package kernel

import (
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// fourTask is the product of one row with a weight in panels or tiles, where memory is
// read faster in four streams than in two. Each member has a part of the panels of its
// own: four runs of the same length that are read side by side, and what is left over,
// panel by panel. Claims are half of what runs have left, so that streams seldom stop;
// who is done helps the others, and reads ahead when there is nothing left to claim.
//
// Of float32 the runs are those of a claim, one after the other: streams that are near are
// read faster (rows by 5 %, panels by 1 %). Others are those of the part, so that streams
// go on from claim to claim.
type fourTask struct {
	*linearTask
	cols, bytes int // of a panel
	panels      int
	step        int // panels of each run that are claimed at a time, at most
	near        bool
	claims      []fourClaim
	bias        []float32 // that the sums of tiles start with
}

// fourClaim is a member's part.
type fourClaim struct {
	next   atomic.Int64 // panel of each run
	alone  atomic.Int64 // of what is left over
	length int          // of a run
	_      [40]byte     // members do not share a cache line
}

// fourBytes is the most that a claim reads.
const fourBytes = 1 << 20

// fours reports whether the product of rows with w is a fourTask.
func (o *ops) fours(rows int, w *Weight) bool {
	switch {
	case rows != 1 || w.In == 0:
		return false
	case w.Tiles:
		return o.tiles.four != nil
	case w.DType.IsQuantized():
		return o.fourBlocks != nil
	case w.Panels:
		return o.four != nil
	}
	return w.OutMajor && o.fourDots != nil && !(w.DType == tensor.BF16 && o.pairs != nil)
}

// near reports whether the four runs of a claim follow each other.
func (w *Weight) near() bool { return w.DType == tensor.F32 }

// fourStep is how many panels of each run a claim has at most.
func fourStep(panel int) int { return max(1, fourBytes/(4*panel)) }

func (t *fourTask) run(l *linearTask) {
	c := l.c
	members := c.team.Size()
	if len(t.claims) < members {
		t.claims = make([]fourClaim, members)
	}
	t.linearTask = l
	if l.w.Tiles {
		t.bias, l.e.Bias = l.e.Bias, nil
	}
	t.cols, t.bytes = l.w.panel()
	t.panels = ceilDiv(l.w.Out, t.cols)
	t.step, t.near = fourStep(t.bytes), l.w.near()
	for i := range t.claims {
		c := &t.claims[i]
		from, to := part(t.panels, i, members)
		c.length = (to - from) / 4
		c.next.Store(0)
		c.alone.Store(int64(from + 4*c.length))
	}
	c.share(t, l.w.In*l.w.Out)
	t.told(true)
	t.linearTask, t.bias = nil, nil
}

// Run does a member's own part, then helps the others.
func (t *fourTask) Run(member int) {
	s := &t.c.members[member]
	s.c = grow(s.c, 4*t.step*t.cols)
	ready := false
	for i := range t.claims {
		owner := (member + i) % len(t.claims)
		c := &t.claims[owner]
		from, to := part(t.panels, owner, len(t.claims))
		for {
			at, n := t.take(c)
			if n == 0 {
				break
			}
			first, length := from+at, c.length
			if t.near {
				first, length = from+4*at, n
			}
			ready = ready || t.prepare(s, first, length)
			t.four(s, first, length, n)
		}
		for {
			panel := int(c.alone.Add(1)) - 1
			if panel >= to {
				break
			}
			ready = ready || t.prepare(s, panel, 0)
			t.alone(s, panel)
		}
	}
	t.c.expect(member, t.w.Next, 1)
}

// take claims n panels of each run, from the one at on.
func (t *fourTask) take(c *fourClaim) (at, n int) {
	for {
		at = int(c.next.Load())
		n = min(t.step, ceilDiv(c.length-at, 2))
		if n <= 0 {
			return at, 0
		}
		if c.next.CompareAndSwap(int64(at), int64(at+n)) {
			return at, n
		}
	}
}

// prepare asks for the first panels of runs of this length, and brings x into the form
// that is multiplied meanwhile, each member for itself: see streamTask.prepare.
func (t *fourTask) prepare(s *scratch, first, length int) bool {
	for i := range 4 {
		if i*length < t.panels {
			w := t.panel(first + i*length)
			prefetchRows(&w[0], 0, 1, min(len(w), firstRead))
		}
	}
	o, x := t.c.ops, t.x[:t.w.In]
	switch {
	case t.w.DType.IsQuantized():
		s.blocks = growBlocks(s.blocks, t.w.In/tensor.QuantBlock)
		o.quantize(s.blocks, x, t.w.DType)
	case t.w.Tiles:
		s.p = growPairs(s.p, roundUp(t.w.In, generic.TileStep)/2)
		o.tiles.packStream(pairBytes(s.p), x, t.w.In, 1, t.w.In)
	}
	return true
}

func (t *fourTask) panel(i int) []byte { return t.w.Data[i*t.bytes:] }

// four computes n panels of each run, of which the first run's begin at first; runs are
// length apart.
func (t *fourTask) four(s *scratch, first, length, n int) {
	o, wide := t.c.ops, t.step*t.cols
	for i := range s.four {
		panel := first + i*length
		t.begin(s.c[i*wide:], panel, n)
		s.four[i] = t.panel(panel)[:n*t.bytes]
	}
	switch {
	case t.w.Tiles:
		o.tiles.four(s.c, wide, pairBytes(s.p), &s.four, ceilDiv(t.w.In, generic.TileStep), n)
	case t.w.DType.IsQuantized():
		o.fourBlocks(t.w.DType, s.c, wide, s.blocks, &s.four, n)
	case t.w.OutMajor:
		o.fourDots(t.w.DType, s.c, wide, t.x[:t.w.In], &s.four, n)
	default:
		o.four(t.w.DType, s.c, wide, t.x[:t.w.In], &s.four, t.w.In, n)
	}
	for i := range s.four {
		t.store(s.c[i*wide:], first+i*length, n)
	}
}

// alone computes one panel.
func (t *fourTask) alone(s *scratch, panel int) {
	o, w, y := t.c.ops, t.panel(panel)[:t.bytes], s.c[:t.cols]
	t.begin(y, panel, 1)
	switch {
	case t.w.Tiles:
		o.tiles.alone(y, pairBytes(s.p), w, ceilDiv(t.w.In, generic.TileStep))
	case t.w.DType.IsQuantized():
		o.products(t.w.DType, y, t.cols, s.blocks, 1, w, 1)
	case t.w.OutMajor:
		o.dots(t.w.DType, y, 1, t.x, 1, t.w.In, w, t.bytes, 1)
	default:
		o.accumulate(t.w.DType, y, t.cols, t.x, t.w.In, 1, t.w.In, w, t.w.DType.Size()*t.cols, t.cols)
	}
	t.store(y, panel, 1)
}

// begin sets what the sums of n panels begin with; those of blocks begin with zero anyway.
func (t *fourTask) begin(y []float32, panel, n int) {
	if t.w.DType.IsQuantized() {
		return
	}
	y = y[:n*t.cols]
	clear(y)
	if t.bias != nil {
		copy(y, t.bias[panel*t.cols:t.w.Out])
	}
}

// store finishes n panels.
func (t *fourTask) store(y []float32, panel, n int) {
	col := panel * t.cols
	t.finish(y[:min(n*t.cols, t.w.Out-col)], 0, col)
}
