package run

import (
	"math"
	"slices"
)

// candidate is a running beam and one more token.
type candidate struct {
	score  float32 // log-probability of the text
	parent int
	token  int
}

// likeliest returns the best continuations of the running beams, best first, of
// equals the one of the first beam and the lowest token first.
func (b *beams) likeliest() []candidate {
	best := make([]candidate, 0, b.keep+1)
	for i, scores := range b.scores {
		for t, v := range scores {
			v += b.running[i].score
			if len(best) == b.keep && !(v > best[len(best)-1].score) {
				continue
			}
			at := len(best)
			for at > 0 && v > best[at-1].score {
				at--
			}
			best = slices.Insert(best, at, candidate{v, i, t})
			best = best[:min(len(best), b.keep)]
		}
	}
	return best
}

// draw returns continuations of the running beams drawn without replacement, in
// the order in which they were drawn. If there are too few with any chance, the
// first ones without fill up.
func (b *beams) draw() []candidate {
	top := negInf
	for i, scores := range b.scores {
		top = max(top, slices.Max(scores)+b.running[i].score)
	}
	var possible, rest []candidate
	var weights []float64
	for i, scores := range b.scores {
		for t, v := range scores {
			c := candidate{v + b.running[i].score, i, t}
			if w := math.Exp(float64(c.score) - float64(top)); w > 0 {
				possible, weights = append(possible, c), append(weights, w)
			} else if len(rest) < b.keep {
				rest = append(rest, c)
			}
		}
	}
	drawn := make([]candidate, 0, b.keep)
	for len(drawn) < b.keep && len(possible) > 0 {
		sum := 0.0
		for _, w := range weights {
			sum += w
		}
		u, at := b.random.Float64()*sum, 0
		for at < len(weights)-1 && u >= weights[at] {
			u -= weights[at]
			at++
		}
		drawn = append(drawn, possible[at])
		possible, weights = slices.Delete(possible, at, at+1), slices.Delete(weights, at, at+1)
	}
	return append(drawn, rest[:b.keep-len(drawn)]...)
}
