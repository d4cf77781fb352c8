package train

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Initial returns the weights of a model that has learned nothing, as GPT-2 began:
// matrices and embeddings normal with deviation 0.02, what writes into the
// residual stream with 0.02/√(2·layers), gains 1 and biases 0 (Radford et al.
// 2019, section 2.3; transformers' initializer_range).
func Initial(cfg gpt2.Config, seed uint64) *gpt2.Weights {
	const deviation = 0.02
	residual := deviation / math.Sqrt(2*float64(cfg.Layers))
	normal := func(name string, deviation float64, shape ...int) tensor.Tensor {
		rng := rand.New(rand.NewPCG(seed, hash(name)))
		t := tensor.Tensor{DType: tensor.F32, Shape: shape}
		v := make([]float32, t.Len())
		for i := range v {
			v[i] = float32(rng.NormFloat64() * deviation)
		}
		t.Data = tensor.Bytes(v)
		return t
	}
	constant := func(value float32, n int) tensor.Tensor {
		v := make([]float32, n)
		for i := range v {
			v[i] = value
		}
		return tensor.Tensor{DType: tensor.F32, Shape: []int{n}, Data: tensor.Bytes(v)}
	}
	norm := func() gpt2.Norm { return gpt2.Norm{Gain: constant(1, cfg.Embd), Bias: constant(0, cfg.Embd)} }
	w := &gpt2.Weights{
		TokenEmbedding:    normal("wte", deviation, cfg.VocabSize, cfg.Embd),
		PositionEmbedding: normal("wpe", deviation, cfg.Positions, cfg.Embd),
		FinalNorm:         norm(),
		Tied:              cfg.TieWordEmbeddings,
	}
	w.Head = w.TokenEmbedding
	if !w.Tied {
		w.Head = normal("lm_head", deviation, cfg.VocabSize, cfg.Embd)
	}
	for i := range cfg.Layers {
		projection := func(name string, deviation float64, in, out int) gpt2.Projection {
			return gpt2.Projection{Weight: normal(fmt.Sprintf("h.%d.%s", i, name), deviation, in, out), Bias: constant(0, out)}
		}
		w.Blocks = append(w.Blocks, gpt2.BlockWeights{
			AttnNorm: norm(), MLPNorm: norm(),
			QKV:     projection("attn.c_attn", deviation, cfg.Embd, 3*cfg.Embd),
			AttnOut: projection("attn.c_proj", residual, cfg.Embd, cfg.Embd),
			Up:      projection("mlp.c_fc", deviation, cfg.Embd, cfg.Inner),
			Down:    projection("mlp.c_proj", residual, cfg.Inner, cfg.Embd),
		})
	}
	return w
}
