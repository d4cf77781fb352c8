package kernel

import (
	"math"
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// What training needs beyond inference. It is plain Go around the families'
// vector functions; the matrix products are Linear's. As everywhere in this
// package, each number of a result is computed in one order, whatever the
// number of threads.

// trainScratch is memory that calls reuse.
type trainScratch struct {
	sums []float64 // of parts
	y    []float32 // statistics of rows

	packedA, packedB, sums32 reserve // of trainTiles
}

// loop is work on so many elements, of which the members claim some at a time.
// What it works on lies here instead of in a closure, so that nothing is
// allocated; do knows which of it.
type loop struct {
	c       *CPU
	n, size int // elements, and how many make a claim
	do      func(l *loop, s *scratch, from, to int)
	next    atomic.Int64

	loopData
}

type loopData struct {
	y, x, z, w, v  []float32
	yn, xn, zn, wn Numbers
	sums           []float64
	ids            []int32
	bytes          []byte
	width, context int
	rows           int
	a              float32
	k              [8]float32
	d              tensor.DType
	f              Activation
	drop           Dropout
	attention      TrainAttention
}

// Run claims elements until none is left.
func (l *loop) Run(member int) {
	for {
		from := (int(l.next.Add(1)) - 1) * l.size
		if from >= l.n {
			return
		}
		l.do(l, &l.c.members[member], from, min(from+l.size, l.n))
	}
}

// parts calls do for 0 … n-1, size at a time, in any order, each once. c.mu is held.
func (c *CPU) parts(n, size, operations int, do func(l *loop, s *scratch, from, to int), data loopData) {
	l := &c.loop
	l.c, l.n, l.size, l.do, l.loopData = c, n, size, do, data
	l.next.Store(0)
	c.share(l, operations)
	l.loopData = loopData{}
}

// elements is parts by itself.
func (c *CPU) elements(n, size, operations int, do func(l *loop, s *scratch, from, to int), data loopData) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts(n, size, operations, do, data)
}

// elementPart is what a member claims of elementwise work; norms are summed by
// parts of it, so that it must not depend on the machine.
const elementPart = 16 << 10

// Add computes y += x.
func (c *CPU) Add(y, x []float32) {
	_ = x[:len(y)]
	c.elements(len(y), elementPart, len(y), func(l *loop, _ *scratch, from, to int) {
		l.c.ops.add(l.y[from:to], l.x[from:to])
	}, loopData{y: y, x: x})
}

// Scale computes y *= a.
func (c *CPU) Scale(y []float32, a float32) {
	c.elements(len(y), elementPart, len(y), func(l *loop, _ *scratch, from, to int) {
		l.c.ops.scale(l.y[from:to], l.a)
	}, loopData{y: y, a: a})
}

// Narrow rounds src to d, to nearest even.
func (c *CPU) Narrow(dst []byte, src []float32, d tensor.DType) {
	c.elements(len(src), elementPart, 4*len(src), func(l *loop, _ *scratch, from, to int) {
		l.c.ops.narrowed(l.d, l.bytes[l.d.Bytes(from):l.d.Bytes(to)], l.x[from:to])
	}, loopData{bytes: dst, x: src, d: d})
}

func (o *ops) narrowed(d tensor.DType, dst []byte, src []float32) {
	if o.narrow == nil {
		tensor.FromFloat32(dst, d, src)
	} else {
		o.narrow(d, dst, src)
	}
}

// Round rounds x to d (to nearest even; F16 overflows to infinity).
func (c *CPU) Round(x []float32, d tensor.DType) {
	c.elements(len(x), elementPart, 2*len(x), func(l *loop, _ *scratch, from, to int) {
		l.c.ops.train.round(l.d, l.x[from:to])
	}, loopData{x: x, d: d})
}

// Copy computes y = x after dropout.
func (c *CPU) Copy(y Numbers, x []float32, d Dropout) {
	c.elements(len(x), elementPart, len(x), func(l *loop, s *scratch, from, to int) {
		part := l.yn.part(from, to)
		if l.drop.Share == 0 {
			if part.BF16 == nil {
				copy(part.F32, l.x[from:to])
			} else {
				l.c.ops.store(part, l.x[from:to])
			}
			return
		}
		s.a = grow(s.a, elementPart)
		v := part.place(s.a)
		copy(v, l.x[from:to])
		l.c.ops.drop(v, l.drop, uint64(from))
		l.c.ops.store(part, v)
	}, loopData{yn: y, x: x, drop: d})
}

