package generic

import (
	"encoding/binary"
	"math"

	"github.com/gptctl/gptctl/internal/tensor"
)

// PackRows writes up to 32 rows of float32 or bfloat16 as PackRowTiles does it.
// Rows of src are stride bytes apart; turned, the rows that are packed are
// columns of it.
func PackRows(d tensor.DType, turned bool, dst, src []byte, stride, rows, depth int) {
	for s := range steps(depth) {
		for r := range TileStep {
			for i := range TileStep {
				var v uint16
				if k := s*TileStep + i; r < rows && k < depth {
					v = element(d, !turned, src, stride, k, r)
				}
				binary.LittleEndian.PutUint16(dst[s*StepBytes+r*64+i*2:], v)
			}
		}
	}
}

// MultiplyPanels computes c = start + a·b for 32 rows, whose tiles are a, and n
// panels of b, next bytes apart. Rows of c and start are ldc and lds numbers apart
// (lds 0: all rows start with the same, start nil: with zero). Sums are those of MultiplyTiles.
func MultiplyPanels(c []float32, ldc int, start []float32, lds int, a, b []byte, next, n, steps int, _ []byte) {
	var out [TileStep * TileStep]float32
	if start == nil {
		start, lds = make([]float32, n*TileStep), 0
	}
	for p := range n {
		MultiplyTiles(out[:], start[p*TileStep:], lds, a, steps*StepBytes, b[p*next:], steps, 2)
		for r := range TileStep {
			copy(c[r*ldc+p*TileStep:][:TileStep], out[r*TileStep:])
		}
	}
}

// AddHalfRows is AddRows of bfloat16.
func AddHalfRows(y []float32, x []uint16, ldx, rows int) {
	for r := range rows {
		for j, v := range x[r*ldx:][:len(y)] {
			y[j] += tensor.BF16ToFloat32(v)
		}
	}
}

// Finish writes results c [rows][cols], rows ldc numbers apart, to y, whose rows
// are ldy bytes apart: as float32, rounded to bfloat16 or not, or as bfloat16. It
// adds them to what is there, once rounded, or overwrites it; past the caches,
// which is a hint.
func Finish(d tensor.DType, round, add, past bool, y []byte, ldy int, c []float32, ldc, rows, cols int) {
	for r := range rows {
		for j, v := range c[r*ldc:][:cols] {
			if round || d == tensor.BF16 {
				v = tensor.BF16ToFloat32(roundBF16(v))
			}
			if d == tensor.BF16 {
				to := y[r*ldy+2*j:]
				if add {
					v += bf16At(to, 0)
				}
				binary.LittleEndian.PutUint16(to, roundBF16(v))
				continue
			}
			to := y[r*ldy+4*j:]
			if add {
				v += math.Float32frombits(binary.LittleEndian.Uint32(to))
			}
			binary.LittleEndian.PutUint32(to, math.Float32bits(v))
		}
	}
}
