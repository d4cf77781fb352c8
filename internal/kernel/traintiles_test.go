package kernel

import (
	"bytes"
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
		packStep: generic.PackStep,
		multiplyRows: func(p *generic.Rows) {
			calls.Add(1)
			generic.MultiplyRows(p)
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
		p := Product{M: 33, N: 280, K: 2*trainChunk*generic.TileStep + 70, TransposeA: form&1 > 0, TransposeB: form&2 > 0, DType: tensor.BF16}
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

// Rows of plain Go, and those of a matrix unit: all ways to write them, tails of rows
// and columns, more of K than stays in the cache.
func TestMultiplyRows(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		rng := rand.New(rand.NewPCG(39, 40))
		for _, steps := range []int{1, 2, 19} {
			for _, panels := range []int{1, 2, 3} {
				for way := range 10 {
					rows, cols := 1+rng.IntN(32), panels*generic.TileStep
					if way%2 == 0 {
						cols -= rng.IntN(min(cols+1, generic.TileStep))
					}
					checkRows(t, o, rng, steps, panels, rows, cols, way)
				}
			}
		}
	})
}

func checkRows(t *testing.T, o *ops, rng *rand.Rand, steps, panels, rows, cols, way int) {
	t.Helper()
	depth, wide := steps*generic.TileStep, panels*generic.TileStep
	a, b := make([]byte, steps*generic.StepBytes), make([]byte, panels*steps*generic.StepBytes+1)
	generic.PackRows(tensor.F32, false, a, tensor.Bytes(random(rng, 32*depth)), 4*depth, 32, depth)
	generic.PackTiles(tensor.F32, false, b, tensor.Bytes(random(rng, depth*wide)), 4*wide, depth, wide)
	p := generic.Rows{A: a, B: b, BStride: steps * generic.StepBytes, Steps: steps, Panels: panels, Rows: rows, Cols: cols}
	p.Start = guardedFloats(t, random(rng, wide))
	if way >= 5 {
		p.Again, p.Start = true, guardedFloats(t, random(rng, panels*blockFloats))
	}
	p.Next = [2][]byte{a, b}
	q := p
	p.C, q.C = guardedFloats(t, make([]float32, max(2, panels)*blockFloats)), make([]float32, max(2, panels)*blockFloats)
	before := random(rng, rows*(cols+16))
	floats, halves := len(before)*4, len(before)*2
	switch way % 5 {
	case 1:
		p.Past = true
	case 2:
		p.Add, q.Add = true, true
	case 3:
		p.Round, q.Round = true, true
	}
	switch {
	case way%5 == 4:
		p.DType, p.LdY, p.Y, q.Y = tensor.BF16, 2*(cols+16), guarded(t, halves)[:halves-32], make([]byte, halves)
		tensor.FromFloat32(q.Y, tensor.BF16, before)
	case way > 0:
		p.DType, p.LdY, p.Y, q.Y = tensor.F32, 4*(cols+16), guarded(t, floats)[:floats-64], make([]byte, floats)
		copy(q.Y, tensor.Bytes(before))
	}
	q.DType, q.LdY = p.DType, p.LdY
	copy(p.Y, q.Y)
	o.tiles.multiplyRows(&p)
	generic.MultiplyRows(&q)
	if p.Y == nil {
		near(t, "sums", p.C, q.C, 1e-4)
		return
	}
	got, want, within := make([]float32, len(p.Y)/p.DType.Size()), make([]float32, len(q.Y)/p.DType.Size()), 1e-4
	tensor.ToFloat32(got, p.DType, p.Y)
	tensor.ToFloat32(want, p.DType, q.Y)
	if p.Round || p.DType == tensor.BF16 {
		within = 1e-2 // sums differ, and so may roundings
	}
	near(t, "results", got, want[:len(got)], within)
}

// A step after the other packs what PackTiles does.
func TestPackStep(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		rng := rand.New(rand.NewPCG(41, 42))
		for _, d := range []tensor.DType{tensor.F32, tensor.BF16} {
			for _, depth := range []int{1, 2, 31, 32, 33, 64} {
				for _, cols := range []int{1, 16, 31, 32, 33, 100} {
					w := guarded(t, d.Bytes(depth*cols))
					tensor.FromFloat32(w, d, random(rng, depth*cols))
					steps := ceilDiv(depth, generic.TileStep)
					got, want := guarded(t, ceilDiv(cols, 32)*steps*generic.StepBytes), make([]byte, ceilDiv(cols, 32)*steps*generic.StepBytes)
					for s := range steps {
						at := s * generic.TileStep
						o.tiles.packStep(d, got[s*generic.StepBytes:], steps*generic.StepBytes, w[d.Bytes(at*cols):], d.Bytes(cols), min(generic.TileStep, depth-at), cols)
					}
					if generic.PackTiles(d, false, want, w, d.Bytes(cols), depth, cols); !bytes.Equal(got, want) {
						t.Errorf("%v, depth %d, %d columns: other bytes", d, depth, cols)
					}
				}
			}
		}
	})
}