// CopyTiles is Copy of rows to tiles of bfloat16.
func (c *CPU) CopyTiles(y []byte, x []float32, width int, d Dropout) {
	c.elements(len(x)/width, generic.TileStep, len(x), func(l *loop, s *scratch, from, to int) {
		v := l.x[from*l.width : to*l.width]
		if l.drop.Share > 0 {
			s.a = grow(s.a, generic.TileStep*l.width)
			copy(s.a, v)
			v = s.a[:len(v)]
			l.c.ops.drop(v, l.drop, uint64(from*l.width))
		}
		l.c.ops.tiles.packRows(l.bytes[TileBytes(from, l.width):], v, l.width, to-from, l.width)
	}, loopData{bytes: y, x: x, width: width, drop: d})
}

// columnPart is how many columns a member sums up at a time.
const columnPart = 64 // a multiple of 16

// AddRows adds the rows of x [rows][width] to y [width], in order.
func (c *CPU) AddRows(y []float32, x Numbers, rows, width int) {
	if rows == 0 {
		return
	}
	c.elements(width, columnPart, rows*width, func(l *loop, _ *scratch, from, to int) {
		switch x := l.xn.BF16; {
		case l.xn.Tiles:
			l.addTiles(from, to)
		case x != nil:
			l.c.ops.tiles.addRows(l.y[from:to], x[from:], l.width, l.rows)
		default:
			l.c.ops.train.addRows(l.y[from:to], l.xn.F32[from:], l.width, l.rows)
		}
	}, loopData{y: y, xn: x, rows: rows, width: width})
}

// addTiles adds the rows of some columns, of x in tiles.
func (l *loop) addTiles(from, to int) {
	const step = generic.TileStep
	for row := 0; row < l.rows; row += step {
		for col := from; col < to; col += step {
			l.c.ops.tiles.addRows(l.y[col:col+step], l.xn.BF16[BlockAt(row, col, l.width):], step, min(step, l.rows-row))
		}
	}
}

// Embed overwrites x [len(tokens)][width] with the embedding of each token plus
// that of its position, which is its index modulo context.
func (c *CPU) Embed(x, tokens, positions []float32, ids []int32, context, width int) {
	c.elements(len(ids), 16, len(ids)*width, func(l *loop, _ *scratch, from, to int) {
		for i := from; i < to; i++ {
			row := l.y[i*l.width:][:l.width]
			copy(row, l.x[int(l.ids[i])*l.width:][:l.width])
			l.c.ops.add(row, l.z[i%l.context*l.width:][:l.width])
		}
	}, loopData{y: x, x: tokens, z: positions, ids: ids, context: context, width: width})
}

// EmbedGrad adds the rows of dx to those of the embeddings that they came from,
// in order. Either gradient may be nil. It returns by how much Σdtokens² has grown.
func (c *CPU) EmbedGrad(dtokens, dpositions, dx []float32, ids []int32, context, width int) (grown float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sums := c.partSums(ceilDiv(width, columnPart))
	c.parts(width, columnPart, 2*len(ids)*width, embedGrad, loopData{y: dtokens, z: dpositions, x: dx, sums: sums, ids: ids, context: context, width: width})
	for _, s := range sums {
		grown += s
	}
	return grown
}

// embedGrad adds some columns.
func embedGrad(l *loop, s *scratch, from, to int) {
	var grown float64
	for i, id := range l.ids {
		row := l.x[i*l.width+from : i*l.width+to]
		if l.y != nil {
			at := int(id) * l.width
			sum := l.y[at+from : at+to]
			before := l.c.ops.squares(s, sum)
			l.c.ops.add(sum, row)
			grown += l.c.ops.squares(s, sum) - before
		}
		if l.z != nil {
			at := i % l.context * l.width
			l.c.ops.add(l.z[at+from:at+to], row)
		}
	}
	l.sums[from/columnPart] = grown
}

// normRows is how many rows of a norm's gradient are summed up together.
const normRows = 32

// NormGrad adds to dx [rows][width], dgain and dbias [width] (nil: not wanted)
// what the layer norm of x passes back of dy (Ba et al. 2016). Sums over rows are
// taken of normRows at a time, and then of these.
func (c *CPU) NormGrad(dx, dgain, dbias []float32, dy Numbers, x, gain []float32, rows, width int, eps float32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.train
	groups := ceilDiv(rows, normRows)
	t.y = grow(t.y, groups*2*width)
	sums := t.y
	if dgain == nil && dbias == nil {
		sums = nil
	}
	c.parts(rows, normRows, 8*rows*width, normGroup, loopData{y: dx, x: x, zn: dy, w: gain, v: sums, a: eps, width: width})
	for i, to := range [...][]float32{dgain, dbias} {
		if to != nil {
			c.parts(width, columnPart, groups*width, func(l *loop, _ *scratch, from, to int) {
				l.c.ops.train.addRows(l.y[from:to], l.x[from:], 2*l.width, l.rows)
			}, loopData{y: to, x: t.y[min(i*width, len(t.y)):], width: width, rows: groups})
		}
	}
}

