//go:build !noasm

package kernel

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/amx"
	"github.com/gptctl/gptctl/internal/kernel/generic"
)

// anyBF16 returns numbers of a range of exponents, or, wide, all there are.
func anyBF16(t *testing.T, rng *rand.Rand, n int, wide bool) []byte {
	b := guarded(t, 2*n)
	for i := range n {
		v := uint16(rng.Uint32())
		if !wide || i%40 > 0 { // few of them infinite or NaN
			exponent := uint16(70 + rng.IntN(110))
			if wide {
				exponent = uint16(rng.IntN(255))
			}
			v = v&0x807f | exponent<<7
		}
		binary.LittleEndian.PutUint16(b[2*i:], v)
	}
	return b
}

// One row by vectors has the bits that a matrix unit gives several.
func TestRowHasBitsOfTiles(t *testing.T) {
	needsTiles(t)
	rng := rand.New(rand.NewPCG(63, 64))
	rounds := 400
	if testing.Short() {
		rounds = 40
	}
	for round := range rounds {
		steps, panels, wide := 1+round%3, 1+round/3%3, round%2 == 1
		x := anyBF16(t, rng, steps*32, wide)
		var w [4][]byte
		for i := range w {
			w[i] = anyBF16(t, rng, panels*steps*generic.StepBytes/2, wide)
		}
		ld := panels * 32
		y := random(rng, 4*ld)
		if round%5 == 0 {
			for i := range y {
				y[i] = float32(math.Copysign(0, float64(y[i])))
			}
		}
		y = guardedFloats(t, y)
		var want []float32
		for i := 0; i < 4; i += 2 {
			f := generic.TileStream{X: x, Rows: 1, Steps: steps, Panels: panels, Ld: ld}
			for j := range f.W {
				f.W[j], f.Start[j], f.C[j] = w[i+j], append([]float32(nil), y[(i+j)*ld:][:ld]...), make([]float32, ld)
			}
			amx.StreamTiles(&f)
			want = append(append(want, f.C[0]...), f.C[1]...)
		}
		alone := guardedFloats(t, y[2*ld:][:32])
		amx.StreamRowAlone(alone, x, w[2], steps)
		amx.StreamRow(y, ld, x, &w, steps, panels)
		if i := sameNumbers(y, want); i >= 0 {
			t.Fatalf("round %d, %d steps, %d panels: output %d is %x, want %x", round, steps, panels, i, math.Float32bits(y[i]), math.Float32bits(want[i]))
		}
		if i := sameNumbers(alone, want[2*ld:][:32]); i >= 0 {
			t.Fatalf("round %d, %d steps: output %d of one panel is %v, want %v", round, steps, i, alone[i], want[2*ld+i])
		}
	}
}

func TestTwinStreamRow(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(65, 66))
	for _, steps := range []int{0, 1, 2, 24} {
		for panels := range 4 {
			ld := panels*32 + steps%2*5
			x := guarded(t, steps*64)
			copy(x, guardedSteps(t, rng, steps))
			var w [4][]byte
			for i := range w {
				w[i] = guardedSteps(t, rng, panels*steps)
			}
			y := random(rng, 3*ld+panels*32)
			got := guardedFloats(t, y)
			amx.StreamRow(got, ld, x, &w, steps, panels)
			generic.StreamRow(y, ld, x, &w, steps, panels)
			near(t, "four", got, y, 1e-4)
			if panels > 0 {
				amx.StreamRowAlone(got, x, w[3], steps)
				generic.StreamRowAlone(y, x, w[3], steps)
				near(t, "alone", got, y, 1e-4)
			}
		}
	}
}
