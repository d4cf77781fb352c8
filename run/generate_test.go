package run

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
)

var background = context.Background()

func generate(t *testing.T, g *Generator, r Request) *Result {
	t.Helper()
	got, err := g.Generate(background, r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFinish(t *testing.T) {
	vocab := table{[]byte("<end>"), []byte("a"), []byte("b"), []byte("c"), []byte("\xc3"), []byte("\xa9")}
	tests := []struct {
		name   string
		says   []int
		change func(*Settings)
		text   string
		texts  []string
		finish Finish
	}{
		{"end of text", []int{1, 2, 0, 3}, func(s *Settings) {}, "ab", []string{"a", "b", ""}, FinishEOS},
		{"end of text ignored", []int{1, 0, 3}, func(s *Settings) { s.IgnoreEOS, s.MaxNewTokens = true, 3 }, "a<end>c", []string{"a", "<end>", "c"}, FinishLength},
		{"another end of text", []int{1, 0, 2, 3}, func(s *Settings) { s.EOS = []int{3, 2} }, "a<end>", []string{"a", "<end>", ""}, FinishEOS},
		{"end of text inside a character", []int{1, 4, 0}, func(s *Settings) {}, "a\ufffd", []string{"a", "\ufffd", ""}, FinishEOS},
		{"length", []int{1, 2, 3}, func(s *Settings) { s.MaxNewTokens = 2 }, "ab", []string{"a", "b"}, FinishLength},
		{"length inside a character", []int{1, 4, 5}, func(s *Settings) { s.MaxNewTokens = 2 }, "a\ufffd", []string{"a", "\ufffd"}, FinishLength},
		{"length with the prompt", []int{1, 4, 5}, func(s *Settings) { s.SetMaxLength(5) }, "aé", []string{"a", "", "é"}, FinishLength},
		{"stop", []int{1, 1, 2, 3}, func(s *Settings) { s.Stop = []string{"ab"} }, "a", []string{"a", "", ""}, FinishStop},
		{"held back until the end", []int{1, 2}, func(s *Settings) { s.Stop, s.MaxNewTokens = []string{"bc"}, 2 }, "ab", []string{"a", "b"}, FinishLength},
		{"context", []int{1, 2, 3, 1, 2, 3, 1, 2, 3}, func(s *Settings) {}, "abcabca", []string{"a", "b", "c", "a", "b", "c", "a"}, FinishContext},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, beams := range []int{1, 2} {
				g := says(6, 8, 2, test.says...).generator(vocab)
				var streamed []Token
				var last Finish
				s := greedy(test.change, func(s *Settings) { s.Beams = beams })
				got := generate(t, g, Request{Prompt: "ab", Settings: s, Stream: func(e Event) error {
					streamed = append(streamed, e.Token)
					last = e.Finish
					return nil
				}}).Samples[0]
				var texts []string
				for _, token := range got.Tokens {
					texts = append(texts, token.Text)
				}
				if got.Text != test.text || !slices.Equal(texts, test.texts) || got.Finish != test.finish {
					t.Errorf("%d beams: %q %q, finish %q; want %q %q, finish %q", beams, got.Text, texts, got.Finish, test.text, test.texts, test.finish)
				}
				if !reflect.DeepEqual(streamed, got.Tokens) || last != got.Finish {
					t.Errorf("%d beams: streamed %v and finish %q, returned %v", beams, streamed, last, got.Tokens)
				}
			}
		})
	}
}

