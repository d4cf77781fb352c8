package kernel

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

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

func (t *trial) codeScores(o *ops) []float32 {
	if o.codeScores == nil {
		return nil
	}
	const n, panels = 2, 3
	x, s := make([]generic.Block, n), make([]float32, panels*panelOuts)
	o.quantize(x, t.floats(n*tensor.QuantBlock), tensor.Q8_0)
	o.codeScores(s, x, t.panels(tensor.Q8_0, n*tensor.QuantBlock, panels*panelOuts), panels, nil)
	return s
}

const trialCoded = 96 // numbers of a head: a pair of blocks and one alone

func (t *trial) codeValues(o *ops) []float32 {
	if o.codeValues == nil {
		return nil
	}
	const positions = KVPanel + 7
	out, p := t.floats(trialCoded), t.floats(positions)
	for i, x := range p {
		p[i] = x * x // not negative
	}
	_, v := t.positions(new(ops), trialCoded, positions)
	o.codeValues(out, p, v, trialCoded, nil)
	return out
}

func (t *trial) codeHeads(o *ops) []float32 {
	if o.codeHeads == nil {
		return nil
	}
	const n, heads, dim = KVPanel + 9, 2, generic.CodedHead
	k, v := t.positions(new(ops), dim, heads*2*KVPanel) // that many of each
	q := make([]generic.Block, heads*dim/tensor.QuantBlock)
	generic.Quantize(q, t.floats(heads*dim), tensor.Q8_0)
	out := make([]float32, heads*dim)
	o.codeHeads(&generic.CodeHeads{
		Out: out, S: alignedFloats(heads * roundUp(n, KVPanel)), Q: q, K: k, V: v, StepK: len(k) / heads, StepV: len(v) / heads,
		N: n, Heads: heads, Scale: 0.125,
	})
	return out
}

func (t *trial) putCodes(o *ops) (all []float32) {
	if o.putCodes == nil {
		return nil
	}
	k, v := t.positions(o, trialCoded, KVPanel)
	for _, b := range append(k, v...) {
		all = append(all, float32(b))
	}
	return all
}

// positions returns keys and values in codes, as o stores them.
func (t *trial) positions(o *ops, dim, n int) (k, v []byte) {
	s := AttentionShape{Heads: 1, HeadDim: dim, DType: tensor.Q8_0}
	k, v = alignedBytes(s.KeyBytes(n)), alignedBytes(s.ValueBytes(n))
	key, value := make([]generic.Block, dim/tensor.QuantBlock), make([]generic.Block, dim/tensor.QuantBlock)
	for i := range n {
		generic.Quantize(key, t.floats(dim), s.DType)
		generic.Quantize(value, t.floats(dim), s.DType)
		o.putPosition(k, v, key, value, i)
	}
	return k, v
}

func (t *trial) widenCodes(o *ops) []float32 {
	if o.widenKeys == nil {
		return nil
	}
	k, v := make([]float32, KVPanel*trialCoded), make([]float32, KVPanel*trialCoded)
	codes, values := t.positions(new(ops), trialCoded, KVPanel)
	o.widenKeys(k, codes, trialCoded)
	o.widenValues(v, values, trialCoded)
	return append(k, v...)
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
	for i := range o.mr {
		o.multiply(want[i*o.nr:], o.nr, a[i*o.mr:], o.mr, b, o.nr, 1, i, true)
	}
	return []float32{farthest(c, want)}
}

// crossMax is compared with multiply and scaleMax in the same way, weigh with multiply
// and scale.
func (t *trial) crossMax(o *ops) []float32 {
	if o.crossMax == nil {
		return nil
	}
	const panels, ld, scale = 3, 3*KVPanel + 1, -0.7
	dim := 2 * o.nr
	q, k, most := t.floats(o.mr*dim), t.floats(panels*dim*KVPanel), t.floats(16*o.mr)
	got, want := make([]float32, o.mr*ld), make([]float32, o.mr*ld)
	o.crossMax(got, ld, q, dim, k, dim, panels, scale, most, make([]generic.Walk, panels))
	for j := 0; j < panels*KVPanel; j += o.nr {
		o.multiply(want[j:], ld, q, dim, k[j/KVPanel*dim*KVPanel+j%KVPanel:], KVPanel, o.mr, dim, false)
	}
	for i := range o.mr {
		got = append(got, most[i])
		want = append(want, o.scaleMax(want[i*ld:][:panels*KVPanel], scale))
	}
	return []float32{farthest(got, want)}
}

func (t *trial) weigh(o *ops) []float32 {
	if o.weigh == nil {
		return nil
	}
	const n = 7
	ld := n + o.mr
	p, v, by := t.floats(o.mr*ld), t.floats(ld*o.nr), t.floats(o.mr)
	got, want := make([]float32, o.mr*o.nr), make([]float32, o.mr*o.nr)
	o.weigh(got, o.nr, p, ld, v, o.nr, n, by)
	for i := range o.mr {
		row := want[i*o.nr:][:o.nr]
		o.multiply(row, o.nr, p[i*ld:], ld, v, o.nr, 1, n+i, false)
		o.scale(row, by[i])
	}
	return []float32{farthest(got, want)}
}

// farthest is how far two vectors are apart where they are most.
func farthest(a, b []float32) float32 {
	worst := float32(0)
	for i := range a {
		worst = max(worst, a[i]-b[i], b[i]-a[i])
	}
	return worst
}
