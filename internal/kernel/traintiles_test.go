package kernel

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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
				for way := range rowsWays {
					for _, again := range []bool{false, true} {
						checkRows(t, o, rng, steps, panels, way, again, 0)
						checkRows(t, o, rng, steps, panels, way, again, rng.IntN(generic.TileStep))
					}
				}
			}
		}
	})
}

// The ways of rows: sums stay, float32, past the caches, added, rounded, bfloat16, past
// the caches, with an activation, past the caches, times its derivative, in parts; float32
// rounded past the caches, and added.
const (
	rowsWays  = 13
	rowsHalf  = 5 // the first of bfloat16
	rowsParts = 10
	rowsFloat = 11
)

// checkRows leaves out so many columns of the last panel.
func checkRows(t *testing.T, o *ops, rng *rand.Rand, steps, panels, way int, again bool, less int) {
	t.Helper()
	depth, wide := steps*generic.TileStep, panels*generic.TileStep
	a, b := make([]byte, steps*generic.StepBytes), make([]byte, panels*steps*generic.StepBytes)
	generic.PackRows(tensor.F32, false, a, tensor.Bytes(random(rng, 32*depth)), 4*depth, 32, depth)
	generic.PackTiles(tensor.F32, false, b, tensor.Bytes(random(rng, depth*wide)), 4*wide, depth, wide)
	p := generic.Rows{A: a, B: b, BStride: steps * generic.StepBytes, Steps: steps, Panels: panels, Rows: 1 + rng.IntN(32), Cols: wide - less, Again: again}
	switch {
	case again:
		p.Start = guardedFloats(t, random(rng, panels*blockFloats))
	case rng.IntN(2) > 0: // else zeros
		p.Start = guardedFloats(t, random(rng, wide))
	}
	p.Next = [2][]byte{a, b}
	p.Past, p.Add, p.Round = way == 2 || way == 6 || way == 8 || way == 11, way == 3 || way == 12, way == 4 || way >= rowsFloat
	p.DType, p.GateA, p.GateB = tensor.F32, 1.6, 0.07
	if p.LdY, p.YStride = 4*(wide+16), 4*generic.TileStep; way >= rowsHalf && way < rowsFloat {
		p.DType, p.LdY, p.YStride = tensor.BF16, 2*(wide+32), 2*generic.TileStep
	}
	memory := func(guard bool) []byte { // rows at a place like that of whole lines
		n := (p.Rows-1)*p.LdY + p.Cols*p.DType.Size()
		if less == 0 || !guard {
			return alignedBytes(n + 64)[:n]
		}
		return guarded(t, n)
	}
	q := p
	p.C, q.C = guardedFloats(t, make([]float32, panels*blockFloats)), make([]float32, panels*blockFloats)
	for i, to := range []*generic.Rows{&p, &q} {
		if way > 0 {
			to.Y = memory(i == 0)
		}
		switch way {
		case 7, 8:
			to.Act = memory(i == 0)
		case 9, rowsParts:
			to.Slope, to.Parts = memory(i == 0), way == rowsParts
		}
	}
	for _, m := range [][2][]byte{{p.Y, q.Y}, {p.Act, q.Act}, {p.Slope, q.Slope}} {
		tensor.FromFloat32(m[0], p.DType, random(rng, len(m[0])/p.DType.Size()))
		copy(m[1], m[0])
	}
	o.tiles.multiplyRows(&p)
	generic.MultiplyRows(&q)
	if p.Y == nil {
		near(t, "sums", p.C, q.C, 1e-4)
		return
	}
	limit := 1e-5
	if p.Round { // sums differ, and so may roundings
		limit = 1e-3
	}
	if p.DType == tensor.F32 && !p.Add && math.Abs(p.Squares-q.Squares) > limit*q.Squares {
		t.Errorf("squares are %v, want %v", p.Squares, q.Squares)
	}
	for _, m := range [][2][]byte{{p.Y, q.Y}, {p.Act, q.Act}, {p.Slope, q.Slope}} {
		got, want := make([]float32, len(m[0])/p.DType.Size()), make([]float32, len(m[0])/p.DType.Size())
		tensor.ToFloat32(got, p.DType, m[0])
		tensor.ToFloat32(want, p.DType, m[1])
		for i := range got {
			within := 1e-4
			if p.Round || p.DType == tensor.BF16 { // sums differ, and so may roundings
				within += math.Abs(float64(want[i])) / 100
			}
			if p.Parts { // of which two may cancel each other
				within += 0.04
			}
			near(t, fmt.Sprintf("way %d, number %d", way, i), got[i:i+1], want[i:i+1], within)
		}
	}
}

