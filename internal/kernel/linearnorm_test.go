package kernel

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/tensor"
)

// A product with a norm has the bits of the norm and the product after it, whoever
// computes the norm.
func TestLinearNorm(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		rng := rand.New(rand.NewPCG(31, 32))
		for _, d := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16, tensor.Q8_0, tensor.Q4_0} {
			for _, s := range [][2]int{{32, 5}, {96, 300}, {512, 64}, {3072, 40}} {
				in, out := s[0], s[1]
				gain, bias := random(rng, in), random(rng, in)
				for _, w := range randomWeights(t, rng, c, d, random(rng, in*out), in, out) {
					for _, rows := range []int{0, 1, 2, 5, 8, 16, 17} {
						if !c.TakesNorm(rows, w) {
							continue
						}
						x, before := random(rng, rows*in), random(rng, rows*out)
						for _, e := range []Epilogue{{Add: true}, {Bias: random(rng, out), Activation: GELUTanh}} {
							norm, want, got := make([]float32, rows*in), slices.Clone(before), slices.Clone(before)
							c.LayerNorm(norm, x, gain, bias, rows, in, 1e-5)
							c.Linear(want, norm, rows, w, e)
							c.LinearNorm(got, x, rows, Norm{gain, bias, 1e-5}, w, e)
							if i := same(got, want); i >= 0 {
								t.Fatalf("%v, %d×%d, %d rows, panels %v, pairs %v, tiles %v, by outputs %v: element %d is %v, want %v",
									d, in, out, rows, w.Panels, w.Pairs, w.Tiles, w.OutMajor, i, got[i], want[i])
							}
						}
					}
				}
			}
		}
	})
}
