package run

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
)

var errNothingAllowed = errors.New("the settings forbid every token")

// sampler turns logits into a choice.
type sampler struct {
	processors []processor
	warpers    []warper
	greedy     bool
	dist       distribution
}

func newSampler(s *Settings, eos []int, prompt, limit int) *sampler {
	return &sampler{
		processors: newProcessors(s, eos, prompt, limit),
		warpers:    newWarpers(s, eos),
		greedy:     s.greedy(),
	}
}

// reshape applies processors and warpers to logits and leaves the outcome in
// s.dist, which keeps using the memory.
func (s *sampler) reshape(h history, logits []float32) error {
	for _, p := range s.processors {
		p.process(h, logits)
	}
	if k, temperature := s.firstTop(); k > 0 {
		s.dist.resetTop(logits, k, temperature)
	} else {
		s.dist.reset(logits)
	}
	for _, w := range s.warpers {
		if len(s.dist.alive) == 0 {
			break
		}
		w.warp(&s.dist)
	}
	if len(s.dist.alive) == 0 {
		return errNothingAllowed
	}
	return nil
}

// firstTop returns the k of a topK that comes first, or right after a temperature; 0:
// there is none.
func (s *sampler) firstTop() (k int, t float32) {
	list, t := s.warpers, float32(1)
	if len(list) > 0 {
		if w, ok := list[0].(temperature); ok {
			list, t = list[1:], float32(w)
		}
	}
	if len(list) > 0 {
		if w, ok := list[0].(topK); ok {
			k = int(w)
		}
	}
	return k, t
}

// choose returns the next token: the likeliest, of equals the first; or one
// drawn with random.
func (s *sampler) choose(h history, logits []float32, random *rand.Rand) (int, error) {
	if s.greedy && len(s.warpers) == 0 {
		for _, p := range s.processors {
			p.process(h, logits)
		}
		return likeliest(logits)
	}
	if err := s.reshape(h, logits); err != nil {
		return 0, err
	}
	if s.greedy {
		s.dist.dense(logits)
		return likeliest(logits)
	}
	return s.dist.draw(random.Float64()), nil
}

// likeliest returns the token of the largest score, the first of equals.
func likeliest(scores []float32) (int, error) {
	best, top := -1, negInf
	for t, v := range scores {
		if v > top {
			best, top = t, v
		}
	}
	if best < 0 {
		return 0, errNothingAllowed
	}
	return best, nil
}

// draw returns the token at which the running sum of probabilities, in order of
// the tokens, exceeds u, which is in [0, 1).
func (d *distribution) draw(u float64) int {
	weights, sum := d.weights()
	return int(d.alive[pick(weights, u*sum)])
}

// pick returns the first index at which the running sum of weights exceeds u,
// the last with a weight if rounding lets none.
func pick(weights []float32, u float64) int {
	last := 0
	for i, w := range weights {
		if w > 0 {
			last = i
			if u -= float64(w); u < 0 {
				break
			}
		}
	}
	return last
}

// newRandom returns the source of chance of one sample: ChaCha8 under a key made
// of seed and sample, one number per token. So a sample's text depends neither
// on the samples beside it nor on their number.
func newRandom(seed uint64, sample int) *rand.Rand {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[0:], seed)
	binary.LittleEndian.PutUint64(key[8:], uint64(sample))
	copy(key[16:], "gptctl sampling")
	return rand.New(rand.NewChaCha8(key))
}

// freshSeed returns a seed that is short enough to be typed.
func freshSeed() uint64 { return uint64(rand.Uint32()) }
