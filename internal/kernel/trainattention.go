package kernel

import (
	"fmt"
	"math"

	"github.com/gptctl/gptctl/internal/tensor"
)

// TrainAttention is causal attention over whole sequences, forward and backward,
// that keeps one number per query and head instead of the probabilities (Dao et
// al. 2022, "FlashAttention").
type TrainAttention struct {
	Sequences, Context, Heads, HeadDim int
	Scale                              float32
	Dropout                            Dropout // of the probabilities

	// Round is the type of all that is multiplied, and of what products give: scores, before
	// and after they are scaled, probabilities, and the gradients of both. It is as in torch
	// where attention is several operations. F32 (or zero): none. What lies as bfloat16 is
	// computed as in torch's single one: only what is multiplied is rounded.
	Round tensor.DType
}

func (a *TrainAttention) check(what string, lengths ...int) {
	rows := a.Sequences * a.Context
	width := a.Heads * a.HeadDim
	for i, want := range []int{rows * 3 * width, rows * width, rows * a.Heads} {
		if lengths[i] < want {
			panic(fmt.Sprintf("kernel: %s of %+v: %d elements, want %d", what, *a, lengths[i], want))
		}
	}
}

// carver cuts pieces from a member's memory, each at a multiple of 64 bytes.
type carver struct{ rest []float32 }

func (c *carver) take(n int) []float32 {
	s := c.rest[:n:n]
	c.rest = c.rest[roundUp(n, 16):]
	return s
}

// attentionHead is one head of one sequence, on one member.
type attentionHead struct {
	TrainAttention
	o    *ops
	b, h int
	ld   int // columns of a block of scores
	ldo  int // columns of a block of outputs
}

// row returns query (part 0), key (1) or value (2) of a position.
func (a *attentionHead) row(qkv []float32, t, part int) []float32 {
	return qkv[(((a.b*a.Context+t)*3+part)*a.Heads+a.h)*a.HeadDim:][:a.HeadDim]
}

func (a *attentionHead) output(out []float32, t int) []float32 {
	return out[((a.b*a.Context+t)*a.Heads+a.h)*a.HeadDim:][:a.HeadDim]
}

// head is the i-th head of all sequences.
func (l *loop) head(i int) attentionHead {
	a := l.attention
	return attentionHead{a, l.c.ops, i / a.Heads, i % a.Heads, roundUp(a.Context, l.c.ops.nr), roundUp(a.HeadDim, l.c.ops.nr)}
}

// heads runs do for all heads of all sequences.
func (c *CPU) heads(a *TrainAttention, do func(l *loop, s *scratch, i, _ int), data loopData) {
	work := a.Sequences * a.Context * a.Context * a.Heads * a.HeadDim
	data.attention = *a
	c.elements(a.Sequences*a.Heads, 1, 4*work, do, data)
}

// gather copies rows of queries, keys or values next to each other.
func (a *attentionHead) gather(dst, qkv []float32, from, n, part int) []float32 {
	for i := range n {
		copy(dst[i*a.HeadDim:], a.row(qkv, from+i, part))
	}
	return dst[:n*a.HeadDim]
}

// ahead asks for rows of queries, keys or values, which lie far apart.
func (a *attentionHead) ahead(qkv []float32, from, n, part int) {
	if n > 0 {
		prefetchRows(&tensor.Bytes(a.row(qkv, from, part))[0], uintptr(12*a.Heads*a.HeadDim), n, 4*a.HeadDim)
	}
}

// outputAhead asks for rows of outputs.
func (a *attentionHead) outputAhead(out []float32, from, n int) {
	if n > 0 {
		prefetchRows(&tensor.Bytes(a.output(out, from))[0], uintptr(4*a.Heads*a.HeadDim), n, 4*a.HeadDim)
	}
}

// transposed packs rows x [n][HeadDim] as the panels of xᵀ.
func (a *attentionHead) transposed(dst, x []float32, n int) {
	for j := 0; j < n; j += a.o.nr {
		a.o.packTransposed(dst[j*a.HeadDim:][:a.o.nr*a.HeadDim], x[j*a.HeadDim:], min(a.o.nr, n-j), a.HeadDim)
	}
}

// packed packs rows x [n][HeadDim] as panels.
func (a *attentionHead) packed(dst, x []float32, n int) {
	a.o.pack(tensor.F32, dst, tensor.Bytes(x), 4*a.HeadDim, n, a.HeadDim)
}

