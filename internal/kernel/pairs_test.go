package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// withPairs runs f for every family that multiplies bf16 by bf16.
func withPairs(t *testing.T, f func(t *testing.T, o *ops)) {
	n := 0
	for _, o := range families() {
		if o.pairs != nil {
			n++
			t.Run(o.name, func(t *testing.T) { f(t, o) })
		}
	}
	if n == 0 {
		t.Skip("no bf16 products here")
	}
}

func guardedPairs(t *testing.T, v []uint32) []uint32 {
	f := make([]float32, len(v))
	for i := range v {
		f[i] = math.Float32frombits(v[i])
	}
	g := guardedFloats(t, f)
	p := alias(g)
	copy(p, v)
	return p
}

func alias(v []float32) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(v))), len(v))
}

// wild has numbers of every size, subnormal ones too, and a few that are none.
func wild(rng *rand.Rand, n int) []float32 {
	v := random(rng, n)
	switch rng.IntN(4) {
	case 0:
		special(rng, v)
	case 1:
		for i := range v {
			v[i] = math.Float32frombits(rng.Uint32N(0x20<<23) | rng.Uint32()&(1<<31))
		}
	case 2:
		for i := range v {
			v[i] = math.Float32frombits(rng.Uint32())
		}
	}
	return v
}

// The products of pairs are those of the plain Go twin, bit for bit.
func TestTwinPairs(t *testing.T) {
	withPairs(t, func(t *testing.T, o *ops) {
		rng := rand.New(rand.NewPCG(15, 16))
		eachLength(t, 0, func(t *testing.T, n int) {
			for range 4 {
				x := guardedFloats(t, wild(rng, n))
				got, want := guardedPairs(t, make([]uint32, (n+1)/2)), make([]uint32, (n+1)/2)
				o.pairs.round(got, x)
				generic.RoundPairs(want, x)
				for i := range want {
					if got[i] != want[i] {
						t.Fatalf("round %d: pair %d of %v %v: got %08x, want %08x", n, i, x[2*i], x[min(n-1, 2*i+1)], got[i], want[i])
					}
				}
			}
		})
		eachLength(t, 0, func(t *testing.T, cols int) {
			for _, depth := range []int{0, 1, 2, 7, 8, 9, 67} {
				for _, rows := range []int{1, 2, 5, 8, 13} {
					ldx, ld := (depth+1)/2+1, cols
					if rows > 1 {
						ld = roundUp(cols, o.nr)
					}
					x := make([]uint32, max(0, rows*ldx-1))
					for r := range rows {
						generic.RoundPairs(x[r*ldx:], wild(rng, depth))
					}
					x = guardedPairs(t, x)
					w := encode(t, tensor.BF16, wild(rng, depth*cols))
					y := random(rng, rows*ld)
					got := guardedFloats(t, y)
					o.pairs.accumulate(got, ld, x, ldx, rows, depth, w, cols*2, cols)
					generic.AccumulatePairs(y, ld, x, ldx, rows, depth, w, cols*2, cols)
					for r := range rows {
						near(t, "accumulate", got[r*ld:][:cols], y[r*ld:][:cols], 0)
					}

					deep := (depth + 1) / 2
					p := alias(guardedFloats(t, make([]float32, roundUp(cols, o.nr)*deep)))
					want := make([]uint32, len(p))
					o.pairs.pack(p, w, cols*2, depth, cols)
					generic.PackPairs(o.nr, want, w, cols*2, depth, cols)
					for i := range want {
						if p[i] != want[i] {
							t.Fatalf("pack %d×%d: element %d: got %08x, want %08x", depth, cols, i, p[i], want[i])
						}
					}
				}
			}
		})
		for rows := range 18 {
			for _, deep := range []int{0, 1, 3, 4, 5, 8, 33} {
				ldx, ldy := deep+3, panelCols+2
				x := make([]uint32, max(0, rows*ldx-3))
				generic.RoundPairs(x, wild(rng, 2*len(x)))
				x = guardedPairs(t, x)
				w := encode(t, tensor.BF16, wild(rng, 2*deep*panelCols))
				y := random(rng, max(0, rows*ldy-2))
				got := guardedFloats(t, y)
				o.pairs.panel(got, ldy, x, ldx, rows, deep, w)
				generic.AccumulatePanel(y, ldy, x, ldx, rows, deep, w)
				for r := range rows {
					near(t, "panel", got[r*ldy:][:panelCols], y[r*ldy:][:panelCols], 0)
				}
			}
		}
		for mr := range o.mr + 1 {
			for k := range 20 {
				for _, load := range []bool{false, true} {
					lda, ldc := k+3, o.nr+1
					a := make([]uint32, max(0, mr*lda-3))
					generic.RoundPairs(a, wild(rng, 2*len(a)))
					b := make([]uint32, k*o.nr)
					generic.RoundPairs(b, wild(rng, 2*len(b)))
					a, b = guardedPairs(t, a), guardedPairs(t, b)
					c := random(rng, max(0, mr*ldc-1))
					got := guardedFloats(t, c)
					o.pairs.multiply(got, ldc, a, lda, b, mr, k, load)
					generic.MultiplyPairs(o.nr, c, ldc, a, lda, b, mr, k, load)
					for i := range mr {
						near(t, "multiply", got[i*ldc:][:o.nr], c[i*ldc:][:o.nr], 0)
					}
				}
			}
		}
		eachLength(t, 0, func(t *testing.T, in int) {
			for _, outs := range []int{1, 3, 4, 9} {
				for _, rows := range []int{1, 3, 4, 8, 31} {
					ldx := (in+1)/2 + 2
					x := make([]uint32, max(0, rows*ldx-2))
					for r := range rows {
						generic.RoundPairs(x[r*ldx:], wild(rng, in))
					}
					x = guardedPairs(t, x)
					w := encode(t, tensor.BF16, wild(rng, in*outs))
					got, want := guardedFloats(t, make([]float32, rows*outs)), make([]float32, rows*outs)
					o.pairs.dots(got, outs, x, ldx, rows, in, w, in*2, outs)
					generic.DotsPairs(want, outs, x, ldx, rows, in, w, in*2, outs)
					near(t, "dots", got, want, 0)
				}
			}
		}, 1601)
	})
}

