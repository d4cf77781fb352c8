package kernel

import (
	"encoding/binary"
	"math"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Attention of training through a matrix unit: queries, keys, values and what is
// given out lie as bfloat16, and so are probabilities and their gradients rounded
// before they are multiplied. Scores, softmax and sums are float32. 32 queries of
// a head are computed at a time, on the way back 32 keys.

const (
	queryBlock = generic.TileStep
	slopeBlock = 4 // of queries, whose scores stay in the first-level cache
)

// tileHead is one head of one sequence, on one member.
type tileHead struct {
	TrainAttention
	o    *ops
	b, h int
	deep int // steps of HeadDim
	long int // steps, or panels, of Context
}

func (l *loop) tileHead(i int) tileHead {
	a := l.attention
	return tileHead{
		TrainAttention: a, o: l.c.ops, b: i / a.Heads, h: i % a.Heads,
		deep: ceilDiv(a.HeadDim, generic.TileStep), long: ceilDiv(a.Context, generic.TileStep),
	}
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

// transposed packs positions as the columns of a product, a.long panels of them.
func (a *tileHead) transposed(dst, src []byte, stride int) {
	a.o.tiles.pack(tensor.BF16, true, dst, src, stride, a.HeadDim, a.Context)
}

// straight packs positions as the depth of a product.
func (a *tileHead) straight(dst, src []byte, stride int) {
	a.o.tiles.pack(tensor.BF16, false, dst, src, stride, a.Context, a.HeadDim)
}

// gather computes the sums over steps of positions, of which a and b begin with the
// first, and writes them as the gradient of n queries, keys or values from t on. Those of
// scores were rounded as they came, and are times the scale only now, as in torch.
func (a *tileHead) gather(dqkv Numbers, t, part int, c []float32, own, b []byte, n, steps int) {
	wide := a.deep * generic.TileStep
	a.o.tiles.panels(c, wide, nil, 0, own, b, a.long*generic.StepBytes, a.deep, steps, nil)
	if part < 2 {
		a.o.scale(c[:n*wide], a.Scale)
	}
	if !dqkv.Tiles {
		stride, _ := a.stride()
		a.o.tiles.finish(tensor.BF16, true, false, false, a.at(dqkv.BF16, t, part), stride, c, wide, n, a.HeadDim)
		return
	}
	rows := 0
	for r := 0; r < n; r += rows {
		row := a.b*a.Context + t + r
		rows = min(n-r, generic.TileStep-row%generic.TileStep)
		a.blocks(part, func(j, col, cols int) {
			a.o.tiles.finish(tensor.BF16, true, false, false, a.tile(dqkv.BF16, row, col), 2*generic.TileStep, c[r*wide+j:], wide, rows, cols)
		})
	}
}

// blocks calls do for the parts of a head's queries, keys or values that lie in one tile
// each: from number j on, which is a column of all.
func (a *tileHead) blocks(part int, do func(j, col, cols int)) {
	first, cols := (part*a.Heads+a.h)*a.HeadDim, 0
	for j := 0; j < a.HeadDim; j += cols {
		cols = min(a.HeadDim-j, generic.TileStep-(first+j)%generic.TileStep)
		do(j, first+j, cols)
	}
}

// tile is where a row and column of what lies as tiles begins.
func (a *tileHead) tile(dqkv []uint16, row, col int) []byte {
	return tensor.Bytes(dqkv[BlockAt(row, col, 3*a.Heads*a.HeadDim)+col%generic.TileStep:])
}

// gradAhead asks for the gradients of n queries, keys or values from t on.
func (a *tileHead) gradAhead(dqkv Numbers, t, part, n int) {
	if !dqkv.Tiles {
		stride, _ := a.stride()
		a.ahead(a.at(dqkv.BF16, t, part), stride, n)
		return
	}
	a.blocks(part, func(_, col, cols int) {
		prefetchRows(&a.tile(dqkv.BF16, a.b*a.Context+t, col)[0], 2*generic.TileStep, n, 2*cols)
	})
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
// memory; then dqkv may be tiles.
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
	o, T, stride := a.o.tiles, a.Context, generic.StepBytes
	inside, outside := a.stride()
	m := cutter{s.tiles.bytes(2*a.size() + (a.deep+a.long)*stride + 4*((a.long+a.deep+2)*blockFloats+2*queryBlock) + 1024)}
	keys, values := m.take(a.size()), m.take(a.size())
	own, ps := m.take(a.deep*stride), m.take(a.long*stride)
	scores, acc := m.floats(a.long*blockFloats), m.floats(a.deep*blockFloats)
	by, most := m.floats(queryBlock), m.floats(queryBlock)
	d := drops{*a, m.floats(blockFloats), m.floats(blockFloats)}
	for part := range 3 {
		a.ahead(a.at(qkv, 0, part), inside, T)
	}
	a.transposed(keys, a.at(qkv, 0, 1), inside)
	a.straight(values, a.at(qkv, 0, 2), inside)
	for block := range a.long {
		t, panels := block*queryBlock, block+1
		n := min(queryBlock, T-t)
		a.ahead(a.output(out, t), outside, n)
		o.rows(tensor.BF16, false, own, a.at(qkv, t, 0), inside, n, a.HeadDim)
		o.cross(scores, own, keys, a.deep*stride, a.deep, panels)
		for i := range n {
			s.lens[i] = t + i + 1
		}
		o.softmax(ps, scores, by, most, s.lens[:n], panels, a.Scale)
		a.rest(ps, scores, by, most, t, n)
		for i := range n {
			lse[(a.b*T+t+i)*a.Heads+a.h] = float32(float64(most[i]) - math.Log(float64(by[i])))
		}
		if a.Dropout.Share > 0 {
			for k := range panels {
				o.keep(ps[k*stride:], d.of(block, k))
			}
			a.o.scale(by, float32(1/(1-a.Dropout.Share)))
		}
		o.cross(acc, ps, values, a.long*stride, panels, a.deep)
		for j := range a.deep {
			at := j * generic.TileStep
			o.narrow(a.output(out, t)[2*at:], outside, acc[j*blockFloats:], by, n, min(generic.TileStep, a.HeadDim-at))
		}
	}
}

// rest takes the last keys' weights by an exact exponential where PyTorch does, which has
// vectors of 16 of a fast one: for the last of its blocks of queries. scores, by and most are
// those of n queries from t on, ps their weights.
func (a *tileHead) rest(ps []byte, scores, by, most []float32, t, n int) {
	block, first := 32, a.Context&^15
	switch {
	case a.Context >= 768:
		block = 256
	case a.Context >= 192:
		block = 64
	}
	if first == a.Context {
		return
	}
	for q := max(t, (a.Context-1)/block*block); q < t+n; q++ {
		i := q - t
		sum := 1 / by[i]
		for key := first; key <= q; key++ {
			at := (key/generic.TileStep*generic.TileStep+i)*generic.TileStep + key%generic.TileStep
			x := float32(scores[at]*a.Scale) - most[i]
			exact := float32(math.Exp(float64(x)))
			sum += exact - generic.TorchExp(x)
			binary.LittleEndian.PutUint16(ps[key/generic.TileStep*generic.StepBytes+i*64+key%generic.TileStep*2:], tensor.Float32ToBF16(exact))
		}
		by[i] = 1 / sum
	}
}

// drops are what the probabilities of 32 queries and 32 keys are multiplied by.
type drops struct {
	tileHead
	keep, turned []float32
}

// of computes them.
func (d *drops) of(queries, keys int) []float32 {
	const n = generic.TileStep
	for i := range n {
		row := d.keep[i*n:][:n]
		for j := range row {
			row[j] = 1
		}
		d.o.drop(row, d.Dropout, d.place(queries*n+i)+uint64(keys*n))
	}
	return d.keep
}

// turn computes them with a row for each key.
func (d *drops) turn(queries, keys int) []float32 {
	const n = generic.TileStep
	d.o.train.transpose(d.turned, n, d.of(queries, keys), n, n, n)
	return d.turned
}

// place is where in the random stream the probabilities of a query begin.
func (a *tileHead) place(t int) uint64 {
	return uint64((a.b*a.Heads+a.h)*a.Context+t) * uint64(a.Context)
}

// tileAttentionGrad is TrainAttentionGrad of bfloat16.
func (c *CPU) tileAttentionGrad(dqkv, dout, qkv, out Numbers, lse []float32, a TrainAttention) {
	c.heads(&a, func(l *loop, s *scratch, i, _ int) {
		h := l.tileHead(i)
		h.backward(s, l.yn, l.xn.BF16, l.zn.BF16, l.wn.BF16, l.v)
	}, loopData{yn: dqkv, xn: dout, zn: qkv, wn: out, v: lse})
}

// triangle is where the tiles of a block of queries begin, whose keys are those of this
// block and the ones before it.
func (a *tileHead) triangle(block int) int { return block * (block + 1) / 2 * generic.StepBytes }

// backward computes scores again, transposed: queries are the depth of what becomes of
// them for keys and values.
func (a *tileHead) backward(s *scratch, dqkv Numbers, dout, qkv, out []uint16, lse []float32) {
	o, T, stride := a.o.tiles, a.Context, generic.StepBytes
	inside, outside := a.stride()
	wide, panel := a.deep*generic.TileStep, a.deep*generic.StepBytes
	m := cutter{s.tiles.bytes(5*a.size() + a.triangle(a.long) + (2*a.deep+2*a.long)*stride +
		4*((2*slopeBlock+slopeBlock+2)*blockFloats+queryBlock*wide+2*a.long*queryBlock) + 2048)}
	queries, grads := m.take(a.size()), m.take(a.size()) // transposed
	ks, qs, dos := m.take(a.size()), m.take(a.size()), m.take(a.size())
	dq, ps, ds := m.take(a.triangle(a.long)), m.take(a.long*stride), m.take(a.long*stride)
	key, value := m.take(panel), m.take(panel)
	scores, slopes, keep := m.floats(slopeBlock*blockFloats), m.floats(slopeBlock*blockFloats), m.floats(slopeBlock*blockFloats)
	acc, sums, delta := m.floats(queryBlock*wide), m.floats(a.long*queryBlock), m.floats(a.long*queryBlock)
	d := drops{*a, m.floats(blockFloats), m.floats(blockFloats)}
	for part := range 3 {
		a.ahead(a.at(qkv, 0, part), inside, T)
	}
	a.ahead(a.output(dout, 0), outside, T)
	a.ahead(a.output(out, 0), outside, T)
	a.transposed(queries, a.at(qkv, 0, 0), inside)
	a.transposed(grads, a.output(dout, 0), outside)
	a.straight(ks, a.at(qkv, 0, 1), inside)
	a.straight(qs, a.at(qkv, 0, 0), inside)
	a.straight(dos, a.output(dout, 0), outside)
	for t := range T {
		sums[t] = lse[(a.b*T+t)*a.Heads+a.h]
	}
	clear(sums[T:])
	o.dots(delta[:T], a.output(dout, 0), a.output(out, 0), outside, a.HeadDim)
	clear(delta[T:])
	for block := range a.long {
		t, panels := block*generic.TileStep, a.long-block
		n := min(generic.TileStep, T-t)
		a.gradAhead(dqkv, t, 1, n)
		a.gradAhead(dqkv, t, 2, n)
		o.rows(tensor.BF16, false, key, a.at(qkv, t, 1), inside, n, a.HeadDim)
		o.rows(tensor.BF16, false, value, a.at(qkv, t, 2), inside, n, a.HeadDim)
		for i := 0; i < panels; i += slopeBlock {
			some, at := min(slopeBlock, panels-i), (block+i)*panel
			o.cross(scores, key, queries[at:], panel, a.deep, some)
			o.cross(slopes, value, grads[at:], panel, a.deep, some)
			var kept []float32
			if a.Dropout.Share > 0 {
				kept = keep
				for j := range some {
					copy(keep[j*blockFloats:], d.turn(block+i+j, block))
				}
			}
			o.slopes(ps[i*stride:], ds[i*stride:], scores, slopes, sums[t+i*generic.TileStep:], delta[t+i*generic.TileStep:], kept, some, i == 0, a.Scale)
		}
		for i := range panels {
			o.turn(dq[a.triangle(block+i)+block*stride:], ds[i*stride:])
		}
		a.gather(dqkv, t, 1, acc, ds, qs[block*stride:], n, panels)
		a.gather(dqkv, t, 2, acc, ps, dos[block*stride:], n, panels)
	}
	for block := range a.long {
		t := block * generic.TileStep
		n := min(generic.TileStep, T-t)
		a.gradAhead(dqkv, t, 0, n)
		a.gather(dqkv, t, 0, acc, dq[a.triangle(block):], ks, n, block+1)
	}
}
