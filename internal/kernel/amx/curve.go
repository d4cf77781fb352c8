package amx

import "math"

// curvePieces are the pieces of a curve, and curveTerms the terms of each: a register
// or two hold one term of all pieces.
const (
	curvePieces = 32
	curveTerms  = 5
)

// curves are an activation of x, divided by x, and its derivative, for |x|, less a half
// (below zero they are as far from it on the other side): piece k is around k/scale, a
// polynomial in the distance from there in pieces. The last piece is all that follows,
// where the curves have arrived. Results lie within 5e-7 of the curves of GELU, and within
// 3e-6 of the others, where bfloat16 is within 2e-3. The terms come from registers, by a
// port that tiles leave idle, where an exponential and a quotient would take longer than
// the tiles.
type curves struct {
	a, b  float32
	value curve // x·σ(a·x + b·x³), divided by x
	slope curve
}

type curve struct {
	scale, most float32
	terms       [curveTerms][curvePieces]float32 // the highest power first
}

// curvesOf finds the curves of an activation.
func curvesOf(a, b float32) *curves {
	sigma := func(x float64) (s, rest float64) {
		e := math.Exp(-x * (float64(a) + float64(b)*x*x))
		return 1 / (1 + e), e / (1 + e)
	}
	c := &curves{a: a, b: b}
	c.value.fit(func(x float64) float64 {
		_, rest := sigma(x)
		return 0.5 - rest
	})
	c.slope.fit(func(x float64) float64 {
		s, rest := sigma(x)
		return 0.5 - rest + x*s*rest*(float64(a)+3*float64(b)*x*x)
	})
	return c
}

// fit finds the pieces of f, which arrives at a half.
func (c *curve) fit(f func(x float64) float64) {
	const near, longest = 1e-7, 64
	end := float64(longest)
	for end > 1 && math.Abs(f(end-0.25)-0.5) < near {
		end -= 0.25
	}
	scale := (curvePieces - 1.5) / end
	c.scale, c.most = float32(scale), float32((curvePieces-1)/scale)
	for k := range curvePieces - 1 {
		for i, v := range polynomial(func(t float64) float64 { return f((float64(k) + t) / scale) }) {
			c.terms[i][k] = float32(v)
		}
	}
	c.terms[curveTerms-1][curvePieces-1] = 0.5
}

// polynomial agrees with f at the Chebyshev nodes from -1/2 to 1/2; its highest power
// is first.
func polynomial(f func(t float64) float64) (p [curveTerms]float64) {
	var node, d [curveTerms]float64
	for i := range node {
		node[i] = 0.5 * math.Cos((2*float64(i)+1)*math.Pi/(2*curveTerms))
		d[i] = f(node[i])
	}
	for j := 1; j < curveTerms; j++ { // divided differences
		for i := curveTerms - 1; i >= j; i-- {
			d[i] = (d[i] - d[i-1]) / (node[i] - node[i-j])
		}
	}
	for i := curveTerms - 1; i >= 0; i-- { // p = p·(t - node) + d
		for j := range curveTerms - 1 {
			p[j] = p[j+1] - node[i]*p[j]
		}
		p[curveTerms-1] = d[i] - node[i]*p[curveTerms-1]
	}
	return p
}
