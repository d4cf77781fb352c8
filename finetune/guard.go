package finetune

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// spikeWindow is how many losses the guard compares with, as in llm.c; before
// half as many are there it says nothing.
const spikeWindow = 128

// maxRollbacks is how often a run goes back before it gives up.
const maxRollbacks = 3

// SpikeError says that the loss rose so suddenly that the run was stopped.
type SpikeError struct {
	Step    int
	Loss, Z float64
	Reason  string // why it was not gone back, "" if that was not wanted
}

func (e *SpikeError) Error() string {
	text := fmt.Sprintf("the loss jumped to %.4g at step %d, %.1f deviations above the mean of the steps before", e.Loss, e.Step, e.Z)
	if e.Reason != "" {
		text += "; " + e.Reason
	}
	return text
}

// NonFiniteError says that numbers stopped being numbers.
type NonFiniteError struct {
	Step   int
	What   string  // "the loss is NaN"
	Tensor string  // the first that had it, "" if that is not known
	LR     float64 // at that step
}

func (e *NonFiniteError) Error() string {
	text := fmt.Sprintf("%s at step %d", e.What, e.Step)
	if e.Step == 0 {
		text = e.What + " before the first step"
	}
	if e.Tensor != "" {
		text += ", first in " + e.Tensor
	}
	return text
}

// maxSkipped is how many steps in a row fp16 may skip: 40 halvings of the
// initial scale of 65536 are far below what any gradient needs.
const maxSkipped = 40

// checkFinite judges the numbers of a step.
func checkFinite(step int, st Stats, lr float64, skippedInARow int, scaled bool) error {
	bad := func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }
	switch {
	case st.Skipped && skippedInARow > maxSkipped:
		return &NonFiniteError{step, fmt.Sprintf("the gradients overflowed in %d steps in a row, the last", skippedInARow), st.Bad, lr}
	case st.Skipped && scaled: // the next one is scaled less
		return nil
	case bad(st.Loss):
		return &NonFiniteError{step, fmt.Sprintf("the loss is %v", st.Loss), st.Bad, lr}
	case bad(st.GradNorm) || st.Skipped:
		return &NonFiniteError{step, fmt.Sprintf("the norm of the gradient is %v", st.GradNorm), st.Bad, lr}
	}
	return nil
}

// diagnoser is a Trainer that can look for the tensor where numbers stopped
// being numbers.
type diagnoser interface {
	// FirstNonFinite names the first tensor, weights before what the layers make of
	// rows, that is not finite; "" if none is found.
	FirstNonFinite(ctx context.Context, rows Rows) string
}

// diagnose completes a *NonFiniteError.
func (l *loop) diagnose(ctx context.Context, err error, rows ...Rows) error {
	var bad *NonFiniteError
	d, ok := l.Trainer.(diagnoser)
	if !ok || !errors.As(err, &bad) {
		return err
	}
	for _, r := range rows {
		if name := d.FirstNonFinite(ctx, r); name != "" {
			bad.Tensor = name
			break
		}
	}
	return err
}

// zScore is how many deviations a loss lies above the mean of the last ones.
func zScore(losses []float64, loss float64) (z float64, ok bool) {
	if len(losses) < spikeWindow/2 {
		return 0, false
	}
	var mean, square float64
	for _, v := range losses {
		mean += v / float64(len(losses))
	}
	for _, v := range losses {
		square += (v - mean) * (v - mean) / float64(len(losses))
	}
	// Losses that hardly differ would make anything a spike.
	return (loss - mean) / max(math.Sqrt(square), 1e-3*math.Abs(mean), 1e-12), true
}

// remember adds a loss to the window.
func remember(losses []float64, loss float64) []float64 {
	losses = append(losses, loss)
	if n := len(losses); n > spikeWindow {
		losses = append([]float64(nil), losses[n-spikeWindow:]...)
	}
	return losses
}
