package kernel

import "github.com/gptctl/gptctl/internal/kernel/generic"

// adamW takes a step of the optimizer.
func (t *trial) adamW(o *ops) []float32 {
	p, m, v, g := t.floats(37), t.floats(37), t.floats(37), t.floats(37)
	for i, x := range v {
		v[i] = x * x
	}
	o.adamW(p, m, v, g, &[8]float32{0.5, 0.1, 0.95, 0.05, 0.3, 1e-8, 0.999, 0.01})
	return append(append(p, m...), v...)
}

func (t *trial) dropout(o *ops) []float32 {
	x := t.floats(37)
	o.dropout(x, 0x123456789abcdef, 1<<30, 4.0/3)
	return x
}

func (t *trial) slopes(o *ops) []float32 {
	d, x := t.floats(37), t.floats(37)
	e := make([]float32, len(x))
	k := generic.GateConstants(1.5957691, 0.07135481)
	o.gateArguments(e, x, &k)
	o.gateSlopes(d, x, e, &k)
	return append(d, e...)
}

func (t *trial) transposition(o *ops) []float32 {
	dst := make([]float32, 18*21)
	o.transpose(dst, 21, t.floats(19*20), 20, 19, 18)
	return dst
}
