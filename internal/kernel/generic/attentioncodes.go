package generic

import (
	"encoding/binary"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Keys and values in codes of Q8_0 come in panels of 32 positions, dim a multiple of 32:
// keys as two panels of a weight with 16 outputs, values as float16 scales [dim/32][32] and
// codes [32][dim].
const codePositions = 2 * PanelOuts

// CodeScores is Products of one row with panels of 16 keys.
func CodeScores(s []float32, x []Block, k []byte, panels int, _ *Asks) {
	Products(tensor.Q8_0, s, 0, x, 1, k, panels)
}

// WidenKeys makes numbers [dim][32] of a panel of keys.
func WidenKeys(dst []float32, panel []byte, dim int) {
	n, size := dim/tensor.QuantBlock, PanelBlock(tensor.Q8_0)
	var block [40]byte
	var v [tensor.QuantBlock]float32
	for i := range codePositions {
		for b := range n {
			GetBlock(tensor.Q8_0, block[:], panel[(i/PanelOuts*n+b)*size:][:size], i%PanelOuts)
			tensor.ToFloat32(v[:], tensor.Q8_0, block[:])
			for j, x := range v {
				dst[(b*tensor.QuantBlock+j)*codePositions+i] = x
			}
		}
	}
}

// WidenValues makes numbers [32][dim] of a panel of values.
func WidenValues(dst []float32, panel []byte, dim int) {
	for i := range codePositions {
		for j := 0; j < dim; j += tensor.QuantBlock {
			widenValue(dst[i*dim+j:][:tensor.QuantBlock], panel, i, j, dim)
		}
	}
}

// widenValue makes numbers of a block, which begins at column j, of position i.
func widenValue(dst []float32, panel []byte, i, j, dim int) {
	scale := tensor.F16ToFloat32(binary.LittleEndian.Uint16(panel[codePositions*j/16+2*i:]))
	for c, code := range panel[codePositions*dim/16+i*dim+j:][:len(dst)] {
		dst[c] = scale * float32(int8(code))
	}
}

// CodeValues is Values of panels of codes.
func CodeValues(out, p []float32, v []byte, dim int, _ *Asks) {
	panel := codePositions * tensor.Q8_0.Bytes(dim)
	var row [tensor.QuantBlock]float32
	for i, x := range p {
		for j := 0; j < dim; j += len(row) {
			widenValue(row[:], v[i/codePositions*panel:][:panel], i%codePositions, j, dim)
			for c, y := range row {
				out[j+c] += float32(x * y)
			}
		}
	}
}
