package kernel

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// store puts keys and values of some rows and heads into their caches. Whole
// panels of keys are transposed at once. What the next rows need is asked for if
// it was not before.
func (t *attentionTask) store(s *scratch, b rowRange, fromHead, toHead int, ask bool) {
	width := t.Heads * t.HeadDim
	if t.coded() {
		t.storeAllCodes(s, b, fromHead, toHead)
		return
	}
	for end := b.first + b.n; b.first < end; {
		if t.wholePanel(b.first, end) {
			for h := fromHead; h < toHead; h++ {
				if t.packed != nil {
					t.storeSteps(s, b.first, h)
					continue
				}
				if h+1 < toHead {
					t.prefetchPanel(b.first, h+1)
				} else if ask && b.first+2*KVPanel <= end {
					t.prefetchPanel(b.first+KVPanel, fromHead)
				}
				t.storePanel(s, b.first, h)
			}
			b.first += KVPanel
			continue
		}
		if r := &t.rows[b.first]; r.Len > 0 {
			for h := fromHead; h < toHead; h++ {
				k, v := t.cache(r, h)
				if t.packed != nil {
					t.storeRow(k, v, b.first, h)
					continue
				}
				q := t.query(b.first, h)
				t.storeKey(s, k, q[width:], r.Len-1)
				t.narrow(v[(r.Len-1)*t.HeadDim*t.DType.Size():], q[2*width:][:t.HeadDim])
			}
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
	t.narrow(tensor.Bytes(narrowed), key[:dim])
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
	if o.nr == KVPanel && t.DType == tensor.F32 {
		keys, _ := tensor.View[float32](k)
		values, _ := tensor.View[float32](v)
		for i, at := 0, (3*first+1)*width+head*dim; i < KVPanel*dim; i, at = i+dim, at+3*width {
			copy(s.a[i:i+dim], t.qkv[at:])
			copy(values[i:i+dim], t.qkv[at+width:])
		}
		o.packTransposed(keys, s.a, KVPanel, dim)
		return
	}
	for i := range KVPanel {
		q := t.query(first+i, head)
		copy(s.a[i*dim:][:dim], q[width:])
		t.narrow(v[i*dim*size:], q[2*width:][:dim])
	}
	for j := 0; j < KVPanel; j += o.nr {
		o.packTransposed(s.b, s.a[j*dim:], o.nr, dim)
		if o.nr == KVPanel {
			t.narrow(k, s.b)
			return
		}
		for d := range dim {
			t.narrow(k[(d*KVPanel+j)*size:], s.b[d*o.nr:][:o.nr])
		}
	}
}

// storeSteps is storePanel of tiles, which have the cache's type.
func (t *attentionTask) storeSteps(s *scratch, first, head int) {
	const step, bytes = generic.TileStep, generic.StepBytes
	r := &t.rows[first]
	k, v := t.cache(r, head)
	row := t.HeadDim * 2
	k, v = k[(r.Len-1)*row:], v[(r.Len-1)*row:]
	for j := range t.HeadDim / step {
		t.c.ops.tiles.turn(k[j*bytes:], t.together(s, first, 1, head, j))
		values := t.together(s, first, 2, head, j)
		for i := range KVPanel {
			copy(v[i*row+j*64:][:64], values[i*64:])
		}
	}
}

// together returns a step of keys or values from any row on, in the scratch if it lies
// in two.
func (t *attentionTask) together(s *scratch, first, part, head, j int) []byte {
	const step, bytes = generic.TileStep, generic.StepBytes
	at := first % step * 64
	all := t.packed[t.step(first, part, head, j):][:bytes]
	if at == 0 {
		return all
	}
	s.b = grow(s.b, bytes/4)
	both := tensor.Bytes(s.b)
	copy(both[copy(both, all[at:]):bytes], t.packed[t.step(first+step, part, head, j):])
	return both
}

// storeRow stores one row of tiles.
func (t *attentionTask) storeRow(k, v []byte, row, head int) {
	const step = generic.TileStep
	pos := t.rows[row].Len - 1
	k = k[pos/KVPanel*KVPanel*t.HeadDim*2+pos%KVPanel*2:]
	v = v[pos*t.HeadDim*2:]
	for j := range t.HeadDim / step {
		at := row % step * 64
		key := t.packed[t.step(row, 1, head, j)+at:][:64]
		for i := range step {
			copy(k[(j*step+i)*KVPanel*2:][:2], key[i*2:])
		}
		copy(v[j*64:][:64], t.packed[t.step(row, 2, head, j)+at:])
	}
}

// prefetchPanel asks for what storePanel reads, and for the memory that it
// overwrites: it is not in a cache.
func (t *attentionTask) prefetchPanel(first, head int) {
	width, size := t.Heads*t.HeadDim, t.DType.Size()
	r := &t.rows[first]
	k, v := t.cache(r, head)
	at := (r.Len - 1) * t.HeadDim * size
	prefetchRows(&k[at], 0, 1, KVPanel*t.HeadDim*size)
	prefetchRows(&v[at], 0, 1, KVPanel*t.HeadDim*size)
	q := tensor.Bytes(t.query(first, head))
	prefetchRows(&q[4*width], uintptr(12*width), KVPanel, 4*t.HeadDim)
	prefetchRows(&q[8*width], uintptr(12*width), KVPanel, 4*t.HeadDim)
}

// narrow writes src in the cache's type, rounded to nearest even.
func (t *attentionTask) narrow(dst []byte, src []float32) {
	switch {
	case t.DType == tensor.F32:
		copy(dst, tensor.Bytes(src))
	case t.c.ops.narrow != nil:
		t.c.ops.narrow(t.DType, dst, src)
	default:
		tensor.FromFloat32(dst, t.DType, src)
	}
}