// inPairs returns a weight as panels of pairs.
func inPairs(c *CPU, w *Weight) *Weight {
	p := &Weight{In: w.In, Out: w.Out, DType: tensor.BF16, Pairs: true, Data: alignedBytes(PairBytes(w.In, w.Out))}
	half := w.In / 2 &^ 1
	c.PackPairs(p.Data, w, 0, half)
	c.PackPairs(p.Data, w, half, w.In)
	return p
}

// Products with panels of pairs are those with the weight as it lay, bit for bit, however
// rows are cut into runs.
func TestPairPanels(t *testing.T) {
	withPairs(t, func(t *testing.T, o *ops) {
		shapes := []struct{ rows, in, out int }{
			{1, 7, 33}, {1, 64, 300}, {2, 31, 40}, {5, 9, 64}, {16, 70, 32}, {17, 5, 3}, {29, 48, 33}, {133, 70, 300}, {191, 33, 96},
			{192, 33, 96}, {193, 801, 40}, {48, 801, 290}, {49, 1700, 290}, {27, 1700, 290}, {530, 20, 70}, {512, 96, 256}, {700, 1601, 64}, {40, 0, 5},
		}
		var all []*CPU
		for threads := 1; threads <= 5; threads++ {
			c, err := New(Options{Family: o.name, Threads: threads})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			all = append(all, c)
		}
		for _, s := range shapes {
			rng := rand.New(rand.NewPCG(uint64(s.rows), uint64(s.in)))
			x, before, bias := random(rng, s.rows*s.in), random(rng, s.rows*s.out), random(rng, s.out)
			for _, d := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
				src, _ := weight(rng, s.in, s.out, false, d)
				w := *src
				w.DType, w.Data = tensor.BF16, make([]byte, 2*s.in*s.out)
				all[0].Convert(w.Data, tensor.BF16, src.Data, d)
				for _, e := range []Epilogue{{}, {Bias: bias, Activation: GELUTanh}, {Bias: bias, Add: true}} {
					want := append([]float32(nil), before...)
					all[0].Linear(want, x, s.rows, &w, e)
					for _, c := range all {
						y := append([]float32(nil), before...)
						c.Linear(y, x, s.rows, inPairs(c, src), e)
						if at := same(y, want); at >= 0 {
							t.Fatalf("%+v %v threads %d: element %d is %v, want %v", s, d, c.Threads(), at, y[at], want[at])
						}
					}
				}
			}
		}
	})
}
