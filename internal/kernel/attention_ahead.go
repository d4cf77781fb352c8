package kernel

import "github.com/gptctl/gptctl/internal/kernel/generic"

// firstBytes of keys and values are prefetched before they are read; a stream that is
// under way brings the others.
const firstBytes = 8192

// prefetchSingle asks for the first keys and values of an item of a single row.
func (t *attentionTask) prefetchSingle(row, head int) {
	k, v := t.cache(&t.rows[row], head)
	n := t.rows[row].Len * t.HeadDim * t.DType.Size()
	if n == 0 {
		return
	}
	ask(k[:n], v[:n])
	t.prefetchLast(row, k)
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
	keys, position := r.Len, t.HeadDim*t.DType.Size()
	if !t.byRows(b.first) {
		keys = roundUp(keys, KVPanel)
	}
	return generic.Asks{K: k[:keys*position], V: v[:r.Len*position]}
}

// prefetchLast asks for the panel that a row's key goes to, every line of which is
// written, if it is not among the first keys.
func (t *attentionTask) prefetchLast(row int, k []byte) {
	if t.byRows(row) {
		return
	}
	panel := KVPanel * t.HeadDim * t.DType.Size()
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
