package kernel

import (
	"math"

	"github.com/gptctl/gptctl/internal/kernel/generic"
)

// Dropout zeroes a share of numbers and divides the others by what is left, by
// random bits that depend on Key and a number's place alone: the n-th output of
// SplitMix64 (Steele et al. 2014) seeded with Key.
type Dropout struct {
	Key   uint64
	Share float64 // 0: none
}

// Mix returns the output of SplitMix64 for a state: a way to make keys of numbers.
func Mix(state uint64) uint64 { return generic.Mix(state) }

// drop multiplies x by the mask of places at … .
func (o *ops) drop(x []float32, d Dropout, at uint64) {
	if d.Share == 0 {
		return
	}
	o.train.dropout(x, d.Key+(at+1)*generic.Golden, uint64(d.Share*(1<<32)), float32(1/(1-d.Share)))
}

// Dropout applies d to x, and in the same way to the gradient of the result.
func (c *CPU) Dropout(x []float32, d Dropout) {
	if d.Share == 0 {
		return
	}
	c.elements(len(x), elementPart, 8*len(x), func(l *loop, _ *scratch, from, to int) {
		l.c.ops.drop(l.x[from:to], l.drop, uint64(from))
	}, loopData{x: x, drop: d})
}

// SumSquares returns Σx² and whether all of x is finite.
func (c *CPU) SumSquares(x []float32) (sum float64, finite bool) { return c.SumSquaresOf(Floats(x)) }

// SumSquaresOf is SumSquares of what may be bfloat16.
func (c *CPU) SumSquaresOf(x Numbers) (sum float64, finite bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sums := c.partSums(ceilDiv(x.len(), elementPart))
	c.parts(x.len(), longPart(x.len(), elementPart), 2*x.len(), sumSquares, loopData{xn: x, sums: sums})
	for _, s := range sums {
		sum += s
	}
	// The square of a float32 does not overflow a float64.
	return sum, !math.IsNaN(sum) && !math.IsInf(sum, 0)
}

// partSums is memory for n sums. c.mu is held.
func (c *CPU) partSums(n int) []float64 {
	t := &c.train
	if cap(t.sums) < n {
		t.sums = make([]float64, n)
	}
	t.sums = t.sums[:n]
	return t.sums
}

// longPart is what a member claims of n numbers that are read once: several parts,
// since at the beginning of each the processor does not yet know what to read ahead.
func longPart(n, part int) int { return min(max(n/16/part, 1), 32) * part }

func sumSquares(l *loop, s *scratch, from, to int) {
	for ; from < to; from += elementPart {
		sumPart(l, s, from, min(from+elementPart, to))
	}
}

func sumPart(l *loop, s *scratch, from, to int) {
	x := l.xn.part(from, to)
	if x.BF16 != nil {
		s.a = grow(s.a, elementPart)
	}
	l.sums[from/elementPart] = l.c.ops.squares(s, l.c.ops.read32(x, s.a))
}

// squares is the sum of the squares of x.
func (o *ops) squares(s *scratch, x []float32) (sum float64) {
	clear(s.lanes[:])
	o.train.squares(&s.lanes, x)
	for _, v := range s.lanes {
		sum += v
	}
	return sum
}

// Adam are the numbers of a step of AdamW (Loshchilov and Hutter 2019), the
// Step-th from 1.
type Adam struct {
	LR, Beta1, Beta2, Epsilon, Decay float64
	Step                             int
	Scale                            float64 // of the gradient, applied first
}

// AdamW changes the weights p and the moments m and v by the gradient g.
func (c *CPU) AdamW(p, m, v, g []float32, a Adam) {
	_, _, _ = m[:len(p)], v[:len(p)], g[:len(p)]
	correct1 := 1 - math.Pow(a.Beta1, float64(a.Step))
	correct2 := math.Sqrt(1 - math.Pow(a.Beta2, float64(a.Step)))
	k := [8]float32{
		float32(a.Scale), float32(1 - a.Beta1), float32(a.Beta2), float32(1 - a.Beta2),
		float32(correct2), float32(a.Epsilon), float32(1 - a.LR*a.Decay), float32(a.LR / correct1),
	}
	c.elements(len(p), longPart(len(p), elementPart), 16*len(p), func(l *loop, _ *scratch, from, to int) {
		l.c.ops.train.adamW(l.y[from:to], l.x[from:to], l.z[from:to], l.w[from:to], &l.k)
	}, loopData{y: p, x: m, z: v, w: g, k: k})
}
