//go:build !noasm

package amx

// StreamRow adds a row of x times panels of each of four runs to 32 elements of y for each
// panel, those of runs ld apart. It needs no matrix unit.
func StreamRow(y []float32, ld int, x []byte, w *[4][]byte, steps, panels int) {
	if steps == 0 || panels == 0 {
		return
	}
	_, _ = y[3*ld+panels*step-1], x[64*steps-1]
	for _, w := range w {
		_ = w[panels*steps*stepBytes-1]
	}
	streamRow(&y[0], uintptr(4*ld), &x[0], &w[0][0], &w[1][0], &w[2][0], &w[3][0], steps, panels)
}

// StreamRowAlone adds a row of x times one panel to y.
func StreamRowAlone(y []float32, x, w []byte, steps int) {
	if steps == 0 {
		return
	}
	_, _, _ = y[step-1], x[64*steps-1], w[steps*stepBytes-1]
	streamRowAlone(&y[0], &x[0], &w[0], steps)
}

//go:noescape
func streamRow(y *float32, ld uintptr, x, w0, w1, w2, w3 *byte, steps, panels int)

//go:noescape
func streamRowAlone(y *float32, x, w *byte, steps int)
