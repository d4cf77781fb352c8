package kernel

import "github.com/gptctl/gptctl/internal/tensor"

// stream computes two panels of one row.
func (t *trial) stream(o *ops, d tensor.DType) []float32 {
	if o.stream == nil {
		return nil
	}
	w := t.weights(d, 2*trialDepth*panelCols)
	y := make([]float32, 2*panelCols)
	o.stream(d, y[:panelCols], y[panelCols:], t.floats(trialDepth), w, w[trialDepth*panelCols*d.Size():], trialDepth)
	return y
}

func (t *trial) streamPairs(o *ops) []float32 {
	if o.pairs == nil || o.pairs.stream == nil {
		return nil
	}
	w := t.weights(tensor.BF16, 2*trialDepth*panelCols)
	y := make([]float32, 2*panelCols)
	o.pairs.stream(y[:panelCols], y[panelCols:], t.pairs(o, 1), w, w[trialDepth*panelCols*2:], trialDepth)
	return y
}