// A single panel of columns that does not stay with all of K: what LoRA has of a low
// rank and a wide matrix.
func TestProductOfOnePanel(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		c := cpuOf(t, o, 2)
		rng := rand.New(rand.NewPCG(45, 46))
		for _, k := range []int{2304, 2*trainChunk*generic.TileStep + 70} {
			checkProduct(t, c, rng, Product{M: 200, N: 8, K: k, DType: tensor.BF16})
		}
	})
}

// Chunks of K that are small enough for columns to stay with all of one: those of the next
// are packed anew, though they are the same columns.
func TestProductOfHalves(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		c := cpuOf(t, o, 2)
		rng := rand.New(rand.NewPCG(47, 48))
		k := (trainChunk + 3) * generic.TileStep
		if even(panels(k), trainChunk)*generic.StepBytes*trainWide > trainCache {
			t.Fatal("columns do not stay")
		}
		for form := range 4 {
			checkProduct(t, c, rng, Product{M: 40, N: 19, K: k, TransposeA: form&1 > 0, TransposeB: form&2 > 0, DType: tensor.BF16})
		}
	})
}

// An activation that is computed as results are stored is one afterwards, up to a
// rounding: a matrix unit's may have its own way, of numbers that are bfloat16.
func TestProductActivates(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		c := cpuOf(t, o, 2)
		rng := rand.New(rand.NewPCG(43, 44))
		for _, f := range []Activation{GELUTanh, SiLU, GELUErf, GELUNew} {
			for _, n := range []int{64, 75} {
				p := Product{M: 40, N: n, K: 70, DType: tensor.BF16, Round: tensor.BF16, Bias: random(rng, n), Kept: true}
				a, b, at := halvesOf(random(rng, p.M*p.K)), Floats(random(rng, p.K*p.N)), halvesOf(random(rng, p.M*p.N))
				y, act, want, wantAct := halvesOf(make([]float32, p.M*p.N)), halvesOf(make([]float32, p.M*p.N)), halvesOf(make([]float32, p.M*p.N)), halvesOf(make([]float32, p.M*p.N))
				c.ProductOf(want, a, b, p)
				c.Activate(wantAct, want, f, tensor.BF16)
				with := p
				with.Activation, with.Act = f, act
				c.ProductOf(y, a, b, with)
				if !slices.Equal(y.BF16, want.BF16) {
					t.Errorf("activation %d, %d columns: other bits", f, n)
				}
				nearHalves(t, fmt.Sprintf("activation %d, %d columns", f, n), act, wantAct)
				before := slices.Clone(want.BF16)
				c.ActivateGrad(want, at, f, tensor.BF16)
				with.Act, with.Slope = Numbers{}, at
				c.ProductOf(y, a, b, with)
				if f == GELUNew { // of three parts, each rounded: of numbers about as large as what came
					for i, v := range before {
						got, exact := tensor.BF16ToFloat32(y.BF16[i]), tensor.BF16ToFloat32(want.BF16[i])
						if off := math.Abs(float64(got - exact)); !(off <= math.Abs(float64(tensor.BF16ToFloat32(v)))/64+3e-6) {
							t.Errorf("derivative in parts, %d columns: number %d is %v, want %v", n, i, got, exact)
						}
					}
					continue
				}
				nearHalves(t, fmt.Sprintf("derivative of activation %d, %d columns", f, n), y, want)
			}
		}
	})
}

// nearHalves expects numbers of bfloat16 within a rounding.
func nearHalves(t *testing.T, what string, got, want Numbers) {
	t.Helper()
	for i, h := range got.BF16 {
		v, w := float64(tensor.BF16ToFloat32(h)), float64(tensor.BF16ToFloat32(want.BF16[i]))
		if !(math.Abs(v-w) <= math.Abs(w)/128+3e-6) {
			t.Errorf("%s: number %d is %v, want %v", what, i, v, w)
		}
	}
}

