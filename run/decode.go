package run

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// windowStart returns where the model's view of a text of n tokens begins if it
// is shifted; see Request.
func (g *Generator) windowStart(n int) int {
	if n <= g.context {
		return 0
	}
	step := g.context + 1 - max(g.context/2, 1)
	return (n - g.context + step - 1) / step * step
}

// continuation is a sample in the making.
type continuation struct {
	index      int
	sequence   sequence
	history    history
	random     *rand.Rand
	transcript *transcript
	tokens     []Token // those that are settled
	finish     Finish
	drafter    drafter
	draft      []int // the guess that is being verified
	right      int   // how many of its tokens were right so far
}

// samples generates the samples, all in one batch.
func (run *generation) samples(ctx context.Context) error {
	samples := make([]*continuation, run.settings.Samples)
	for i := range samples {
		samples[i] = &continuation{
			index:      i,
			history:    history{slices.Clone(run.prompt), len(run.prompt)},
			random:     newRandom(run.result.Seed, i),
			transcript: newTranscript(run.settings.Stop, run.text),
			drafter:    newDrafter(),
		}
	}
	start := time.Now()
	err := run.first(ctx, samples)
	run.result.Stats.Prefill = time.Since(start)
	if err == nil {
		start = time.Now()
		err = run.rest(ctx, samples)
		run.result.Stats.Decode = time.Since(start)
	}
	for _, c := range samples {
		c.transcript.flush()
		c.tokens = c.transcript.settle(c.tokens, true)
		run.result.Samples = append(run.result.Samples, Sample{
			Text: c.transcript.String(), Tokens: c.tokens, Finish: c.finish,
		})
	}
	return err
}

// first reads the prompt and chooses the first token of every sample.
func (run *generation) first(ctx context.Context, samples []*continuation) error {
	s, err := run.model.newSequence(min(run.context, max(run.limit, len(run.prompt))))
	if err != nil {
		return err
	}
	samples[0].sequence = s
	return run.prefill(ctx, s, func(logits []float32) error {
		if run.settings.MaxNewTokens == 0 {
			for _, c := range samples {
				c.finish = FinishLength
			}
			return nil
		}
		var own []float32
		for i, c := range samples {
			scores := logits
			if i < len(samples)-1 {
				own = append(own[:0], logits...)
				scores = own
			}
			if err := run.advance(c, scores); err != nil {
				return err
			}
		}
		return nil
	})
}

// prefill reads the prompt into an empty sequence and hands the logits of what
// follows it to next. Where they are wanted it notes the prompt's own
// probabilities, of each token given what the model sees before it.
func (run *generation) prefill(ctx context.Context, s sequence, next func(logits []float32) error) error {
	prompt, stats := run.prompt, &run.result.Stats
	if !run.settings.Echo || run.settings.Logprobs == Unset {
		seen := prompt[run.windowStart(len(prompt)):]
		stats.PrefillTokens = len(seen)
		return run.model.forward(ctx, []input{{s, seen, gpt2.LastLogits}}, func(_, _ int, logits []float32) error {
			return next(logits)
		})
	}
	probs := []float64{math.NaN()}
	for done := 0; done < len(prompt); {
		start := run.windowStart(done + 1)
		end := min(start+run.context, len(prompt))
		s.Truncate(0)
		stats.PrefillTokens += end - start
		err := run.model.forward(ctx, []input{{s, prompt[start:end], gpt2.AllLogits}}, func(_, i int, logits []float32) error {
			switch n := start + i + 1; {
			case n <= done:
				return nil // seen before the shift
			case n < len(prompt):
				run.observed.reset(logits)
				probs = append(probs, run.observed.logprob(prompt[n]))
				return nil
			}
			run.result.Prompt.Logprobs = probs
			return next(logits)
		})
		if err != nil {
			return err
		}
		done = end
	}
	return nil
}

// rest goes on until every sample has ended.
func (run *generation) rest(ctx context.Context, samples []*continuation) error {
	active := slices.DeleteFunc(slices.Clone(samples), (*continuation).ended)
	for _, c := range active {
		if c.sequence != nil {
			continue
		}
		s, err := run.model.newSequence(min(run.context, run.limit))
		if err != nil {
			return err
		}
		s.copyFrom(samples[0].sequence, 0)
		c.sequence = s
	}
	inputs := make([]input, 0, len(active))
	starts := make([]int, 0, len(active))
	visit := func(i, position int, logits []float32) error {
		c := active[i]
		if len(c.draft) == 0 {
			position = 0 // the only one that is visited
		}
		return run.verify(c, position, logits)
	}
	for len(active) > 0 {
		inputs, starts = inputs[:0], starts[:0]
		for _, c := range active {
			c.right = 0
			in := input{c.sequence, run.guess(c, run.unread(c), share(len(active))), gpt2.LastLogits}
			if len(c.draft) > 0 {
				in.logits = gpt2.AllLogits
			}
			inputs = append(inputs, in)
			starts = append(starts, run.windowStart(len(c.history.tokens)))
		}
		if err := run.model.forward(ctx, inputs, visit); err != nil && !run.retry(err, active) {
			return err
		}
		for i, c := range active {
			run.settle(c, starts[i])
		}
		active = slices.DeleteFunc(active, (*continuation).ended)
	}
	return nil
}

// unread returns the tokens that the model has to read of a sample, one but
// after a shift.
func (run *generation) unread(c *continuation) []int {
	tokens := c.history.tokens
	start := run.windowStart(len(tokens))
	if len(tokens)-start <= c.sequence.Len() {
		c.sequence.Truncate(0)
	}
	return tokens[start+c.sequence.Len():]
}

func (c *continuation) ended() bool { return c.finish != "" }

// advance chooses a sample's next token, decides whether it is the last, and
// streams what is settled. It uses logits up.
func (run *generation) advance(c *continuation, logits []float32) error {
	run.observe(&run.observed, logits)
	id, err := run.sampler.choose(c.history, logits, c.random)
	if err != nil {
		return err
	}
	c.history.tokens = append(c.history.tokens, id)
	c.finish = run.extend(c.transcript, run.token(&run.observed, id), len(c.history.tokens))
	from := len(c.tokens)
	c.tokens = c.transcript.settle(c.tokens, c.finish != "")
	return run.emit(c.index, c.tokens[from:], c.finish)
}

// extend appends a token to a transcript and returns why the text, which is now
// length tokens long with its prompt, ends with it, or "".
func (run *generation) extend(t *transcript, token Token, length int) Finish {
	if slices.Contains(run.eos, token.ID) {
		t.flush()
		t.add(token, nil)
		return FinishEOS
	}
	t.add(token, run.tokenizer.Bytes(int32(token.ID)))
	finish := Finish("")
	switch {
	case t.stopped():
		return FinishStop
	case length >= run.limit:
		finish = FinishLength
	case length > run.context && !run.settings.ContextShift:
		finish = FinishContext
	default:
		return ""
	}
	t.flush()
	if t.stopped() {
		return FinishStop
	}
	return finish
}

// emit streams settled tokens of a sample.
func (run *generation) emit(sample int, tokens []Token, finish Finish) error {
	if run.stream == nil {
		return nil
	}
	for i, t := range tokens {
		e := Event{Sample: sample, Token: t}
		if i == len(tokens)-1 {
			e.Finish = finish
		}
		if err := run.stream(e); err != nil {
			return err
		}
	}
	return nil
}
