package run

import (
	"context"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
)

func TestDraft(t *testing.T) {
	tests := []struct {
		name   string
		tokens []int
		need   int
		most   int
		want   []int
	}{
		{"nothing", nil, 1, 4, nil},
		{"one token", []int{1}, 1, 4, nil},
		{"never before", []int{1, 2, 3}, 1, 4, nil},
		{"the latest of equals", []int{1, 2, 9, 1, 3, 9, 1}, 1, 2, []int{3, 9}},
		{"the longest", []int{7, 1, 2, 9, 8, 1, 3, 7, 1}, 1, 2, []int{2, 9}},
		{"too short a match", []int{1, 2, 9, 1}, 2, 4, nil},
		{"long enough", []int{1, 2, 3, 9, 1, 2}, 2, 2, []int{3, 9}},
		{"round in a circle", []int{1, 2, 3, 1, 2, 3, 1}, 2, 4, []int{2, 3, 1, 2}},
		{"one token again and again", []int{5, 5, 5}, 2, 4, []int{5, 5, 5, 5}},
		{"no room", []int{5, 5, 5}, 1, 0, nil},
	}
	for _, test := range tests {
		d := drafter{width: 4, need: test.need}
		if got := d.draft(test.tokens, test.most); !slices.Equal(got, test.want) {
			t.Errorf("%s: guessed %v, want %v", test.name, got, test.want)
		}
	}
}

// A drafter that is wrong asks for longer matches and guesses less, one that is
// right guesses more.
func TestDrafterLearns(t *testing.T) {
	d := newDrafter()
	for range 10 {
		d.learn(d.width, 0)
	}
	if d.width != 1 || d.need != longestMatch {
		t.Errorf("always wrong: %+v", d)
	}
	for range 10 {
		d.learn(d.width, d.width)
	}
	if d.width != mostRows || d.need != 1 {
		t.Errorf("always right: %+v", d)
	}
	if d.learn(12, 3); d.width != 4 {
		t.Errorf("partly right: %+v", d)
	}
}

// withAndWithout generates twice and compares everything but times. It returns
// what was guessed.
func withAndWithout(t *testing.T, g *Generator, r Request, most int) Stats {
	t.Helper()
	var events [2][]Event
	var results [2]*Result
	for i := range results {
		r.Settings.Lookup = i * most
		r.Stream = func(e Event) error { events[i] = append(events[i], e); return nil }
		results[i] = generate(t, g, r)
	}
	a, b := results[0], results[1]
	if !reflect.DeepEqual(a.Samples, b.Samples) {
		for i := range a.Samples {
			if !reflect.DeepEqual(a.Samples[i], b.Samples[i]) {
				t.Fatalf("sample %d: without lookup\n%+v\nwith\n%+v", i, a.Samples[i], b.Samples[i])
			}
		}
	}
	if r.Settings.Samples == 1 && !reflect.DeepEqual(events[0], events[1]) {
		t.Fatalf("streamed without lookup %v, with %v", events[0], events[1])
	}
	if a.Stats.Drafted != 0 || b.Stats.Accepted > b.Stats.Drafted || a.Stats.DecodeTokens != b.Stats.DecodeTokens {
		t.Fatalf("statistics without lookup %+v, with %+v", a.Stats, b.Stats)
	}
	return b.Stats
}

