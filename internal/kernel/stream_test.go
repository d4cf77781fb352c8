package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// streams runs f with each family, and with its kernels for the other maker's
// processors.
func streams(t *testing.T, f func(t *testing.T, o *ops)) {
	assembly(t, func(t *testing.T, o, _ *ops) {
		for name, o := range streamVariants(o) {
			t.Run(name, func(t *testing.T) { f(t, o) })
		}
	})
}

func TestTwinStream(t *testing.T) {
	streams(t, func(t *testing.T, o *ops) {
		if o.stream == nil {
			t.Skip("the family has no kernel for streams")
		}
		rng := rand.New(rand.NewPCG(51, 52))
		for depth := range 70 {
			for _, d := range weightTypes {
				x := guardedFloats(t, random(rng, depth))
				v := random(rng, 2*depth*panelCols)
				if depth%3 == 0 {
					special(rng, v)
				}
				w := encode(t, d, v)
				w0, w1 := w[:len(w)/2], w[len(w)/2:]
				y := random(rng, 2*panelCols)
				got := guardedFloats(t, y)
				o.stream(d, got[:panelCols], got[panelCols:], x, w0, w1, depth)
				generic.Stream(d, y[:panelCols], y[panelCols:], x, w0, w1, depth)
				near(t, d.String(), got, y, 2e-5)

				if d != tensor.BF16 || o.pairs == nil {
					continue
				}
				p := make([]uint32, (depth+1)/2)
				generic.RoundPairs(p, x)
				p = guardedPairs(t, p)
				got = guardedFloats(t, random(rng, 2*panelCols))
				copy(y, got)
				o.pairs.stream(got[:panelCols], got[panelCols:], p, w0, w1, depth)
				generic.StreamPairs(y[:panelCols], y[panelCols:], p, w0, w1, depth)
				near(t, "pairs", got, y, 0)
				if w = encode(t, d, random(rng, 4*len(p)*panelCols)); depth%3 == 0 {
					w = encode(t, d, wild(rng, 4*len(p)*panelCols))
				}
				w0, w1 = w[:len(w)/2], w[len(w)/2:]
				o.pairs.streamPanels(got[:panelCols], got[panelCols:], p, w0, w1, len(p))
				generic.StreamPanels(y[:panelCols], y[panelCols:], p, w0, w1, len(p))
				near(t, "panels of pairs", got, y, 0)
			}
		}
	})
}

func TestTwinStreamBlocks(t *testing.T) {
	streams(t, func(t *testing.T, o *ops) {
		if o.streamBlocks == nil {
			t.Skip("the family has no kernel for streams")
		}
		rng := rand.New(rand.NewPCG(53, 54))
		for n := range 40 {
			for _, d := range quantTypes {
				w := packedRandom(t, rng, n*tensor.QuantBlock, 2*panelOuts, d)
				x := random(rng, n*tensor.QuantBlock)
				if n%3 == 1 {
					spoil(rng, x)
				}
				blocks := make([]generic.Block, n)
				generic.Quantize(blocks, x, d)
				want := fusedProducts(d, blocks, w.Data, 2)
				y0, y1 := guardedFloats(t, random(rng, panelOuts)), guardedFloats(t, random(rng, panelOuts))
				o.streamBlocks(d, y0, y1, blocks, w.Data[:len(w.Data)/2], w.Data[len(w.Data)/2:])
				if i := sameNumbers(append(append([]float32(nil), y0...), y1...), want); i >= 0 {
					t.Fatalf("%v, %d blocks: output %d differs", d, n, i)
				}
			}
		}
	})
}

// fourRuns returns so many elements of each of four runs.
func fourRuns(t *testing.T, rng *rand.Rand, d tensor.DType, elements int, spoilt bool) (w [4][]byte) {
	for i := range w {
		v := random(rng, elements)
		if spoilt {
			special(rng, v)
		}
		w[i] = encode(t, d, v)
	}
	return w
}

func TestTwinFour(t *testing.T) {
	streams(t, func(t *testing.T, o *ops) {
		if o.four == nil {
			t.Skip("two streams are read as fast")
		}
		rng := rand.New(rand.NewPCG(57, 58))
		for depth := range 40 {
			for _, d := range weightTypes {
				for panels := range 4 {
					x, ld := guardedFloats(t, random(rng, depth)), panels*panelCols+depth%2*3
					w := fourRuns(t, rng, d, panels*depth*panelCols, depth%3 == 0)
					y := random(rng, 3*ld+panels*panelCols)
					got := guardedFloats(t, y)
					o.four(d, got, ld, x, &w, depth, panels)
					generic.Four(d, y, ld, x, &w, depth, panels)
					near(t, d.String(), got, y, 2e-5)
				}
			}
		}
	})
}

