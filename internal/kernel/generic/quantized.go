package generic

import (
	"encoding/binary"
	"math"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Quantised weights are packed as panels of 16 outputs. A panel is a block for
// each 32 inputs in order: 16 float16 scales, one to an output, then the codes.
//
// Q8_0: for g = 0..7, for each output: four signed bytes, inputs 4g..4g+3.
//
// Q4_0: for g = 0..3, for each output: four bytes whose low halves are inputs
// 4g..4g+3 and whose high halves inputs 16+4g..16+4g+3, as code+8.
//
// The last panel is filled up with zeros.
const (
	PanelOuts = 16
	scales    = 2 * PanelOuts
)

// PanelBlock returns the bytes of a block of a panel.
func PanelBlock(d tensor.DType) int {
	if d == tensor.Q4_0 {
		return scales + PanelOuts*tensor.QuantBlock/2
	}
	return scales + PanelOuts*tensor.QuantBlock
}

// Block is 32 neighbours in a row of x as Quantize rounds them.
type Block struct {
	Scale float32
	// Vector code multiplies codes that are moved to be unsigned. Offset is
	// what makes up for it: -128 (Q8_0) or -8 (Q4_0) times the sum of Q.
	Offset int32
	Q      [tensor.QuantBlock]int8
}

// Quantize rounds a row of x, 32 elements to a block, for a product with
// weights of type d: Scale = m/127 where m is the largest magnitude, Q = x·(127/m)
// to nearest even. Below 2⁻¹²⁰ m counts as zero; with a NaN or an infinity in
// the block Scale is NaN and Q zero.
func Quantize(dst []Block, x []float32, d tensor.DType) {
	move := int32(-128)
	if d == tensor.Q4_0 {
		move = -8
	}
	for i := range dst {
		b, v := &dst[i], x[i*tensor.QuantBlock:][:tensor.QuantBlock]
		var largest uint32
		for _, e := range v {
			largest = max(largest, math.Float32bits(e)&^(1<<31))
		}
		*b = Block{}
		switch m := math.Float32frombits(largest); {
		case largest >= 0x7f800000:
			b.Scale = math.Float32frombits(0x7fc00000)
		case m >= 0x1p-120:
			b.Scale = m / 127
			inverse := 127 / m
			var sum int32
			for j, e := range v {
				q := int32(math.RoundToEven(float64(float32(e * inverse))))
				b.Q[j] = int8(q)
				sum += q
			}
			b.Offset = move * sum
		}
	}
}

// Products computes y[r][o] for rows of x, which lie one after another, and the
// outputs o of some panels of w: the sum over the blocks, in order from zero, of
// the exact product of the codes times (weight's scale · x's scale). Rows of y
// lie ldy apart.
func Products(d tensor.DType, y []float32, ldy int, x []Block, rows int, w []byte, panels int) {
	n := len(x) / rows
	size := PanelBlock(d)
	for p := range panels {
		panel := w[p*n*size:][:n*size]
		for r := range rows {
			var acc [PanelOuts]float32
			for i := range n {
				b, block := &x[r*n+i], panel[i*size:][:size]
				for o := range acc {
					s := float32(tensor.F16ToFloat32(binary.LittleEndian.Uint16(block[2*o:])) * b.Scale)
					acc[o] += float32(float32(codeProduct(d, b, block[scales+4*o:])) * s)
				}
			}
			copy(y[r*ldy+p*PanelOuts:][:PanelOuts], acc[:])
		}
	}
}

// codeProduct takes the codes of the output whose first four are at w.
func codeProduct(d tensor.DType, b *Block, w []byte) int32 {
	var s int32
	if d == tensor.Q4_0 {
		for g := 0; g < 16; g += 4 {
			for i, c := range w[g*PanelOuts:][:4] {
				s += int32(b.Q[g+i])*(int32(c&15)-8) + int32(b.Q[16+g+i])*(int32(c>>4)-8)
			}
		}
		return s
	}
	for g := 0; g < 32; g += 4 {
		for i, c := range w[g*PanelOuts:][:4] {
			s += int32(b.Q[g+i]) * int32(int8(c))
		}
	}
	return s
}

// PackTile quantises 32 inputs × 16 outputs to a block of a panel, as
// tensor.FromFloat32 does. Input k of output o is tile[k·ld+o].
func PackTile(d tensor.DType, dst []byte, tile []float32, ld int) {
	var column [tensor.QuantBlock]float32
	var block [40]byte
	for o := range PanelOuts {
		for k := range column {
			column[k] = tile[k*ld+o]
		}
		tensor.FromFloat32(block[:], d, column[:])
		PutBlock(d, dst, o, block[:])
	}
}

// StreamBlocks is Products of one row with two panels.
func StreamBlocks(d tensor.DType, y0, y1 []float32, x []Block, w0, w1 []byte) {
	Products(d, y0, PanelOuts, x, 1, w0, 1)
	Products(d, y1, PanelOuts, x, 1, w1, 1)
}

// FewRows is how many rows a FewProduct has at most, FewWork what it needs beside
// them: bytes that begin a cache line.
const (
	FewRows = 8
	FewWork = 4096
)

// FewProduct is the product of some rows of x with panels of two runs of W.
type FewProduct struct {
	DType        tensor.DType
	Y0, Y1       []float32 // the results of each run, rows LDY apart
	LDY          int
	X            []Block // FewRows rows; what lies behind Rows does not matter
	Rows         int
	W0, W1       []byte
	Pairs        int       // panels of each run
	Bias0, Bias1 []float32 // is added to all rows; nil: nothing
	Add          bool      // to what lies in y
	Odd          bool      // is set if a result is not finite, or many are near the largest number
	Work         []byte
}

// Few computes a FewProduct.
func Few(p *FewProduct) {
	x, cols := p.X[:len(p.X)/FewRows*p.Rows], p.Pairs*PanelOuts
	run := func(y []float32, w []byte, bias []float32) {
		sums := make([]float32, p.Rows*cols)
		Products(p.DType, sums, cols, x, p.Rows, w, p.Pairs)
		for r := range p.Rows {
			sum := sums[r*cols:][:cols]
			if bias != nil {
				Add(sum, bias[:cols])
			}
			if p.Add {
				Add(y[r*p.LDY:][:cols], sum)
			} else {
				copy(y[r*p.LDY:], sum)
			}
			for _, v := range y[r*p.LDY:][:cols] {
				p.Odd = p.Odd || v*0 != 0
			}
		}
	}
	run(p.Y0, p.W0, p.Bias0)
	run(p.Y1, p.W1, p.Bias1)
}

// PutBlock stores a block of GGUF's format as that of output o.
func PutBlock(d tensor.DType, dst []byte, o int, src []byte) {
	copy(dst[2*o:][:2], src)
	src = src[2:d.Bytes(tensor.QuantBlock)]
	for dst = dst[scales+4*o:]; ; dst = dst[4*PanelOuts:] {
		binary.LittleEndian.PutUint32(dst, binary.LittleEndian.Uint32(src))
		if src = src[4:]; len(src) == 0 {
			return
		}
	}
}

// GetBlock is the inverse of PutBlock.
func GetBlock(d tensor.DType, dst, src []byte, o int) {
	copy(dst, src[2*o:][:2])
	dst = dst[2:d.Bytes(tensor.QuantBlock)]
	for src = src[scales+4*o:]; ; src = src[4*PanelOuts:] {
		copy(dst, src[:4])
		if dst = dst[4:]; len(dst) == 0 {
			return
		}
	}
}

// PeakInt8 runs n rounds of independent multiply-adds of small integers and
// returns how many operations that was.
func PeakInt8(n int) int {
	var a [16]int32
	x := int32(int8(n | 1))
	for range n {
		for i := range a {
			a[i] += x * int32(int8(a[i]))
		}
	}
	if a[0]+a[15] == 1 { // keeps the loop alive; all are zero
		return 0
	}
	return n * len(a) * 2
}
