package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestFinite(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		rng := rand.New(rand.NewPCG(9, 10))
		for _, n := range []int{1, 15, 33, elementPart, 3*elementPart + 5} {
			x := random(rng, n)
			if !c.Finite(x) {
				t.Errorf("%d numbers are finite", n)
			}
			for _, at := range []int{0, n / 2, n - 1} {
				kept := x[at]
				for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
					if x[at] = float32(bad); c.Finite(x) {
						t.Errorf("%d numbers: %v at %d is not finite", n, bad, at)
					}
				}
				x[at] = kept
			}
			for i := range x {
				x[i] = math.MaxFloat32 // the sum overflows
			}
			if !c.Finite(x) {
				t.Errorf("%d large numbers are finite", n)
			}
		}
		if !c.Finite(nil) {
			t.Error("nothing is finite")
		}
	})
}
