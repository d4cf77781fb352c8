package run

import (
	"math"
	"slices"
)

// A warper reshapes the distribution that a token is drawn from, in float32 like
// transformers' class of the same name.
type warper interface{ warp(d *distribution) }

// newWarpers returns those that the settings ask for, in transformers' order.
// Beams that are drawn at random need one more choice than there are ways to end.
func newWarpers(s *Settings, eos []int) []warper {
	var list []warper
	add := func(wanted bool, w warper) {
		if wanted {
			list = append(list, w)
		}
	}
	if !s.greedy() {
		least := 1
		if s.Beams > 1 {
			least = max(2, 1+len(eos))
		}
		add(s.Temperature != 1, temperature(s.Temperature))
		add(s.TopH > 0, topH(s.TopH))
		add(s.TopK > 0, topK(max(s.TopK, least)))
		add(s.TopP < 1, topP{s.TopP, least})
		add(s.MinP > 0, minP{float32(s.MinP), least})
		add(s.TypicalP < 1, typical{float32(s.TypicalP), least})
		add(s.EpsilonCutoff > 0, epsilonCutoff{float32(s.EpsilonCutoff), least})
		add(s.EtaCutoff > 0, etaCutoff{float32(s.EtaCutoff), least})
	}
	add(s.Renormalize, renormalize{})
	return list
}

// temperature divides all scores.
type temperature float32

func (w temperature) warp(d *distribution) {
	for _, t := range d.alive {
		d.scores[t] /= float32(w)
	}
}

// topK keeps the k largest scores and whatever equals the last of them.
type topK int

func (w topK) warp(d *distribution) {
	if int(w) >= len(d.alive) {
		return
	}
	d.keepFrom(d.kthLargest(int(w)), true)
}

// topP keeps the likeliest tokens (Holtzman et al. 2020): it drops the least
// likely as long as all dropped have at most 1 − p together. Of equally likely
// ones those of lower index go first.
type topP struct {
	p     float64
	least int
}

func (w topP) warp(d *distribution) {
	const dropped = -1
	limit := float32(1 - w.p)
	key, prob := d.logits(), d.softmax()
	n := d.split(key, prob, func(sum float64) bool { return float32(sum) > limit })
	if most := len(key) - w.least; n > most {
		n = max(most, 0)
		sortBy(d.order, func(a, b int32) bool { return key[a] < key[b] || key[a] == key[b] && a < b })
	}
	for _, i := range d.order[:n] {
		prob[i] = dropped
	}
	d.keep(func(i int, _ float32) bool { return prob[i] != dropped })
}

// minP keeps what is at least p times as likely as the likeliest.
type minP struct {
	p     float32
	least int
}

func (w minP) warp(d *distribution) {
	prob := d.softmax()
	limit, floor := w.p*slices.Max(prob), d.kthLargest(w.least)
	d.keep(func(i int, score float32) bool { return prob[i] >= limit || score >= floor })
}

// typical keeps tokens whose surprise −log p is nearest to the entropy, until
// they have the given mass together (Meister et al. 2023).
type typical struct {
	mass  float32
	least int
}

func (w typical) warp(d *distribution) {
	key, prob := d.logits(), d.softmax()
	logSum := d.logSum()
	entropy := 0.0
	for i, score := range key {
		key[i] = float32(float64(score) - logSum)
		entropy -= float64(float64(key[i]) * exp(float64(key[i])))
	}
	for i, v := range key {
		key[i] = float32(math.Abs(float64(-v - float32(entropy))))
	}
	n := d.split(key, prob, func(sum float64) bool { return float32(sum) >= w.mass })
	n = min(n, len(key)-1)
	if n < w.least-1 {
		n = min(w.least, len(key)) - 1
		sortBy(d.order, func(a, b int32) bool { return key[a] < key[b] || key[a] == key[b] && a < b })
	}
	farthest := key[d.order[n]]
	d.keep(func(i int, _ float32) bool { return key[i] <= farthest })
}

// epsilonCutoff keeps what is at least this likely (Hewitt et al. 2022).
type epsilonCutoff struct {
	epsilon float32
	least   int
}

func (w epsilonCutoff) warp(d *distribution) {
	prob, floor := d.softmax(), d.kthLargest(w.least)
	d.keep(func(i int, score float32) bool { return prob[i] >= w.epsilon || score >= floor })
}

// etaCutoff does so with a limit that is lower the higher the entropy is:
// min(ε, √ε·exp(−entropy)) (Hewitt et al. 2022).
type etaCutoff struct {
	epsilon float32
	least   int
}

func (w etaCutoff) warp(d *distribution) {
	prob, floor := d.softmax(), d.kthLargest(w.least)
	logSum, entropy := d.logSum(), 0.0
	for i, t := range d.alive {
		entropy -= float64(float64(prob[i]) * (float64(d.scores[t]) - logSum))
	}
	eta := min(w.epsilon, float32(math.Sqrt(float64(w.epsilon))*exp(-entropy)))
	d.keep(func(i int, score float32) bool { return prob[i] >= eta || score >= floor })
}

// topH keeps, of the hundred likeliest tokens, as many as contribute a share of
// these hundred's entropy (Potraghloo et al. 2025).
type topH float32

func (w topH) warp(d *distribution) {
	const most = 100
	if len(d.alive) > most {
		floor := d.kthLargest(most)
		spare := most // for those that equal the floor
		for _, t := range d.alive {
			if d.scores[t] > floor {
				spare--
			}
		}
		d.keep(func(_ int, score float32) bool {
			if score == floor {
				spare--
				return spare >= 0
			}
			return score > floor
		})
	}
	key, prob := d.logits(), d.softmax()
	order := d.inOrder(len(key))
	sortBy(order, func(a, b int32) bool { return key[a] > key[b] || key[a] == key[b] && a < b })
	entropy := 0.0
	for i, p := range prob {
		key[i] = 0
		if p > 0 {
			key[i] = float32(-float64(p) * math.Log(float64(p)))
		}
		entropy += float64(key[i])
	}
	limit, sum, n := float32(float32(entropy)*float32(w)), 0.0, 0
	for _, i := range order {
		if sum += float64(key[i]); prob[i] == 0 || float32(sum) > limit {
			break
		}
		n++
	}
	for _, i := range order[max(n, 1):] {
		prob[i] = -1
	}
	d.keep(func(i int, _ float32) bool { return prob[i] >= 0 })
}

// renormalize makes the scores log-probabilities.
type renormalize struct{}

func (renormalize) warp(d *distribution) {
	logSum := d.logSum()
	for _, t := range d.alive {
		d.scores[t] = float32(float64(d.scores[t]) - logSum)
	}
}
