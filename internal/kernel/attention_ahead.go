package kernel

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// firstBytes of keys and values are prefetched before they are read; a stream that is
// under way brings the others.
const firstBytes = 8192

// prefetchSingle asks for the first keys and values of an item of a single row.
func (t *attentionTask) prefetchSingle(row, head int) {
	k, v := t.cache(&t.rows[row], head)
	n := t.rows[row].Len * t.bytes
	if n == 0 {
		return
	}
	ask(k[:n], v[:n])
	t.prefetchLast(row, k)
}

// Of the next item of single rows a little is asked for at once, before there are loops that
// ask for the rest; of the one after it a line of each of its first pages, so that the
// core knows where they are.
const (
	atOnce = 512 // of keys and of values
	page   = 4096
	pages  = 2 // of keys and of values
)

// lookAhead asks for the beginning of what a member reads next, and has the rest asked for
// meanwhile.
func (t *attentionTask) lookAhead(s *scratch, next int) {
	s.asks = t.upcoming(next)
	if !t.byText {
		return
	}
	if t.computes(next) {
		head, b := t.place(next)
		t.prefetchQuery(b.first, head)
	}
	if t.computes(next + 1) {
		head, b := t.place(next + 1)
		t.touch(b.first, head)
	}
	if k, v, n := s.asks.Take(atOnce, 1); n > 0 {
		prefetchRows(k, 0, 1, atOnce)
		prefetchRows(v, 0, 1, atOnce)
	}
}

// touch asks for a line of each of the first pages of keys and values.
func (t *attentionTask) touch(row, head int) {
	r := &t.rows[row]
	k, v := t.cache(r, head)
	n := r.Len * t.bytes
	if n == 0 {
		return
	}
	lines := min(pages, ceilDiv(n, page))
	prefetchRows(&k[0], page, lines, 1)
	prefetchRows(&v[0], page, lines, 1)
}

// upcoming returns the keys and values of an item of a single row.
func (t *attentionTask) upcoming(item int) (a generic.Asks) {
	if !t.computes(item) {
		return a
	}
	head, b := t.place(item)
	r := &t.rows[b.first]
	if b.n > 1 || r.Len == 0 {
		return a
	}
	k, v := t.cache(r, head)
	t.prefetchLast(b.first, k)
	if t.coded() {
		return generic.Asks{K: k[:roundUp(r.Len, panelOuts)*t.bytes], V: v[:valuesTo(r.Len, t.HeadDim)]}
	}
	keys := r.Len
	if !t.byRows(b.first) {
		keys = roundUp(keys, KVPanel)
	}
	return generic.Asks{K: k[:keys*t.bytes], V: v[:r.Len*t.bytes]}
}

// prefetchQuery asks for the query, the key and the value of a row, which another member
// may have computed.
func (t *attentionTask) prefetchQuery(row, head int) {
	if t.given == nil {
		q := tensor.Bytes(t.query(row, head))
		prefetchRows(&q[0], uintptr(4*t.Heads*t.HeadDim), 3, 4*t.HeadDim)
		return
	}
	for part := range 3 {
		b := t.codesOf(row, part, head, t.HeadDim/tensor.QuantBlock)
		prefetchRows((*byte)(unsafe.Pointer(&b[0])), 0, 1, len(b)*int(unsafe.Sizeof(b[0])))
	}
}

// prefetchLast asks for the panel that a row's key goes to, every line of which is
// written, if it is not among the first keys.
func (t *attentionTask) prefetchLast(row int, k []byte) {
	if t.byRows(row) {
		return
	}
	panel := KVPanel * t.bytes
	if last := (t.rows[row].Len - 1) / KVPanel * panel; last+panel > firstBytes {
		prefetchRows(&k[last], 0, 1, panel)
	}
}

// ask asks for the beginning of what was left because keys and values, or the items, are
// not equally long.
func ask(k, v []byte) {
	if n := min(len(k), firstBytes); n > 0 {
		prefetchRows(&k[0], 0, 1, n)
	}
	if n := min(len(v), firstBytes); n > 0 {
		prefetchRows(&v[0], 0, 1, n)
	}
}
