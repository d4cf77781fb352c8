package kernel

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

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

func (t *trial) streamBlocks(o *ops, d tensor.DType) []float32 {
	if o.streamBlocks == nil {
		return nil
	}
	const n = 2
	x := make([]generic.Block, n)
	generic.Quantize(x, t.floats(n*tensor.QuantBlock), d)
	w := t.panels(d, n*tensor.QuantBlock, 2*panelOuts)
	y := make([]float32, 2*panelOuts)
	o.streamBlocks(d, y[:panelOuts], y[panelOuts:], x, w, w[len(w)/2:])
	return y
}
