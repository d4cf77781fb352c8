package bench

import (
	"context"
	"errors"
	"math"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// Perplexity is how well a model predicts a text.
type Perplexity struct {
	Value  float64 // exp of the mean negative log-likelihood
	Tokens int     // that were predicted
}

// MeasurePerplexity slides a window of context tokens over the text by stride
// tokens at a time; of each window only the tokens that the one before has not
// seen count. This is the procedure of the page "Perplexity of fixed-length
// models" of Hugging Face's documentation, with its weights: a window's mean
// counts as often as it has new tokens, less one. It calls progress after each
// window.
func MeasurePerplexity(ctx context.Context, m *gpt2.Model, tokens []int, context, stride int, progress func(done int)) (Perplexity, error) {
	if context < 2 || context > m.Config.Positions {
		return Perplexity{}, errors.New("the window must have 2 tokens, and not more than the model has positions")
	}
	if stride < 1 || stride > context {
		return Perplexity{}, errors.New("the stride must be at least 1 and not more than the window")
	}
	if len(tokens) < 2 {
		return Perplexity{}, errors.New("the text has fewer than 2 tokens")
	}
	seq, err := m.NewSequence(context)
	if err != nil {
		return Perplexity{}, err
	}
	var sum float64
	counted, before := 0, 0
	for begin := 0; ; begin += stride {
		end := min(begin+context, len(tokens))
		window, fresh := tokens[begin:end], end-before
		if len(window) == 1 { // the text ends with one that is predicted from nothing
			progress(end)
			break
		}
		// The first token of a text is predicted from nothing, so it does not count.
		first := max(len(window)-fresh, 1)
		nll := 0.0
		seq.Truncate(0)
		inputs := []gpt2.Input{{Sequence: seq, Tokens: window[:first-1], Logits: gpt2.NoLogits}}
		if first > 1 {
			if err := m.Forward(ctx, inputs, ignore); err != nil {
				return Perplexity{}, err
			}
		}
		inputs[0].Tokens, inputs[0].Logits = window[first-1:len(window)-1], gpt2.AllLogits
		err := m.Forward(ctx, inputs, func(_, i int, logits []float32) error {
			nll -= logProbability(logits, window[first+i])
			return nil
		})
		if err != nil {
			return Perplexity{}, err
		}
		sum += nll / float64(len(window)-first) * float64(fresh-1)
		counted += fresh - 1
		progress(end)
		if before = end; end == len(tokens) {
			break
		}
	}
	return Perplexity{math.Exp(sum / float64(counted)), counted}, nil
}

// logProbability returns the log-softmax of one of the logits.
func logProbability(logits []float32, token int) float64 {
	most := logits[0]
	for _, v := range logits {
		most = max(most, v)
	}
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v - most))
	}
	return float64(logits[token]-most) - math.Log(sum)
}
