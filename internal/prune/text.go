package prune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/gptctl/gptctl/internal/gpt2"
)

const (
	// maxTokens of a text are looked at, and maxHeld are kept to judge by.
	maxTokens, maxHeld = 8192, 4096
	minHeld            = 256
)

// Split takes from a text what Prune looks at, in pieces from all over it, and
// from its end what the smaller model is judged by, which Prune does not see.
func Split(c gpt2.Config, text []int) (calibration, held []int, err error) {
	if least := MinTokens + minHeld; len(text) < least {
		return nil, nil, fmt.Errorf("the calibration text has %d tokens, want at least %d", len(text), least)
	}
	n := min(max(len(text)/8, minHeld), maxHeld)
	text, held = text[:len(text)-n], text[len(text)-n:]
	if len(text) <= maxTokens {
		return text, held, nil
	}
	piece := min(c.Positions, maxWindow)
	pieces := max(maxTokens/piece, 1)
	for i := range pieces {
		at := 0
		if pieces > 1 {
			at = i * (len(text) - piece) / (pieces - 1)
		}
		calibration = append(calibration, text[at:at+piece]...)
	}
	return calibration, held, nil
}

// sampled is how many texts Sample writes at a time.
const sampled = 16

// ErrNoStart says that a model has no token that begins a text.
var ErrNoStart = errors.New("the model has no token that begins a text, so that it cannot write one to calibrate on")

// Sample lets a model write a text for Split: what it says by itself is what it
// was trained on, as far as it learned that. The same model writes the same text.
func Sample(ctx context.Context, m *gpt2.Model, progress func(done, total int)) ([]int, error) {
	c := m.Config
	if c.BOS < 0 || c.BOS >= c.VocabSize {
		return nil, ErrNoStart
	}
	length := min(c.Positions, maxWindow)
	rounds := (maxTokens*8/7 + sampled*length - 1) / (sampled * length)
	random := rand.New(rand.NewPCG(1, 2))
	var text []int
	for round := range rounds {
		inputs := make([]gpt2.Input, sampled)
		texts := make([][]int, sampled)
		for i := range inputs {
			seq, err := m.NewSequence(length)
			if err != nil {
				return nil, err
			}
			inputs[i] = gpt2.Input{Sequence: seq, Tokens: []int{c.BOS}}
			texts[i] = []int{c.BOS}
		}
		for n := 1; n < length; n++ {
			if err := m.Forward(ctx, inputs, func(i, _ int, logits []float32) error {
				inputs[i].Tokens[0] = draw(random, logits)
				return nil
			}); err != nil {
				return nil, err
			}
			for i := range texts {
				texts[i] = append(texts[i], inputs[i].Tokens[0])
			}
			progress(round*length+n+1, rounds*length)
		}
		for _, t := range texts {
			text = append(text, t...)
		}
	}
	return text, nil
}

// draw picks a token by the model's own probabilities.
func draw(random *rand.Rand, logits []float32) int {
	most := logits[0]
	for _, l := range logits {
		most = max(most, l)
	}
	var sum float64
	for _, l := range logits {
		sum += math.Exp(float64(l - most))
	}
	at := random.Float64() * sum
	for i, l := range logits {
		if at -= math.Exp(float64(l - most)); at < 0 {
			return i
		}
	}
	return len(logits) - 1
}
