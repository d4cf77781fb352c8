package finetune

import "math"

// rate is the learning rate of an optimizer step, which is counted from 0. It
// grows to lr in the steps of the warm-up, the first of which has a share of it
// already, and then falls to min_lr, which a step after the last would have
// (cosine: Loshchilov and Hutter 2017, "SGDR", without restarts).
func (s Settings) rate(step int) float64 {
	if step < s.Warmup {
		return s.LR * float64(step+1) / float64(s.Warmup)
	}
	t := min(1, float64(step-s.Warmup)/float64(max(1, s.Steps-s.Warmup)))
	switch s.Schedule {
	case "cosine":
		return s.MinLR + (s.LR-s.MinLR)*(1+math.Cos(math.Pi*t))/2
	case "linear":
		return s.MinLR + (s.LR-s.MinLR)*(1-t)
	}
	return s.LR
}
