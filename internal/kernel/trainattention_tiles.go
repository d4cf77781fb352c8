package kernel

import (
	"math"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Attention of training through a matrix unit: queries, keys, values and what is
// given out lie as bfloat16, and so are probabilities and their gradients rounded
// before they are multiplied. Scores, softmax and sums are float32. 32 queries of
// a head are computed at a time.

const queryBlock = generic.TileStep

// tileHead is one head of one sequence, on one member.
type tileHead struct {
	TrainAttention
	o    *ops
	b, h int
	deep int // steps of HeadDim
	long int // steps, or panels, of Context
	ld   int // of a row of scores
}

func (l *loop) tileHead(i int) tileHead {
	a := l.attention
	h := tileHead{
		TrainAttention: a, o: l.c.ops, b: i / a.Heads, h: i % a.Heads,
		deep: ceilDiv(a.HeadDim, generic.TileStep), long: ceilDiv(a.Context, generic.TileStep),
	}
	h.ld = h.long*generic.TileStep + 16
	return h
}

// stride is how many bytes the rows of q, k and v lie apart, or those of an output.
func (a *tileHead) stride() (qkv, out int) {
	n := 2 * a.Heads * a.HeadDim
	return 3 * n, n
}

// at is where the query (part 0), key (1) or value (2) of a position begins.
func (a *tileHead) at(qkv []uint16, t, part int) []byte {
	return tensor.Bytes(qkv[(((a.b*a.Context+t)*3+part)*a.Heads+a.h)*a.HeadDim:])
}

// output is that of a position.
func (a *tileHead) output(out []uint16, t int) []byte {
	return tensor.Bytes(out[((a.b*a.Context+t)*a.Heads+a.h)*a.HeadDim:])
}

// ahead asks for n rows of a head's queries, keys, values or outputs.
func (a *tileHead) ahead(row []byte, stride, n int) {
	if n > 0 {
		prefetchRows(&row[0], uintptr(stride), n, 2*a.HeadDim)
	}
}

// size is that of all positions as tiles.
func (a *tileHead) size() int { return a.long * a.deep * generic.StepBytes }

// cutter cuts pieces from a member's memory.
type cutter struct{ rest []byte }

func (c *cutter) take(n int) []byte {
	b := c.rest[:n:n]
	c.rest = c.rest[roundUp(n, 64):]
	return b
}

func (c *cutter) floats(n int) []float32 {
	v, _ := tensor.View[float32](c.take(4 * n))
	return v
}

// tiles is one of the a.long panels of keys or values, or their steps.
func (a *tileHead) transposed(dst, src []byte, stride int) {
	a.o.tiles.pack(tensor.BF16, true, dst, src, stride, a.HeadDim, a.Context)
}

// straight packs positions as the depth of a product.
func (a *tileHead) straight(dst, src []byte, stride int) {
	a.o.tiles.pack(tensor.BF16, false, dst, src, stride, a.Context, a.HeadDim)
}

// scores computes x [n][HeadDim] times transposed positions before length.
func (a *tileHead) scores(c []float32, x, own []byte, stride int, b []byte, n, length int) {
	a.o.tiles.rows(tensor.BF16, false, own, x, stride, n, a.HeadDim)
	a.o.tiles.panels(c, a.ld, nil, 0, own, b, a.deep*generic.StepBytes, ceilDiv(length, generic.TileStep), a.deep, nil)
}

// gather computes the sums over steps of positions, of which a and b begin with the
// first, and writes them as bfloat16.
func (a *tileHead) gather(y []byte, stride int, c []float32, own, b []byte, n, steps int) {
	wide := a.deep * generic.TileStep
	a.o.tiles.panels(c, wide, nil, 0, own, b, a.long*generic.StepBytes, a.deep, steps, nil)
	a.o.tiles.finish(tensor.BF16, true, false, false, y, stride, c, wide, n, a.HeadDim)
}

// TrainAttentionOf is TrainAttention of what is float32, or all bfloat16, in memory.
func (c *CPU) TrainAttentionOf(out Numbers, lse []float32, qkv Numbers, a TrainAttention) {
	if out.BF16 == nil {
		c.TrainAttention(out.F32, lse, qkv.F32, a)
		return
	}
	a.check("attention", qkv.len(), out.len(), len(lse))
	c.tileAttention(out, lse, qkv, a)
}

// TrainAttentionGradOf is TrainAttentionGrad of what is float32, or all bfloat16, in
// memory.
func (c *CPU) TrainAttentionGradOf(dqkv, dout, qkv, out Numbers, lse []float32, a TrainAttention) {
	if out.BF16 == nil {
		c.TrainAttentionGrad(dqkv.F32, dout.F32, qkv.F32, out.F32, lse, a)
		return
	}
	a.check("attention gradient", min(qkv.len(), dqkv.len()), min(out.len(), dout.len()), len(lse))
	c.tileAttentionGrad(dqkv, dout, qkv, out, lse, a)
}

// tileAttention is TrainAttention of bfloat16.
func (c *CPU) tileAttention(out Numbers, lse []float32, qkv Numbers, a TrainAttention) {
	c.heads(&a, func(l *loop, s *scratch, i, _ int) {
		h := l.tileHead(i)
		h.forward(s, l.yn.BF16, l.z, l.xn.BF16)
	}, loopData{yn: out, z: lse, xn: qkv})
}

func (a *tileHead) forward(s *scratch, out []uint16, lse []float32, qkv []uint16) {
	T, stride := a.Context, generic.StepBytes
	inside, outside := a.stride()
	wide := a.deep * generic.TileStep
	m := cutter{s.tiles.bytes(2*a.size() + a.deep*stride + a.long*stride + 4*queryBlock*(a.ld+wide) + 1024)}
	keys, values := m.take(a.size()), m.take(a.size())
	own, ps := m.take(a.deep*stride), m.take(a.long*stride)
	p, acc := m.floats(queryBlock*a.ld), m.floats(queryBlock*wide)
	for part := range 3 {
		a.ahead(a.at(qkv, 0, part), inside, T)
	}
	a.transposed(keys, a.at(qkv, 0, 1), inside)
	a.straight(values, a.at(qkv, 0, 2), inside)
	for t := 0; t < T; t += queryBlock {
		n := min(queryBlock, T-t)
		length := t + n
		a.ahead(a.output(out, t), outside, n)
		a.scores(p, a.at(qkv, t, 0), own, inside, keys, n, length)
		for i := range n {
			seen := p[i*a.ld:][:t+i+1]
			most := a.o.scaleMax(seen, a.Scale)
			sum := a.o.expSum(seen, most)
			a.o.scale(seen, 1/sum)
			clear(p[i*a.ld+t+i+1 : i*a.ld+length])
			lse[(a.b*T+t+i)*a.Heads+a.h] = float32(float64(most) + math.Log(float64(sum)))
			a.o.drop(seen, a.Dropout, a.place(t+i))
		}
		a.o.tiles.rows(tensor.F32, false, ps, tensor.Bytes(p), 4*a.ld, n, length)
		a.gather(a.output(out, t), outside, acc, ps, values, n, ceilDiv(length, generic.TileStep))
	}
}

// place is where in the random stream the probabilities of a query begin.
func (a *tileHead) place(t int) uint64 {
	return uint64((a.b*a.Heads+a.h)*a.Context+t) * uint64(a.Context)
}

// tileAttentionGrad is TrainAttentionGrad of bfloat16.
func (c *CPU) tileAttentionGrad(dqkv, dout, qkv, out Numbers, lse []float32, a TrainAttention) {
	c.heads(&a, func(l *loop, s *scratch, i, _ int) {
		h := l.tileHead(i)
		h.backward(s, l.yn.BF16, l.xn.BF16, l.zn.BF16, l.wn.BF16, l.v)
	}, loopData{yn: dqkv, xn: dout, zn: qkv, wn: out, v: lse})
}

// triangle is where the tiles of a block of keys begin, whose queries are those of
// this block and the ones after it.
func (a *tileHead) triangle(block int) int {
	return (block*a.long - block*(block-1)/2) * generic.StepBytes
}

func (a *tileHead) backward(s *scratch, dqkv, dout, qkv, out []uint16, lse []float32) {
	o, T, stride := a.o, a.Context, generic.StepBytes
	inside, outside := a.stride()
	wide, all := a.deep*generic.TileStep, a.triangle(a.long)
	m := cutter{s.tiles.bytes(5*a.size() + 2*all + a.deep*stride + a.long*stride + 4*(queryBlock*(3*a.ld+wide)+a.HeadDim) + 2048)}
	keys, values := m.take(a.size()), m.take(a.size()) // transposed
	ks, qs, dos := m.take(a.size()), m.take(a.size()), m.take(a.size())
	ps, ds := m.take(all), m.take(all) // probabilities and their gradients, by keys
	own, dp := m.take(a.deep*stride), m.take(a.long*stride)
	p, d, mask := m.floats(queryBlock*a.ld), m.floats(queryBlock*a.ld), m.floats(queryBlock*a.ld)
	acc, row, delta := m.floats(queryBlock*wide), m.floats(a.HeadDim), m.floats(1)
	for part := range 3 {
		a.ahead(a.at(qkv, 0, part), inside, T)
	}
	a.ahead(a.output(dout, 0), outside, T)
	a.transposed(keys, a.at(qkv, 0, 1), inside)
	a.transposed(values, a.at(qkv, 0, 2), inside)
	a.straight(ks, a.at(qkv, 0, 1), inside)
	a.straight(qs, a.at(qkv, 0, 0), inside)
	a.straight(dos, a.output(dout, 0), outside)
	dropping := a.Dropout.Share > 0
	for t := 0; t < T; t += queryBlock {
		n := min(queryBlock, T-t)
		length := t + n
		a.ahead(a.output(out, t), outside, n)
		a.ahead(a.at(dqkv, t, 0), inside, n)
		a.scores(p, a.at(qkv, t, 0), own, inside, keys, n, length)
		a.scores(d, a.output(dout, t), own, outside, values, n, length)
		for i := range n {
			seen, slope := p[i*a.ld:][:t+i+1], d[i*a.ld:][:t+i+1]
			o.scaleMax(seen, a.Scale)
			o.expSum(seen, lse[(a.b*T+t+i)*a.Heads+a.h])
			clear(p[i*a.ld+t+i+1 : i*a.ld+length])
			clear(d[i*a.ld+t+i+1 : i*a.ld+length])
			if dropping {
				// What is dropped passes nothing back; the dropped probabilities
				// are what the values were multiplied by.
				kept := mask[i*a.ld:][:length]
				copy(kept, p[i*a.ld:])
				o.drop(kept[:t+i+1], a.Dropout, a.place(t+i))
				o.drop(slope, a.Dropout, a.place(t+i))
			}
			o.widened(row, dout[((a.b*T+t+i)*a.Heads+a.h)*a.HeadDim:][:a.HeadDim])
			o.dots(tensor.BF16, delta, 1, row, 1, a.HeadDim, a.output(out, t+i), outside, 1)
			o.train.softmaxGrad(slope, seen, delta[0], a.Scale)
		}
		kept := p
		if dropping {
			kept = mask
		}
		for k := 0; k < length; k += generic.TileStep {
			at, cols := a.triangle(k/generic.TileStep)+(t-k)/generic.TileStep*stride, min(generic.TileStep, length-k)
			o.tiles.rows(tensor.F32, true, ps[at:], tensor.Bytes(kept[k:]), 4*a.ld, cols, n)
			o.tiles.rows(tensor.F32, true, ds[at:], tensor.Bytes(d[k:]), 4*a.ld, cols, n)
		}
		o.tiles.rows(tensor.F32, false, dp, tensor.Bytes(d), 4*a.ld, n, length)
		a.gather(a.at(dqkv, t, 0), inside, acc, dp, ks, n, ceilDiv(length, generic.TileStep))
	}
	for block := range a.long {
		t := block * generic.TileStep
		n, at := min(generic.TileStep, T-t), a.triangle(block)
		for part := 1; part <= 2; part++ {
			if block == 0 {
				a.ahead(a.at(dqkv, 0, part), inside, n)
			}
			if next := t + generic.TileStep; next < T {
				a.ahead(a.at(dqkv, next, part), inside, min(generic.TileStep, T-next))
			}
		}
		a.gather(a.at(dqkv, t, 1), inside, acc, ds[at:], qs[block*stride:], n, a.long-block)
		a.gather(a.at(dqkv, t, 2), inside, acc, ps[at:], dos[block*stride:], n, a.long-block)
	}
}
