package train

// scaler keeps the gradients of float16 within its range: the loss is multiplied
// by Scale, which doubles after growthInterval good steps in a row and halves,
// the step being left out, when a gradient is not finite. The rules and numbers
// are those of torch.amp.GradScaler.
type scaler struct {
	Scale float64
	Good  int // steps since the last change
	fixed bool
}

const (
	firstScale     = 65536
	growthInterval = 2000
	largestScale   = 0x1p127 // doubling it is not finite in float32
)

func newScaler(p Precision) scaler {
	if p == FP16 {
		return scaler{Scale: firstScale}
	}
	return scaler{Scale: 1, fixed: true}
}

func (s *scaler) update(bad bool) {
	switch {
	case s.fixed:
	case bad:
		s.Scale, s.Good = s.Scale/2, 0
	case s.Good+1 < growthInterval:
		s.Good++
	default:
		s.Good = 0
		if s.Scale < largestScale {
			s.Scale *= 2
		}
	}
}
