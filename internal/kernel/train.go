package kernel

import (
	"math"
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/tensor"
)

// What training needs beyond inference. It is plain Go around the families'
// vector functions; the matrix products are Linear's. As everywhere in this
// package, each number of a result is computed in one order, whatever the
// number of threads.

// trainScratch is memory that calls reuse.
type trainScratch struct {
	x []float32 // a transposed factor
	b []byte    // the other one in 16 bits
	y []float32 // a result that is not yet added, or statistics of rows
}

// eachTask has the members claim indices of a loop.
type eachTask struct {
	c    *CPU
	n    int
	f    func(s *scratch, i int)
	next atomic.Int64
}

// Run claims indices until none is left.
func (t *eachTask) Run(member int) {
	for {
		i := int(t.next.Add(1)) - 1
		if i >= t.n {
			return
		}
		t.f(&t.c.members[member], i)
	}
}

// each calls f for 0 … n-1, in any order, each once. c.mu is held.
func (c *CPU) each(n, operations int, f func(s *scratch, i int)) {
	c.share(&eachTask{c: c, n: n, f: f}, operations)
}

// parts cuts n numbers into parts of size elements.
func (c *CPU) parts(n, size, operations int, f func(s *scratch, from, to int)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.each(ceilDiv(n, size), operations, func(s *scratch, i int) {
		f(s, i*size, min((i+1)*size, n))
	})
}

// elementPart is what a member claims of elementwise work; norms are summed by
// parts of it, so that it must not depend on the machine.
const elementPart = 16 << 10

// Add computes y += x.
func (c *CPU) Add(y, x []float32) {
	_ = x[:len(y)]
	c.parts(len(y), elementPart, len(y), func(_ *scratch, from, to int) { c.ops.add(y[from:to], x[from:to]) })
}

// Scale computes y *= a.
func (c *CPU) Scale(y []float32, a float32) {
	c.parts(len(y), elementPart, len(y), func(_ *scratch, from, to int) { c.ops.scale(y[from:to], a) })
}

// Narrow rounds src to d, to nearest even.
func (c *CPU) Narrow(dst []byte, src []float32, d tensor.DType) {
	c.parts(len(src), elementPart, 4*len(src), func(_ *scratch, from, to int) {
		c.ops.narrowed(d, dst[d.Bytes(from):d.Bytes(to)], src[from:to])
	})
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
	c.parts(len(x), elementPart, 2*len(x), func(_ *scratch, from, to int) { c.ops.train.round(d, x[from:to]) })
}

// columnPart is how many columns a member sums up at a time.
const columnPart = 64 // a multiple of 16

// AddRows adds the rows of x [rows][width] to y [width], in order.
func (c *CPU) AddRows(y, x []float32, rows, width int) {
	c.parts(width, columnPart, rows*width, func(_ *scratch, from, to int) {
		c.ops.train.addRows(y[from:to], x[from:], width, rows)
	})
}

// Embed overwrites x [len(tokens)][width] with the embedding of each token plus
// that of its position, which is its index modulo context.
func (c *CPU) Embed(x, tokens, positions []float32, ids []int32, context, width int) {
	c.parts(len(ids), 16, len(ids)*width, func(_ *scratch, from, to int) {
		for i := from; i < to; i++ {
			row := x[i*width:][:width]
			copy(row, tokens[int(ids[i])*width:][:width])
			c.ops.add(row, positions[i%context*width:][:width])
		}
	})
}

// EmbedGrad adds the rows of dx to those of the embeddings that they came from,
// in order. Either gradient may be nil.
func (c *CPU) EmbedGrad(dtokens, dpositions, dx []float32, ids []int32, context, width int) {
	c.parts(width, columnPart, 2*len(ids)*width, func(_ *scratch, from, to int) {
		for i, id := range ids {
			row := dx[i*width+from : i*width+to]
			if dtokens != nil {
				at := int(id) * width
				c.ops.add(dtokens[at+from:at+to], row)
			}
			if dpositions != nil {
				at := i % context * width
				c.ops.add(dpositions[at+from:at+to], row)
			}
		}
	})
}

