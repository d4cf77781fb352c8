package bench

import (
	"math/rand/v2"

	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Random makes a model of random weights. k stays the caller's.
func Random(name string, cfg gpt2.Config, o cpu.Options, k *kernel.CPU) (*Subject, error) {
	// The device copies every matrix, so that all of them can begin as the same
	// numbers.
	o.Copy, o.Copied = true, nil
	device := cpu.New(k, o)
	model, err := gpt2.New(device, cfg, randomWeights(cfg))
	if err != nil {
		device.Close()
		return nil, err
	}
	return &Subject{Name: name, DType: o.DType, KV: o.KVType, Model: model, CPU: k, Weights: device.Memory(), Close: device.Close}, nil
}

func randomWeights(c gpt2.Config) *gpt2.Weights {
	noise := make([]float32, max(c.VocabSize, c.Positions, c.Inner, 3*c.Embd)*c.Embd)
	random := rand.New(rand.NewPCG(3, 4))
	const period = 1 << 20
	for i := range min(period, len(noise)) {
		noise[i] = float32(random.NormFloat64()) * 0.02
	}
	for n := period; n < len(noise); n *= 2 {
		copy(noise[n:], noise[:n])
	}
	ones := make([]float32, c.Embd)
	for i := range ones {
		ones[i] = 1
	}
	view := func(values []float32, shape ...int) tensor.Tensor {
		t := tensor.Tensor{DType: tensor.F32, Shape: shape}
		t.Data = tensor.Bytes(values[:t.Len()])
		return t
	}
	norm := gpt2.Norm{Gain: view(ones, c.Embd), Bias: view(noise[:c.Embd:c.Embd], c.Embd)}
	projection := func(in, out int) gpt2.Projection {
		return gpt2.Projection{Weight: view(noise, in, out), Bias: view(noise, out)}
	}
	w := &gpt2.Weights{
		TokenEmbedding:    view(noise, c.VocabSize, c.Embd),
		PositionEmbedding: view(noise, c.Positions, c.Embd),
		FinalNorm:         norm,
		Tied:              true,
	}
	w.Head = w.TokenEmbedding
	for range c.Layers {
		w.Blocks = append(w.Blocks, gpt2.BlockWeights{
			AttnNorm: norm, QKV: projection(c.Embd, 3*c.Embd), AttnOut: projection(c.Embd, c.Embd),
			MLPNorm: norm, Up: projection(c.Embd, c.Inner), Down: projection(c.Inner, c.Embd),
		})
	}
	return w
}
