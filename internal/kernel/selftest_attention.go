package kernel

import "github.com/gptctl/gptctl/internal/tensor"

// What attention needs beside products, see selfChecks. A run returns nil where
// the family has none of its own.

func (t *trial) scores(o *ops, d tensor.DType) []float32 {
	if o.scores == nil {
		return nil
	}
	const panels = 2
	s := make([]float32, panels*KVPanel)
	o.scores(d, s, t.floats(trialDepth), t.weights(d, panels*trialDepth*KVPanel), panels, trialDepth, nil)
	return s
}

func (t *trial) scoreRows(o *ops, d tensor.DType) (all []float32) {
	if o.scoreRows == nil {
		return nil
	}
	const dim = 40
	s, q, k := make([]float32, KVPanel), t.floats(dim), t.weights(d, KVPanel*dim)
	for _, n := range []int{3, 11, 24, KVPanel} {
		o.scoreRows(d, s, q, k, n, dim, nil)
		all = append(all, s[:n]...)
	}
	return all
}

func (t *trial) values(o *ops, d tensor.DType) []float32 {
	if o.values == nil {
		return nil
	}
	const positions, dim = 9, 96 // whole panels of every family
	out := t.floats(dim)
	o.values(d, out, t.floats(positions), t.weights(d, positions*dim), dim, nil)
	return out
}

func (t *trial) narrow(o *ops, d tensor.DType) []float32 {
	if o.narrow == nil {
		return nil
	}
	v := t.floats(trialCols)
	b := make([]byte, len(v)*d.Size())
	o.narrow(d, b, v)
	tensor.ToFloat32(v, d, b)
	return v
}

func (t *trial) widen(o *ops, d tensor.DType) []float32 {
	if o.widen == nil {
		return nil
	}
	v := make([]float32, trialCols)
	o.widen(d, v, t.weights(d, len(v)))
	return v
}

// triangle returns how far the tile is from what multiply makes of each row:
// tiles of families differ in size.
func (t *trial) triangle(o *ops) []float32 {
	if o.triangle == nil {
		return nil
	}
	a, b, c := t.floats(o.mr*o.mr), t.floats(o.mr*o.nr), t.floats(o.mr*o.nr)
	want := append([]float32(nil), c...)
	o.triangle(c, o.nr, a, o.mr, b, o.nr)
	worst := float32(0)
	for i := range o.mr {
		row := want[i*o.nr:][:o.nr]
		o.multiply(row, o.nr, a[i*o.mr:], o.mr, b, o.nr, 1, i, true)
		for j, w := range row {
			worst = max(worst, c[i*o.nr+j]-w, w-c[i*o.nr+j])
		}
	}
	return []float32{worst}
}
