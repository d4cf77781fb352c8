package prune

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

// MinTokens is how much text it takes to tell what matters.
const MinTokens = 1024

// maxWindow bounds the tokens that are looked at together.
const maxWindow = 512

// Options say how to find out what matters.
type Options struct {
	Threads  int    // 0: one per physical core
	Family   string // of kernels; "": the best
	Progress func(what string, done, total int)
}

// Result is a smaller model. Its tensors are the model's own where they did not
// change.
type Result struct {
	Config  gpt2.Config
	Weights *gpt2.Weights
	Blocks  []int // that were left out, by their numbers in the model, in order
}

// Prune makes a model smaller. tokens is a text of at least MinTokens tokens,
// such as the model will be used for. The model's memory must stay valid.
func Prune(ctx context.Context, c gpt2.Config, w *gpt2.Weights, tokens []int, p Plan, o Options) (*Result, error) {
	if err := p.Check(c); err != nil {
		return nil, err
	}
	if len(tokens) < MinTokens {
		return nil, fmt.Errorf("the calibration text has %d tokens, want at least %d", len(tokens), MinTokens)
	}
	k, err := kernel.New(kernel.Options{Threads: o.Threads, Family: o.Family, Wide: true})
	if err != nil {
		return nil, err
	}
	defer k.Close()
	device := cpu.New(k, cpu.Options{})
	defer device.Close()
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	r := &pruner{ctx: ctx, options: o, cpu: k, dev: newObserver(device), tokens: tokens, config: c, weights: clone(w)}
	for i := range c.Layers {
		r.left = append(r.left, i)
	}
	if p.Blocks > 0 {
		if err := r.blocks(p.Blocks); err != nil {
			return nil, err
		}
	}
	if inner := p.Inner(c); inner < c.Inner {
		if err := r.neurons(inner); err != nil {
			return nil, err
		}
	}
	result := &Result{Config: r.config, Weights: r.weights}
	for i := range c.Layers {
		if !slices.Contains(r.left, i) {
			result.Blocks = append(result.Blocks, i)
		}
	}
	return result, ctx.Err()
}

// pruner is a model on its way to fewer weights.
type pruner struct {
	ctx     context.Context
	options Options
	cpu     *kernel.CPU
	dev     *observer
	tokens  []int
	config  gpt2.Config
	weights *gpt2.Weights
	left    []int // the blocks that are left, by their numbers in the model
}

func clone(w *gpt2.Weights) *gpt2.Weights {
	c := *w
	c.Blocks = slices.Clone(w.Blocks)
	return &c
}

// pass sends the text through the model as it is now, in windows of their own,
// while the observer looks.
func (r *pruner) pass(what string) error {
	m, err := gpt2.New(r.dev, r.config, r.weights)
	if err != nil {
		return err
	}
	window := r.window()
	seq, err := m.NewSequence(window)
	if err != nil {
		return err
	}
	for from := 0; from < len(r.tokens); from += window {
		seq.Truncate(0)
		in := []gpt2.Input{{Sequence: seq, Tokens: r.tokens[from:min(from+window, len(r.tokens))], Logits: gpt2.NoLogits}}
		if err := m.Forward(r.ctx, in, nil); err != nil {
			return err
		}
		r.options.Progress(what, min(from+window, len(r.tokens)), len(r.tokens))
	}
	return nil
}

func (r *pruner) window() int { return min(r.config.Positions, maxWindow) }

// errNotFinite is for a model that cannot be judged.
var errNotFinite = errors.New("the model's numbers overflow on the calibration text, so that nothing can be told of what matters")

// floats makes a tensor of numbers in memory.
func floats(v []float32, shape ...int) tensor.Tensor {
	return tensor.Tensor{DType: tensor.F32, Shape: shape, Data: tensor.Bytes(v)}
}
