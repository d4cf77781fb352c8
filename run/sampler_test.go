package run

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func randomLogits(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * 3)
	}
	return x
}

// TestSplit compares split with a full sort.
func TestSplit(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		n := 1 + r.IntN(500)
		key, weight, sum := make([]float32, n), make([]float32, n), 0.0
		for i := range key {
			key[i] = float32(r.IntN(1 + r.IntN(200))) // many equal ones
			weight[i] = r.Float32()
			sum += float64(weight[i])
		}
		limit := r.Float64() * 1.1 * sum
		var d distribution
		d.reset(make([]float32, n))
		got := d.split(key, weight, func(sum float64) bool { return sum > limit })

		order := make([]int32, n)
		for i := range order {
			order[i] = int32(i)
		}
		slices.SortStableFunc(order, func(a, b int32) int {
			switch {
			case key[a] < key[b]:
				return -1
			case key[a] > key[b]:
				return 1
			}
			return 0
		})
		want, running := n, 0.0
		for i, o := range order {
			if running += float64(weight[o]); running > limit {
				want = i
				break
			}
		}
		before := slices.Clone(d.order[:got])
		slices.Sort(before)
		slices.Sort(order[:want])
		if got != want || !slices.Equal(before, order[:want]) || want < n && d.order[want] != order[want] {
			t.Fatalf("%d of %d come before the limit %v, want %d", got, n, limit, want)
		}
	}
}

func TestKthLargest(t *testing.T) {
	for _, n := range []int{1, 2, 7, 1000} {
		scores := randomLogits(n, uint64(n))
		for i := range scores {
			scores[i] = float32(math.Round(float64(scores[i]))) // many equal ones
		}
		sorted := slices.Clone(scores)
		slices.Sort(sorted)
		var d distribution
		d.reset(scores)
		for _, k := range []int{1, 2, 3, n / 2, n - 1, n, n + 5} {
			if k < 1 {
				continue
			}
			if got, want := d.kthLargest(k), sorted[n-min(k, n)]; got != want {
				t.Errorf("the %d-th largest of %d is %v, want %v", k, n, got, want)
			}
		}
	}
}

// What is left out before a division changes nothing that the k largest after it are.
func TestResetTop(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	temperatures := []float32{1, 0.8, 0.1, 1e-6, 3, 1e4, 1e30, math.MaxFloat32}
	scales := []float64{1, 30, 1e-3, 1e-30, 1e-38, 1e-44, 1e30, 1e38}
	for i := range 4000 {
		n := 1 + r.IntN(300)
		k, temperature := topK(1+r.IntN(n+2)), temperature(temperatures[r.IntN(len(temperatures))])
		scale, steps := scales[r.IntN(len(scales))], 1<<r.IntN(24)
		scores := make([]float32, n)
		for i := range scores {
			scores[i] = float32(r.NormFloat64() * scale)
			switch r.IntN(8) {
			case 0:
				scores[i] = scores[r.IntN(i+1)]
			case 1: // as near as they come
				scores[i] = math.Nextafter32(scores[r.IntN(i+1)], float32(r.IntN(3)-1)*math.MaxFloat32)
			case 2:
				scores[i] = float32(math.Round(float64(scores[i])*float64(steps)) / float64(steps))
			case 3:
				if i%3 == 0 {
					scores[i] = negInf
				}
			}
		}
		var got, want distribution
		got.resetTop(slices.Clone(scores), int(k), float32(temperature))
		want.reset(slices.Clone(scores))
		if len(want.alive) == 0 {
			continue
		}
		for _, w := range []warper{temperature, k} {
			w.warp(&got)
			w.warp(&want)
		}
		if !slices.Equal(got.alive, want.alive) {
			t.Fatalf("case %d: top %d of %d at temperature %v: %v are left, want %v", i, k, n, temperature, got.alive, want.alive)
		}
		for _, token := range got.alive {
			if got.scores[token] != want.scores[token] {
				t.Fatalf("case %d: token %d has score %v, want %v", i, token, got.scores[token], want.scores[token])
			}
		}
	}
}

