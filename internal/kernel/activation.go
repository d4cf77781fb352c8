package kernel

import "math"

// Activation is a function applied to each element of a product.
type Activation uint8

// The activations that GPT-2 configurations name.
const (
	None      Activation = iota
	GELUTanh             // gelu_new, gelu_pytorch_tanh, gelu_fast
	GELUErf              // gelu
	ReLU                 //
	SiLU                 // silu, swish
	Tanh                 //
	QuickGELU            // x·sigmoid(1.702x)
)

// activate applies f in place. The tanh form of GELU,
// x/2·(1+tanh(√(2/π)(x+0.044715x³))), is x·sigmoid of twice that argument.
func (o *ops) activate(x []float32, f Activation) {
	switch f {
	case None:
	case GELUTanh:
		const a = 2 * 0.7978845608028654 // 2√(2/π)
		o.gate(x, a, a*0.044715)
	case SiLU:
		o.gate(x, 1, 0)
	case QuickGELU:
		o.gate(x, 1.702, 0)
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
