package generic

// TileStream is the product of a few rows with two runs of panels, each as PackTiles writes
// them, that stream by.
type TileStream struct {
	X     []byte // as PackStream writes it
	Rows  int    // at most 16
	Steps int

	Panels int
	W      [2][]byte
	Start  [2][]float32 // [panels][32], what sums start with
	C      [2][]float32 // [panels][32] of each row, overwritten
	Ld     int          // the distance of its rows
}

// PackStream rounds rows of x to bfloat16 as PackRowTiles does and writes them as
// [steps][rows][32].
func PackStream(dst []byte, x []float32, ldx, rows, depth int) {
	n := steps(depth)
	tiles := make([]byte, n*StepBytes)
	PackRowTiles(tiles, x, ldx, rows, depth)
	for s := range n {
		copy(dst[s*rows*64:][:rows*64], tiles[s*StepBytes:])
	}
}

// StreamTiles computes p. Sums are as in MultiplyTiles.
func StreamTiles(p *TileStream) {
	a := make([]byte, p.Steps*StepBytes)
	for s := range p.Steps {
		copy(a[s*StepBytes:][:p.Rows*64], p.X[s*p.Rows*64:])
	}
	c := make([]float32, 16*TileStep)
	for i, w := range p.W {
		for j := range p.Panels {
			MultiplyTiles(c, p.Start[i][j*TileStep:], 0, a, len(a), w[j*p.Steps*StepBytes:], p.Steps, 1)
			for r := range p.Rows {
				copy(p.C[i][r*p.Ld+j*TileStep:][:TileStep], c[r*TileStep:])
			}
		}
	}
}
