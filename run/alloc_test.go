package run

import (
	"context"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// A token takes no memory but what it leaves behind: itself and its text.
func TestTokensAllocateNothing(t *testing.T) {
	m := loadModel(t, "demo", 2)
	inputs := make([]gpt2.Input, 3)
	for i := range inputs {
		inputs[i] = gpt2.Input{Sequence: must[*gpt2.Sequence](t)(m.NewSequence(200)), Tokens: []int{7}}
	}
	for _, texts := range []int{1, 3} {
		step := func() {
			if err := m.Forward(context.Background(), inputs[:texts], func(_, _ int, _ []float32) error { return nil }); err != nil {
				t.Error(err)
			}
		}
		step()
		if n := testing.AllocsPerRun(50, step); n > 0.5 {
			t.Errorf("%d texts: %v allocations a step of the model", texts, n)
		}
	}

	g := New(m, demoTokens(t)) // whose Bytes makes no copies
	for _, samples := range []int{1, 4} {
		generate := func(tokens int) func() {
			s := Resolve(Layer{func(s *Settings) { s.MaxNewTokens, s.Samples, s.EOS = tokens, samples, nil }})
			return func() {
				if _, err := g.Generate(context.Background(), Request{IDs: []int{5, 6}, Settings: s}); err != nil {
					t.Error(err)
				}
			}
		}
		few, many := testing.AllocsPerRun(3, generate(20)), testing.AllocsPerRun(3, generate(220))
		if n := (many - few) / float64(200*samples); n > 1.3 {
			t.Errorf("%d samples: %.2f allocations a token", samples, n)
		}
	}
}
