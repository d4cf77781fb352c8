package kernel

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// mostHeads of a row are computed together: what waits for what in one head is longer than
// what a core looks ahead, and asking for the next heads' keys and values takes the time of
// some. Their scores stay in the first-level cache.
const mostHeads = 4

// byHeads reports whether single rows go by a kernel for several heads.
func (t *attentionTask) byHeads() bool {
	return t.coded() && t.packed == nil && t.c.ops.codeHeads != nil && t.HeadDim == generic.CodedHead
}

// runHeads is runSingles by that kernel.
func (t *attentionTask) runHeads(member int) {
	s := &t.c.members[member]
	for i := range t.claims {
		c := &t.claims[(member+i)%len(t.claims)]
		for first := true; ; first = false {
			item, n := t.takeHeads(c)
			if n <= 0 {
				break
			}
			if first {
				t.prefetch(item)
			}
			for n > 0 {
				m := min(n, t.Heads-item%t.Heads)
				t.someHeads(s, item, m, int(c.end))
				item, n = item+m, n-m
			}
		}
	}
	s.heads = generic.CodeHeads{} // caches may go, and the results are the caller's
}

// takeHeads claims heads, a third of a member's own at most, and fewer towards the end, if
// there are members who could help.
func (t *attentionTask) takeHeads(c *claim) (item, n int) {
	if members := t.c.team.Size(); members > 1 {
		return c.take(min(mostHeads, max(1, len(t.rows)*t.Heads/(3*members))))
	}
	item = int(c.next.Add(mostHeads)) - mostHeads
	return item, min(mostHeads, int(c.end)-item)
}

// someHeads computes n heads of a row, from an item on; end is where the member's own items
// end.
func (t *attentionTask) someHeads(s *scratch, item, n, end int) {
	head, b := item%t.Heads, t.blocks[item/t.Heads]
	o, row := t.c.ops, b.first
	r, out := &t.rows[row], t.out[item*t.HeadDim:][:n*t.HeadDim]
	if t.codes.wanted() { // numbers are read no more, and stay here
		s.a = grow(s.a, n*t.HeadDim)
		out = s.a
		t.codes.claim(row, 1, t.Heads*t.HeadDim, head*t.HeadDim, len(out))
	}
	if r.Len == 0 {
		clear(out)
	} else {
		h := &s.heads
		h.Out, h.N, h.Heads, h.Scale = out, r.Len, n, t.Scale
		h.NextK, h.NextV = nil, nil
		if next := item + n; next < end {
			h.NextK, h.NextV = t.cache(&t.rows[t.blocks[next/t.Heads].first], next%t.Heads)
		}
		var keys, values []generic.Block
		h.Q, keys, values = t.someCodes(s, row, head, n)
		k, v := t.cache(r, head)
		h.StepK, h.StepV = len(k), len(v)
		h.K, h.V = r.K[head*h.StepK:], r.V[head*h.StepV:]
		for i, blocks := 0, len(keys)/n; i < n; i++ {
			o.putPosition(h.K[i*h.StepK:], h.V[i*h.StepV:], keys[i*blocks:][:blocks], values[i*blocks:][:blocks], r.Len-1)
		}
		s.c = grow(s.c, n*roundUp(r.Len, KVPanel))
		h.S = s.c
		o.codeHeads(h)
	}
	if t.codes.wanted() {
		t.codes.put(o, out, row, t.Heads*t.HeadDim, head*t.HeadDim)
	}
}

// someCodes returns the queries, keys and values of n heads.
func (t *attentionTask) someCodes(s *scratch, row, head, n int) (q, k, v []generic.Block) {
	blocks := n * t.HeadDim / tensor.QuantBlock
	if t.given != nil {
		return t.codesOf(row, 0, head, blocks), t.codesOf(row, 1, head, blocks), t.codesOf(row, 2, head, blocks)
	}
	s.blocks = growBlocks(s.blocks, 3*blocks)
	all, width := t.query(row, head), t.Heads*t.HeadDim
	for i := range 3 {
		t.c.ops.quantize(s.blocks[i*blocks:][:blocks], all[i*width:][:n*t.HeadDim], t.DType)
	}
	return s.blocks[:blocks], s.blocks[blocks:][:blocks], s.blocks[2*blocks:]
}