func TestPrompt(t *testing.T) {
	vocab := table{[]byte("<end>"), []byte("a"), []byte("b")}
	one := greedy(func(s *Settings) { s.MaxNewTokens = 1 })

	m := says(3, 4, 1, 2)
	got := generate(t, m.generator(vocab), Request{Settings: one})
	if !slices.Equal(got.Prompt.IDs, []int{0}) || got.Prompt.Text != "" || got.Samples[0].Text != "b" {
		t.Errorf("an empty prompt gives %+v", got)
	}
	for _, bos := range []int{-1, 3} {
		g := m.generator(vocab)
		g.bos = bos
		if _, err := g.Generate(background, Request{Settings: one}); !errors.Is(err, ErrNoStart) {
			t.Errorf("an empty prompt with bos %d: %v", bos, err)
		}
	}
	s := one
	s.BOS = 1
	if got := generate(t, m.generator(vocab), Request{Settings: s}); got.Prompt.IDs[0] != 1 {
		t.Errorf("starts from %v, want token 1", got.Prompt.IDs)
	}

	if got := generate(t, says(3, 4, 4, 2).generator(vocab), Request{Prompt: "abab", Settings: one}); got.Samples[0].Finish != FinishLength {
		t.Errorf("a prompt as long as the context: %+v", got)
	}
	var full *ContextError
	_, err := m.generator(vocab).Generate(background, Request{Prompt: "ababa", Settings: one})
	if !errors.As(err, &full) || *full != (ContextError{5, 4}) {
		t.Errorf("a prompt longer than the context: %v", err)
	}
	s = greedy(func(s *Settings) { s.SetMaxLength(2) })
	var setting *SettingError
	if _, err := m.generator(vocab).Generate(background, Request{Prompt: "ab", Settings: s}); !errors.As(err, &setting) {
		t.Errorf("max_length 2 with a prompt of 2: %v", err)
	}
	if got := generate(t, m.generator(vocab), Request{IDs: []int{1, 2}, Settings: one}); got.Prompt.Text != "ab" {
		t.Errorf("tokens as a prompt: %+v", got.Prompt)
	}
}

