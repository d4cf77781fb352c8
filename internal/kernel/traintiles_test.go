package kernel

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// With a matrix unit the products of bf16 go through its tiles, forward, back by
// the input and back by the weight; those of float32 do not.
func TestProductTiles(t *testing.T) {
	c := newCPU(t, "generic", 2)
	o := *c.ops
	var calls atomic.Int64
	o.tiles = &tileOps{
		rows: generic.PackRows, pack: generic.PackTiles, finish: generic.Finish,
		panels: func(c []float32, ldc int, start []float32, lds int, a, b []byte, next, n, steps int, ahead []byte) {
			calls.Add(1)
			generic.MultiplyPanels(c, ldc, start, lds, a, b, next, n, steps, ahead)
		},
	}
	c.ops = &o
	rng := rand.New(rand.NewPCG(6, 4))
	for form := range 16 {
		p := Product{M: 40, N: 50, K: 37, TransposeA: form&1 > 0, TransposeB: form&2 > 0, DType: tensor.BF16, Add: form&4 > 0, Round: tensor.F32}
		if form&8 > 0 {
			p.Round = tensor.BF16
		}
		if form%3 == 0 {
			p.Bias = random(rng, p.N)
		}
		before := calls.Load()
		checkProduct(t, c, rng, p)
		if calls.Load() == before {
			t.Errorf("form %d: no tile was multiplied", form)
		}
	}
	for form := range 4 { // several parts of K, and of the columns
		p := Product{M: 33, N: 280, K: 2*trainDepth + 70, TransposeA: form&1 > 0, TransposeB: form&2 > 0, DType: tensor.BF16}
		checkProduct(t, c, rng, p)
	}
	before := calls.Load()
	checkProduct(t, c, rng, Product{M: 40, N: 50, K: 37, DType: tensor.F32})
	if calls.Load() != before {
		t.Error("float32 was rounded to bf16")
	}
}

// The panels of plain Go, and those of a matrix unit.
func TestMultiplyPanels(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		rng := rand.New(rand.NewPCG(37, 38))
		for _, steps := range []int{0, 1, 2, 5} {
			for panels := range 4 {
				depth, cols := steps*generic.TileStep, panels*generic.TileStep
				a, b := make([]byte, steps*generic.StepBytes), make([]byte, panels*steps*generic.StepBytes+1)
				generic.PackRows(tensor.F32, false, a, tensor.Bytes(random(rng, 32*depth)), 4*depth, 32, depth)
				generic.PackTiles(tensor.F32, false, b, tensor.Bytes(random(rng, depth*cols)), 4*cols, depth, cols)
				for _, lds := range []int{-1, 0, cols, cols + 5} {
					var start []float32
					if lds >= 0 {
						start = guardedFloats(t, random(rng, 31*lds+cols))
					}
					got, want := guardedFloats(t, random(rng, 31*(cols+16)+cols)), make([]float32, 31*(cols+16)+cols)
					copy(want, got)
					o.tiles.panels(got, cols+16, start, lds, a, b, steps*generic.StepBytes, panels, steps, a)
					generic.MultiplyPanels(want, cols+16, start, lds, a, b, steps*generic.StepBytes, panels, steps, a)
					near(t, "panels", got, want, 1e-4)
				}
			}
		}
	})
}
