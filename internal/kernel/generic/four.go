package generic

import "github.com/gptctl/gptctl/internal/tensor"

// Four adds x times panels of each of four runs of a matrix, [panels][depth][32], to 32
// elements of y for each panel; those of a run begin ld after those of the one before.
func Four(d tensor.DType, y []float32, ld int, x []float32, w *[4][]byte, depth, panels int) {
	const cols = 32
	size := depth * cols * d.Size()
	for i, run := range w {
		for j := range panels {
			Accumulate(d, y[i*ld+j*cols:], cols, x, depth, 1, depth, run[j*size:], cols*d.Size(), cols)
		}
	}
}

// FourDots computes the products of x with rows of each of four runs of an [out][in]
// weight of floats, as Four lays them out.
func FourDots(d tensor.DType, y []float32, ld int, x []float32, w *[4][]byte, outs int) {
	for i, run := range w {
		Dots(d, y[i*ld:], outs, x, 1, len(x), run, d.Size()*len(x), outs)
	}
}

// FourBlocks computes the products of a quantised row with panels of each of four runs,
// as Four lays them out.
func FourBlocks(d tensor.DType, y []float32, ld int, x []Block, w *[4][]byte, panels int) {
	for i, run := range w {
		Products(d, y[i*ld:], panels*PanelOuts, x, 1, run, panels)
	}
}

// StreamRow adds a row of x, as PackStream writes it, times panels of each of four runs of
// tiles to y, as Four lays it out. Sums are as in MultiplyTiles.
func StreamRow(y []float32, ld int, x []byte, w *[4][]byte, steps, panels int) {
	for i, run := range w {
		for j := range panels {
			StreamRowAlone(y[i*ld+j*TileStep:], x, run[j*steps*StepBytes:], steps)
		}
	}
}

// StreamRowAlone adds a row of x times one panel to y.
func StreamRowAlone(y []float32, x, w []byte, steps int) {
	p := TileStream{X: x, Rows: 1, Steps: steps, Panels: 1, W: [2][]byte{w, w}, Ld: TileStep}
	for i := range p.C {
		p.Start[i], p.C[i] = y[:TileStep], make([]float32, TileStep)
	}
	StreamTiles(&p)
	copy(y[:TileStep], p.C[0])
}