// TestLargeVocabulary compares the warpers with plain definitions, over GPT-2's
// vocabulary.
func TestLargeVocabulary(t *testing.T) {
	const vocab = 50257
	logits := randomLogits(vocab, 1)
	kept := func(change func(*Settings)) []int32 {
		s := Resolve(Layer{func(s *Settings) { s.Temperature, s.TopK, s.TopP = 1, 0, 1 }, change})
		sampler := newSampler(&s, nil, 1, 100)
		if err := sampler.reshape(history{[]int{0}, 1}, slices.Clone(logits)); err != nil {
			t.Fatal(err)
		}
		return sampler.dist.alive
	}
	order := make([]int32, vocab)
	top := float64(slices.Max(logits))
	sum := 0.0
	for i := range order {
		order[i] = int32(i)
		sum += math.Exp(float64(logits[i]) - top)
	}
	slices.SortFunc(order, func(a, b int32) int {
		if logits[a] > logits[b] {
			return -1
		}
		return 1
	})
	prob := func(i int32) float64 { return math.Exp(float64(logits[i])-top) / sum }
	first := func(n int) []int32 {
		list := slices.Clone(order[:n])
		slices.Sort(list)
		return list
	}
	for _, k := range []int{1, 40, 5000} {
		if got := kept(func(s *Settings) { s.TopK = k }); !slices.Equal(got, first(k)) {
			t.Errorf("top_k %d keeps %d", k, len(got))
		}
	}
	for _, p := range []float64{0.1, 0.5, 0.95, 0.999} {
		n, mass := 0, 0.0
		for mass < p {
			mass += prob(order[n])
			n++
		}
		if got := kept(func(s *Settings) { s.TopP = p }); !slices.Equal(got, first(n)) {
			t.Errorf("top_p %v keeps %d, want %d", p, len(got), n)
		}
	}
	n := 0
	for prob(order[n]) >= 0.05*prob(order[0]) {
		n++
	}
	if got := kept(func(s *Settings) { s.MinP = 0.05 }); !slices.Equal(got, first(n)) {
		t.Errorf("min_p 0.05 keeps %d, want %d", len(got), n)
	}
}

// TestCountPenalties checks OpenAI's definitions: they count what has been
// generated, not the prompt.
func TestCountPenalties(t *testing.T) {
	s := Resolve(Layer{func(s *Settings) { s.PresencePenalty, s.FrequencyPenalty = 0.5, 0.25 }})
	scores := []float32{1, 2, -1, 4}
	for _, p := range newProcessors(&s, nil, 3, 100) {
		p.process(history{[]int{0, 0, 3, 1, 2, 1, 1}, 3}, scores)
	}
	if want := []float32{1, 2 - 0.5 - 3*0.25, -1 - 0.5 - 0.25, 4}; !slices.Equal(scores, want) {
		t.Errorf("got %v, want %v", scores, want)
	}
}

func TestNoAllocationPerToken(t *testing.T) {
	for name, change := range samplers {
		s := Resolve(Layer{change})
		sampler := newSampler(&s, []int{7}, 1, 100)
		logits := randomLogits(5000, 1)
		scores := make([]float32, len(logits))
		random := newRandom(1, 0)
		h := history{[]int{1, 2, 3, 1}, 1}
		choose := func() {
			copy(scores, logits)
			if _, err := sampler.choose(h, scores, random); err != nil {
				t.Fatal(err)
			}
		}
		choose()
		if n := testing.AllocsPerRun(5, choose); n > 0 {
			t.Errorf("%s: %v allocations per token", name, n)
		}
	}
}

var samplers = map[string]func(*Settings){
	"default":            func(s *Settings) {},
	"greedy":             func(s *Settings) { s.SetTemperature(0) },
	"repetition_penalty": func(s *Settings) { s.RepetitionPenalty, s.PresencePenalty = 1.1, 0.5 },
	"temperature":        func(s *Settings) { s.TopK, s.TopP = 0, 1 },
	"top_p":              func(s *Settings) { s.TopK = 0 },
	"top_k 5000":         func(s *Settings) { s.TopK, s.TopP = 5000, 1 },
	"min_p":              func(s *Settings) { s.TopK, s.TopP, s.MinP = 0, 1, 0.05 },
	"typical_p":          func(s *Settings) { s.TopK, s.TopP, s.TypicalP = 0, 1, 0.9 },
	"eta_cutoff":         func(s *Settings) { s.TopK, s.TopP, s.EtaCutoff = 0, 1, 0.002 },
	"top_h":              func(s *Settings) { s.TopK, s.TopP, s.TopH = 0, 1, 0.5 },
}

func BenchmarkChoose(b *testing.B) {
	logits := randomLogits(50257, 1)
	scores := make([]float32, len(logits))
	tokens := make([]int, 512)
	for i := range tokens {
		tokens[i] = i * 31
	}
	for name, change := range samplers {
		b.Run(name, func(b *testing.B) {
			s := Resolve(Layer{change})
			sampler := newSampler(&s, nil, 1, 100)
			random := newRandom(1, 0)
			b.ReportAllocs()
			for b.Loop() {
				copy(scores, logits)
				if _, err := sampler.choose(history{tokens, 1}, scores, random); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestExp(t *testing.T) {
	for x := 0.0; x > -103.9; x -= 0.00137 {
		if got, want := exp(x), math.Exp(x); math.Abs(got-want) > 1e-8*want {
			t.Fatalf("exp(%v) is %v, want %v", x, got, want)
		}
	}
	for _, x := range []float64{-105, math.Inf(-1), math.NaN()} {
		if got := exp(x); got != 0 {
			t.Errorf("exp(%v) is %v, want 0", x, got)
		}
	}
}
