//go:build !noasm

package kernel

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/cpu"

	"github.com/gptctl/gptctl/internal/kernel/amx"
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// What packs for tiles and unpacks from them is AVX-512 code, so it is tested
// without AMX as well.
func needsPacking(t *testing.T) {
	if x := &cpu.X86; !x.HasAVX512BW || !x.HasAVX512BF16 {
		t.Skip("needs a processor with AVX512_BF16")
	}
}

func filled(t *testing.T, n int) []byte {
	b := guarded(t, n)
	for i := range b {
		b[i] = 0xa5
	}
	return b
}

func TestTwinPackRowTiles(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(21, 22))
	for _, depth := range lengths() {
		for _, rows := range []int{0, 1, 15, 16, 17, 31, 32} {
			ldx := depth + rows%3
			x := special(rng, random(rng, max(0, rows*ldx-rows%3)))
			for range min(3, len(x)) {
				x[rng.IntN(len(x))] = []float32{0, 1e-40, -1e-40, 3.4e38, 1 + 1.0/256, 1 + 3.0/256}[rng.IntN(6)]
			}
			x = guardedFloats(t, x)
			n := ceilDiv(depth, 32) * generic.StepBytes
			got, want := filled(t, n), make([]byte, n)
			amx.PackRowTiles(got, x, ldx, rows, depth)
			generic.PackRowTiles(want, x, ldx, rows, depth)
			if !bytes.Equal(got, want) {
				t.Fatalf("%d rows of %d differ", rows, depth)
			}
		}
	}
}

func TestTwinPackTiles(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(23, 24))
	for _, d := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
		for _, depth := range []int{1, 2, 3, 16, 31, 32, 33, 63, 64, 95, 100} {
			for _, cols := range lengths()[1:] {
				for _, major := range []bool{false, true} {
					in, out := depth, cols+5 // a part of a wider matrix
					if major {
						in, out = depth+3, cols
					}
					v := special(rng, random(rng, in*out))
					stride := out * d.Size()
					if major {
						stride = in * d.Size()
					}
					w := encode(t, d, v)
					n := ceilDiv(depth, 32) * ceilDiv(cols, 32) * generic.StepBytes
					got, want := filled(t, n), make([]byte, n)
					amx.PackTiles(d, major, got, w, stride, depth, cols)
					generic.PackTiles(d, major, want, w, stride, depth, cols)
					if !bytes.Equal(got, want) {
						t.Fatalf("%v, outputs first %v: depth %d, %d columns differ", d, major, depth, cols)
					}
				}
			}
		}
	}
}

func TestTwinPackQuantizedTiles(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(25, 26))
	for _, d := range []tensor.DType{tensor.Q8_0, tensor.Q4_0} {
		for _, depth := range []int{32, 64, 160} {
			for _, cols := range []int{1, 15, 16, 17, 31, 32, 33, 48, 49, 100} {
				in := depth + 32
				w := packedRandom(t, rng, in, cols, d).Data[generic.PanelBlock(d):] // from the second block on
				n := depth / 32 * ceilDiv(cols, 32) * generic.StepBytes
				got, want := filled(t, n), make([]byte, n)
				amx.PackTiles(d, true, got, w, PackedBytes(d, in, panelOuts), depth, cols)
				generic.PackTiles(d, true, want, w, PackedBytes(d, in, panelOuts), depth, roundUp(cols, 16))
				if !bytes.Equal(got, want) {
					t.Fatalf("%v: depth %d, %d columns differ", d, depth, cols)
				}
			}
		}
	}
}

func TestTwinStoreTile(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(27, 28))
	for rows := range 5 {
		for cols := range 33 {
			for _, add := range []bool{false, true} {
				ldy := cols + 3
				y := random(rng, max(0, rows*ldy-3))
				got := guardedFloats(t, y)
				c := guardedFloats(t, random(rng, rows*generic.TileStep))
				amx.StoreTile(got, ldy, c, rows, cols, add)
				generic.StoreTile(y, ldy, c, rows, cols, add)
				near(t, fmt.Sprintf("%d × %d", rows, cols), got, y, 0)
			}
		}
	}
}

func TestTwinPackRows(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(29, 30))
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16} {
		for _, depth := range []int{0, 1, 2, 31, 32, 33, 64, 95} {
			for _, rows := range []int{0, 1, 15, 16, 17, 31, 32} {
				for _, turned := range []bool{false, true} {
					tall, wide := rows, depth
					if turned {
						tall, wide = depth, rows
					}
					stride := (wide + rows%3) * d.Size() // a part of a wider matrix
					x := guarded(t, max(0, tall*stride-rows%3*d.Size()))
					copy(x, encode(t, d, special(rng, random(rng, len(x)/d.Size()))))
					n := ceilDiv(depth, 32) * generic.StepBytes
					got, want := filled(t, n), make([]byte, n)
					amx.PackRows(d, turned, got, x, stride, rows, depth)
					generic.PackRows(d, turned, want, x, stride, rows, depth)
					if !bytes.Equal(got, want) {
						t.Fatalf("%v, turned %v: %d rows of %d differ", d, turned, rows, depth)
					}
				}
			}
		}
	}
}

func TestTwinFinish(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(35, 36))
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16} {
		for rows := range 4 {
			for cols := range 50 {
				for form := range 8 {
					round, add, past := form&1 > 0, form&2 > 0, form&4 > 0
					ldy := (cols + 16*(cols%2)) * d.Size()
					y := encode(t, d, random(rng, max(0, rows*ldy/d.Size()-16*(cols%2))))
					got := guarded(t, len(y))
					copy(got, y)
					c := guardedFloats(t, special(rng, random(rng, max(0, rows*(cols+3)-3))))
					amx.Finish(d, round, add, past, got, ldy, c, cols+3, rows, cols)
					generic.Finish(d, round, add, past, y, ldy, c, cols+3, rows, cols)
					if !bytes.Equal(got, y) {
						t.Fatalf("%v, form %d: %d × %d differ", d, form, rows, cols)
					}
				}
			}
		}
	}
}

// The loops that measure AMX run, and count what they do.
func TestPeakTiles(t *testing.T) {
	if err := amx.Available(); err != nil {
		t.Skip(err)
	}
	const perTile = 2 * 16 * 16 // a multiplication and an addition for each result
	if got, want := amx.PeakBF16(3), 3*4*32*perTile; got != want {
		t.Errorf("bf16: %d operations, want %d", got, want)
	}
	if got, want := amx.PeakInt8(3), 3*4*64*perTile; got != want {
		t.Errorf("int8: %d operations, want %d", got, want)
	}
}
