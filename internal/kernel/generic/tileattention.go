package generic

import "encoding/binary"

// CrossTiles computes c[i] = a·b[i] for 32 rows, as PackRowTiles writes them, and
// panels of 32 columns that begin stride bytes apart. c is [panels][32][32].
func CrossTiles(c []float32, a, b []byte, stride, steps, panels int) {
	zero := make([]float32, TileStep)
	for i := range panels {
		MultiplyTiles(c[i*TileStep*TileStep:], zero, 0, a, steps*StepBytes, b[i*stride:], steps, 2)
	}
}

// SoftmaxTile takes the first n scores of a row, 32 in a row of each of some
// panels [32][32], and writes exp(scale·s - the largest) as a row of steps, rounded
// to bfloat16, and zeros behind. It returns the sum of what was rounded, of sixteen
// lanes for the even halves of the panels and sixteen for the odd.
func SoftmaxTile(dst []byte, s []float32, panels, n int, scale float32) float32 {
	row := make([]float32, panels*TileStep)
	for i := range n {
		row[i] = s[i/TileStep*TileStep*TileStep+i%TileStep]
	}
	p := row[:n]
	largest := ScaleMax(p, scale)
	ExpSum(p, largest)
	var even, odd [16]float32
	for i, v := range row {
		if i%TileStep < 16 {
			even[i%16] += v
		} else {
			odd[i%16] += v
		}
		binary.LittleEndian.PutUint16(dst[i/TileStep*StepBytes+i%TileStep*2:], roundBF16(v))
	}
	for i := range even {
		even[i] += odd[i]
	}
	return tree(&even)
}

// ScaleTile multiplies each row of c [rows][32] by a number and writes cols of it
// to rows of y.
func ScaleTile(y []float32, ldy int, c, by []float32, rows, cols int) {
	for r := range rows {
		for i, v := range c[r*TileStep:][:cols] {
			y[r*ldy+i] = v * by[r]
		}
	}
}

// NarrowTile is ScaleTile to a step of tiles, rounded to bfloat16.
func NarrowTile(dst []byte, c, by []float32, rows int) {
	for r := range rows {
		for i, v := range c[r*TileStep:][:TileStep] {
			binary.LittleEndian.PutUint16(dst[r*64+i*2:], roundBF16(v*by[r]))
		}
	}
}

// TurnTile transposes 32 rows of 32 numbers of 16 bits.
func TurnTile(dst, src []byte) {
	for r := range TileStep {
		for i := range TileStep {
			copy(dst[i*64+r*2:][:2], src[r*64+i*2:])
		}
	}
}
