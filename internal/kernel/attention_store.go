package kernel

import (
	"github.com/gptctl/gptctl/internal/tensor"
)

// store puts one head's keys and values of some rows into their caches. Whole
// panels of keys are transposed at once.
func (t *attentionTask) store(s *scratch, b rowRange, head int) {
	width := t.Heads * t.HeadDim
	for end := b.first + b.n; b.first < end; {
		if t.wholePanel(b.first, end) {
			t.storePanel(s, b.first, head)
			b.first += KVPanel
			continue
		}
		if r := &t.rows[b.first]; r.Len > 0 {
			k, v := t.cache(r, head)
			q := t.query(b.first, head)
			t.storeKey(s, k, q[width:], r.Len-1)
			t.narrow(v[(r.Len-1)*t.HeadDim*t.DType.Size():], q[2*width:])
		}
		b.first++
	}
}

// wholePanel reports whether the rows from first on fill a panel of keys.
func (t *attentionTask) wholePanel(first, end int) bool {
	if end-first < KVPanel {
		return false
	}
	a, z := &t.rows[first], &t.rows[first+KVPanel-1]
	if a.Len%KVPanel != 1 || z.Len != a.Len+KVPanel-1 || !sameCache(a, z) {
		return false
	}
	for i := range KVPanel {
		if r := &t.rows[first+i]; r.Len != a.Len+i || !sameCache(a, r) {
			return false
		}
	}
	return true
}

// storeKey stores one key: elements of it lie a panel's row apart.
func (t *attentionTask) storeKey(s *scratch, k []byte, key []float32, pos int) {
	dim, size := t.HeadDim, t.DType.Size()
	k = k[pos/KVPanel*KVPanel*dim*size:][:KVPanel*dim*size]
	if t.DType == tensor.F32 {
		dst, _ := tensor.View[float32](k)
		dst = dst[pos%KVPanel:]
		for d, x := range key[:dim] {
			dst[d*KVPanel] = x
		}
		return
	}
	s.b = grow(s.b, ceilDiv(dim, 2))
	narrowed, _ := tensor.View[uint16](tensor.Bytes(s.b))
	t.narrow(tensor.Bytes(narrowed), key)
	dst, _ := tensor.View[uint16](k)
	dst = dst[pos%KVPanel:]
	for d, x := range narrowed[:dim] {
		dst[d*KVPanel] = x
	}
}

// storePanel stores the keys and values of 32 rows from a panel's first position on.
func (t *attentionTask) storePanel(s *scratch, first, head int) {
	o, dim, width := t.c.ops, t.HeadDim, t.Heads*t.HeadDim
	size := t.DType.Size()
	r := &t.rows[first]
	k, v := t.cache(r, head)
	at := (r.Len - 1) * dim * size
	k, v = k[at:][:KVPanel*dim*size], v[at:][:KVPanel*dim*size]
	s.a = grow(s.a, KVPanel*dim)
	s.b = grow(s.b, dim*o.nr)
	for i := range KVPanel {
		q := t.query(first+i, head)
		copy(s.a[i*dim:][:dim], q[width:])
		t.narrow(v[i*dim*size:], q[2*width:])
	}
	for j := 0; j < KVPanel; j += o.nr {
		o.packTransposed(s.b, s.a[j*dim:], o.nr, dim)
		for d := range dim {
			t.narrowTo(k[(d*KVPanel+j)*size:], s.b[d*o.nr:][:o.nr])
		}
	}
}

// narrow writes a head of a key or value in the cache's type.
func (t *attentionTask) narrow(dst []byte, src []float32) { t.narrowTo(dst, src[:t.HeadDim]) }

// narrowTo writes src in the cache's type, rounded to nearest even.
func (t *attentionTask) narrowTo(dst []byte, src []float32) {
	switch {
	case t.DType == tensor.F32:
		copy(dst, tensor.Bytes(src))
	case t.c.ops.narrow != nil:
		t.c.ops.narrow(t.DType, dst, src)
	default:
		tensor.FromFloat32(dst, t.DType, src)
	}
}
