package randomtest

import (
	"math/rand/v2"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// Config is that of a small model, of widths that are whole blocks and others.
func Config(rng *rand.Rand) gpt2.Config {
	c := gpt2.Config{
		VocabSize: 2 + rng.IntN(700), Positions: 1 + rng.IntN(150), Layers: 1 + rng.IntN(3), Heads: 1 + rng.IntN(5),
		Activation: gpt2.GELUNew + gpt2.Activation(rng.IntN(int(gpt2.QuickGELU))), LayerNormEpsilon: 1e-5,
		ScaleAttnWeights: rng.IntN(4) > 0, ScaleAttnByInverseLayerIdx: rng.IntN(4) == 0, TieWordEmbeddings: rng.IntN(3) > 0,
		BOS: -1, PAD: -1,
	}
	c.Embd = c.Heads * (1 + rng.IntN(80))
	if rng.IntN(2) == 0 {
		c.Embd = c.Heads * 16 * (1 + rng.IntN(5))
	}
	if c.HeadDim() > 16 { // else scores are so large that rounding changes what is attended to
		c.ScaleAttnWeights = true
	}
	if c.Inner = 4 * c.Embd; rng.IntN(2) == 0 {
		c.Inner = 1 + rng.IntN(900)
	}
	return c
}
