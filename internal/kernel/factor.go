package kernel

import (
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/tensor"
)

// factor is x in the form that is multiplied.
type factor struct {
	floats []float32 // rows ldf apart
	ldf    int
	pairs  []uint32 // rounded to bf16, rows ldp apart; nil: float32 is used
	ldp    int
}

// prepare brings x into the form that is multiplied.
func (t *linearTask) prepare() {
	c, in := t.c, t.w.In
	t.floats, t.ldf, t.few = t.x, in, t.rows
	if t.rows > 1 && c.ops.isFew(t.rows, &t.w) && !t.w.OutMajor && c.ops.few > 1 {
		t.few = roundUp(t.rows, c.ops.few)
	}
	switch {
	case in == 0 || t.own():
	case t.inPairs():
		t.ldp = ceilDiv(in, 2) + 16
		c.pairs = growPairs(c.pairs, t.few*t.ldp)
		t.pairs = c.pairs
		clear(t.pairs[t.rows*t.ldp:])
		c.rounding.c, c.rounding.t = c, t
		c.rounding.next.Store(0)
		if t.rows*in < 64<<10 {
			c.rounding.Run(0)
		} else {
			c.team.Run(&c.rounding)
		}
	case t.moved():
		t.factor = t.apart(&c.x, t.x)
	}
}

// inPairs reports whether x is multiplied as pairs of bf16.
func (t *linearTask) inPairs() bool { return t.w.DType == tensor.BF16 && t.c.ops.pairs != nil }

// moved reports whether a few rows of x are copied: some are missing to a tile, or they
// are a power of two apart, where they would evict each other from the cache.
func (t *linearTask) moved() bool {
	return t.few > t.rows || t.rows > 1 && t.c.ops.isFew(t.rows, &t.w) && t.c.ops.few > 1 && !t.w.OutMajor && t.w.In%512 == 0
}

// own reports whether each member brings x into the form that it multiplies for itself,
// which takes less than waiting for the others to do it.
func (t *linearTask) own() bool { return t.most > 0 && t.rows*t.w.In <= ownElems }

// apart copies a few rows of x, with room between them.
func (t *linearTask) apart(memory *[]float32, from []float32) factor {
	in := t.w.In
	ld := in + 16
	*memory = grow(*memory, t.few*ld)
	x := *memory
	for r := range t.rows {
		copy(x[r*ld:][:in], from[r*in:])
	}
	clear(x[t.rows*ld:])
	return factor{floats: x, ldf: ld}
}

// ownFactor is x as a member multiplies it, with its first weights, those of col, on their
// way meanwhile.
func (t *linearTask) ownFactor(s *scratch, col int) factor {
	_, bytes := t.w.panel()
	if w := t.w.Data[col/panelCols*bytes:]; len(w) > 0 {
		prefetchRows(&w[0], 0, 1, min(len(w), firstRead))
	}
	in := t.w.In
	x := t.c.input(s, t.x, t.rows, in, &t.norm)
	switch {
	case t.inPairs():
	case t.moved():
		return t.apart(&s.a, x)
	default:
		return factor{floats: x, ldf: in}
	}
	f := factor{ldp: ceilDiv(in, 2) + 16}
	s.p = growPairs(s.p, t.few*f.ldp)
	f.pairs = s.p
	for r := range t.rows {
		t.c.ops.pairs.round(f.pairs[r*f.ldp:], x[r*in:][:in])
	}
	clear(f.pairs[t.rows*f.ldp:])
	return f
}

// roundTask rounds the rows of x to bf16.
type roundTask struct {
	c    *CPU
	t    *linearTask
	next atomic.Int64
}

// Run claims rows until none is left.
func (r *roundTask) Run(int) {
	t := r.t
	for {
		i := int(r.next.Add(1)) - 1
		if i >= t.rows {
			return
		}
		r.c.ops.pairs.round(t.pairs[i*t.ldp:], t.x[i*t.w.In:][:t.w.In])
	}
}
