package kernel

import "github.com/gptctl/gptctl/internal/kernel/generic"

// planSingles gives each member a run of items, so that it knows what it will read next.
func (t *attentionTask) planSingles() {
	t.claims = shareOut(t.claims, len(t.rows)*t.Heads, t.c.team.Size())
}

// runSingles claims a member's own items, then helps the others. Items are claimed one by
// one, so that members finish together.
func (t *attentionTask) runSingles(member int) {
	s := &t.c.members[member]
	s.foresight.item = -1
	for i := range t.claims {
		c := &t.claims[(member+i)%len(t.claims)]
		for first := true; ; first = false {
			item, end := int(c.next.Add(1))-1, int(c.end)
			if item >= end {
				break
			}
			if first {
				t.prefetch(item)
			}
			next := item + 1
			if next == end {
				next = len(t.rows) * t.Heads // none
			}
			t.item(s, item, next)
		}
	}
}

// single computes one head of one row: K and V pass once, in order, as fast as
// memory gives them, and those of the next item after them.
func (t *attentionTask) single(s *scratch, row, head int) {
	o, r := t.c.ops, &t.rows[row]
	k, v := t.cache(r, head)
	panels := ceilDiv(r.Len, KVPanel)
	if !t.singly() {
		t.block(s, rowRange{first: row, n: 1}, head)
		return
	}
	s.c = grow(s.c, panels*KVPanel)
	if r.Len > 0 {
		t.scoresOf(s, row, head, k)
	}
	t.average(t.output(row, head), s.c[:r.Len], v, &s.asks)
	if o.streamsAhead || t.coded() { // loops over codes are too short to ask for all of it
		ask(s.asks.Begin())
	}
}

// average computes the result of a row from its scores.
func (t *attentionTask) average(out, scores []float32, v []byte, next *generic.Asks) {
	o, p := t.c.ops, scores
	clear(out)
	if len(p) == 0 {
		return
	}
	sum := o.expSum(p, o.scaleMax(p, t.Scale))
	if t.coded() {
		o.codeValues(out, p, v, t.HeadDim, next)
	} else {
		o.values(t.DType, out, p, v, t.HeadDim, next)
	}
	o.scale(out, 1/sum)
}

// singly reports whether the family has kernels for single rows.
func (t *attentionTask) singly() bool {
	o := t.c.ops
	if t.coded() {
		return o.codeScores != nil && o.codeValues != nil
	}
	return o.scores != nil && o.values != nil && t.HeadDim%o.nr == 0
}
