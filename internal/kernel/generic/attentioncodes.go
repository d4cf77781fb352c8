package generic

import (
	"encoding/binary"
	"math"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Keys and values in codes of Q8_0 come in panels of 32 positions, dim a multiple of 32.
// Keys are two panels of a weight with 16 outputs. Values are float16 scales [dim/32][32]
// and codes [8][dim][4], so that four positions of a column lie together.
const codePositions = 2 * PanelOuts

// CodeScores is Products of one row with panels of 16 keys.
func CodeScores(s []float32, x []Block, k []byte, panels int, _ *Asks) {
	Products(tensor.Q8_0, s, 0, x, 1, k, panels)
}

// CodedHead is how many numbers a head of CodeHeads has.
const CodedHead = 64

// CodeHeads is attention of one row, some heads, to N positions.
type CodeHeads struct {
	Out          []float32 // [Heads][64]
	S            []float32 // room for scores of whole panels, [Heads][⌈N/32⌉][32]
	Q            []Block   // [Heads][2]
	K, V         []byte    // of the first head …
	StepK, StepV int       // … and so far from there of each other
	N, Heads     int
	Scale        float32
	NextK, NextV []byte // what is read next, a hint
}

// Attend computes out = softmax(scale·q·kᵀ)·v.
func (h *CodeHeads) Attend() {
	const blocks = CodedHead / tensor.QuantBlock
	for i := range h.Heads {
		out := h.Out[i*CodedHead:][:CodedHead]
		clear(out)
		if h.N > 0 {
			CodeScores(h.S, h.Q[i*blocks:][:blocks], h.K[i*h.StepK:], (h.N+PanelOuts-1)/PanelOuts, nil)
			sum := ExpSum(h.S[:h.N], ScaleMax(h.S[:h.N], h.Scale))
			CodeValues(out, h.S[:h.N], h.V[i*h.StepV:], CodedHead, nil)
			Scale(out, 1/sum)
		}
	}
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
	scale, codes := valueScale(panel, i, j), valueCodes(panel, i, j, dim)
	for c := range dst {
		dst[c] = scale * float32(int8(codes[4*c]))
	}
}

func valueScale(panel []byte, i, j int) float32 {
	return tensor.F16ToFloat32(binary.LittleEndian.Uint16(panel[codePositions*j/16+2*i:]))
}

// valueCodes returns the codes of a position from column j on, each four bytes further.
func valueCodes(panel []byte, i, j, dim int) []byte {
	return panel[codePositions*dim/16+i/4*4*dim+4*j+i%4:]
}

// PutCodes stores the key and the value of a position, len(key) blocks each.
func PutCodes(k, v []byte, key, value []Block, pos int) {
	n, size := len(key), PanelBlock(tensor.Q8_0)
	k = k[pos/PanelOuts*n*size:][:n*size]
	v = v[pos/codePositions*2*n*size:][:2*n*size]
	at := pos % codePositions
	for j := range key {
		var block [2 + tensor.QuantBlock]byte
		binary.LittleEndian.PutUint16(block[:], tensor.Float32ToF16(key[j].Scale))
		for c, code := range key[j].Q {
			block[2+c] = byte(code)
		}
		PutBlock(tensor.Q8_0, k[j*size:], pos%PanelOuts, block[:])
		binary.LittleEndian.PutUint16(v[2*(codePositions*j+at):], tensor.Float32ToF16(value[j].Scale))
		codes := valueCodes(v, at, j*tensor.QuantBlock, n*tensor.QuantBlock)
		for c, code := range value[j].Q {
			codes[4*c] = byte(code)
		}
	}
}

// CodeValues adds up values in codes: out[c] += Σ p[i]·v[i][c] of positions in order, 32 at a
// time. p is not negative. What a position's codes are multiplied with, p·scale, is
// rounded to eight bits, for 32 positions together: m/255 is one step, m the largest. So
// sums of codes are exact, and results are off by half a step times the codes at most.
// Below 2⁻¹²⁰ m counts as zero; if one is not finite the result is NaN.
func CodeValues(out, p []float32, v []byte, dim int, _ *Asks) {
	for ; len(p) > 0; v = v[codePositions*tensor.Q8_0.Bytes(dim):] {
		n := min(codePositions, len(p))
		for j := 0; j < dim; j += tensor.QuantBlock {
			panelValues(out[j:][:tensor.QuantBlock], p[:n], v, j, dim)
		}
		p = p[n:]
	}
}

// panelValues adds up one panel's values from column j on.
func panelValues(out, p []float32, panel []byte, j, dim int) {
	var w [codePositions]float32
	var largest uint32
	for i, x := range p {
		w[i] = float32(x * valueScale(panel, i, j))
		largest = max(largest, math.Float32bits(w[i]))
	}
	m := math.Float32frombits(largest)
	step, inverse := float32(m*(1.0/255)), 255/m
	switch {
	case largest >= 0x7f800000:
		step, inverse = math.Float32frombits(0x7fc00000), 0
	case m < 0x1p-120:
		step, inverse = 0, 0
	}
	var sums [tensor.QuantBlock]int32
	for i := range p {
		q := int32(math.RoundToEven(float64(float32(w[i] * inverse))))
		codes := valueCodes(panel, i, j, dim)
		for c := range sums {
			sums[c] += q * int32(int8(codes[4*c]))
		}
	}
	for c, sum := range sums {
		out[c] += float32(float32(sum) * step)
	}
}
