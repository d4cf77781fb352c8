package train_test

import (
	"context"
	"math"
	"strings"
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

// Reduced precision is as close to torch's autocast, with CUDA's lists of what
// runs in which type, as torch's own runs are to each other: with the attention in
// one kernel or in several, with CUDA's lists or the CPU's. (A hundred steps
// magnify every rounding; the spread to float32 is not counted.)
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
			spread := 0.0
			for a := range f.Curves {
				for b := range f.Curves {
					if strings.HasPrefix(a, p.String()) && strings.HasPrefix(b, p.String()) {
						spread = max(spread, distance(f.Curves[a].Losses, f.Curves[b].Losses))
					}
				}
			}
			got := distance(losses, want.Losses)
			t.Logf("from autocast %.2g, from float32 %.2g; the spread of autocast %.2g", got, distance(losses, exact), spread)
			if !(got <= spread) {
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
