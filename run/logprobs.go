package run

import (
	"cmp"
	"slices"
)

// observation is the model's own distribution of one next token, before any
// setting has changed it: the log-softmax of its logits.
type observation struct {
	dist   distribution
	logits []float32
	logSum float64
	top    []Alternative
}

func (o *observation) reset(logits []float32) {
	o.logits = append(o.logits[:0], logits...)
	o.dist.reset(o.logits)
	o.logSum = o.dist.logSum()
}

func (o *observation) logprob(token int) float64 { return float64(o.logits[token]) - o.logSum }

// best returns the k likeliest tokens, best first, of equals the first ones.
func (o *observation) best(k int) []int32 {
	if k == 0 {
		return nil
	}
	d := &o.dist
	floor := d.kthLargest(k)
	equal := k // how many at the floor belong to them
	for _, t := range d.alive {
		if d.scores[t] > floor {
			equal--
		}
	}
	top := make([]int32, 0, k)
	for _, t := range d.alive {
		if v := d.scores[t]; v > floor {
			top = append(top, t)
		} else if v == floor && equal > 0 {
			top = append(top, t)
			equal--
		}
	}
	slices.SortStableFunc(top, func(a, b int32) int { return cmp.Compare(d.scores[b], d.scores[a]) })
	return top
}

// observe notes what Settings.Logprobs asks for.
func (run *generation) observe(o *observation, logits []float32) {
	if run.settings.Logprobs == Unset {
		return
	}
	o.reset(logits)
	o.top = nil
	for _, t := range o.best(run.settings.Logprobs) {
		o.top = append(o.top, Alternative{int(t), run.text([]int{int(t)}), o.logprob(int(t))})
	}
}

// token returns a token with what was observed of it.
func (run *generation) token(o *observation, id int) Token {
	if run.settings.Logprobs == Unset {
		return Token{ID: id}
	}
	return Token{ID: id, Logprob: o.logprob(id), Top: o.top}
}
