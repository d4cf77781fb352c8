package run

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
)

// score is a float32 as the goldens write it.
type score float32

func (s *score) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "null":
		*s = score(math.Inf(-1))
	case `"Infinity"`:
		*s = score(math.Inf(1))
	case `"NaN"`:
		*s = score(math.NaN())
	default:
		var f float32
		if err := json.Unmarshal(data, &f); err != nil {
			return err
		}
		*s = score(f)
	}
	return nil
}

type processorCase struct {
	Name         string
	Settings     json.RawMessage
	InputIDs     []int `json:"input_ids"`
	PromptLength int   `json:"prompt_length"`
	Scores       []score
	Processed    []score
}

func processorCases(t *testing.T) []processorCase {
	var file struct{ Cases []processorCase }
	readJSON(t, "testdata/processors.json", &file)
	if len(file.Cases) < 100 {
		t.Fatalf("only %d cases", len(file.Cases))
	}
	return slices.DeleteFunc(file.Cases, func(c processorCase) bool {
		// Recorded from the processors alone. In generate, min_new_tokens
		// replaces min_length before they are made.
		return c.Name == "min_length 11 and min_new_tokens 2"
	})
}

func (c processorCase) sampler(t *testing.T) *sampler {
	t.Helper()
	s := likeTransformers(t, c.Settings)
	limit := s.MaxLength
	if s.MaxNewTokens != Unset {
		limit = c.PromptLength + s.MaxNewTokens
	}
	return newSampler(&s, s.EOS, c.PromptLength, limit)
}

func (c processorCase) scores() []float32 {
	out := make([]float32, len(c.Scores))
	for i, v := range c.Scores {
		out[i] = float32(v)
	}
	return out
}

func (c processorCase) history() history { return history{c.InputIDs, c.PromptLength} }

// reshaped is what our processors and warpers make of the case.
func (c processorCase) reshaped(t *testing.T, s *sampler) []float32 {
	t.Helper()
	scores := c.scores()
	if err := s.reshape(c.history(), scores); err != nil && err != errNothingAllowed {
		t.Fatal(err)
	}
	got := make([]float32, len(scores))
	s.dist.dense(got)
	return got
}

func TestProcessorsAgreeWithTransformers(t *testing.T) {
	for _, c := range processorCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			got := c.reshaped(t, c.sampler(t))
			for i, w := range c.Processed {
				want := float64(w)
				if math.IsNaN(want) {
					continue // a score that a model cannot give
				}
				diff := math.Abs(float64(got[i]) - want)
				if got[i] != float32(want) && (math.IsInf(want, 0) || !(diff <= 1e-5*math.Abs(want))) {
					t.Errorf("score %d is %v, want %v", i, got[i], want)
				}
			}
		})
	}
}

// TestWarpersKeepNothing runs all cases through one distribution:
// what is kept from call to call must not show.
func TestWarpersKeepNothing(t *testing.T) {
	cases := processorCases(t)
	slices.Reverse(cases)
	var used distribution
	for _, c := range cases {
		fresh := c.reshaped(t, c.sampler(t))
		s := c.sampler(t)
		s.dist = used
		if again := c.reshaped(t, s); !slices.Equal(fresh, again) {
			t.Errorf("%s: a used distribution gives %v, a fresh one %v", c.Name, again, fresh)
		}
		used = s.dist
	}
}

// TestDrawsAgreeWithTransformers draws 10,000 times from every golden case and
// compares the counts with the distribution that transformers draws from.
func TestDrawsAgreeWithTransformers(t *testing.T) {
	const draws = 10000
	for n, c := range processorCases(t) {
		want := softmax(c.Processed)
		if want == nil {
			continue
		}
		s := c.sampler(t)
		c.reshaped(t, s)
		random := newRandom(1, n)
		counts := make([]int, len(want))
		for range draws {
			counts[s.dist.draw(random.Float64())]++
		}
		// Pearson's statistic; expectations below 5 share a cell.
		x2, cells, restWant, restGot := 0.0, 0, 0.0, 0
		for i, p := range want {
			e := p * draws
			if p == 0 && counts[i] > 0 {
				t.Errorf("%s: token %d is impossible and came %d times", c.Name, i, counts[i])
			}
			if e < 5 {
				restWant, restGot = restWant+e, restGot+counts[i]
				continue
			}
			x2 += (float64(counts[i]) - e) * (float64(counts[i]) - e) / e
			cells++
		}
		if restWant >= 1 {
			x2 += (float64(restGot) - restWant) * (float64(restGot) - restWant) / restWant
			cells++
		}
		// The seeds are fixed, so this cannot flicker: 4.5 deviations of χ².
		free := float64(max(cells-1, 1))
		if limit := free + 4.5*math.Sqrt(2*free); x2 > limit {
			t.Errorf("%s: chi-square of %.1f with %d cells, want at most %.1f", c.Name, x2, cells, limit)
		}
	}
}

func softmax(scores []score) []float64 {
	top, sum := math.Inf(-1), 0.0
	for _, v := range scores {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 1) {
			return nil
		}
		top = max(top, float64(v))
	}
	out := make([]float64, len(scores))
	for i, v := range scores {
		out[i] = math.Exp(float64(v) - top)
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}
