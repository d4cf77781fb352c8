package generic

import (
	"encoding/binary"
	"math"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Tiles are what a matrix unit multiplies: of x, 16 rows of 32 bfloat16; of W,
// 32 rows of 16 columns with the rows k and k+1 (k even) of a column next to
// each other. A step is two tiles of each: 32 rows, 32 columns, a depth of 32.
// What is beyond the end of a matrix counts as zero.
const (
	TileStep  = 32   // rows, columns, or depth
	StepBytes = 2048 // of x or W
)

func steps(n int) int { return (n + TileStep - 1) / TileStep }

// PackRowTiles rounds up to 32 rows of x to bfloat16 (nearest even; a subnormal
// number to zero) and writes them as [steps][2][16][32].
func PackRowTiles(dst []byte, x []float32, ldx, rows, depth int) {
	for s := range steps(depth) {
		for r := range TileStep {
			for i := range TileStep {
				var v uint16
				if k := s*TileStep + i; r < rows && k < depth {
					v = roundBF16(x[r*ldx+k])
				}
				binary.LittleEndian.PutUint16(dst[s*StepBytes+r*64+i*2:], v)
			}
		}
	}
}

// PackTiles writes a matrix as [⌈cols/32⌉][steps][2][16][16][2] bfloat16. Of an
// [In][Out] weight stride is the distance of two inputs, of an [Out][In] weight
// that of two outputs, of a quantised one that of two panels of 16 outputs, in
// bytes.
func PackTiles(d tensor.DType, outMajor bool, dst, w []byte, stride, depth, cols int) {
	n := steps(depth)
	for c := 0; c < cols; c += TileStep {
		panel := dst[c/TileStep*n*StepBytes:][:n*StepBytes]
		clear(panel)
		for j := range min(TileStep, cols-c) {
			for k := range depth {
				at := k/TileStep*StepBytes + j/16*1024 + k%TileStep/2*64 + j%16*4 + k%2*2
				binary.LittleEndian.PutUint16(panel[at:], element(d, outMajor, w, stride, k, c+j))
			}
		}
	}
}

// element returns a weight as bfloat16.
func element(d tensor.DType, outMajor bool, w []byte, stride, k, c int) uint16 {
	if d.IsQuantized() {
		block := w[c/PanelOuts*stride+k/tensor.QuantBlock*PanelBlock(d):][:PanelBlock(d)]
		var b [40]byte
		GetBlock(d, b[:], block, c%PanelOuts)
		var v [tensor.QuantBlock]float32
		tensor.ToFloat32(v[:], d, b[:])
		return roundBF16(v[k%tensor.QuantBlock])
	}
	at := k*stride + c*d.Size()
	if outMajor {
		at = c*stride + k*d.Size()
	}
	if d == tensor.F32 {
		return roundBF16(math.Float32frombits(binary.LittleEndian.Uint32(w[at:])))
	}
	v := binary.LittleEndian.Uint16(w[at:])
	if d == tensor.F16 {
		v = roundBF16(tensor.F16ToFloat32(v))
	}
	return v
}

// MultiplyTiles computes c = start + a·b for tiles of 16 rows and two of 16
// columns. c is [16·tiles][32]; so is start, whose rows lie ld apart (0: all
// rows start with the same). The steps of a for 32 rows begin stride bytes
// after those of the 32 before; b is one panel.
//
// Within a step the even and the odd elements have a sum each, in order from
// zero; their sum is added to c. (A product of two bfloat16 is exact in float32,
// so it does not matter whether it is fused.)
func MultiplyTiles(c, start []float32, ld int, a []byte, stride int, b []byte, steps, tiles int) {
	for r := range 16 * tiles {
		copy(c[r*TileStep:][:TileStep], start[r*ld:])
	}
	var w [TileStep][TileStep]float32 // one step of b: [depth][column]
	for s := range steps {
		step := b[s*StepBytes:][:StepBytes]
		for i := range w {
			for j := range w[i] {
				w[i][j] = bf16At(step, j/16*1024+i/2*64+j%16*4+i%2*2)
			}
		}
		for r := range 16 * tiles {
			row := a[r/32*stride+s*StepBytes+r%32*64:][:64]
			var sums [2][TileStep]float32
			for i := range w {
				x, sum := bf16At(row, 2*i), &sums[i%2]
				for j, v := range w[i] {
					sum[j] += float32(x * v)
				}
			}
			out := c[r*TileStep:][:TileStep]
			for j := range out {
				out[j] += float32(sums[0][j] + sums[1][j])
			}
		}
	}
}

func bf16At(b []byte, i int) float32 {
	return tensor.BF16ToFloat32(binary.LittleEndian.Uint16(b[i:]))
}

// StoreTile copies, or adds, c [rows][32] to cols ≤ 32 columns of rows of y that
// lie ldy apart.
func StoreTile(y []float32, ldy int, c []float32, rows, cols int, add bool) {
	for r := range rows {
		src, dst := c[r*TileStep:][:cols], y[r*ldy:][:cols]
		if add {
			Add(dst, src)
		} else {
			copy(dst, src)
		}
	}
}

// NormTile writes the layer norm of up to 32 rows as tiles, zeros behind them. x is
// [width/32][32][32], whole blocks; the order of sums is that of Sum and
// SumSquares. The last number is a hint.
func NormTile(dst []byte, x, gain, bias []float32, rows int, epsilon float32, _ int) {
	width := len(gain)
	row := make([]float32, TileStep*width)
	for r := range rows {
		v := row[r*width:][:width]
		for i := range v {
			v[i] = x[(i/TileStep*TileStep+r)*TileStep+i%TileStep]
		}
		mean := Sum(v) / float32(width)
		variance := SumSquares(v, mean) / float32(width)
		Normalize(v, v, gain, bias, mean, float32(1/math.Sqrt(float64(variance+epsilon))))
	}
	PackRowTiles(dst, row, width, rows, width)
}

// Product is 32 columns of a product and what becomes of them.
type Product struct {
	A       []byte // rows of x, as PackRowTiles writes them; those of 32 rows begin
	AStride int    // so many bytes after those of the 32 before
	B       []byte // a panel of W as PackTiles writes it
	Steps   int
	Rows    int

	Start []float32 // 32 numbers that all rows start with (Ld 0), or rows of 32
	Ld    int

	// C is where sums of 16·⌈Rows/16⌉ rows of 32 stay, if there is neither Y nor
	// Tiles; else two blocks of 32 × 32 to work in. It may be Start.
	C []float32

	Y          []float32 // rows, LdY apart, of which Cols ≤ 32 elements are overwritten
	LdY        int
	YStride    int // of 32 rows from those before
	Cols       int
	Add        bool   // or added to
	Tiles      []byte // if there is no Y: a step of each 32 rows for the next product, rounded to bfloat16,
	TileStride int    // so many bytes after the one before
	Half       bool   // to float16 instead

	Gate         bool // before, x becomes x/(1+exp(-x·(GateA+GateB·x²)))
	GateA, GateB float32

	Pack Packing   // what is packed meanwhile; its Dst overlaps nothing else
	Next [2][]byte // what is packed after that, or the next B, a hint: it is brought to the second-level cache
}

// Packing is a whole panel of quantised W that becomes tiles, as PackTiles makes them.
type Packing struct {
	DType    tensor.DType
	Dst, Src []byte
	Stride   int // of two panels of 16 outputs
	Steps    int // 0: nothing is packed
}

// MultiplyProduct computes p. Sums are as in MultiplyTiles.
func MultiplyProduct(p *Product) {
	if p.Pack.Steps > 0 {
		PackTiles(p.Pack.DType, true, p.Pack.Dst, p.Pack.Src, p.Pack.Stride, p.Pack.Steps*TileStep, TileStep)
	}
	tiles := (p.Rows + 15) / 16
	if p.Y == nil && p.Tiles == nil {
		MultiplyTiles(p.C, p.Start, p.Ld, p.A, p.AStride, p.B, p.Steps, tiles)
		return
	}
	c := make([]float32, tiles*16*TileStep)
	MultiplyTiles(c, p.Start, p.Ld, p.A, p.AStride, p.B, p.Steps, tiles)
	c = c[:p.Rows*TileStep]
	if p.Gate {
		Gate(c, p.GateA, p.GateB)
	}
	if p.Y != nil {
		for r := 0; r < p.Rows; r += TileStep {
			StoreTile(p.Y[r/TileStep*p.YStride:], p.LdY, c[r*TileStep:], min(TileStep, p.Rows-r), p.Cols, p.Add)
		}
		return
	}
	for r := range p.Rows {
		for i, v := range c[r*TileStep:][:TileStep] {
			to := p.Tiles[r/TileStep*p.TileStride+r%TileStep*64+i*2:]
			if p.Half {
				binary.LittleEndian.PutUint16(to, tensor.Float32ToF16(v))
			} else {
				binary.LittleEndian.PutUint16(to, roundBF16(v))
			}
		}
	}
}
