package run

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

// observe notes what Settings.Logprobs asks for.
func (run *generation) observe(o *observation, logits []float32) {
	if run.settings.Logprobs == Unset {
		return
	}
	o.reset(logits)
	o.top = nil
	for _, t := range o.dist.best(run.settings.Logprobs) {
		o.top = append(o.top, Alternative{int(t), run.decode([]int{int(t)}), o.logprob(int(t))})
	}
}

// token returns a token with what was observed of it.
func (run *generation) token(o *observation, id int) Token {
	if run.settings.Logprobs == Unset {
		return Token{ID: id}
	}
	return Token{ID: id, Logprob: o.logprob(id), Top: o.top}
}