// Lookup changes nothing but the time: greedy, sampled, with every setting that
// looks at the text so far.
func TestLookup(t *testing.T) {
	changes := map[string]func(*Settings){
		"greedy":         func(s *Settings) { s.SetTemperature(0) },
		"sampled":        func(s *Settings) {},
		"cold":           func(s *Settings) { s.Temperature, s.TopK = 0.3, 3 },
		"penalties":      func(s *Settings) { s.SetTemperature(0); s.RepetitionPenalty, s.FrequencyPenalty = 1.1, 0.2 },
		"no repeats":     func(s *Settings) { s.SetTemperature(0); s.NoRepeatNgramSize = 3 },
		"logprobs":       func(s *Settings) { s.SetTemperature(0); s.Logprobs = 3 },
		"scored prompt":  func(s *Settings) { s.Logprobs, s.Echo = 1, true },
		"samples":        func(s *Settings) { s.Samples = 3 },
		"many samples":   func(s *Settings) { s.Samples, s.MaxNewTokens = 20, 12 },
		"stop":           func(s *Settings) { s.SetTemperature(0); s.Stop = []string{"e", " the s"} },
		"another end":    func(s *Settings) { s.SetTemperature(0); s.EOS = []int{11, 13, 30, 198, 287} },
		"shifted":        func(s *Settings) { s.SetTemperature(0); s.ContextShift, s.MaxNewTokens = true, 300 },
		"shifted random": func(s *Settings) { s.ContextShift, s.MaxNewTokens, s.Temperature = true, 300, 0.2 },
		"full":           func(s *Settings) { s.SetTemperature(0); s.MaxNewTokens = 100_000 },
		"decay":          func(s *Settings) { s.DecayPenalty = DecayPenalty{5, 1.3}; s.IgnoreEOS = false },
	}
	tokenizers := map[string]Tokenizer{"demo": demoTokens(t)}
	for _, name := range []string{"bf16", "f16", "padded-vocab", "relu-one-head", "tanh-head-dim-3", "unscaled-attention", "gelu-inner-40", "untied"} {
		tokenizers[name] = numbers{}
	}
	for _, name := range slices.Sorted(maps.Keys(tokenizers)) {
		t.Run(name, func(t *testing.T) {
			g, seeds := New(loadModel(t, name, 2), tokenizers[name]), uint64(3)
			if name == "demo" { // it is larger
				seeds = 1
			}
			rng := rand.New(rand.NewPCG(1, 2))
			total := Stats{}
			for _, name := range slices.Sorted(maps.Keys(changes)) {
				for seed := range seeds {
					s := Resolve(Layer{func(s *Settings) { s.MaxNewTokens, s.IgnoreEOS, s.Seed = 60, true, &seed }, changes[name]})
					if name == "another end" {
						s.IgnoreEOS = false
					}
					// A prompt that repeats itself, with some noise.
					var ids []int
					unit := make([]int, 3+rng.IntN(9))
					for i := range unit {
						unit[i] = rng.IntN(g.vocab)
					}
					for range min(g.context/4, 30) {
						id := unit[len(ids)%len(unit)]
						if rng.IntN(20) == 0 {
							id = rng.IntN(g.vocab)
						}
						ids = append(ids, id)
					}
					if name == "full" && g.context > 300 {
						for len(ids) < g.context-150 {
							ids = append(ids, unit[len(ids)%len(unit)])
						}
					}
					t.Run(name, func(t *testing.T) {
						stats := withAndWithout(t, g, Request{IDs: ids, Settings: s}, 15-int(seed)*7)
						total.Drafted += stats.Drafted
						total.Accepted += stats.Accepted
					})
				}
			}
			t.Logf("%d of %d guesses were right", total.Accepted, total.Drafted)
			if total.Accepted == 0 || total.Accepted == total.Drafted {
				t.Errorf("%d of %d guesses were right: not much of a test", total.Accepted, total.Drafted)
			}
		})
	}
}

// A model that overflows on a wrong guess does not end a text that would have gone
// another way.
func TestLookupOverflow(t *testing.T) {
	vocab := table{[]byte("<end>"), []byte("a"), []byte("b"), []byte("c")}
	m := &script{context: 64, vocab: 4}
	m.logits = func(seen []int, logits []float32) {
		// a b a b … c: where a text says "a b" for the fifth time, c is next.
		next := 1 + len(seen)%2
		if len(seen) == 9 {
			next = 3
		}
		logits[next] = 10
		if len(seen) == 11 && seen[9] != 3 {
			logits[0] = float32(math.Inf(1))
		}
	}
	g := m.generator(vocab)
	g.model = overflowing{m}
	stats := withAndWithout(t, g, Request{IDs: []int{1, 2, 1, 2, 1, 2}, Settings: greedy(func(s *Settings) { s.MaxNewTokens = 12 })}, 8)
	if stats.Drafted == 0 {
		t.Error("nothing was guessed")
	}
}

// overflowing checks logits as the real model does.
type overflowing struct{ *script }

func (m overflowing) forward(ctx context.Context, inputs []input, visit visitor) error {
	before := make([]int, len(inputs))
	for i, in := range inputs {
		before[i] = in.sequence.Len()
	}
	err := m.script.forward(ctx, inputs, func(i, token int, logits []float32) error {
		if slices.Contains(logits, float32(math.Inf(1))) {
			return &gpt2.NonFiniteError{}
		}
		return visit(i, token, logits)
	})
	if err != nil {
		for i, in := range inputs {
			in.sequence.Truncate(before[i])
		}
	}
	return err
}

func TestLookupWithBeams(t *testing.T) {
	s := greedy(func(s *Settings) { s.Lookup = 4; s.SetBeams(2) })
	if err := s.Validate(); err == nil || err.Error() != "prompt_lookup_num_tokens is 4, want 0 with beams, which are not guessed" {
		t.Errorf("with beams: %v", err)
	}
	s = greedy(func(s *Settings) { s.Lookup = 16 })
	if err := s.Validate(); err == nil {
		t.Error("16 tokens: no error")
	}
}
