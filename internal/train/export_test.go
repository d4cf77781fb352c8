package train

// NewTestScaler returns the loss scale of FP16 for a test.
func NewTestScaler() (update func(bad bool), state func() (scale float64, good int)) {
	s := newScaler(FP16)
	return s.update, func() (float64, int) { return s.Scale, s.Good }
}