// product computes c [m][cols] (+)= x·b, with b as panels of depth rows.
func (a *attentionHead) product(c []float32, ldc int, x []float32, ldx int, b []float32, m, depth, panelRows, cols int, load bool) {
	o := a.o
	for j := 0; j < cols; j += o.nr {
		for i := 0; i < m; i += o.mr {
			o.multiply(c[i*ldc+j:], ldc, x[i*ldx:], ldx, b[j*panelRows:], o.nr, min(o.mr, m-i), depth, load)
		}
	}
}

// rounded rounds what is multiplied.
func (a *attentionHead) rounded(x []float32) {
	if a.half() {
		a.o.train.round(a.Round, x)
	}
}

func (a *attentionHead) half() bool { return a.Round == tensor.F16 || a.Round == tensor.BF16 }

// scaled multiplies scores by the scale, and returns the largest.
func (a *attentionHead) scaled(s []float32) float32 {
	a.rounded(s)
	if !a.half() || powerOfTwo(a.Scale) { // which rounds nothing
		return a.o.scaleMax(s, a.Scale)
	}
	a.o.scale(s, a.Scale)
	a.rounded(s)
	return a.o.scaleMax(s, 1)
}

func powerOfTwo(x float32) bool {
	fraction, _ := math.Frexp(float64(x))
	return fraction == 0.5
}

// slopes makes the gradients d of probabilities p those of scores. out and dout are of the
// output, of which d·p is the product too, but for rounding; dot is memory to work in.
func (a *attentionHead) slopes(d, p, out, dout, dot []float32) {
	if !a.half() {
		var delta float64
		for j, v := range out {
			delta += float64(v) * float64(dout[j])
		}
		a.o.train.softmaxGrad(d, p, float32(delta), a.Scale)
		return
	}
	a.o.dots(tensor.F32, dot, 1, p, 1, len(p), tensor.Bytes(d), 4*len(p), 1)
	if powerOfTwo(a.Scale) {
		a.o.train.softmaxGrad(d, p, dot[0], a.Scale)
	} else {
		a.o.train.softmaxGrad(d, p, dot[0], 1)
		a.rounded(d)
		a.o.scale(d, a.Scale)
	}
	a.rounded(d)
}

// place is where in the random stream the probabilities of a query begin.
func (a *attentionHead) place(t int) uint64 {
	return uint64((a.b*a.Heads+a.h)*a.Context+t) * uint64(a.Context)
}

// TrainAttention computes out = softmax(scale·q·Kᵀ)·V and, for the way back,
// lse = log Σ exp(scale·q·k) for each query and head. qkv is
// [sequences·context][3][heads][headDim], out [sequences·context][heads][headDim],
// lse [sequences·context][heads].
func (c *CPU) TrainAttention(out, lse, qkv []float32, a TrainAttention) {
	a.check("attention", len(qkv), len(out), len(lse))
	c.heads(&a, func(l *loop, s *scratch, i, _ int) {
		h := l.head(i)
		h.forward(s, l.y, l.z, l.x)
	}, loopData{y: out, z: lse, x: qkv})
}

func (a *attentionHead) forward(s *scratch, out, lse, qkv []float32) {
	o, T, dim, R := a.o, a.Context, a.HeadDim, a.o.nr
	s.a = grow(s.a, roundUp(T*dim, 16)+a.ld*dim+T*a.ldo+R*(a.ld+a.ldo)+roundUp(R*dim, 16)+64)
	m := carver{s.a}
	x, kt, v, p, acc, q := m.take(T*dim), m.take(a.ld*dim), m.take(T*a.ldo), m.take(R*a.ld), m.take(R*a.ldo), m.take(R*dim)
	a.ahead(qkv, 0, T, 1)
	a.ahead(qkv, 0, T, 2)
	a.transposed(kt, a.gather(x, qkv, 0, T, 1), T)
	a.packed(v, a.gather(x, qkv, 0, T, 2), T)
	a.ahead(qkv, 0, min(R, T), 0)
	for t := 0; t < T; t += R {
		n := min(R, T-t)
		length := t + n
		a.ahead(qkv, t+n, min(R, T-t-n), 0)
		a.gather(q, qkv, t, n, 0)
		a.product(p, a.ld, q, dim, kt, n, dim, dim, length, false)
		for i := range n {
			row := p[i*a.ld:][:length]
			seen := row[:t+i+1]
			most := a.scaled(seen)
			sum := o.expSum(seen, most)
			o.scale(seen, 1/sum)
			clear(row[t+i+1:])
			lse[(a.b*T+t+i)*a.Heads+a.h] = float32(float64(most) + math.Log(float64(sum)))
			o.drop(seen, a.Dropout, a.place(t+i))
			a.rounded(seen)
		}
		a.product(acc, a.ldo, p, a.ld, v, n, length, T, dim, false)
		for i := range n {
			copy(a.output(out, t+i), acc[i*a.ldo:])
		}
	}
}