// normGroup takes some rows back, and sums up what they pass to gain and bias.
func normGroup(l *loop, s *scratch, from, to int) {
	o, width, rows := l.c.ops, l.width, to-from
	s.a, s.b = grow(s.a, normRows*width), grow(s.b, 2*normRows)
	dy, x, stats := o.read32(l.zn.part(from*width, to*width), s.a), l.x[from*width:], s.b
	for r := range rows {
		x, dy := x[r*width:][:width], dy[r*width:][:width]
		mean := o.sum(x) / float32(width)
		rstd := float32(1 / math.Sqrt(float64(o.sumSquares(x, mean)/float32(width)+l.a)))
		stats[2*r], stats[2*r+1] = mean, rstd
		if l.y != nil {
			normRow(o, s, l.y[(from+r)*width:][:width], dy, x, l.w, mean, rstd)
		}
	}
	if l.v == nil {
		return
	}
	sums := l.v[from/normRows*2*width:][:2*width]
	clear(sums)
	o.train.normColumns(sums[:width], sums[width:], dy, x, stats, width, rows)
}

// normRow adds to dx what one row passes back.
func normRow(o *ops, s *scratch, dx, dy, x, gain []float32, mean, rstd float32) {
	n := float64(len(x))
	lanes := (*[32]float32)(s.small[:])
	o.train.normSums(lanes, dy, x, gain[:len(x)], mean, rstd)
	var sum, dot float64
	for i := range 16 {
		sum += float64(lanes[i])
		dot += float64(lanes[16+i])
	}
	o.train.normSlope(dx, dy, x, gain, mean, rstd, float32(sum/n), float32(dot/n))
}

// activationPart is for how many numbers an activation is computed at a time.
const activationPart = 4096

// Activate computes y = f(x), rounded to d; they may be the same.
func (c *CPU) Activate(y, x Numbers, f Activation, d tensor.DType) {
	c.elements(x.len(), longPart(x.len(), activationPart), 16*x.len(), func(l *loop, s *scratch, from, end int) {
		o := l.c.ops
		s.a = grow(s.a, activationPart)
		for ; from < end; from += activationPart {
			to := min(from+activationPart, end)
			y := l.yn.part(from, to)
			v := y.place(s.a)
			o.load(v, l.xn.part(from, to))
			o.activate(v, l.f)
			o.put(y, v, l.d)
		}
	}, loopData{yn: y, xn: x, f: f, d: d})
}

// ActivateGrad multiplies dy by f'(x), and rounds it to d.
func (c *CPU) ActivateGrad(dy, x Numbers, f Activation, d tensor.DType) {
	c.elements(x.len(), longPart(x.len(), activationPart), 32*x.len(), func(l *loop, s *scratch, from, end int) {
		o := l.c.ops
		s.a, s.b = grow(s.a, activationPart), grow(s.b, activationPart)
		for ; from < end; from += activationPart {
			to := min(from+activationPart, end)
			dy := l.yn.part(from, to)
			v := o.read32(dy, s.a)
			o.activateGrad(s, v, o.read32(l.xn.part(from, to), s.b), l.f, l.d)
			o.put(dy, v, l.d)
		}
	}, loopData{yn: dy, xn: x, f: f, d: d})
}

// put writes what is rounded to d, which is what n is stored as if not float32.
func (o *ops) put(n Numbers, v []float32, d tensor.DType) {
	if n.BF16 != nil {
		o.store(n, v)
	} else {
		o.rounded(v, d)
	}
}

// rounded rounds x to d, if that is not F32.
func (o *ops) rounded(x []float32, d tensor.DType) {
	if d != tensor.F32 {
		o.train.round(d, x)
	}
}

// activateGrad multiplies dy by f'(x), rounded to d where torch computes it of that.
func (o *ops) activateGrad(s *scratch, dy, x []float32, f Activation, d tensor.DType) {
	switch f {
	case None:
	case GELUTanh, GELUNew, SiLU, QuickGELU:
		a, b, _ := f.gate()
		if f == GELUNew && d != tensor.F32 {
			o.gateParts(s, dy, x, a, b, d)
		} else {
			o.gateGrad(s.small[:], dy, x, a, b)
		}
	case GELUErf: // Φ(x) + x·φ(x)
		for i, v := range x {
			z := float64(v)
			dy[i] = float32(float64(dy[i]) * (0.5*math.Erfc(-z*math.Sqrt2/2) + z*math.Exp(-z*z/2)/math.Sqrt(2*math.Pi)))
		}
	case ReLU:
		for i, v := range x {
			if v <= 0 {
				dy[i] = 0
			}
		}
	case Tanh:
		s.c = grow(s.c, len(x))
		y := s.c[:len(x)]
		for i, v := range x {
			y[i] = float32(math.Tanh(float64(v)))
		}
		o.rounded(y, d)
		for i, t := range y {
			dy[i] = float32(float64(dy[i]) * (1 - float64(t)*float64(t)))
		}
	default:
		panic("kernel: unknown activation")
	}
}

