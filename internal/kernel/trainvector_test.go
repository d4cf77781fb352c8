package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/generic"
)

// All families agree with plain Go bit for bit, whatever the length.
func TestTrainVectors(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		rng := rand.New(rand.NewPCG(3, 4))
		for n := range 70 {
			x := random(rng, n)
			for i, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 1e9, -1e9, 0, float32(math.Copysign(0, -1)), 3e38} {
				if n > 2*i+20 {
					x[2*i+3] = bad
				}
			}
			for _, share := range []float64{0.001, 0.1, 0.5, 0.999, 1} {
				got, want := slices.Clone(x), slices.Clone(x)
				state, limit, keep := rng.Uint64(), uint64(share*(1<<32)), float32(1/(1-share))
				c.ops.dropout(got, state, limit, keep)
				generic.Dropout(want, state, limit, keep)
				if i := sameNumbers(got, want); i >= 0 {
					t.Fatalf("dropout of %g of %d numbers differs at %d: %g, want %g", share, n, i, got[i], want[i])
				}
			}
			for _, g := range [][2]float32{{1.5957691, 0.07135481}, {1, 0}, {1.702, 0}} {
				k := generic.GateConstants(g[0], g[1])
				got, want := random(rng, n), make([]float32, n)
				c.ops.gateArguments(got, x, &k)
				generic.GateArguments(want, x, &k)
				if i := sameNumbers(got, want); i >= 0 {
					t.Fatalf("the arguments of %d gates differ at %d, of %g: %g, want %g", n, i, x[i], got[i], want[i])
				}
				generic.ExpSum(want, 0)
				d := random(rng, n)
				again := slices.Clone(d)
				c.ops.gateSlopes(d, x, want, &k)
				generic.GateSlopes(again, x, want, &k)
				if i := sameNumbers(d, again); i >= 0 {
					t.Fatalf("the slopes of %d gates differ at %d, of %g: %g, want %g", n, i, x[i], d[i], again[i])
				}
			}
		}
		for rows := range 35 {
			for _, cols := range []int{1, 7, 15, 16, 17, 32, 33} {
				ld, ldDst := cols+3, rows+2
				src, got := random(rng, (rows+1)*ld), random(rng, cols*ldDst+1)
				want := slices.Clone(got)
				c.ops.transpose(got, ldDst, src, ld, rows, cols)
				generic.Transpose(want, ldDst, src, ld, rows, cols)
				if i := sameNumbers(got, want); i >= 0 {
					t.Fatalf("%d×%d transposed differs at %d", rows, cols, i)
				}
			}
		}
	})
}
