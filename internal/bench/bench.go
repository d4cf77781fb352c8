// Package bench measures how fast a model runs, beside what the machine allows.
//
// Reading a prompt (prefill) is bound by arithmetic, writing one token after
// the other (decode) by memory: each token reads all weights. So every row of a
// report is held against one limit of the machine, which is measured every 20 ms
// of the row's repetitions, in the same process and with the same threads.
// Machines that are shared change their speed from one second to the next, and
// the limit with it: what counts is the share that each slice reached of the
// limit around it, and a slice whose two limits disagree does not.
package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Subject is a model in one type of weights, ready to run.
type Subject struct {
	Name  string // "gpt2", or as the user named the model
	DType tensor.DType
	KV    tensor.DType // of keys and values
	Model *gpt2.Model
	CPU   *kernel.CPU // what the model computes on

	// Weights is the memory that the matrices take, InFile what is used where it lies
	// in a file.
	Weights, InFile [][]byte
	Close           func()
}

// Options say what to measure. Every number is at least 1, but a depth may be 0.
type Options struct {
	PromptTokens []int // of each prefill; 0 leaves it out
	GenTokens    []int // of each decode; 0 leaves it out
	Batches      []int // sequences that decode at once
	Depths       []int // tokens that each has before the decode begins
	Repetitions  int

	// Shorten lets a decode write fewer tokens where the model has no positions for
	// all of them.
	Shorten bool
}

// Row is one measured test.
type Row struct {
	Shape string
	DType tensor.DType
	KV    tensor.DType // of keys and values
	Test  string       // "pp512", "tg128", "tg128@d512"
	Batch int          // sequences at once
	Bytes int64        // of the weights

	Rates   []float64 // tokens a second of each repetition, of all sequences together
	Shares  []float64 // of what the machine allowed, of each repetition with a settled slice
	Limit   Limit     // what bounds it
	Bound   float64   // tokens a second that the machine allowed, the median
	Allowed float64   // the same in the limit's own unit: 10⁹ bytes or operations a second
	Settled float64   // the part of the slices whose two limits agree
}

// Median returns the middle rate; the mean of two middle ones.
func (r Row) Median() float64 { return median(r.Rates) }