func TestBadWords(t *testing.T) {
	vocab := table{[]byte(" "), []byte("a"), []byte("b")}
	g := says(3, 8, 1).generator(vocab)
	want := [][]int{{1}, {0, 1}, {1, 2}, {0, 1, 2}}
	if got := g.BadWords([]string{"a", "ab", "a", ""}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestContextShift checks what the model sees when it reads its last half
// again: it follows from the text alone.
func TestContextShift(t *testing.T) {
	for _, size := range []int{1, 2, 3, 8, 9} {
		for _, promptLength := range []int{1, 2, size, size + 1, 3*size + 2} {
			m := &script{context: size, vocab: 50}
			var text []int
			next := func(seen []int) int {
				sum := 1
				for i, s := range seen {
					sum += (i + 1) * (s + 1)
				}
				return 1 + sum%49
			}
			m.logits = func(seen []int, logits []float32) { logits[next(seen)] = 9 }
			for i := range promptLength {
				text = append(text, 1+i%49)
			}
			s := greedy(func(s *Settings) { s.ContextShift, s.MaxNewTokens, s.Logprobs, s.Echo = true, 40, 0, true })
			got := generate(t, m.generator(numbers{}), Request{IDs: text, Settings: s})

			// One token after the other; what the model predicts after each.
			var window, want []int
			var probs []float64
			all := slices.Clone(text)
			for i := 0; i < len(all); i++ {
				if window = append(window, all[i]); len(window) > size {
					window = slices.Clone(window[len(window)-max(size/2, 1):])
				}
				guess := next(window)
				if i+1 < len(text) {
					logits := make([]float32, 50)
					logits[guess] = 9
					var o observation
					o.reset(logits)
					probs = append(probs, o.logprob(text[i+1]))
				} else if len(want) < 40 {
					want, all = append(want, guess), append(all, guess)
				}
			}
			if have := tokenIDs(got.Samples[0]); !slices.Equal(have, want) || got.Samples[0].Finish != FinishLength {
				t.Errorf("context %d, prompt %d: %v, want %v", size, promptLength, have, want)
			}
			if !slices.Equal(got.Prompt.Logprobs[1:], probs) {
				t.Errorf("context %d, prompt %d: logprobs %v, want %v", size, promptLength, got.Prompt.Logprobs, probs)
			}
			s.Echo, s.Logprobs = false, Unset
			if again := generate(t, m.generator(numbers{}), Request{IDs: text, Settings: s}); !slices.Equal(tokenIDs(again.Samples[0]), want) {
				t.Errorf("context %d, prompt %d: another text without logprobs", size, promptLength)
			}
		}
	}
}

func TestLogprobs(t *testing.T) {
	vocab := table{[]byte("<end>"), []byte("a"), []byte("b"), []byte("\xc3")}
	m := &script{context: 8, vocab: 4, logits: func(seen []int, logits []float32) {
		copy(logits, []float32{0, 1, 3, 2})
	}}
	sum := math.Log(1 + math.E + math.Exp(3) + math.Exp(2))
	for _, beams := range []int{1, 2} {
		s := greedy(func(s *Settings) {
			s.Logprobs, s.Echo, s.MaxNewTokens, s.Suppress, s.Beams = 2, true, 2, []int{2}, beams
		})
		got := generate(t, m.generator(vocab), Request{Prompt: "ab", Settings: s})
		near := func(a, b float64) bool { return math.Abs(a-b) < 1e-6 }
		if p := got.Prompt.Logprobs; len(p) != 2 || !math.IsNaN(p[0]) || !near(p[1], 3-sum) {
			t.Errorf("prompt: %v", p)
		}
		for _, token := range got.Samples[0].Tokens {
			top := token.Top
			if token.ID != 3 || !near(token.Logprob, 2-sum) || len(top) != 2 || top[0].ID != 2 || top[0].Text != "b" ||
				!near(top[0].Logprob, 3-sum) || top[1].ID != 3 || top[1].Text != "\ufffd" {
				t.Errorf("%d beams: token %+v", beams, token)
			}
		}
	}
	s := greedy(func(s *Settings) { s.Logprobs, s.Echo, s.MaxNewTokens = 4, true, 0 })
	got := generate(t, m.generator(vocab), Request{Prompt: "abb", Settings: s})
	if len(got.Prompt.Logprobs) != 3 || len(got.Samples) != 1 || len(got.Samples[0].Tokens) != 0 || got.Samples[0].Finish != FinishLength {
		t.Errorf("scoring a prompt: %+v", got)
	}
}

// TestSamplesStandAlone draws samples in a batch and one after the other, with
// one thread and two.
func TestSamplesStandAlone(t *testing.T) {
	seed := uint64(42)
	settings := func(n int) Settings {
		return Resolve(Layer{func(s *Settings) {
			s.Seed, s.Samples, s.MaxNewTokens = &seed, n, 40
			s.SetTemperature(1.5)
			s.TopK, s.EOS, s.RepetitionPenalty = 0, []int{3}, 1.1
		}})
	}
	prompt := []int{7, 19, 22, 9, 27}
	for model, samples := range map[string]int{"plain": 8, "demo": 2} {
		var want []Sample
		for _, threads := range []int{1, 2} {
			g := New(loadModel(t, model, threads), numbers{})
			for n := range samples {
				got := generate(t, g, Request{IDs: prompt, Settings: settings(n + 1)})
				if got.Seed != seed {
					t.Fatalf("seed %d, want %d", got.Seed, seed)
				}
				if len(want) == n {
					want = append(want, got.Samples[n])
				}
				if !reflect.DeepEqual(got.Samples, want[:n+1]) {
					t.Errorf("%s, %d threads, %d samples: %v, want %v", model, threads, n+1, got.Samples, want[:n+1])
				}
			}
		}
		lengths := map[int]bool{}
		for _, s := range want {
			lengths[len(s.Tokens)] = true
		}
		if model == "plain" && len(lengths) < 3 {
			t.Errorf("the samples have the lengths %v: none leaves the batch early", lengths)
		}
	}
	// A fresh seed is another, and reported.
	s := settings(1)
	s.Seed = nil
	g := New(loadModel(t, "plain", 1), numbers{})
	first := generate(t, g, Request{IDs: prompt, Settings: s})
	s.Seed = &first.Seed
	if again := generate(t, g, Request{IDs: prompt, Settings: s}); !reflect.DeepEqual(again.Samples, first.Samples) {
		t.Error("the reported seed does not give the same text")
	}
}

func TestInterrupted(t *testing.T) {
	for _, beams := range []int{1, 2} {
		ctx, cancel := context.WithCancel(background)
		m := says(60, 100, 1)
		m.logits = func(seen []int, logits []float32) {
			logits[1+len(seen)%59] = 10
			if len(seen) == 6 {
				cancel()
			}
		}
		s := greedy(func(s *Settings) { s.Beams = beams })
		got, err := m.generator(numbers{}).Generate(ctx, Request{IDs: []int{1}, Settings: s})
		if !errors.Is(err, context.Canceled) || got == nil || got.Samples[0].Text == "" || beams == 1 && got.Samples[0].Finish != "" {
			t.Errorf("%d beams: %+v, %v", beams, got, err)
		}
		broken := errors.New("broken pipe")
		_, err = m.generator(numbers{}).Generate(background, Request{IDs: []int{1}, Settings: s, Stream: func(Event) error { return broken }})
		if !errors.Is(err, broken) {
			t.Errorf("%d beams: the stream's error is %v", beams, err)
		}
	}
}

// TestSharedWork checks that the prompt is read once for all samples, and that
// beams copy only what differs.
func TestSharedWork(t *testing.T) {
	m := says(60, 100, 1)
	m.logits = func(seen []int, logits []float32) {
		for i := range logits {
			logits[i] = float32((i*7+len(seen)*13)%17) / 4
		}
	}
	s := Resolve(Layer{func(s *Settings) { s.Samples, s.MaxNewTokens = 3, 5 }})
	prompt := make([]int, 20)
	for i := range prompt {
		prompt[i] = 1 + i
	}
	got := generate(t, m.generator(numbers{}), Request{IDs: prompt, Settings: s})
	if len(m.steps[0]) != 20 || got.Stats.PrefillTokens != 20 {
		t.Errorf("first step reads %v", m.steps[0])
	}
	if m.copied != 2*20 {
		t.Errorf("%d positions copied for 3 samples of a prompt of 20", m.copied)
	}
	m.steps, m.copied = nil, 0
	s = greedy(func(s *Settings) { s.Beams, s.MaxNewTokens = 4, 20 })
	generate(t, m.generator(numbers{}), Request{IDs: prompt, Settings: s})
	if len(m.steps[0]) != 20 || m.copied > 3*20+20*3*20/2 {
		t.Errorf("beams: first step %v, %d positions copied", m.steps[0], m.copied)
	}
}

// TestSampledBeams compares the first choices of a sampled beam search with
// their probabilities: with one new token, the best of the drawn is a maximum.
func TestSampledBeams(t *testing.T) {
	m := &script{context: 10, vocab: 4, logits: func(seen []int, logits []float32) {
		logits[0] = -30
	}}
	counts := map[int]int{}
	for seed := range uint64(3000) {
		s := Resolve(Layer{func(s *Settings) {
			s.Seed, s.Beams, s.MaxNewTokens = &seed, 2, 1
			s.Temperature, s.TopK, s.TopP = 1, 0, 1
		}})
		got := generate(t, m.generator(numbers{}), Request{IDs: []int{1}, Settings: s})
		counts[got.Samples[0].Tokens[0].ID]++
	}
	for _, token := range []int{1, 2, 3} {
		if n := counts[token]; n < 850 || n > 1150 {
			t.Errorf("token %d came %d times, want about 1000: %v", token, n, counts)
		}
	}
}

func TestNothingAllowed(t *testing.T) {
	for _, beams := range []int{1, 2} {
		m := says(3, 10, 1)
		s := greedy(func(s *Settings) { s.Suppress, s.Beams = []int{0, 1, 2}, beams })
		if _, err := m.generator(numbers{}).Generate(background, Request{IDs: []int{1}, Settings: s}); !errors.Is(err, errNothingAllowed) {
			t.Errorf("%d beams: %v", beams, err)
		}
	}
}
