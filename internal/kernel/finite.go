package kernel

// Finite reports whether no number of x is NaN or infinite.
func (c *CPU) Finite(x []float32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.train
	n := ceilDiv(len(x), elementPart)
	if cap(t.sums) < n {
		t.sums = make([]float64, n)
	}
	t.sums = t.sums[:n]
	c.parts(len(x), elementPart, 2*len(x), countOdd, loopData{x: x, sums: t.sums})
	for _, s := range t.sums {
		if s > 0 {
			return false
		}
	}
	return true
}

// countOdd counts what is not finite.
func countOdd(l *loop, _ *scratch, from, to int) {
	x, n := l.x[from:to], 0.0
	// In a sum they would stay; one that is finite, and most are, says that there
	// is none.
	if sum := l.c.ops.sum(x); sum*0 != 0 {
		for _, v := range x {
			if v*0 != 0 {
				n++
			}
		}
	}
	l.sums[from/elementPart] = n
}
