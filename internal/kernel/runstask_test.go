package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Products by runs of rows, with panels of float32 as they lie, are those with the weight
// as it was: on a processor that asks for no memory ahead, as which every one can be used.
func TestRunsTask(t *testing.T) {
	type shape struct{ rows, in, out int }
	shapes := []shape{{193, 33, 96}, {200, 70, 43}, {512, 96, 256}}
	if testing.Short() {
		shapes = shapes[:1] // for the emulated CPU
	}
	eachFamily(t, func(t *testing.T, c *CPU) {
		if c.ops.multiplyAhead == nil {
			t.Skip("its products do not go by runs")
		}
		for threads := 1; threads <= 3; threads++ {
			c := withAhead(t, c.Family(), threads, false)
			for _, s := range shapes {
				rng := rand.New(rand.NewPCG(uint64(s.in), uint64(s.out)))
				x, before, bias := random(rng, s.rows*s.in), random(rng, s.rows*s.out), random(rng, s.out)
				w, _ := weight(rng, s.in, s.out, false, tensor.F32)
				p := *w
				p.Panels, p.Data = true, alignedBytes(PanelBytes(tensor.F32, s.in, s.out))
				c.PackPanels(p.Data, w, tensor.F32, 0, w.In)
				if c.ops.byRuns(s.rows, w) || !c.ops.byRuns(s.rows, &p) {
					t.Fatalf("%+v: by runs without panels, or not with them", s)
				}
				for _, e := range []Epilogue{{}, {Bias: bias, Activation: GELUTanh}, {Bias: bias, Add: true}, {Bias: bias, Add: true, Activation: GELUTanh}} {
					want, got := append([]float32(nil), before...), append([]float32(nil), before...)
					c.Linear(want, x, s.rows, w, e)
					c.Linear(got, x, s.rows, &p, e)
					if at := same(got, want); at >= 0 {
						t.Fatalf("%+v threads %d, add %v, activation %v: element %d is %v, want %v", s, threads, e.Add, e.Activation, at, got[at], want[at])
					}
				}
			}
		}
	})
}
