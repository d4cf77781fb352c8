package run

import "math/rand/v2"

// candidate is a running beam and one more token.
type candidate struct {
	score  float32 // log-probability of the text
	parent int
	token  int
}

// choose returns the continuations of the running beams to look at: the best
// ones, best first; or drawn ones, in the order in which they were drawn. If too
// few are possible the first impossible ones fill up.
func (b *beams) choose() []candidate {
	d := &b.all
	d.reset(b.scores)
	var picked []int32
	if b.sampler.greedy {
		picked = d.best(b.keep)
	} else {
		picked = d.drawSeveral(b.keep, b.random)
	}
	if len(picked) < b.keep {
		taken := make(map[int32]bool, len(picked))
		for _, i := range picked {
			taken[i] = true
		}
		for i := int32(0); len(picked) < b.keep; i++ {
			if !taken[i] {
				picked = append(picked, i)
			}
		}
	}
	chosen := make([]candidate, b.keep)
	for i, p := range picked {
		chosen[i] = candidate{b.scores[p], int(p) / b.vocab, int(p) % b.vocab}
	}
	return chosen
}

// drawSeveral draws up to n different tokens, fewer if only so many have a chance.
func (d *distribution) drawSeveral(n int, random *rand.Rand) []int32 {
	weights, _ := d.weights()
	drawn := make([]int32, 0, n)
	for len(drawn) < n {
		sum := 0.0
		for _, w := range weights {
			sum += float64(w)
		}
		if sum == 0 {
			break
		}
		at := pick(weights, random.Float64()*sum)
		weights[at] = 0
		drawn = append(drawn, d.alive[at])
	}
	return drawn
}
