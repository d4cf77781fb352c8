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
	c.parts(len(x), elementPart, 8*len(x), func(_ *scratch, from, to int) { c.ops.drop(x[from:to], d, uint64(from)) })
}

// SumSquares returns Σx² and whether all of x is finite.
func (c *CPU) SumSquares(x []float32) (sum float64, finite bool) {
	sums := make([]float64, ceilDiv(len(x), elementPart))
	c.parts(len(x), elementPart, 2*len(x), func(_ *scratch, from, to int) {
		var a, b, d, e float64
		v := x[from:to]
		for ; len(v) >= 4; v = v[4:] {
			a += float64(v[0]) * float64(v[0])
			b += float64(v[1]) * float64(v[1])
			d += float64(v[2]) * float64(v[2])
			e += float64(v[3]) * float64(v[3])
		}
		for _, v := range v {
			a += float64(v) * float64(v)
		}
		sums[from/elementPart] = a + b + (d + e)
	})
	for _, s := range sums {
		sum += s
	}
	// The square of a float32 does not overflow a float64.
	return sum, !math.IsNaN(sum) && !math.IsInf(sum, 0)
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
	c.parts(len(p), elementPart, 16*len(p), func(_ *scratch, from, to int) {
		c.ops.train.adamW(p[from:to], m[from:to], v[from:to], g[from:to], &k)
	})
}