// The squares of a product are those of its result, or not said.
func TestProductSquares(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		c := cpuOf(t, o, 2)
		rng := rand.New(rand.NewPCG(45, 46))
		for _, s := range [][3]int{{40, 50, 37}, {33, 3200, 40}, {3200, 33, 40}, {40, 50, 3200}} {
			p := Product{M: s[0], N: s[1], K: s[2], TransposeA: true, DType: tensor.BF16, Kept: true}
			a, b, y := random(rng, p.M*p.K), random(rng, p.K*p.N), make([]float32, p.M*p.N)
			for _, p.Round = range []tensor.DType{tensor.F32, tensor.BF16} {
				got, ok := c.ProductSquares(Floats(y), Floats(a), Floats(b), p)
				if want, _ := c.SumSquares(y); !ok || math.Abs(got-want) > 1e-5*want {
					t.Errorf("%v, rounded to %v: %v, %v, want %v", s, p.Round, got, ok, want)
				}
			}
			if p.Add = true; s[0] == 40 {
				if _, ok := c.ProductSquares(Floats(y), Floats(a), Floats(b), p); ok {
					t.Errorf("%v: squares of what was added", s)
				}
			}
		}
		p := Product{M: 40, N: 40, K: 40, DType: tensor.BF16}
		a, y := random(rng, 1600), make([]float32, 1600)
		a[5] = 1e30 // its square overflows a float32
		if _, ok := c.ProductSquares(Floats(y), Floats(a), Floats(a), p); ok && o.name == "amx" {
			t.Error("squares that overflow")
		}
	})
}

func halvesOf(v []float32) Numbers {
	h := make([]uint16, len(v))
	for i, x := range v {
		h[i] = tensor.Float32ToBF16(x)
	}
	return Numbers{BF16: h}
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

// tilesOf are the same numbers of bfloat16 as tiles.
func tilesOf(n Numbers, rows, cols int) Numbers {
	t := Numbers{BF16: make([]uint16, roundUp(rows, generic.TileStep)*cols), Tiles: true}
	for i := range t.BF16 {
		t.BF16[i] = 0x7fc0 // of what is beyond, nothing may be used
	}
	for r := range rows {
		for c := range cols {
			t.BF16[tilePlace(r, c, cols)] = n.BF16[r*cols+c]
		}
	}
	return t
}

func tilePlace(r, c, cols int) int {
	const step = generic.TileStep
	return (r/step*(cols/step)+c/step)*step*step + r%step*step + c%step
}

// Products of factors in tiles, to tiles, have the bits of those in rows.
func TestProductOfTiles(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		c := cpuOf(t, o, 2)
		rng := rand.New(rand.NewPCG(49, 50))
		for i, s := range [][3]int{{64, 96, 32}, {75, 64, 96}, {33, 32, 3200}, {32, 96, 70}, {75, 160, 45}, {40, 64, 5000}} {
			p := Product{M: s[0], N: s[1], K: s[2], TransposeA: i > 2, DType: tensor.BF16, Round: tensor.BF16, Kept: i%2 > 0, Activation: GELUTanh}
			if p.TransposeA {
				p.M = roundUp(p.M, 32)
			}
			a, b, at := halvesOf(random(rng, p.M*p.K)), halvesOf(random(rng, p.K*p.N)), halvesOf(random(rng, p.M*p.N))
			aRows, aCols := p.M, p.K
			if p.TransposeA {
				aRows, aCols = p.K, p.M
			}
			ta, tb, factorB := a, b, Floats(random(rng, p.K*p.N))
			if aCols%32 == 0 {
				ta = tilesOf(a, aRows, aCols)
			}
			tb = tilesOf(b, p.K, p.N)
			empty := func() Numbers { return halvesOf(make([]float32, p.M*p.N)) }
			for way := range 4 {
				y, act, q, tq := empty(), empty(), p, p
				ty, tact := tilesOf(y, p.M, p.N), tilesOf(act, p.M, p.N)
				fb, ftb := b, tb
				switch way {
				case 1:
					fb, ftb = factorB, factorB
				case 2:
					q.Act, tq.Act = act, tact
				case 3:
					q.Slope, tq.Slope = at, tilesOf(at, p.M, p.N)
				}
				c.ProductOf(y, a, fb, q)
				c.ProductOf(ty, ta, ftb, tq)
				for r := range p.M {
					for j := range p.N {
						if from, to := r*p.N+j, tilePlace(r, j, p.N); ty.BF16[to] != y.BF16[from] || tact.BF16[to] != act.BF16[from] {
							t.Fatalf("%v, way %d: other bits in row %d, column %d", s, way, r, j)
						}
					}
				}
			}
			sum, want := make([]float32, aCols), make([]float32, aCols)
			c.AddRows(sum, ta, aRows, aCols)
			if c.AddRows(want, a, aRows, aCols); !slices.Equal(sum, want) {
				t.Errorf("%v: other sums of rows", s)
			}
		}
	})
}
