package train_test

import (
	"context"
	"math"
	"testing"

	"github.com/gptctl/gptctl/internal/train"
)

// distance is the mean difference of two curves.
func distance(a, b []float64) (mean float64) {
	for i := range a {
		mean += math.Abs(a[i]-b[i]) / float64(len(a))
	}
	return mean
}

// Reduced precision follows the curves of torch's autocast about as closely as
// these follow float32, or each other.
func TestCurvesHalf(t *testing.T) {
	f := load(t, "plain")
	exact := f.Curves["fp32"].Losses
	for _, p := range []train.Precision{train.BF16, train.FP16} {
		t.Run(p.String(), func(t *testing.T) {
			want := f.Curves[p.String()]
			o := f.options()
			o.Precision = p
			tr := f.trainer(t, device(t, 2, ""), o)
			var losses []float64
			for i := range want.Losses {
				s, err := tr.Step(context.Background(), f.Steps[i%len(f.Steps)], f.hyper(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if p == train.FP16 && s.Scale != want.Scales[i] {
					t.Errorf("step %d: scale %v, want %v", i, s.Scale, want.Scales[i])
				}
				losses = append(losses, s.Loss)
			}
			// How far torch's own runs are from each other: with the attention in one
			// kernel or in several, and in float32.
			spread := max(distance(want.Losses, exact), distance(want.Losses, f.Curves[p.String()+"-other"].Losses))
			got := distance(losses, want.Losses)
			t.Logf("from autocast %.2g, from float32 %.2g; the spread of autocast %.2g", got, distance(losses, exact), spread)
			if !(got <= 1.5*spread) {
				t.Errorf("off by %.3g, the spread is %.3g", got, spread)
			}
		})
	}
}

// On a sequence whose gradients overflow the scale is torch's at every step.
func TestOverflow(t *testing.T) {
	f := load(t, "overflow")
	o := f.options()
	o.Precision = train.FP16
	tr := f.trainer(t, device(t, 2, ""), o)
	want := f.Curves["fp16"]
	skipped := 0
	for i := range want.Losses {
		s, err := tr.Step(context.Background(), f.Steps[i%len(f.Steps)], f.hyper(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.Skipped {
			skipped++
		}
		if s.Scale != want.Scales[i] {
			t.Errorf("step %d: scale %v, want %v", i, s.Scale, want.Scales[i])
		}
	}
	if skipped < 3 {
		t.Errorf("%d steps skipped, want some", skipped)
	}
}
