package train

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/gptctl/gptctl/internal/kernel"
)

// ErrNoLabels says that no label of a step counts.
var ErrNoLabels = errors.New("no label counts: all of them are masked")

// Step computes the gradient of the mean loss over all labels of all rows that
// count, one element of rows after the other, and changes the weights once. If
// ready is not nil it is called after the gradients are there and before anything
// that State returns is changed; its error ends the step.
//
// A step that returns an error has changed nothing that State returns. One whose
// gradients are not finite changes no weight; it is no error, see Stats.
func (t *Trainer) Step(ctx context.Context, rows []Rows, h Hyper, ready func() error) (Stats, error) {
	s := Stats{Scale: t.scaler.Scale}
	most := 0
	for _, r := range rows {
		n, err := t.checkRows(r)
		if err != nil {
			return s, err
		}
		s.Labels += n
		most = max(most, len(r.Tokens))
	}
	if s.Labels == 0 {
		return s, ErrNoLabels
	}
	if err := t.reserve(most); err != nil {
		return s, err
	}
	if err := t.gradients(ctx, rows, &s); err != nil {
		return s, err
	}
	var sum float64
	for _, p := range t.params {
		if !p.trained() {
			continue
		}
		squares := p.squares
		finite := !math.IsNaN(squares) && !math.IsInf(squares, 0)
		if !p.squared {
			squares, finite = t.dev.SumSquares(p.grad)
		}
		if !finite { // the way back begins at the end: the last one was the first
			s.Bad = "the gradient of " + p.name
		}
		sum += squares
	}
	s.GradNorm = math.Sqrt(sum) / s.Scale
	if s.Bad == "" && (math.IsNaN(s.Loss) || math.IsInf(s.Loss, 0)) {
		s.Bad = "the loss"
	}
	s.Skipped = s.Bad != ""
	if s.Skipped && (t.options.Precision != FP16 || math.IsNaN(s.Loss)) {
		if name, ok := t.findNonFinite(); ok {
			s.Bad = name
		}
	}
	if ready != nil {
		if err := ready(); err != nil {
			return s, err
		}
	}
	t.draws++
	t.scaler.update(s.Skipped)
	if !s.Skipped {
		t.update(h, s)
	}
	return s, nil
}

// gradients overwrites all gradients, times the scale.
func (t *Trainer) gradients(ctx context.Context, rows []Rows, s *Stats) error {
	for _, p := range t.params {
		p.begun, p.squared = false, false
		if p.trained() && (!p.decay || p == t.positions) {
			t.begin(p) // the others, matrices, are overwritten by the first product
		}
	}
	var sum float64
	for i, r := range rows {
		p := t.pass(r)
		p.drop = t.options.Dropout
		p.key = kernel.Mix(kernel.Mix(t.options.Seed+0x9e3779b97f4a7c15) + uint64(t.draws)<<20 + uint64(i))
		if err := p.forward(ctx); err != nil {
			return err
		}
		loss, err := p.classify(ctx, float32(t.scaler.Scale/float64(s.Labels)))
		if err != nil {
			return err
		}
		sum += loss
		if err := p.backward(ctx); err != nil {
			return err
		}
	}
	for _, p := range t.params {
		if p.trained() {
			t.begin(p) // of what no label has led to
		}
	}
	s.Loss = sum / float64(s.Labels)
	return nil
}

func (t *Trainer) pass(r Rows) *pass {
	return &pass{Trainer: t, Rows: r, n: len(r.Tokens), context: len(r.Tokens) / r.Rows}
}

// update is a step of AdamW. The gradients are unscaled and clipped on the way,
// as clip_grad_norm_ of torch does it.
func (t *Trainer) update(h Hyper, s Stats) {
	factor := 1 / s.Scale
	if h.Clip > 0 {
		factor *= min(1, h.Clip/(s.GradNorm+1e-6))
	}
	t.steps++
	for _, p := range t.params {
		if !p.trained() {
			continue
		}
		decay := 0.0
		if p.decay {
			decay = h.WeightDecay
		}
		t.dev.AdamW(p.w, p.m1, p.m2, p.grad, h.LR, h.Beta1, h.Beta2, h.Epsilon, decay, t.steps, factor)
	}
	t.refresh()
}

// refresh brings the factors of products up to date with the weights.
func (t *Trainer) refresh() {
	if !t.half() {
		return
	}
	t.dev.Refresh(t.headOperand, t.head.w)
	for i := range t.blocks {
		b := &t.blocks[i]
		for _, p := range []*projection{&b.qkv, &b.attnOut, &b.up, &b.down} {
			if p.weight.trained() {
				t.dev.Refresh(p.operand, p.weight.w)
			}
			if l := p.lora; l != nil {
				t.dev.Refresh(l.opA, l.a.w)
				t.dev.Refresh(l.opB, l.b.w)
			}
		}
	}
}

// findNonFinite returns the first tensor that holds a NaN or an infinity.
func (t *Trainer) findNonFinite() (name string, found bool) {
	for _, p := range t.params {
		if _, finite := t.dev.SumSquares(p.w); !finite {
			return p.name, true
		}
	}
	return "", false
}

// checkRows returns the labels that count.
func (t *Trainer) checkRows(r Rows) (labels int, err error) {
	n := len(r.Tokens)
	switch {
	case r.Rows <= 0 || n == 0 || n%r.Rows != 0:
		return 0, fmt.Errorf("%d tokens are not %d rows of the same length", n, r.Rows)
	case len(r.Labels) != n:
		return 0, fmt.Errorf("%d labels for %d tokens", len(r.Labels), n)
	case n/r.Rows > t.cfg.Positions:
		return 0, fmt.Errorf("rows of %d tokens: the model has %d positions", n/r.Rows, t.cfg.Positions)
	}
	for i, id := range r.Tokens {
		if id < 0 || int(id) >= t.cfg.VocabSize {
			return 0, fmt.Errorf("token %d is not in the vocabulary of %d", id, t.cfg.VocabSize)
		}
		l := r.Labels[i]
		if int(l) >= t.cfg.VocabSize {
			return 0, fmt.Errorf("label %d is not in the vocabulary of %d", l, t.cfg.VocabSize)
		}
		if l >= 0 {
			labels++
		}
	}
	return labels, nil
}

// Evaluate returns the sum of the losses of the labels that count, and their
// number, without dropout. It changes nothing that State returns.
func (t *Trainer) Evaluate(ctx context.Context, r Rows) (sum float64, labels int, err error) {
	labels, err = t.checkRows(r)
	if err != nil || labels == 0 {
		return 0, labels, err
	}
	if err := t.reserve(len(r.Tokens)); err != nil {
		return 0, 0, err
	}
	p := t.pass(r)
	if err := p.forward(ctx); err != nil {
		return 0, 0, err
	}
	sum, err = p.classify(ctx, 0)
	return sum, labels, err
}
