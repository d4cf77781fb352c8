package gpt2

import (
	"fmt"
	"math"
	"strings"
)

// Config is what shapes a GPT-2's computation: the fields of Hugging Face's
// config.json (GPT2Config) that change the numbers a forward pass gives.
type Config struct {
	VocabSize int // rows of the token embedding, and logits per position
	Positions int // longest sequence, rows of the position embedding
	Embd      int // width of the residual stream
	Heads     int // attention heads; they divide Embd
	Layers    int
	Inner     int // width of the MLP between its two projections

	Activation       Activation
	LayerNormEpsilon float64

	ScaleAttnWeights           bool // divide attention scores by √HeadDim
	ScaleAttnByInverseLayerIdx bool // divide them by (layer+1) too
	ReorderAndUpcastAttn       bool // scores in float32, scaled before the sum: no change for a float32 computation
	TieWordEmbeddings          bool // the output head is the token embedding

	BOS int   // token that starts a text, -1 if there is none
	EOS []int // tokens that end a text
	PAD int   // filling token, -1 if there is none
}

// HeadDim is the width of one attention head.
func (c Config) HeadDim() int { return c.Embd / c.Heads }

// AttentionScale is the factor of the attention scores q·k in a layer,
// which is counted from 0.
func (c Config) AttentionScale(layer int) float32 {
	scale := 1.0
	if c.ScaleAttnWeights {
		scale = 1 / math.Sqrt(float64(c.HeadDim()))
	}
	if c.ScaleAttnByInverseLayerIdx {
		scale /= float64(layer + 1)
	}
	return float32(scale)
}

// Parameters counts the trainable numbers; a tied head counts once.
func (c Config) Parameters() int {
	norm := 2 * c.Embd
	attn := c.Embd*3*c.Embd + 3*c.Embd + c.Embd*c.Embd + c.Embd
	mlp := 2*c.Embd*c.Inner + c.Inner + c.Embd
	n := (c.VocabSize+c.Positions)*c.Embd + c.Layers*(2*norm+attn+mlp) + norm
	if !c.TieWordEmbeddings {
		n += c.VocabSize * c.Embd
	}
	return n
}

// Activation is the nonlinearity of the MLP.
type Activation uint8

// The activations, under the names of transformers' ACT2FN.
const (
	NoActivation    Activation = iota // an Epilogue without one; config.json has no name for it
	GELUNew                           // x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
	GELU                              // x·Φ(x), with erf
	ReLU                              // max(x, 0)
	SiLU                              // x·sigmoid(x)
	Tanh                              // tanh x
	GELUPytorchTanh                   // as GELUNew
	GELUFast                          // as GELUNew, with 0.7978845608 for √(2/π)
	QuickGELU                         // x·sigmoid(1.702·x)
)

var activationNames = [...]string{
	GELUNew: "gelu_new", GELU: "gelu", ReLU: "relu", SiLU: "silu", Tanh: "tanh",
	GELUPytorchTanh: "gelu_pytorch_tanh", GELUFast: "gelu_fast", QuickGELU: "quick_gelu",
}

// String returns the name that config.json uses.
func (a Activation) String() string {
	if int(a) >= len(activationNames) {
		return fmt.Sprintf("Activation(%d)", uint8(a))
	}
	return activationNames[a]
}

// ParseActivation returns the activation that config.json calls name.
func ParseActivation(name string) (Activation, error) {
	for a, n := range activationNames {
		if n == name && n != "" {
			return Activation(a), nil
		}
	}
	if name == "swish" {
		return SiLU, nil
	}
	return 0, fmt.Errorf("activation %q is not supported, want one of %s", shorten(name), strings.Join(activationNames[GELUNew:], ", "))
}