// gateGrad is the derivative of Gate; e is memory to work in.
func (o *ops) gateGrad(e, dy, x []float32, a, b float32) {
	for len(x) > 0 {
		n := min(len(e), len(x))
		o.train.gateArgument(e[:n], x[:n], a, b)
		o.expSum(e[:n], 0)
		o.train.gateSlope(dy[:n], x[:n], e[:n], a, 3*b)
		dy, x = dy[n:], x[n:]
	}
}

// gateParts is gateGrad as torch takes the GELU of transformers back, that is written as
// several operations: the three that x goes into pass something back each, which is
// rounded to d, and so is the sum of the two that were computed last.
func (o *ops) gateParts(s *scratch, dy, x []float32, a, b float32, d tensor.DType) {
	const most = 512
	s.c = grow(s.c, 4*most)
	for len(x) > 0 {
		n := min(most, len(x))
		own, x0 := dy[:n], x[:n]
		e, minus, linear, cubic := s.c[:n], s.c[most:most+n], s.c[2*most:2*most+n], s.c[3*most:3*most+n]
		o.train.gateArgument(e, x0, a, b)
		o.expSum(e, 0)
		copy(linear, own)
		copy(cubic, own)
		o.train.gateSlope(own, x0, e, 0, 0)
		o.train.gateSlope(linear, x0, e, a, 0)
		o.train.gateSlope(cubic, x0, e, 0, 3*b)
		copy(minus, own)
		o.scale(minus, -1)
		o.add(linear, minus)
		o.add(cubic, minus)
		o.train.round(d, own)
		o.train.round(d, linear)
		o.train.round(d, cubic)
		o.add(linear, cubic)
		o.train.round(d, linear)
		o.add(own, linear)
		dy, x = dy[n:], x[n:]
	}
}

// CrossEntropy overwrites logits [len(labels)][vocab] with their gradient: scale
// times (softmax - 1 at the label), rounded to d, zeros where a label is negative.
// losses gets -log p(label), 0 where a label is negative.
func (c *CPU) CrossEntropy(losses []float64, logits Numbers, labels []int32, vocab int, scale float32, d tensor.DType) {
	_ = losses[:len(labels)]
	c.elements(len(labels), 1, 16*len(labels)*vocab, crossEntropy, loopData{sums: losses, yn: logits, ids: labels, width: vocab, a: scale, d: d})
}

func crossEntropy(l *loop, s *scratch, r, _ int) {
	if l.yn.BF16 != nil {
		crossEntropyHalf(l, s, r)
		return
	}
	o, row, label := l.c.ops, l.yn.F32[r*l.width:(r+1)*l.width], int(l.ids[r])
	if label < 0 {
		l.sums[r] = 0
		clear(row)
		return
	}
	target := row[label]
	most := o.scaleMax(row, 1)
	sum := o.expSum(row, most)
	l.sums[r] = math.Log(float64(sum)) - float64(target) + float64(most)
	o.scale(row, l.a/sum)
	row[label] -= l.a
	o.rounded(row, l.d)
}

// entropyPart is how many logits are worked on at a time: those of a row do not stay in
// the first-level cache.
const entropyPart = 4096

// crossEntropyHalf is crossEntropy of bfloat16.
func crossEntropyHalf(l *loop, s *scratch, r int) {
	o, place, label := l.c.ops, l.yn.part(r*l.width, (r+1)*l.width), int(l.ids[r])
	if label < 0 {
		l.sums[r] = 0
		clear(place.BF16)
		return
	}
	s.a = grow(s.a, l.width)
	row, most := s.a[:l.width], float32(math.Inf(-1))
	for from := 0; from < len(row); from += entropyPart {
		part := row[from:min(from+entropyPart, len(row))]
		most = max(most, o.scaleMax(o.read32(place.part(from, from+len(part)), part), 1))
	}
	target := row[label]
	var sum float32
	for from := 0; from < len(row); from += entropyPart {
		sum += o.expSum(row[from:min(from+entropyPart, len(row))], most)
	}
	l.sums[r] = math.Log(float64(sum)) - float64(target) + float64(most)
	for from := 0; from < len(row); from += entropyPart {
		part := row[from:min(from+entropyPart, len(row))]
		o.scale(part, l.a/sum)
		if i := label - from; i >= 0 && i < len(part) {
			part[i] -= l.a
		}
		o.store(place.part(from, from+len(part)), part)
	}
}
