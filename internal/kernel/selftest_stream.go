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

// pairPanels multiplies panels of pairs, rows by one, as many as every kernel takes, and
// one row by two.
func (t *trial) pairPanels(o *ops) []float32 {
	if o.pairs == nil || o.pairs.panel == nil || o.pairs.streamPanels == nil {
		return nil
	}
	w := t.weights(tensor.BF16, 4*trialPairs*panelCols)
	out := make([]float32, 2*panelCols)
	o.pairs.streamPanels(out[:panelCols], out[panelCols:], t.pairs(o, 1), w, w[trialPairs*panelCols*4:], trialPairs)
	for _, rows := range [...]int{5, 8, 13} {
		y := make([]float32, rows*panelCols)
		o.pairs.panel(y, panelCols, t.pairs(o, rows), trialPairs, rows, trialPairs, w)
		out = append(out, y...)
	}
	return out
}

// pairsAhead is multiplyAhead of pairs.
func (t *trial) pairsAhead(o *ops) []float32 {
	if o.pairs == nil || o.pairs.multiplyAhead == nil {
		return nil
	}
	const rows, cols = 12, 16
	a, b, c := t.pairs(o, rows), alignedPairs(trialPairs*o.nr), make([]float32, rows*o.nr)
	o.pairs.pack(b, t.weights(tensor.BF16, trialDepth*cols), cols*2, trialDepth, cols)
	h := generic.Ahead{Y: &c[0], LDY: uintptr(o.nr * 4), A: &c[0], B: &pairBytes(b)[0], Step: 64}
	y, bias := make([]float32, rows*o.nr), t.floats(o.nr)
	var out []float32
	for n := range 4 {
		h.End = nil
		if n >= 2 {
			h.End = &generic.End{LD: o.nr, Bias: bias, Add: n == 3}
		}
		for i := 0; i < rows; i += o.mr {
			if h.End != nil {
				h.End.Out = y[i*o.nr:]
			}
			o.pairs.multiplyAhead(c[i*o.nr:], o.nr, a[i*trialPairs:], trialPairs, b, min(o.mr, rows-i), trialPairs, n == 1, &h)
		}
		for i := range rows {
			out = append(out, y[i*o.nr:][:cols]...)
			if n < 2 {
				out = append(out, c[i*o.nr:][:cols]...)
			}
		}
	}
	return out
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

// four computes two panels of each of four runs of one row.
func (t *trial) four(o *ops, d tensor.DType) []float32 {
	if o.four == nil {
		return nil
	}
	const panels = 2
	var w [4][]byte
	for i := range w {
		w[i] = t.weights(d, panels*trialDepth*panelCols)
	}
	y := t.floats(4 * panels * panelCols)
	o.four(d, y, panels*panelCols, t.floats(trialDepth), &w, trialDepth, panels)
	return y
}

// fourDots computes two rows of each of four runs, in each type.
func (t *trial) fourDots(o *ops) (y []float32) {
	if o.fourDots == nil {
		return nil
	}
	const outs = 2
	for _, d := range [...]tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
		var w [4][]byte
		for i := range w {
			w[i] = t.weights(d, outs*trialDepth)
		}
		y = append(y, make([]float32, 4*outs)...)
		o.fourDots(d, y[len(y)-4*outs:], outs, t.floats(trialDepth), &w, outs)
	}
	return y
}

func (t *trial) fourBlocks(o *ops, d tensor.DType) []float32 {
	if o.fourBlocks == nil {
		return nil
	}
	const n, panels = 2, 2
	x := make([]generic.Block, n)
	generic.Quantize(x, t.floats(n*tensor.QuantBlock), d)
	var w [4][]byte
	for i := range w {
		w[i] = t.panels(d, n*tensor.QuantBlock, panels*panelOuts)
	}
	y := make([]float32, 4*panels*panelOuts)
	o.fourBlocks(d, y, panels*panelOuts, x, &w, panels)
	return y
}

// fourTiles computes two panels of each of four runs, and one more.
func (t *trial) fourTiles(o *ops) []float32 {
	if o.tiles == nil || o.tiles.four == nil || o.tiles.alone == nil {
		return nil
	}
	const depth, steps, panels = 40, 2, 2
	x := alignedBytes(steps * 64)
	o.tiles.packStream(x, t.floats(depth), depth, 1, depth)
	var w [4][]byte
	for i := range w {
		w[i] = alignedBytes(panels * steps * generic.StepBytes)
		o.tiles.pack(tensor.BF16, false, w[i], t.weights(tensor.BF16, depth*panels*32), panels*64, depth, panels*32)
	}
	y := t.floats(5 * panels * 32)
	o.tiles.four(y, panels*32, x, &w, steps, panels)
	o.tiles.alone(y[4*panels*32:], x, w[1], steps)
	return y
}

// few multiplies a few rows of blocks, as many as every kernel takes, with pairs of panels.
func (t *trial) few(o *ops, d tensor.DType) []float32 {
	const n = 2
	if !o.fewOf(generic.FewRows, d) {
		return nil
	}
	var out []float32
	for _, rows := range [...]int{2, 3, 6, 8} {
		pairs := 1 + rows%2
		cols := pairs * panelOuts
		x := make([]generic.Block, generic.FewRows*n)
		generic.Quantize(x[:rows*n], t.floats(rows*n*tensor.QuantBlock), d)
		w, y, bias := t.panels(d, n*tensor.QuantBlock, 2*cols), t.floats(rows*2*cols), t.floats(2*cols)
		p := generic.FewProduct{
			DType: d, Y0: y, Y1: y[cols:], LDY: 2 * cols, X: x, Rows: rows, W0: w, W1: w[len(w)/2:], Pairs: pairs,
			Bias0: bias, Bias1: bias[cols:], Add: rows != 3, Work: alignedBytes(generic.FewWork),
		}
		o.fewBlocks(&p)
		out = append(out, y...)
	}
	return out
}