func TestTwinFourDots(t *testing.T) {
	streams(t, func(t *testing.T, o *ops) {
		if o.fourDots == nil {
			t.Skip("two streams are read as fast")
		}
		rng := rand.New(rand.NewPCG(63, 64))
		for depth := range 70 {
			for outs := range 4 {
				for _, d := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
					x, ld := guardedFloats(t, random(rng, depth)), outs+depth%2*3
					w := fourRuns(t, rng, d, outs*depth, depth%3 == 0)
					for i := range w {
						w[i] = append(guarded(t, len(w[i]))[:0], w[i]...)
					}
					y := random(rng, 3*ld+outs)
					got := guardedFloats(t, y)
					o.fourDots(d, got, ld, x, &w, outs)
					generic.FourDots(d, y, ld, x, &w, outs)
					near(t, d.String(), got, y, 2e-5)
				}
			}
		}
	})
}

func TestTwinFourBlocks(t *testing.T) {
	streams(t, func(t *testing.T, o *ops) {
		if o.fourBlocks == nil {
			t.Skip("two streams are read as fast")
		}
		rng := rand.New(rand.NewPCG(59, 60))
		for n := range 20 {
			for _, d := range quantTypes {
				for panels := 1; panels < 4; panels++ {
					all := packedRandom(t, rng, n*tensor.QuantBlock, 4*panels*panelOuts, d).Data
					x := random(rng, n*tensor.QuantBlock)
					if n%3 == 1 {
						spoil(rng, x)
					}
					blocks := make([]generic.Block, n)
					generic.Quantize(blocks, x, d)
					want := fusedProducts(d, blocks, all, 4*panels)
					var w [4][]byte
					for i := range w {
						w[i] = guarded(t, len(all)/4)
						copy(w[i], all[i*len(all)/4:])
					}
					y := guardedFloats(t, random(rng, 4*panels*panelOuts))
					o.fourBlocks(d, y, panels*panelOuts, blocks, &w, panels)
					if i := sameNumbers(y, want); i >= 0 {
						t.Fatalf("%v, %d blocks, %d panels: output %d differs", d, n, panels, i)
					}
				}
			}
		}
	})
}

// Four streams give the bits of two, whatever the members have to do and leave over.
func TestFour(t *testing.T) {
	streams(t, func(t *testing.T, o *ops) {
		if o.four == nil {
			t.Skip("two streams are read as fast")
		}
		two := *o
		two.four, two.fourDots, two.fourBlocks = nil, nil, nil
		if o.tiles != nil {
			tiles := *o.tiles
			tiles.four, tiles.alone = nil, nil
			two.tiles = &tiles
		}
		plain := cpuOf(t, &two, 1)
		rng := rand.New(rand.NewPCG(61, 62))
		for _, members := range []int{1, 2, 3, 8} {
			c := cpuOf(t, o, members)
			for _, in := range []int{32, 96, 1056} {
				for _, out := range []int{1, 31, 100, 32 * 7, 32 * 8, 32*23 + 5, 32 * 64} {
					for _, w := range fourWeights(t, c, rng, in, out) {
						x, bias, y := random(rng, in), random(rng, out), random(rng, out)
						want := append([]float32(nil), y...)
						e := Epilogue{Bias: bias, Add: out%2 == 0}
						if out%3 == 0 {
							e.Activation = GELUTanh
						}
						c.Linear(y, x, 1, w, e)
						plain.Linear(want, x, 1, w, e)
						if i := sameNumbers(y, want); i >= 0 {
							t.Fatalf("%d members, %d×%d %v: output %d is %v, want %v", members, in, out, w.DType, i, y[i], want[i])
						}
					}
				}
			}
		}
	})
}

// fourWeights returns a weight in each form that is read in four streams.
func fourWeights(t *testing.T, c *CPU, rng *rand.Rand, in, out int) []*Weight {
	src := &Weight{In: in, Out: out, DType: tensor.F32, Data: tensor.Bytes(random(rng, in*out))}
	var list []*Weight
	for _, d := range weightTypes {
		w := &Weight{In: in, Out: out, DType: d, Data: make([]byte, PanelBytes(d, in, out)), Panels: true}
		c.PackPanels(w.Data, src, d, 0, src.In)
		list = append(list, w)
	}
	if c.ops.pairs != nil {
		list = append(list, inPairs(c, src))
	}
	list = append(list, &Weight{In: in, Out: out, DType: tensor.F32, Data: src.Data, OutMajor: true})
	if c.InTiles(tensor.BF16) {
		w := &Weight{In: in, Out: out, DType: tensor.BF16, Data: make([]byte, TileBytes(out, in)), Tiles: true}
		c.PackTiles(w.Data, src)
		list = append(list, w)
	}
	for _, d := range quantTypes {
		list = append(list, packedRandom(t, rng, in, out, d))
	}
	return list
}
