package generic

import "github.com/gptctl/gptctl/internal/tensor"

// Rows is 32 rows of a product of training and what becomes of them.
type Rows struct {
	A             []byte // a step after the other, as PackRows writes them
	B             []byte // panels, as PackTiles writes them, that begin
	BStride       int    // so many bytes after the one before
	Steps, Panels int

	// Start is what the columns start with (nil: zeros); or, Again, their sums so far,
	// which are blocks of 32 × 32 as in C.
	Start []float32
	Again bool

	// C is where sums stay, if there is no Y; else two blocks to work in, or one for a
	// single panel. It may be Start.
	C []float32

	DType      tensor.DType
	Y          []byte // rows, LdY bytes apart, that are overwritten
	LdY        int
	YStride    int // bytes from those of a panel to the next one's
	Rows, Cols int
	Add        bool // or added to, of float32
	Round      bool // float32 is rounded to bfloat16, before it is added
	Past       bool // a hint: Y is not read soon

	// Of bfloat16: Act is overwritten with Gate of what Y gets; or that is multiplied by
	// Gate's derivative at Slope, or in Parts as GateParts has it. Both lie like Y.
	Act, Slope   []byte
	GateA, GateB float32
	Parts        bool

	// Squares is overwritten with the sum of the squares of a Y of float32 that is not
	// added to.
	Squares float64

	Next [2][]byte // what is read next, a hint: it is brought to the second-level cache
}

// MultiplyRows computes p. Sums are as in MultiplyTiles.
func MultiplyRows(p *Rows) {
	const block = TileStep * TileStep
	c := p.C
	if p.Y != nil {
		c = make([]float32, p.Panels*block)
	}
	p.Squares = 0
	var zeros [TileStep]float32
	for i := range p.Panels {
		start, ld := zeros[:], 0
		switch {
		case p.Again:
			start, ld = p.Start[i*block:], TileStep
		case p.Start != nil:
			start = p.Start[i*TileStep:]
		}
		MultiplyTiles(c[i*block:], start, ld, p.A, 0, p.B[i*p.BStride:], p.Steps, 2)
		if p.Y != nil {
			at, cols := i*p.YStride, min(TileStep, p.Cols-i*TileStep)
			Finish(p.DType, p.Round, p.Add, false, p.Y[at:], p.LdY, c[i*block:], TileStep, p.Rows, cols)
			for r := range p.Rows {
				for _, v := range c[i*block+r*TileStep:][:cols] {
					if p.Round {
						v = tensor.BF16ToFloat32(roundBF16(v))
					}
					p.Squares += float64(v) * float64(v)
				}
				if p.Act != nil || p.Slope != nil {
					p.activate(at+r*p.LdY, cols)
				}
			}
		}
	}
}

// PackStep is PackTiles of a depth of one step or less, of which those of a panel
// begin so many bytes after those of the panel before.
func PackStep(d tensor.DType, dst []byte, panel int, w []byte, stride, depth, cols int) {
	for c := 0; c < cols; c += TileStep {
		PackTiles(d, false, dst[c/TileStep*panel:], w[c*d.Size():], stride, depth, min(TileStep, cols-c))
	}
}

// activate is what follows for some columns of a row, which begin at a byte.
func (p *Rows) activate(at, cols int) {
	var v, x, e [TileStep]float32
	y := p.Y[at:][:2*cols]
	tensor.ToFloat32(v[:cols], tensor.BF16, y)
	switch {
	case p.Act != nil:
		Gate(v[:cols], p.GateA, p.GateB)
		Finish(tensor.BF16, true, false, false, p.Act[at:], 0, v[:cols], 0, 1, cols)
	case p.Slope != nil:
		tensor.ToFloat32(x[:cols], tensor.BF16, p.Slope[at:][:2*cols])
		GateArgument(e[:cols], x[:cols], p.GateA, p.GateB)
		ExpSum(e[:cols], 0)
		if p.Parts {
			GateParts(v[:cols], x[:cols], e[:cols], p.GateA, 3*p.GateB, tensor.BF16)
		} else {
			GateSlope(v[:cols], x[:cols], e[:cols], p.GateA, 3*p.GateB)
		}
		Finish(tensor.BF16, true, false, false, y, 0, v[:cols], 0, 1, cols)
	}
}