// Share returns the part of the limit that was reached, the median of the
// repetitions. It is not a number if the limit never stayed for long enough.
func (r Row) Share() float64 {
	if len(r.Shares) == 0 {
		return math.NaN()
	}
	return median(r.Shares)
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	if n == 0 {
		return 0
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}

// test is a row to be, with what it needs to be repeated.
type test struct {
	row    Row
	perSec float64 // units of the limit that a token takes, in 10⁹
	slices []slice // of a repetition
	judged []verdict
	begin  func(ctx context.Context) error
	step   func(ctx context.Context) error
	steps  int           // of a repetition, at least
	least  time.Duration // that a repetition takes, without the limit
	tokens int           // of a step
}

// slice is a part of a repetition between two measurements of the limit.
type slice struct {
	rate, bound float64 // tokens a second: reached, and allowed by the mean of the two
	settled     bool    // the two agree: the machine has not changed in between
}

const (
	agree    = 0.1 // how far apart the two may be, as a part of the larger
	attempts = 3   // at a repetition that no slice is settled of
)

// Run measures a subject: a warm-up, then Repetitions rounds over all tests, so
// that a slow moment of the machine meets all of them. It calls before at the
// start of each round, the warm-up being round 0.
func Run(ctx context.Context, s *Subject, o Options, m Meter, before func(round int) error) ([]Row, error) {
	tests, err := plan(s, o)
	if err != nil {
		return nil, err
	}
	for round := range o.Repetitions + 1 {
		if err := before(round); err != nil {
			return nil, err
		}
		for _, t := range tests {
			var rate float64
			var v verdict
			for range attempts {
				if rate, err = t.repeat(ctx, m); err != nil {
					return nil, fmt.Errorf("%s in %v: %w", t.row.Test, s.DType, err)
				}
				if v = judge(t.slices); v.settled > 0 || round == 0 {
					break
				}
			}
			if round > 0 {
				t.row.Rates = append(t.row.Rates, rate)
				t.judged = append(t.judged, v)
			}
		}
	}
	var rows []Row
	for _, t := range tests {
		t.row.hold(t.judged)
		t.row.Allowed = t.row.Bound * t.perSec
		rows = append(rows, t.row)
	}
	return rows, nil
}

// promptsTime is how long prompts are read, one after the other: a short one alone
// says more of what ran before it.
const promptsTime = 200 * time.Millisecond

// between is how long a test runs before the limit is measured again.
const between = 20 * time.Millisecond

// repeat runs a test once, in slices with the limit measured between them, and
// returns the tokens a second that it reached.
func (t *test) repeat(ctx context.Context, m Meter) (float64, error) {
	t.slices = t.slices[:0]
	if err := t.begin(ctx); err != nil {
		return 0, err
	}
	before, err := m.Measure(ctx, t.row.Limit)
	if err != nil {
		return 0, err
	}
	var took time.Duration
	done := 0
	for done < t.steps || took < t.least {
		start, from := time.Now(), done
		for (done < t.steps || took < t.least) && time.Since(start) < between {
			if err := t.step(ctx); err != nil {
				return 0, err
			}
			done++
		}
		d := time.Since(start)
		took += d
		after, err := m.Measure(ctx, t.row.Limit)
		if err != nil {
			return 0, err
		}
		t.slices = append(t.slices, slice{
			rate:    float64((done-from)*t.tokens) / d.Seconds(),
			bound:   (before + after) / 2 / t.perSec,
			settled: math.Abs(before-after) <= agree*max(before, after),
		})
		before = after
	}
	return float64(done*t.tokens) / took.Seconds(), nil
}

// verdict is what the settled slices of a repetition say, the medians.
type verdict struct {
	share, bound float64 // NaN and of all slices if none is settled
	settled      float64 // the part of the slices that are
}

func judge(all []slice) verdict {
	var shares, bounds, others []float64
	for _, s := range all {
		if others = append(others, s.bound); s.settled {
			shares, bounds = append(shares, s.rate/s.bound), append(bounds, s.bound)
		}
	}
	if len(shares) == 0 {
		return verdict{math.NaN(), median(others), 0}
	}
	return verdict{median(shares), median(bounds), float64(len(shares)) / float64(len(all))}
}

// hold sets what the verdicts say of a row. A repetition without a settled slice
// has no share, but tells about the limit if there is no other.
func (r *Row) hold(verdicts []verdict) {
	var bounds, others []float64
	for _, v := range verdicts {
		r.Settled += v.settled / float64(len(verdicts))
		if others = append(others, v.bound); v.settled > 0 {
			r.Shares, bounds = append(r.Shares, v.share), append(bounds, v.bound)
		}
	}
	if len(bounds) == 0 {
		bounds = others
	}
	r.Bound = median(bounds)
}

func plan(s *Subject, o Options) ([]*test, error) {
	var tests []*test
	row := Row{Shape: s.Name, DType: s.DType, KV: s.KV, Batch: 1, Bytes: s.Model.TokenBytes()}
	random := rand.New(rand.NewPCG(1, 2))
	token := func() int { return random.IntN(s.Model.Config.VocabSize) }
	for _, n := range o.PromptTokens {
		if n == 0 {
			continue
		}
		t := &test{row: row, perSec: prefillCost(s.Model.Config, n) / 1e9}
		t.row.Test, t.row.Limit = fmt.Sprintf("pp%d", n), peakOf(s.CPU, s.DType)
		if err := t.prefill(s.Model, n, token); err != nil {
			return nil, err
		}
		tests = append(tests, t)
	}
	for _, n := range o.GenTokens {
		if n == 0 {
			continue
		}
		for _, depth := range o.Depths {
			tokens := n
			if o.Shorten {
				tokens = max(1, min(tokens, s.Model.Config.Positions-depth))
			}
			for _, batch := range o.Batches {
				// A step of several sequences reads the weights once.
				t := &test{row: row, perSec: float64(row.Bytes) / float64(batch) / 1e9}
				t.row.Batch, t.row.Limit = batch, Read
				if t.row.Test = fmt.Sprintf("tg%d", tokens); depth > 0 {
					t.row.Test += fmt.Sprintf("@d%d", depth)
				}
				t.steps, t.tokens = tokens, batch
				if err := t.decode(s.Model, batch, depth, token); err != nil {
					return nil, err
				}
				tests = append(tests, t)
			}
		}
	}
	return tests, nil
}

// prefill reads prompts of n tokens.
func (t *test) prefill(m *gpt2.Model, n int, token func() int) error {
	seq, err := m.NewSequence(n)
	if err != nil {
		return err
	}
	prompt := make([]int, n)
	t.steps, t.tokens = 1, n
	t.least = promptsTime
	t.begin = func(context.Context) error {
		for i := range prompt {
			prompt[i] = token()
		}
		return nil
	}
	t.step = func(ctx context.Context) error {
		seq.Truncate(0)
		return m.Forward(ctx, []gpt2.Input{{Sequence: seq, Tokens: prompt}}, ignore)
	}
	return nil
}

// decode lets batch sequences of depth tokens each grow.
func (t *test) decode(m *gpt2.Model, batch, depth int, token func() int) error {
	inputs := make([]gpt2.Input, batch)
	for i := range inputs {
		seq, err := m.NewSequence(depth + t.steps)
		if err != nil {
			return err
		}
		inputs[i] = gpt2.Input{Sequence: seq, Tokens: make([]int, 1)}
	}
	t.begin = func(ctx context.Context) error {
		for _, in := range inputs {
			if in.Sequence.Truncate(depth); in.Sequence.Len() == depth {
				continue
			}
			prompt := make([]int, depth)
			for i := range prompt {
				prompt[i] = token()
			}
			if err := m.Forward(ctx, []gpt2.Input{{Sequence: in.Sequence, Tokens: prompt, Logits: gpt2.NoLogits}}, ignore); err != nil {
				return err
			}
		}
		return nil
	}
	t.step = func(ctx context.Context) error {
		for i := range inputs {
			inputs[i].Tokens[0] = token()
		}
		return m.Forward(ctx, inputs, ignore)
	}
	return nil
}

func ignore(int, int, []float32) error { return nil }

// prefillCost is the floating-point operations of one token of a prompt of n,
// two to a multiply-add: the matrices of the blocks, and attention to half the
// prompt. The head is only needed once and not counted, and neither is what the last
// block computes behind its attention, which is needed once, too.
func prefillCost(c gpt2.Config, n int) float64 {
	behind := c.Embd*c.Embd + 2*c.Embd*c.Inner
	matrices := c.Embd*3*c.Embd + behind
	attention := 2 * c.Embd * (n + 1) / 2
	return 2*float64(c.Layers)*float64(matrices+attention) - 2*float64(behind)*float64(n-1)/float64(n)
}
