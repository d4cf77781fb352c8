package kernel

import (
	"slices"
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// several computes one head of a run of rows.
func (t *attentionTask) several(s *scratch, b rowRange, head, next int) {
	t.foresee(s, next)
	unpacked := false
	for b.n > 0 {
		n := min(b.n, t.rowsOfBlock())
		if t.rises(b.first, b.n) {
			if !unpacked {
				t.unpack(s, b, head)
				unpacked = true
			}
			n = t.c.ops.mr
			t.tile(s, b.first, head)
		} else {
			if rest := b.n - n; rest > 0 {
				t.prefetchQueries(rowRange{first: b.first + n, n: rest}, head)
			} else {
				t.prefetch(next)
			}
			t.block(s, rowRange{first: b.first, n: n}, head)
		}
		b.first, b.n = b.first+n, b.n-n
	}
}

// rises reports whether n rows begin with mr that a family's own kernels take: each
// attends to one position more than the one before it.
func (t *attentionTask) rises(first, n int) bool {
	o := t.c.ops
	return t.byCross() && n >= o.mr && t.rows[first].Len > 0 &&
		t.rising(first, o.mr, t.rows[first].Len, t.rows[first+n-1].Len)
}

// byCross reports whether such rows go by those kernels, crossMax and weigh.
func (t *attentionTask) byCross() bool {
	return t.c.ops.crossMax != nil && t.HeadDim%t.c.ops.nr == 0 &&
		(t.DType == tensor.F32 || !t.coded() && t.c.ops.widen != nil)
}

// unpack makes the keys and values of a head float32, once for all rows.
func (t *attentionTask) unpack(s *scratch, b rowRange, head int) {
	k, v := t.cache(&t.rows[b.first], head)
	if t.DType == tensor.F32 {
		s.keys, _ = tensor.View[float32](k)
		s.values, _ = tensor.View[float32](v)
		return
	}
	longest := t.longest(b.first, b.n)
	keys, values := roundUp(longest, KVPanel)*t.HeadDim, longest*t.HeadDim
	s.kv = grow(s.kv, keys+values)
	s.keys, s.values = s.kv[:keys], s.kv[keys:]
	t.c.ops.widen(t.DType, s.keys, k[:keys/t.HeadDim*t.bytes])
	t.c.ops.widen(t.DType, s.values, v[:longest*t.bytes])
}

// tile computes one head of mr rows. Their scores stay in the first-level cache while
// keys and values pass by.
func (t *attentionTask) tile(s *scratch, first, head int) {
	o, dim, mr := t.c.ops, t.HeadDim, t.c.ops.mr
	all := t.rows[first].Len // so many positions each row attends to
	whole, panels := all/KVPanel, ceilDiv(all+mr-1, KVPanel)
	ld := panels*KVPanel + 16 // of the scores; not a power of two
	s.c = grow(s.c, mr*ld)
	s.a = grow(s.a, mr*(16+dim))
	most, q := s.a[:mr*16], s.a[mr*16:]
	for i := range mr {
		copy(q[i*dim:][:dim], t.query(first+i, head))
	}
	k, v := s.keys, s.values
	o.crossMax(s.c, ld, q, dim, k, dim, whole, t.Scale, most, t.walk(s, whole))
	for p := whole; p < panels; p++ {
		for j := 0; j < KVPanel; j += o.nr {
			o.multiply(s.c[p*KVPanel+j:], ld, q, dim, k[p*KVPanel*dim+j:], KVPanel, mr, dim, false)
		}
	}
	for i := range mr {
		most[i] = max(most[i], o.scaleMax(s.c[i*ld+whole*KVPanel:i*ld+all+i], t.Scale))
	}
	for i := range mr {
		most[i] = 1 / o.expSum(s.c[i*ld:][:all+i], most[i])
	}
	out := t.out[(first*t.Heads+head)*dim:]
	for j := 0; j < dim; j += o.nr {
		o.weigh(out[j:], t.Heads*dim, s.c, ld, v[j:], dim, all, most)
	}
}

// foresight is what a member's next item reads and overwrites first, in columns of two
// lines, and how much of that was not asked for yet.
type foresight struct {
	item    int // -1: none
	columns []generic.Walk
	left    int // walks over them, one after the other
	walks   []generic.Walk
}

// foresee prepares to ask for what the next item needs: the queries, and keys, values and
// where they go if it stores them itself.
func (t *attentionTask) foresee(s *scratch, next int) {
	f := &s.foresight
	f.columns, f.left, f.item = f.columns[:0], 0, -1
	if !t.byCross() || !t.computes(next) {
		return
	}
	f.item = next
	head, b := t.place(next)
	q := t.query(b.first, head)
	width := t.Heads * t.HeadDim
	qkv, row := uintptr(12*width), uintptr(t.bytes)
	for j := 0; j < t.HeadDim; j += walkStep {
		f.add(unsafe.Pointer(&q[j]), qkv)
		if t.stores > 0 {
			continue
		}
		f.add(unsafe.Pointer(&q[width+j]), qkv)
		f.add(unsafe.Pointer(&q[2*width+j]), qkv)
	}
	k, v := t.cache(&t.rows[b.first], head)
	at := max(t.rows[b.first].Len-1, 0) * t.bytes
	for j := 0; j < t.bytes && t.stores == 0; j += 4 * walkStep {
		f.add(unsafe.Pointer(&k[at+j]), row)
		f.add(unsafe.Pointer(&v[at+j]), row)
	}
	f.left = ceilDiv(b.n, t.rowsOfWalk()) * len(f.columns)
}

// walkStep is how many numbers two lines hold.
const walkStep = 32

// rowsOfWalk is how many steps a walk has in a panel.
func (t *attentionTask) rowsOfWalk() int { return t.HeadDim / generic.WalkRows }

func (f *foresight) add(at unsafe.Pointer, step uintptr) {
	f.columns = append(f.columns, generic.Walk{At: uintptr(at), Step: step})
}

// walk returns walks for so many panels.
func (t *attentionTask) walk(s *scratch, panels int) []generic.Walk {
	f := &s.foresight
	f.walks = slices.Grow(f.walks[:0], panels)[:panels]
	rows := uintptr(t.rowsOfWalk())
	for i := range f.walks {
		if f.left == 0 {
			f.walks[i] = generic.Walk{At: uintptr(unsafe.Pointer(&s.c[0]))} // at hand
			continue
		}
		c := &f.columns[f.left%len(f.columns)]
		f.walks[i] = *c
		c.At += rows * c.Step
		f.left--
	}
	return f.walks
}
