package kernel

import (
	"slices"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// What a matrix unit does beside plain products, see selfChecks. What is rounded to
// bfloat16 may come out as its neighbour.

// unpack returns rows of steps as float32.
func unpack(a []byte, steps, rows int) []float32 {
	y := make([]float32, rows*steps*generic.TileStep)
	for s := range steps {
		for r := range rows {
			tensor.ToFloat32(y[(r*steps+s)*generic.TileStep:][:generic.TileStep], tensor.BF16, a[s*generic.StepBytes+r*64:])
		}
	}
	return y
}

// streamTiles multiplies rows by two runs of panels.
func (t *trial) streamTiles(o *ops) []float32 {
	if o.tiles == nil {
		return nil
	}
	const depth, rows, panels = 40, 5, 2
	f := generic.TileStream{X: alignedBytes(2 * rows * 64), Rows: rows, Steps: 2, Panels: panels, Ld: panels * 32}
	o.tiles.packStream(f.X, t.floats(rows*depth), depth, rows, depth)
	for i := range f.W {
		f.W[i], f.Start[i], f.C[i] = alignedBytes(panels*2*generic.StepBytes), t.floats(panels*32), alignedFloats(rows*panels*32)
		o.tiles.pack(tensor.BF16, false, f.W[i], t.weights(tensor.BF16, depth*panels*32), panels*64, depth, panels*32)
	}
	o.tiles.stream(&f)
	return append(f.C[0], f.C[1]...)
}

// gatedTiles makes the x of the next product, of two tiles of rows and of one.
func (t *trial) gatedTiles(o *ops) []float32 {
	if o.tiles == nil {
		return nil
	}
	const depth, rows = 40, 35
	a, b, next := alignedBytes(4*generic.StepBytes), alignedBytes(2*generic.StepBytes), alignedBytes(2*generic.StepBytes)
	x := t.floats(rows * depth)
	o.tiles.packRows(a, x, depth, 32, depth)
	o.tiles.packRows(a[2*generic.StepBytes:], x[32*depth:], depth, rows-32, depth)
	o.tiles.pack(tensor.BF16, true, b, t.weights(tensor.BF16, 32*depth), depth*2, depth, 32)
	o.tiles.product(&generic.Product{
		A: a, AStride: 2 * generic.StepBytes, B: b, Steps: 2, Rows: rows, Start: t.floats(32), C: alignedFloats(workFloats),
		Tiles: next, TileStride: generic.StepBytes, Cols: 32, Gate: true, GateA: 1.5957691, GateB: 0.07135481,
	})
	return append(unpack(next, 1, 32), unpack(next[generic.StepBytes:], 1, rows-32)...)
}

// tileAttention is one block of attention, its output as floats and as tiles.
func (t *trial) tileAttention(o *ops) []float32 {
	if o.tiles == nil {
		return nil
	}
	const panels, dim, rows, last = 2, 40, 9, 43
	q, k, v, p := alignedBytes(2*generic.StepBytes), alignedBytes(4*generic.StepBytes), alignedBytes(4*generic.StepBytes), alignedBytes(panels*generic.StepBytes)
	s, out, y, narrow := alignedFloats(panels*32*32), alignedFloats(2*32*32), make([]float32, rows*dim), alignedBytes(generic.StepBytes)
	o.tiles.packRows(q, t.floats(rows*dim), dim, rows, dim)
	for i := range panels {
		o.tiles.pack(tensor.F16, false, k[i*2*generic.StepBytes:], t.weights(tensor.F16, dim*32), 64, dim, 32)
	}
	o.tiles.pack(tensor.F16, false, v, t.weights(tensor.F16, last*dim), dim*2, last, dim)
	o.tiles.cross(s, q, k, 2*generic.StepBytes, 2, panels)
	sums, most, lens := make([]float32, rows), make([]float32, rows), make([]int, rows)
	for r := range rows {
		lens[r] = last - r
	}
	o.tiles.softmax(p, s, sums, most, lens, panels, 0.1)
	o.tiles.cross(out, p, v, panels*generic.StepBytes, panels, 2)
	o.tiles.scale(y, dim, out, sums, rows, 32)
	o.tiles.scale(y[32:], dim, out[32*32:], sums, rows, dim-32)
	o.tiles.narrow(narrow, 64, out, sums, rows, 32)
	return slices.Concat(y, sums, most, unpack(narrow, 1, rows))
}

// meanwhile is what a product packs beside itself.
func (t *trial) meanwhile(o *ops, d tensor.DType) []float32 {
	if o.tiles == nil {
		return nil
	}
	const steps, rows = 2, 35
	a, b, dst := alignedBytes(4*generic.StepBytes), alignedBytes(steps*generic.StepBytes), alignedBytes(steps*generic.StepBytes)
	pack := generic.Packing{
		DType: d, Dst: dst, Steps: steps,
		Src: t.panels(d, steps*generic.TileStep, generic.TileStep), Stride: PackedBytes(d, steps*generic.TileStep, panelOuts),
	}
	o.tiles.product(&generic.Product{
		A: a, AStride: 2 * generic.StepBytes, B: b, Steps: steps, Rows: rows, Start: t.floats(32), C: alignedFloats(48 * 32), Pack: pack,
	})
	return unpack(dst, steps, 32)
}

// normTile is the layer norm of a few rows of two blocks.
func (t *trial) normTile(o *ops) []float32 {
	if o.tiles == nil {
		return nil
	}
	const rows, width = 9, 64
	dst := alignedBytes(2 * generic.StepBytes)
	o.tiles.norm(dst, t.floats(BlockFloats(rows, width)), t.floats(width), t.floats(width), rows, 1e-5, 0)
	return unpack(dst, 2, 32)
}

// gate is the activation of a few rows.
func (t *trial) gate(o *ops) []float32 {
	if o.tiles == nil {
		return nil
	}
	x := t.floats(37)
	o.tiles.gate(x, 1.5957691, 0.07135481)
	return x
}

// halfTiles are results in float16.
func (t *trial) halfTiles(o *ops) []float32 {
	if o.tiles == nil {
		return nil
	}
	a, b, next := alignedBytes(generic.StepBytes), alignedBytes(generic.StepBytes), alignedBytes(generic.StepBytes)
	o.tiles.packRows(a, t.floats(9*32), 32, 9, 32)
	o.tiles.pack(tensor.BF16, true, b, t.weights(tensor.BF16, 32*32), 64, 32, 32)
	o.tiles.product(&generic.Product{
		A: a, AStride: generic.StepBytes, B: b, Steps: 1, Rows: 9, Start: t.floats(32), C: alignedFloats(workFloats),
		Tiles: next, TileStride: generic.StepBytes, Cols: 32, Half: true,
	})
	y := make([]float32, 9*32)
	tensor.ToFloat32(y, tensor.F16, next[:9*64])
	return y
}

// turnTile is a step that is transposed.
func (t *trial) turnTile(o *ops) []float32 {
	if o.tiles == nil {
		return nil
	}
	dst := alignedBytes(generic.StepBytes)
	o.tiles.turn(dst, t.weights(tensor.BF16, 32*32))
	return unpack(dst, 1, 32)
}
