//go:build !noasm

package kernel

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/amx"
	"github.com/gptctl/gptctl/internal/kernel/generic"
)

func TestTwinPackStream(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(41, 42))
	eachLength(t, 0, func(t *testing.T, depth int) {
		for rows := range 17 {
			ldx := depth + rows%3
			x := guardedFloats(t, special(rng, random(rng, max(0, rows*ldx-rows%3))))
			n := ceilDiv(depth, 32) * rows * 64
			got, want := filled(t, n), make([]byte, n)
			amx.PackStream(got, x, ldx, rows, depth)
			generic.PackStream(want, x, ldx, rows, depth)
			if !bytes.Equal(got, want) {
				t.Fatalf("%d rows of %d differ", rows, depth)
			}
		}
	})
}

func TestTwinStreamTiles(t *testing.T) {
	needsTiles(t)
	rng := rand.New(rand.NewPCG(43, 44))
	for rows := 1; rows <= 16; rows++ {
		for _, steps := range []int{1, 2, 3, 24} {
			for _, panels := range []int{1, 2, 5} {
				f := generic.TileStream{Rows: rows, Steps: steps, Panels: panels, Ld: panels*32 + rows%2*5, X: guarded(t, steps*rows*64)}
				copy(f.X, guardedSteps(t, rng, steps))
				for i := range f.W {
					f.W[i], f.Start[i] = guardedSteps(t, rng, panels*steps), guardedFloats(t, random(rng, panels*32))
					f.C[i] = guardedFloats(t, make([]float32, (rows-1)*f.Ld+panels*32))
				}
				want := f
				for i := range f.C {
					want.C[i] = make([]float32, len(f.C[i]))
				}
				amx.StreamTiles(&f)
				generic.StreamTiles(&want)
				for i := range f.C {
					near(t, fmt.Sprintf("%d rows, %d steps, %d panels", rows, steps, panels), f.C[i], want.C[i], 1e-4)
				}
			}
		}
	}
}