// TrainAttentionGrad overwrites dqkv with what dout passes back through
// TrainAttention, whose qkv, out and lse it reads.
func (c *CPU) TrainAttentionGrad(dqkv, dout, qkv, out, lse []float32, a TrainAttention) {
	a.check("attention gradient", min(len(qkv), len(dqkv)), min(len(out), len(dout)), len(lse))
	c.heads(&a, func(l *loop, s *scratch, i, _ int) {
		h := l.head(i)
		h.backward(s, l.y, l.x, l.z, l.w, l.v)
	}, loopData{y: dqkv, x: dout, z: qkv, w: out, v: lse})
}

func (a *attentionHead) backward(s *scratch, dqkv, dout, qkv, out, lse []float32) {
	o, T, dim, R := a.o, a.Context, a.HeadDim, a.o.nr
	s.a = grow(s.a, roundUp(T*dim, 16)+2*a.ld*dim+3*T*a.ldo+R*(5*a.ld+4*a.ldo)+2*roundUp(R*dim, 16)+256)
	m := carver{s.a}
	x, kt, vt := m.take(T*dim), m.take(a.ld*dim), m.take(a.ld*dim)
	k, dk, dv := m.take(T*a.ldo), m.take(T*a.ldo), m.take(T*a.ldo)
	p, dp, pt := m.take(R*a.ld), m.take(R*a.ld), m.take(R*a.ld)
	mask, dq := m.take(R*a.ld), m.take(R*a.ldo)
	q, do := m.take(R*dim), m.take(R*dim)
	qp, dop, dot := m.take(R*a.ldo), m.take(R*a.ldo), m.take(1)
	a.ahead(qkv, 0, T, 2)
	a.ahead(qkv, 0, T, 1)
	a.transposed(vt, a.gather(x, qkv, 0, T, 2), T)
	a.gather(x, qkv, 0, T, 1)
	a.transposed(kt, x, T)
	a.packed(k, x, T)
	clear(dk)
	clear(dv)
	dropping := a.Dropout.Share > 0
	for t := 0; t < T; t += R {
		n := min(R, T-t)
		length := t + n
		next := min(R, T-t-n)
		a.ahead(qkv, t+n, next, 0)
		a.outputAhead(dout, t+n, next)
		a.outputAhead(out, t+n, next)
		a.gather(q, qkv, t, n, 0)
		for i := range n {
			copy(do[i*dim:][:dim], a.output(dout, t+i))
		}
		a.packed(qp, q[:n*dim], n)
		a.packed(dop, do[:n*dim], n)
		a.product(p, a.ld, q, dim, kt, n, dim, dim, length, false)
		a.product(dp, a.ld, do, dim, vt, n, dim, dim, length, false)
		for i := range n {
			row, drow := p[i*a.ld:][:length], dp[i*a.ld:][:length]
			seen := row[:t+i+1]
			a.scaled(seen)
			o.expSum(seen, lse[(a.b*T+t+i)*a.Heads+a.h])
			clear(row[t+i+1:])
			clear(drow[t+i+1:])
			passed := drow[:t+i+1]
			a.rounded(passed)
			if dropping {
				// What is dropped passes nothing back; the dropped probabilities
				// are what the values were multiplied by.
				kept := mask[i*a.ld:][:length]
				copy(kept, row)
				o.drop(kept[:t+i+1], a.Dropout, a.place(t+i))
				o.drop(passed, a.Dropout, a.place(t+i))
			}
			a.slopes(passed, seen, a.output(out, t+i), do[i*dim:], dot)
		}
		kept := p
		if dropping {
			kept = mask
		}
		for i := range n {
			a.rounded(kept[i*a.ld:][:t+i+1])
		}
		a.product(dq, a.ldo, dp, a.ld, k, n, length, T, dim, false)
		for i := range n {
			copy(a.row(dqkv, t+i, 0), dq[i*a.ldo:])
		}
		// The rows of the transposed blocks are R apart.
		o.train.transpose(pt, R, kept, a.ld, n, length)
		a.product(dv, a.ldo, pt, R, dop, length, n, n, dim, true)
		o.train.transpose(pt, R, dp, a.ld, n, length)
		a.product(dk, a.ldo, pt, R, qp, length, n, n, dim, true)
	}
	for t := range T {
		copy(a.row(dqkv, t, 1), dk[t*a.ldo:])
		copy(a.row(dqkv, t, 2), dv[t*a.ldo:])
	}
}
