package run

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// hopeless is what a beam's score loses that must not be chosen: as in
// transformers not −∞, so that such beams still have an order.
const hopeless = float32(-1e9)

// beam is a text of a beam search. Texts share their tokens with those they
// come from.
type beam struct {
	score  float32 // running: log-probability; finished: that over length^penalty
	tokens []int   // prompt and continuation
	last   *link
	finish Finish
	done   bool // it is a finished text, not a placeholder
}

// link is a token of a beam and, through before, all its continuation.
type link struct {
	token  Token
	before *link
}

// transcript replays the continuation.
func (run *generation) transcript(l *link) *transcript {
	var tokens []Token
	for ; l != nil; l = l.before {
		tokens = append(tokens, l.token)
	}
	slices.Reverse(tokens)
	t := newTranscript(run.settings.Stop, run.text)
	length := len(run.prompt)
	for _, token := range tokens {
		length++
		run.extend(t, token, length)
	}
	return t
}

// beamSearch follows transformers' _beam_search step by step, for one prompt:
// score every continuation of the running beams, take the best few, set the
// finished ones aside, go on with the best of the others.
func (run *generation) beamSearch(ctx context.Context) error {
	b := newBeams(run)
	start := time.Now()
	err := b.first(ctx)
	run.result.Stats.Prefill = time.Since(start)
	start = time.Now()
	for err == nil {
		var over bool
		if over, err = b.step(); over || err != nil {
			break
		}
		err = b.forward(ctx)
	}
	run.result.Stats.Decode = time.Since(start)

	best := slices.DeleteFunc(b.finished, func(f beam) bool { return !f.done })
	if err != nil {
		best = append(best, b.running...)
	}
	for i, f := range best[:min(len(best), run.settings.Samples)] {
		t := run.transcript(f.last)
		t.flush()
		tokens := t.settle(nil, true)
		run.result.Samples = append(run.result.Samples, Sample{
			Text: t.String(), Tokens: tokens, Finish: f.finish, Score: float64(f.score),
		})
		if err == nil {
			err = run.emit(i, tokens, f.finish)
		}
	}
	return err
}

// beams is the state of a beam search.
type beams struct {
	*generation
	n, keep   int // running beams, and continuations looked at per step
	limit     int // longest text
	random    *rand.Rand
	running   []beam
	finished  []beam     // n, best first
	hopeful   bool       // a running beam may still become better than the worst finished one
	sequences []sequence // what the model has read of the running beams: all but the last token
	scores    []float32  // [n][vocab]: log-probabilities of the texts that are one token longer
	all       distribution
	observed  []observation
}

func newBeams(run *generation) *beams {
	n := run.settings.Beams
	b := &beams{
		generation: run,
		n:          n,
		keep:       max(2, 1+len(run.eos)) * n,
		limit:      min(run.limit, run.context+1),
		random:     newRandom(run.result.Seed, 0),
		hopeful:    true,
		scores:     make([]float32, n*run.vocab),
		observed:   make([]observation, n),
	}
	for i := range n {
		b.running = append(b.running, beam{tokens: run.prompt})
		if i > 0 {
			b.running[i].score = hopeless // n equal texts are one
		}
		b.finished = append(b.finished, beam{score: hopeless})
	}
	return b
}

// first reads the prompt and scores what may follow it.
func (b *beams) first(ctx context.Context) error {
	for range b.n {
		s, err := b.model.newSequence(min(b.context, b.limit))
		if err != nil {
			return err
		}
		b.sequences = append(b.sequences, s)
	}
	err := b.prefill(ctx, b.sequences[0], func(logits []float32) error { return b.score(0, logits) })
	if err != nil {
		return err
	}
	for i := 1; i < b.n; i++ {
		b.sequences[i].copyFrom(b.sequences[0], 0)
		for t, v := range b.scores[:b.vocab] {
			b.scores[i*b.vocab+t] = v + b.running[i].score // that of the first is 0
		}
		b.observe(&b.observed[i], b.observed[0].logits)
	}
	return nil
}

// forward reads the last tokens of the running beams and scores what may follow.
func (b *beams) forward(ctx context.Context) error {
	inputs := make([]input, b.n)
	for i, r := range b.running {
		inputs[i] = input{b.sequences[i], r.tokens[len(r.tokens)-1:], gpt2.LastLogits}
	}
	err := b.model.forward(ctx, inputs, func(i, _ int, logits []float32) error { return b.score(i, logits) })
	if err == nil {
		b.result.Stats.DecodeTokens += b.n
	}
	return err
}

