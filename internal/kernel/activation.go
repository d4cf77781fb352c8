package kernel

import "math"

// Activation is a function applied to each element of a product.
type Activation uint8

// The activations that GPT-2 configurations name.
const (
	None      Activation = iota
	GELUTanh             // gelu_pytorch_tanh, gelu_fast
	GELUErf              // gelu
	ReLU                 //
	SiLU                 // silu, swish
	Tanh                 //
	QuickGELU            // x·sigmoid(1.702x)
	GELUNew              // GELUTanh, whose gradient in halves is a sum of three: see gateParts
)

// activate applies f in place. The tanh form of GELU,
// x/2·(1+tanh(√(2/π)(x+0.044715x³))), is x·sigmoid of twice that argument.
func (o *ops) activate(x []float32, f Activation) {
	if a, b, ok := f.gate(); ok {
		o.gate(x, a, b)
		return
	}
	switch f {
	case None:
	case GELUErf:
		for i, v := range x {
			x[i] = float32(0.5 * float64(v) * math.Erfc(-float64(v)*math.Sqrt2/2))
		}
	case ReLU:
		for i, v := range x {
			if v < 0 { // false for NaN, which stays
				x[i] = 0
			}
		}
	case Tanh:
		for i, v := range x {
			x[i] = float32(math.Tanh(float64(v)))
		}
	default:
		panic("kernel: unknown activation")
	}
}

// gate returns a and b of an activation that is x/(1+exp(-x·(a+b·x²))).
func (f Activation) gate() (a, b float32, ok bool) {
	switch f {
	case GELUTanh, GELUNew:
		const a = 2 * 0.7978845608028654 // 2√(2/π)
		return a, a * 0.044715, true
	case SiLU:
		return 1, 0, true
	case QuickGELU:
		return 1.702, 0, true
	}
	return 0, 0, false
}

// fused reports whether a matrix unit's product applies the activation by itself.
func (f Activation) fused() bool {
	_, _, ok := f.gate()
	return ok || f == None
}
