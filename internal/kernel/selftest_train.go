package kernel

// adamW takes a step of the optimizer.
func (t *trial) adamW(o *ops) []float32 {
	p, m, v, g := t.floats(37), t.floats(37), t.floats(37), t.floats(37)
	for i, x := range v {
		v[i] = x * x
	}
	o.adamW(p, m, v, g, &[8]float32{0.5, 0.1, 0.95, 0.05, 0.3, 1e-8, 0.999, 0.01})
	return append(append(p, m...), v...)
}