// score fills the scores of the i-th running beam's continuations from the logits
// that follow it. As in transformers the settings act on log-probabilities here,
// not on logits. If they allow nothing all scores are −∞.
func (b *beams) score(i int, logits []float32) error {
	b.observe(&b.observed[i], logits)
	d := &b.sampler.dist
	d.reset(logits)
	renormalize{}.warp(d)
	err := b.sampler.reshape(history{b.running[i].tokens, len(b.prompt)}, logits)
	if err != nil && err != errNothingAllowed {
		return err
	}
	scores := b.scores[i*b.vocab : (i+1)*b.vocab]
	d.dense(scores)
	for t := range scores {
		scores[t] += b.running[i].score
	}
	return nil
}

// step chooses the beams to go on with, and reports whether the search is over.
func (b *beams) step() (over bool, err error) {
	chosen := b.choose()
	if !slices.ContainsFunc(chosen, func(c candidate) bool { return c.score > negInf }) {
		return false, errNothingAllowed
	}
	length := len(b.running[0].tokens) + 1
	next := make([]beam, len(chosen))
	all := true
	for i, c := range chosen {
		next[i] = b.grow(c, length)
		all = all && next[i].finish != ""
	}
	b.finish(next, length)

	for i := range next {
		if next[i].finish != "" {
			next[i].score += hopeless
		}
	}
	order := byScore(next)[:b.n]
	parents := make([]int, b.n)
	running := make([]beam, b.n)
	for i, o := range order {
		running[i], parents[i] = next[o], chosen[o].parent
	}
	full := b.full()
	b.hopeful = b.hopeful && b.canImprove(running[0].score, length)
	over = !b.hopeful || full && b.settings.EarlyStopping == StopEarly || all
	if !over {
		b.reorder(parents)
	}
	b.running = running
	return over, nil
}

// grow appends a candidate's token.
func (b *beams) grow(c candidate, length int) beam {
	parent := b.running[c.parent]
	next := beam{
		score:  c.score,
		tokens: append(slices.Clip(parent.tokens), c.token),
		last:   &link{b.token(&b.observed[c.parent], c.token), parent.last},
	}
	switch {
	case slices.Contains(b.eos, c.token):
		next.finish = FinishEOS
	case len(b.settings.Stop) > 0 && b.transcript(next.last).stopped():
		next.finish = FinishStop
	case length >= b.generation.limit:
		next.finish = FinishLength
	case length >= b.limit:
		next.finish = FinishContext
	}
	return next
}

// finish puts those of the best n that have ended among the finished beams.
func (b *beams) finish(next []beam, length int) {
	penalty := b.lengthPenalty(length - len(b.prompt))
	late := b.full() && b.settings.EarlyStopping == StopEarly
	merged := slices.Clone(b.finished)
	for i, c := range next {
		c.done = c.finish != "" && i < b.n
		c.score /= penalty
		for _, unwanted := range [...]bool{late, !b.hopeful, !c.done} {
			if unwanted {
				c.score += hopeless
			}
		}
		merged = append(merged, c)
	}
	for i, o := range byScore(merged)[:b.n] {
		b.finished[i] = merged[o]
	}
}

func (b *beams) lengthPenalty(generated int) float32 {
	return float32(math.Pow(float64(generated), b.settings.LengthPenalty))
}

// full reports whether there are enough finished beams.
func (b *beams) full() bool {
	return !slices.ContainsFunc(b.finished, func(f beam) bool { return !f.done })
}

// canImprove reports whether a text like the best running one, of the given
// score and length, could still be among the best.
func (b *beams) canImprove(score float32, length int) bool {
	generated := length - len(b.prompt)
	if b.settings.EarlyStopping == StopNever && b.settings.LengthPenalty > 0 {
		generated = b.limit - len(b.prompt)
	}
	possible := score / b.lengthPenalty(generated)
	worst := b.finished[b.n-1].score
	return slices.ContainsFunc(b.finished, func(f beam) bool {
		if f.done {
			return possible > worst
		}
		return possible > hopeless
	})
}

// reorder gives each new running beam the sequence of its parent. The first
// child takes it over; the others overwrite that of a beam without children,
// from where the two texts differ.
func (b *beams) reorder(parents []int) {
	taken := make([]bool, b.n)
	next := make([]sequence, b.n)
	for i, p := range parents {
		if !taken[p] {
			taken[p], next[i] = true, b.sequences[p]
		}
	}
	for i, p := range parents {
		if next[i] != nil {
			continue
		}
		free := slices.Index(taken, false)
		taken[free] = true
		b.sequences[free].copyFrom(b.sequences[p], common(b.running[free].tokens, b.running[p].tokens))
		next[i] = b.sequences[free]
	}
	b.sequences = next
}

// common counts the tokens that two texts begin with alike.
func common(a, b []int) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// byScore returns the indices of beams from the best score to the worst, of
// equals the first first.
func byScore(list []beam) []int {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(list[y].score, list[x].score) })
	return order
}
