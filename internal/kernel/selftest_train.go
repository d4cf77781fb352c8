package kernel

import (
	"math"
	"slices"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// training runs the elementwise kernels of training.
func (t *trial) training(o *ops) []float32 {
	const n = 37
	f := func() []float32 { return t.floats(n) }
	var all []float32
	p, m, v, g := f(), f(), f(), f()
	for i, x := range v {
		v[i] = x * x
	}
	o.train.adamW(p, m, v, g, &[8]float32{0.5, 0.1, 0.95, 0.05, 0.3, 1e-8, 0.999, 0.01})
	all = slices.Concat(p, m, v)

	var squares [16]float64
	o.train.squares(&squares, p)
	for _, v := range squares {
		all = append(all, float32(v))
	}
	e, dy, half := f(), f(), f()
	o.train.gateArgument(e, p, 1.6, 0.07)
	o.train.gateSlope(dy, p, v, 1.6, 0.21)
	o.train.softmaxGrad(g, p, 0.3, 0.125)
	o.train.round(tensor.BF16, m)
	o.train.round(tensor.F16, half)
	all = slices.Concat(all, e, dy, g, m, half)

	sum, out, gain, bias := f(), f(), f(), f()
	var lanes [32]float32
	o.train.addRows(sum, t.floats(3*n), n, 3)
	o.train.normSums(&lanes, dy, p, g, 0.1, 1.5)
	o.train.normSlope(out, dy, p, g, 0.1, 1.5, 0.2, 0.3)
	o.train.normColumns(gain, bias, t.floats(2*n), t.floats(2*n), t.floats(4), n, 2)
	turned := make([]float32, 11*48)
	o.train.transpose(turned, 48, t.floats(n*11), 11, n, 11)
	dropped := f()
	o.train.dropout(dropped, 0x123456789abcdef, 1<<30, 4.0/3)
	return slices.Concat(all, sum, out, gain, bias, lanes[:], turned, dropped)
}

// multiplyFloats multiplies pairs of bf16 that were packed from float32.
func (t *trial) multiplyFloats(o *ops) []float32 {
	if o.pairs == nil || o.train.packFloats == nil {
		return nil
	}
	x, ld := t.pairs(o, trialRows), roundUp(trialCols, o.nr)
	b, c := alignedPairs(ld*trialPairs), make([]float32, trialRows*ld)
	o.train.packFloats(b, t.floats(trialDepth*trialCols), trialCols, trialDepth, trialCols)
	for j := 0; j < ld; j += o.nr {
		o.pairs.multiply(c[j:], ld, x, trialPairs, b[j*trialPairs:], trialRows, trialPairs, false)
	}
	var out []float32
	for r := range trialRows {
		out = append(out, c[r*ld:][:trialCols]...)
	}
	return out
}

// trainTiles packs and multiplies by tiles what training does: rows or columns of x,
// in float32 or bfloat16, times columns of float32, written in all ways.
func (t *trial) trainTiles(o *ops) []float32 {
	if o.tiles == nil {
		return nil
	}
	const rows, depth, step = 5, 40, generic.TileStep
	steps, panels := ceilDiv(depth, step), ceilDiv(trialCols, step)
	bytes, ld := steps*generic.StepBytes, panels*step
	b, w := alignedBytes(panels*bytes), t.weights(tensor.F32, depth*trialCols)
	var out []float32
	for form := range 4 {
		d, turned := [...]tensor.DType{tensor.F32, tensor.BF16}[form&1], form&2 > 0
		a, c, start := alignedBytes(bytes), alignedFloats(step*ld), t.floats(ld)
		stride := depth * d.Size()
		if turned {
			stride = rows * d.Size()
		}
		o.tiles.rows(d, turned, a, t.weights(d, rows*depth), stride, rows, depth)
		if turned {
			o.tiles.pack(tensor.F32, true, b, w, depth*4, depth, trialCols)
		} else {
			for s := range steps {
				o.tiles.packStep(tensor.F32, b[s*generic.StepBytes:], bytes, w[s*step*trialCols*4:], trialCols*4, min(step, depth-s*step), trialCols)
			}
		}
		tile := alignedBytes(generic.StepBytes)
		o.tiles.packStep(tensor.BF16, tile, 0, t.weights(tensor.BF16, step*step), 2*step, step, step)
		out = append(out, unpack(tile, 1, step)...)
		// In two parts, the second on top of the first.
		o.tiles.panels(c, ld, start, 0, a, b, bytes, panels, 1, nil)
		o.tiles.panels(c, ld, c, ld, a[generic.StepBytes:], b[generic.StepBytes:], bytes, panels, steps-1, nil)
		for way := range 4 {
			y, half := t.floats(rows*trialCols), t.weights(tensor.BF16, rows*trialCols)
			o.tiles.finish(tensor.F32, way&1 > 0, way&2 > 0, true, tensor.Bytes(y), trialCols*4, c, ld, rows, trialCols)
			o.tiles.finish(tensor.BF16, true, way&2 > 0, true, half, trialCols*2, c, ld, rows, trialCols)
			wide := make([]float32, rows*trialCols)
			tensor.ToFloat32(wide, tensor.BF16, half)
			o.tiles.addRows(y[:3], []uint16{0x3f80, 0x4000, 0xbf80, 0x4040}, 1, 2)
			out = slices.Concat(out, y, wide, t.trainRows(o, a, b, start, way))
		}
	}
	return out
}

// trainRows multiplies what is packed, of a depth of two steps, in a way: to float32,
// added, rounded, or to bfloat16; with an activation, or times its derivative.
func (t *trial) trainRows(o *ops, a, b []byte, start []float32, way int) []float32 {
	const rows = 5
	panels := ceilDiv(trialCols, generic.TileStep)
	c := alignedFloats(max(2, panels) * blockFloats)
	p := generic.Rows{A: a, B: b, BStride: 2 * generic.StepBytes, Steps: 1, Panels: panels, Start: start, C: c, Rows: rows, Cols: trialCols}
	if way == 1 {
		p.Start = nil
	}
	o.tiles.multiplyRows(&p)
	y := t.floats(rows * trialCols)
	p.A, p.B, p.Start, p.Again, p.C = a[generic.StepBytes:], b[generic.StepBytes:], slices.Clone(c), true, alignedFloats(2*blockFloats)
	p.DType, p.Y, p.LdY, p.YStride, p.Add, p.Round = tensor.F32, tensor.Bytes(y), trialCols*4, generic.TileStep*4, way == 1, way == 2
	if way < 3 {
		if o.tiles.multiplyRows(&p); way == 0 {
			y = append(y, float32(math.Sqrt(p.Squares)))
		}
		return y
	}
	half, act, slope := t.weights(tensor.BF16, rows*trialCols), t.weights(tensor.BF16, rows*trialCols), t.weights(tensor.BF16, rows*trialCols)
	p.DType, p.Y, p.LdY, p.YStride, p.GateA, p.GateB = tensor.BF16, half, trialCols*2, generic.TileStep*2, 1.5, 0.1
	out := make([]float32, rows*trialCols)
	for i := range 4 {
		p.Act, p.Slope, p.Parts = [][]byte{nil, act, nil, nil}[i], [][]byte{nil, nil, slope, slope}[i], i == 3
		o.tiles.multiplyRows(&p)
		for _, v := range [][]byte{half, act} {
			tensor.ToFloat32(out, tensor.BF16, v)
			y = append(y, out...)
		}
	}
	return y
}

// trainAttention takes scores of keys back, plainly and with some of them dropped.
func (t *trial) trainAttention(o *ops) (out []float32) {
	if o.tiles == nil {
		return nil
	}
	const panels, n = 2, 2 * blockFloats
	for form := range 3 {
		s, g, lse, delta := t.floats(n), t.floats(n), t.floats(panels*generic.TileStep), t.floats(panels*generic.TileStep)
		keep := t.floats(n)
		for i := range keep {
			if i%3 == 0 {
				keep[i] = 0
			}
		}
		p, d := alignedBytes(panels*generic.StepBytes), alignedBytes(panels*generic.StepBytes)
		if form == 2 {
			o.tiles.slopes(p, d, s, g, lse, delta, keep, panels, true, 0.3)
			o.tiles.keep(p, keep)
		} else {
			o.tiles.slopes(p, d, s, g, lse, delta, nil, panels, form == 1, 0.3)
		}
		dots := make([]float32, 3)
		o.tiles.dots(dots, p, d, 128, 45)
		out = slices.Concat(out, unpack(p, panels, generic.TileStep), unpack(d, panels, generic.TileStep), dots)
	}
	return out
}
