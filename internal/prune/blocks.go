package prune

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/gptctl/gptctl/internal/bench"
	"github.com/gptctl/gptctl/internal/gpt2"
)

// lossTokens is how much of the text the model is tried on without a block.
const lossTokens = 2048

// mostWork is how many multiplications may be spent on trying a model without
// each of its blocks: some minutes.
const mostWork = 2e13

// blocks leaves n blocks out: one after the other that without which the model
// predicts the text best. Where that takes too long it is those that change least
// what passes through them.
func (r *pruner) blocks(n int) error {
	most := r.options.work
	if most == 0 {
		most = mostWork
	}
	if work := float64(n) * float64(r.config.Layers) * lossTokens * float64(r.config.Parameters()); work > most {
		change, err := r.changes()
		if err != nil {
			return err
		}
		order := make([]int, len(change))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(change[a], change[b]) })
		drop := order[:n]
		slices.Sort(drop)
		for k, i := range drop {
			r.drop(i - k)
		}
		return nil
	}
	for done := range n {
		best, least := -1, math.Inf(1)
		for i := range r.config.Layers {
			loss, err := r.without(i)
			if err != nil {
				return err
			}
			if loss < least {
				best, least = i, loss
			}
			r.options.Progress(fmt.Sprintf("block %d of %d", done+1, n), i+1, r.config.Layers)
		}
		if best < 0 {
			return errNotFinite
		}
		r.drop(best)
	}
	return nil
}

// without returns the perplexity of the model without a block.
func (r *pruner) without(i int) (float64, error) {
	trial := *r
	trial.weights, trial.left = clone(r.weights), slices.Clone(r.left)
	trial.drop(i)
	m, err := gpt2.New(r.dev, trial.config, trial.weights)
	if err != nil {
		return 0, err
	}
	text := r.tokens[:min(len(r.tokens), lossTokens)]
	p, err := bench.MeasurePerplexity(r.ctx, m, text, r.window(), r.window(), func(int) {})
	return p.Value, err
}

// drop leaves a block out. Where attention is scaled by the number of the layer
// the queries of those behind make up for their new numbers.
func (r *pruner) drop(i int) {
	r.weights.Blocks = slices.Delete(r.weights.Blocks, i, i+1)
	r.left = slices.Delete(r.left, i, i+1)
	r.config.Layers--
	if !r.config.ScaleAttnByInverseLayerIdx {
		return
	}
	for k := i; k < r.config.Layers; k++ {
		scaleQueries(&r.weights.Blocks[k].QKV, r.config.Embd, float32(k+1)/float32(k+2))
	}
}

// scaleQueries multiplies what a block's queries are made by.
func scaleQueries(p *gpt2.Projection, embd int, factor float32) {
	w, view := p.Weight.Float32s()
	b, viewBias := p.Bias.Float32s()
	if view {
		w = slices.Clone(w)
	}
	if viewBias {
		b = slices.Clone(b)
	}
	for j := range w {
		if p.Layout == gpt2.OutIn && j < embd*embd || p.Layout == gpt2.InOut && j%(3*embd) < embd {
			w[j] *= factor
		}
	}
	for j := range embd {
		b[j] *= factor
	}
	p.Weight, p.Bias = floats(w, p.Weight.Shape...), floats(b, p.Bias.Shape...)
}

// changes returns for each block how much it turns what passes through it: one
// less the mean cosine of its input and output (Men et al. 2024, "ShortGPT").
func (r *pruner) changes() ([]float64, error) {
	embd := r.config.Embd
	change := make([]float64, r.config.Layers)
	var before []float32
	var failed error
	r.dev.stream = func(layer int, x gpt2.Buffer, rows int) {
		after, err := r.dev.Read(x, rows*embd)
		if err != nil {
			failed = err
			return
		}
		if layer > 0 {
			for i := range rows {
				var ab, aa, bb float64
				for j, a := range before[i*embd : (i+1)*embd] {
					b := after[i*embd+j]
					ab, aa, bb = ab+float64(a)*float64(b), aa+float64(a)*float64(a), bb+float64(b)*float64(b)
				}
				change[layer-1] += 1 - ab/math.Sqrt(aa*bb)
			}
		}
		before = append(before[:0], after...)
	}
	defer func() { r.dev.stream = nil }()
	if err := r.pass("blocks"); err != nil {
		return nil, err
	}
	for _, c := range change {
		if math.IsNaN(c) {
			return nil, errNotFinite
		}
	}
	return change, failed
}