// NormGrad adds to dx [rows][width], dgain and dbias [width] (nil: not wanted)
// what the layer norm of x passes back of dy (Ba et al. 2016).
func (c *CPU) NormGrad(dx, dgain, dbias, dy, x, gain []float32, rows, width int, eps float32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.train
	t.y = grow(t.y, 2*rows)
	stats := t.y
	n := float64(width)
	c.each(rows, 8*rows*width, func(_ *scratch, r int) {
		x := x[r*width:][:width]
		mean := c.ops.sum(x) / float32(width)
		rstd := float32(1 / math.Sqrt(float64(c.ops.sumSquares(x, mean)/float32(width)+eps)))
		stats[2*r], stats[2*r+1] = mean, rstd
		if dx == nil {
			return
		}
		dy := dy[r*width:][:width]
		var lanes [32]float32
		c.ops.train.normSums(&lanes, dy, x, gain[:width], mean, rstd)
		var sum, dot float64
		for i := range 16 {
			sum += float64(lanes[i])
			dot += float64(lanes[16+i])
		}
		c.ops.train.normSlope(dx[r*width:][:width], dy, x, gain, mean, rstd, float32(sum/n), float32(dot/n))
	})
	if dgain == nil && dbias == nil {
		return
	}
	c.each(ceilDiv(width, columnPart), 4*rows*width, func(_ *scratch, i int) {
		from, to := i*columnPart, min((i+1)*columnPart, width)
		var g, b [columnPart]float32
		c.ops.train.normColumns(g[:to-from], b[:], dy[from:], x[from:], stats, width, rows)
		if dgain != nil {
			c.ops.add(dgain[from:to], g[:])
		}
		if dbias != nil {
			c.ops.add(dbias[from:to], b[:])
		}
	})
}

// Activate computes y = f(x), rounded to d; they may be the same.
func (c *CPU) Activate(y, x []float32, f Activation, d tensor.DType) {
	c.parts(len(x), 4096, 16*len(x), func(_ *scratch, from, to int) {
		if &y[0] != &x[0] {
			copy(y[from:to], x[from:to])
		}
		c.ops.activate(y[from:to], f)
		c.ops.rounded(y[from:to], d)
	})
}

// ActivateGrad multiplies dy by f'(x), and rounds it to d.
func (c *CPU) ActivateGrad(dy, x []float32, f Activation, d tensor.DType) {
	c.parts(len(x), 4096, 32*len(x), func(_ *scratch, from, to int) {
		c.ops.activateGrad(dy[from:to], x[from:to], f)
		c.ops.rounded(dy[from:to], d)
	})
}

// rounded rounds x to d, if that is not F32.
func (o *ops) rounded(x []float32, d tensor.DType) {
	if d != tensor.F32 {
		o.train.round(d, x)
	}
}

func (o *ops) activateGrad(dy, x []float32, f Activation) {
	switch f {
	case None:
	case GELUTanh:
		const a = 2 * 0.7978845608028654
		o.gateGrad(dy, x, a, a*0.044715)
	case SiLU:
		o.gateGrad(dy, x, 1, 0)
	case QuickGELU:
		o.gateGrad(dy, x, 1.702, 0)
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
		for i, v := range x {
			t := math.Tanh(float64(v))
			dy[i] = float32(float64(dy[i]) * (1 - t*t))
		}
	default:
		panic("kernel: unknown activation")
	}
}

// gateGrad is the derivative of Gate.
func (o *ops) gateGrad(dy, x []float32, a, b float32) {
	var e [256]float32
	for len(x) > 0 {
		n := min(len(e), len(x))
		o.train.gateArgument(e[:n], x[:n], a, b)
		o.expSum(e[:n], 0)
		o.train.gateSlope(dy[:n], x[:n], e[:n], a, 3*b)
		dy, x = dy[n:], x[n:]
	}
}

// CrossEntropy overwrites logits [len(labels)][vocab] with their gradient: scale
// times (softmax - 1 at the label), rounded to d, zeros where a label is negative.
// losses gets -log p(label), 0 where a label is negative.
func (c *CPU) CrossEntropy(losses []float64, logits []float32, labels []int32, vocab int, scale float32, d tensor.DType) {
	_ = losses[:len(labels)]
	c.parts(len(labels), 1, 16*len(labels)*vocab, func(_ *scratch, r, _ int) {
		row, label := logits[r*vocab:][:vocab], int(labels[r])
		if label < 0 {
			losses[r] = 0
			clear(row)
			return
		}
		target := row[label]
		most := c.ops.scaleMax(row, 1)
		sum := c.ops.expSum(row, most)
		losses[r] = math.Log(float64(sum)) - float64(target) + float64(most)
		c.ops.scale(row, scale/sum)
		row[label] -= scale
		c.ops.rounded(row, d)
	})
}
