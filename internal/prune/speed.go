package prune

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gptctl/gptctl/internal/gpt2"
)

const (
	speedRounds = 7
	speedTokens = 16
)

// Speed measures how many tokens a second models write, one text at a time: the
// median of rounds in turn, so that a slow moment of the machine meets them all.
func Speed(ctx context.Context, models ...*gpt2.Model) ([]float64, error) {
	rates := make([][]float64, len(models))
	for round := range speedRounds + 1 {
		for i, m := range models {
			steps := min(speedTokens, m.Config.Positions)
			seq, err := m.NewSequence(steps)
			if err != nil {
				return nil, err
			}
			random := rand.New(rand.NewPCG(1, uint64(round)))
			start := time.Now()
			for range steps {
				in := []gpt2.Input{{Sequence: seq, Tokens: []int{random.IntN(m.Config.VocabSize)}}}
				if err := m.Forward(ctx, in, func(int, int, []float32) error { return nil }); err != nil {
					return nil, err
				}
			}
			if round > 0 { // the first is a warm-up
				rates[i] = append(rates[i], float64(steps)/time.Since(start).Seconds())
			}
		}
	}
	medians := make([]float64, len(models))
	for i, r := range rates {
		medians[i] = slices.Sorted(slices.Values(r))[len(r)/2]
	}
	return medians, nil
}
