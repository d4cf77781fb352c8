package amx

import (
	"math"
	"testing"
)

// at is the curve as the assembly computes it, in float64.
func (c *curve) at(x float64) float64 {
	u := min(x, float64(c.most)) * float64(c.scale)
	k := math.RoundToEven(u)
	var sum float64
	for _, terms := range c.terms {
		sum = sum*(u-k) + float64(terms[int(k)])
	}
	return sum
}

// The curves of GELU, SiLU and QuickGELU, and one of the tests'.
func TestCurves(t *testing.T) {
	for _, g := range [][2]float32{{2 * 0.7978845608028654, 2 * 0.7978845608028654 * 0.044715}, {1, 0}, {1.702, 0}, {1.6, 0.07}} {
		c := curvesOf(g[0], g[1])
		a, b := float64(g[0]), float64(g[1])
		var value, slope float64
		for x := 0.0; x < 100; x += 1.0 / 512 {
			z := a*x + b*x*x*x
			s, rest := 1/(1+math.Exp(-z)), 1/(1+math.Exp(z))
			value = max(value, math.Abs(c.value.at(x)+0.5-s))
			slope = max(slope, math.Abs(c.slope.at(x)+0.5-(s+x*s*rest*(a+3*b*x*x))))
		}
		within := 5e-7
		if b == 0 { // it arrives late, in wide pieces
			within = 3e-6
		}
		if value > within || slope > within {
			t.Errorf("a %v, b %v: off by %.2g, the derivative by %.2g", g[0], g[1], value, slope)
		}
		if c.value.at(1e30) != 0.5 || c.slope.at(1e30) != 0.5 {
			t.Errorf("a %v, b %v: does not arrive", g[0], g[1])
		}
	}
}
