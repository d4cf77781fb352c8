package kernel

import "fmt"

// Norm is a layer norm, see LayerNorm.
type Norm struct {
	Gain, Bias []float32 // of x's width; Gain nil: none
	Epsilon    float32
}

// LinearNorm is Linear of the layer norm of x, where TakesNorm. Each member computes the
// norm for itself: that takes less than waiting for another's, whose lines would have to
// come from that core's cache (Zen 5, two complexes: 17 ns a line).
func (c *CPU) LinearNorm(y, x []float32, rows int, n Norm, w *Weight, e Epilogue) {
	if rows < 0 || len(x) < rows*w.In || len(n.Gain) < w.In || len(n.Bias) < w.In {
		panic(fmt.Sprintf("kernel: linear of the norm of %d inputs on %d rows: x %d elements, gain %d, bias %d", w.In, rows, len(x), len(n.Gain), len(n.Bias)))
	}
	if !c.TakesNorm(rows, w) {
		panic(fmt.Sprintf("kernel: linear %d×%d %v on %d rows takes no norm", w.In, w.Out, w.DType, rows))
	}
	c.linearOf(y, x, Codes{}, rows, n, w, e)
}

// TakesNorm reports whether each member brings rows of x into the form that it multiplies
// for itself, so that it may as well compute a norm of them.
func (c *CPU) TakesNorm(rows int, w *Weight) bool {
	o := c.ops
	switch {
	case o.tiles != nil || rows > fewRows || w.In == 0 || o.fours(rows, w):
		return false
	case o.streamed(rows, w):
		return true
	}
	return rows*w.In <= ownElems && (w.Panels || w.Pairs)
}

// input returns rows of x, normalised if there is a norm: each member's own then.
func (c *CPU) input(s *scratch, x []float32, rows, in int, n *Norm) []float32 {
	x = x[:rows*in]
	if n.Gain == nil {
		return x
	}
	s.b = grow(s.b, len(x))
	for r := 0; r < len(x); r += in {
		c.ops.norm(s.b[r:][:in], x[r:][:in], n.Gain[:in], n.Bias[:in], n.Epsilon)
	}
	return s.b
}
