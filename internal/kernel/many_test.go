package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// withAhead is a CPU whose products of many rows are manyTasks, or never.
func withAhead(t *testing.T, family string, threads int, ahead bool) *CPU {
	c, err := New(Options{Family: family, Threads: threads, Wide: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	o := *c.ops
	switch {
	case !ahead:
		o.hints = false
	case o.multiplyAhead == nil:
		multiply, nr := o.multiply, o.nr
		o.multiplyAhead = func(c []float32, ldc int, a []float32, lda int, b []float32, mr, k int, load bool, h *generic.Ahead) {
			multiply(c, ldc, a, lda, b, nr, mr, k, load)
			if h.End != nil {
				h.End.Rows(c, ldc, mr, nr, generic.Add)
			}
		}
		o.hints = true
	default:
		o.hints = true
	}
	c.ops = &o
	return c
}

// Products of many rows are the same numbers, however they are cut into parts.
func TestManyTask(t *testing.T) {
	type shape struct{ rows, in, out int }
	shapes := []shape{{17, 5, 3}, {29, 48, 33}, {133, 70, 300}, {270, 800, 40}, {27, 1700, 290}, {530, 20, 70}, {1030, 8, 29}, {143, 1600, 320}}
	if testing.Short() {
		shapes = shapes[:2] // for the emulated CPU
	}
	eachFamily(t, func(t *testing.T, c *CPU) {
		plain, many, alone := withAhead(t, c.Family(), 1, false), withAhead(t, c.Family(), 3, true), withAhead(t, c.Family(), 1, true)
		for _, s := range shapes {
			rng := rand.New(rand.NewPCG(uint64(s.in), uint64(s.out)))
			x, before, bias := random(rng, s.rows*s.in), random(rng, s.rows*s.out), random(rng, s.out)
			for _, d := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
				w, _ := weight(rng, s.in, s.out, false, d)
				p := *w
				p.Panels, p.Data = true, make([]byte, PanelBytes(d, s.in, s.out))
				c.PackPanels(p.Data, w, d, 0, s.in/3)
				c.PackPanels(p.Data, w, d, s.in/3, s.in)
				for _, e := range []Epilogue{{}, {Bias: bias, Activation: GELUTanh}, {Bias: bias, Add: true}} {
					want := append([]float32(nil), before...)
					plain.Linear(want, x, s.rows, w, e)
					for _, w := range []*Weight{w, &p} {
						for _, c := range []*CPU{many, alone, plain} {
							y := append([]float32(nil), before...)
							c.Linear(y, x, s.rows, w, e)
							if at := same(y, want); at >= 0 {
								t.Fatalf("%+v %v panels %v threads %d: element %d is %v, want %v", s, d, w.Panels, c.Threads(), at, y[at], want[at])
							}
						}
					}
				}
			}
		}
	})
}

// With an [out][in] weight rows are the same among many, whose inputs go in parts, as alone.
func TestManyDots(t *testing.T) {
	type shape struct{ rows, in, out int }
	shapes := []shape{{40, 300, 6}, {35, 1100, 5}, {33, 2085, 150}, {49, 4200, 67}, {99, 3072, 3}, {520, 70, 133}}
	if testing.Short() {
		shapes = shapes[:2] // for the emulated CPU
	}
	eachFamily(t, func(t *testing.T, c *CPU) {
		alone := newCPU(t, c.Family(), 1)
		for _, s := range shapes {
			rng := rand.New(rand.NewPCG(uint64(s.in), uint64(s.out)))
			x := random(rng, s.rows*s.in)
			for _, d := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
				w, _ := weight(rng, s.in, s.out, true, d)
				if c.ops.tiled(s.rows, w) {
					continue
				}
				want := make([]float32, s.rows*s.out)
				for r := range s.rows {
					alone.Linear(want[r*s.out:], x[r*s.in:], 1, w, Epilogue{})
				}
				for _, c := range []*CPU{c, alone} {
					y := make([]float32, s.rows*s.out)
					c.Linear(y, x, s.rows, w, Epilogue{})
					if at := same(y, want); at >= 0 {
						t.Fatalf("%+v %v threads %d: element %d is %v, %v alone", s, d, c.Threads(), at, y[at], want[at])
					}
				}
			}
		}
	})
}

// Products of training are the same numbers, however they are cut.
func TestProductAhead(t *testing.T) {
	type shape struct{ m, n, k int }
	shapes := []shape{{17, 5, 3}, {29, 48, 33}, {300, 70, 133}, {40, 290, 800}, {150, 35, 1700}}
	if testing.Short() {
		shapes = shapes[:2] // for the emulated CPU
	}
	eachFamily(t, func(t *testing.T, c *CPU) {
		plain, many, alone := withAhead(t, c.Family(), 1, false), withAhead(t, c.Family(), 3, true), withAhead(t, c.Family(), 1, true)
		for _, s := range shapes {
			rng := rand.New(rand.NewPCG(uint64(s.m), uint64(s.k)))
			a, b, bias, before := random(rng, s.m*s.k), random(rng, s.k*s.n), random(rng, s.n), random(rng, s.m*s.n)
			for i := range 32 {
				p := Product{M: s.m, N: s.n, K: s.k, DType: tensor.F32, TransposeA: i&1 > 0, TransposeB: i&2 > 0, Add: i&4 > 0}
				if i&8 > 0 {
					p.Bias = bias
				}
				if i&16 > 0 {
					p.DType, p.Round = tensor.F16, tensor.F16
				}
				want := append([]float32(nil), before...)
				plain.Product(want, a, b, p)
				for _, c := range []*CPU{many, alone} {
					y := append([]float32(nil), before...)
					c.Product(y, a, b, p)
					if at := same(y, want); at >= 0 {
						t.Fatalf("%+v threads %d: element %d is %v, want %v", p, c.Threads(), at, y[at], want[at])
					}
				}
			}
		}
	})
}
