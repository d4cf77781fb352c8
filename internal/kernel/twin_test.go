package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Every primitive of every family is held to its plain Go twin over all short
// lengths, on memory that ends where the data ends, with odd alignments, and
// with NaN and Inf among the numbers.

var weightTypes = []tensor.DType{tensor.F32, tensor.F16, tensor.BF16}

// assembly runs f for every family but generic.
func assembly(t *testing.T, f func(t *testing.T, o, g *ops)) {
	all := families()
	g := all[len(all)-1]
	if len(all) == 1 {
		t.Skip("only generic here")
	}
	for _, o := range all[:len(all)-1] {
		t.Run(o.name, func(t *testing.T) { f(t, o, g) })
	}
}

// special puts NaN and Inf at a few places.
func special(rng *rand.Rand, v []float32) []float32 {
	for _, s := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		if len(v) > 0 {
			v[rng.IntN(len(v))] = s
		}
	}
	return v
}

func encode(t *testing.T, d tensor.DType, v []float32) []byte {
	b := guarded(t, len(v)*d.Size()+1)
	// One byte before the end of the page is the most awkward address.
	b = b[: len(b)-1 : len(b)-1]
	tensor.FromFloat32(b, d, v)
	return b
}

// near compares with a tolerance relative to the size of the terms; NaN and
// Inf must be equal.
func near(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	for i := range want {
		g, w := float64(got[i]), float64(want[i])
		switch {
		case math.IsNaN(w) || math.IsNaN(g):
			if math.IsNaN(w) != math.IsNaN(g) {
				t.Fatalf("%s: element %d: got %v, want %v", what, i, g, w)
			}
		case math.IsInf(w, 0) || math.IsInf(g, 0):
			if g != w {
				t.Fatalf("%s: element %d: got %v, want %v", what, i, g, w)
			}
		case !(math.Abs(g-w) <= tolerance):
			t.Fatalf("%s: element %d: got %v, want %v", what, i, g, w)
		}
	}
}

// eachLength calls f for each length from least to 257, with -short for those to 69 and some
// others, and for more.
func eachLength(t *testing.T, least int, f func(t *testing.T, n int), more ...int) {
	some := []int{100, 127, 128, 129, 257}
	for n := least; n <= 257; n++ {
		if n < 70 || slices.Contains(some, n) || !testing.Short() {
			t.Run(strconv.Itoa(n), func(t *testing.T) { f(t, n) }) // which ends guarded memory
		}
	}
	for _, n := range more {
		t.Run(strconv.Itoa(n), func(t *testing.T) { f(t, n) })
	}
}

func TestTwinVectors(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		rng := rand.New(rand.NewPCG(3, 4))
		eachLength(t, 0, func(t *testing.T, n int) {
			for _, odd := range []bool{false, true} {
				fresh := func() []float32 { return guardedFloats(t, random(rng, n)) }
				x, y := fresh(), fresh()
				if odd {
					special(rng, x)
				}
				gain, bias := fresh(), fresh()
				got, want := guardedFloats(t, y), append([]float32(nil), y...)
				o.add(got, x)
				g.add(want, x)
				near(t, "add", got, want, 0)
				o.scale(got, 1.7)
				g.scale(want, 1.7)
				near(t, "scale", got, want, 0)

				near(t, "sum", []float32{o.sum(x)}, []float32{g.sum(x)}, 0)
				near(t, "sumSquares", []float32{o.sumSquares(x, 0.3)}, []float32{g.sumSquares(x, 0.3)}, 1e-5*float64(n+1))

				o.normalize(got, x, gain, bias, 0.3, 1.2)
				g.normalize(want, x, gain, bias, 0.3, 1.2)
				near(t, "normalize", got, want, 1e-5)

				got, want = guardedFloats(t, x), append([]float32(nil), x...)
				m, wm := o.scaleMax(got, -0.7), g.scaleMax(want, -0.7)
				near(t, "scaleMax", append(got, m), append(want, wm), 0)
				got = guardedFloats(t, want)
				s, ws := o.expSum(got, m), g.expSum(want, m)
				near(t, "expSum", append(got, s), append(want, ws), 1e-5)

				for _, k := range [][2]float32{{1, 0}, {1.702, 0}, {1.5957691, 0.07135481}} {
					got, want = guardedFloats(t, x), append([]float32(nil), x...)
					o.gate(got, k[0], k[1])
					g.gate(want, k[0], k[1])
					near(t, "gate", got, want, 1e-6)
				}
			}
		})
	})
}

func TestTwinAccumulate(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		rng := rand.New(rand.NewPCG(5, 6))
		for _, d := range weightTypes {
			eachLength(t, 0, func(t *testing.T, cols int) {
				for _, depth := range []int{0, 1, 7, 8, 9, 17} {
					for _, rows := range []int{1, 2, 5} {
						v, x := random(rng, depth*cols), guardedFloats(t, random(rng, rows*depth))
						if rows == 2 || depth == 17 {
							special(rng, v)
						}
						w := encode(t, d, v)
						ld := cols
						if rows > 1 {
							ld = roundUp(cols, o.nr)
						}
						y := random(rng, rows*ld)
						got := guardedFloats(t, y)
						o.accumulate(d, got, ld, x, depth, rows, depth, w, cols*d.Size(), cols)
						g.accumulate(d, y, ld, x, depth, rows, depth, w, cols*d.Size(), cols)
						for r := range rows {
							near(t, d.String(), got[r*ld:][:cols], y[r*ld:][:cols], 2e-5)
						}
					}
				}
			})
		}
	})
}

func TestTwinPack(t *testing.T) {
	assembly(t, func(t *testing.T, o, _ *ops) {
		rng := rand.New(rand.NewPCG(7, 8))
		eachLength(t, 0, func(t *testing.T, cols int) {
			for _, rows := range []int{0, 1, 3, 33} {
				for _, d := range weightTypes {
					// The packed matrix is the right part of a wider one.
					stride := cols + 5
					v := special(rng, random(rng, max(0, rows*stride-5)))
					w := encode(t, d, v)
					tensor.ToFloat32(v, d, w)
					dst := guardedFloats(t, make([]float32, roundUp(cols, o.nr)*rows))
					for i := range dst {
						dst[i] = 7
					}
					o.pack(d, dst, w, stride*d.Size(), rows, cols)
					for c := range roundUp(cols, o.nr) {
						for k := range rows {
							want := float32(0)
							if c < cols {
								want = v[k*stride+c]
							}
							near(t, "pack", dst[c/o.nr*o.nr*rows+k*o.nr+c%o.nr:][:1], []float32{want}, 0)
						}
					}
				}
			}
		})
		for n := 1; n <= o.nr; n++ {
			for _, dim := range []int{1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 64, 80} {
				src := guardedFloats(t, special(rng, random(rng, n*dim)))
				dst := guardedFloats(t, make([]float32, dim*o.nr))
				for i := range dst {
					dst[i] = 7
				}
				o.packTransposed(dst, src, n, dim)
				for i := range dst {
					want := float32(0)
					if j := i % o.nr; j < n {
						want = src[j*dim+i/o.nr]
					}
					near(t, "packTransposed", dst[i:i+1], []float32{want}, 0)
				}
			}
		}
	})
}

func TestTwinMultiply(t *testing.T) {
	assembly(t, func(t *testing.T, o, _ *ops) {
		rng := rand.New(rand.NewPCG(9, 10))
		for mr := range o.mr + 1 {
			for k := range 20 {
				for _, load := range []bool{false, true} {
					lda, ldb, ldc := k+3, o.nr+2, o.nr+1
					a := guardedFloats(t, random(rng, max(0, mr*lda-3)))
					b := guardedFloats(t, random(rng, max(0, k*ldb-2)))
					before := random(rng, max(0, mr*ldc-1))
					c := guardedFloats(t, before)
					if k > 3 && mr > 0 {
						b[rng.IntN(len(b))] = float32(math.NaN())
						a[rng.IntN(len(a))] = float32(math.Inf(1))
					}
					o.multiply(c, ldc, a, lda, b, ldb, mr, k, load)
					for i := range mr {
						for j := range o.nr {
							var want float32
							if load {
								want = before[i*ldc+j]
							}
							for p := range k {
								want += a[i*lda+p] * b[p*ldb+j]
							}
							near(t, "multiply", c[i*ldc+j:][:1], []float32{want}, 2e-5)
						}
					}
				}
			}
		}
	})
}

func TestTwinDots(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		rng := rand.New(rand.NewPCG(11, 12))
		for _, d := range weightTypes {
			eachLength(t, 0, func(t *testing.T, in int) {
				for _, outs := range []int{1, 2, 3, 4, 5, 9} {
					for _, rows := range []int{1, 3, 4, 8, 16} {
						v := random(rng, in*outs)
						if rows == 3 {
							special(rng, v)
						}
						w, x := encode(t, d, v), guardedFloats(t, random(rng, rows*in))
						got := guardedFloats(t, make([]float32, rows*outs))
						want := make([]float32, rows*outs)
						o.dots(d, got, outs, x, rows, in, w, in*d.Size(), outs)
						g.dots(d, want, outs, x, rows, in, w, in*d.Size(), outs)
						near(t, d.String(), got, want, 5e-5)
					}
				}
			})
		}
	})
}

// ulps is the distance of got from want in units of the last place of want.
func ulps(got float32, want float64) float64 {
	_, e := math.Frexp(want)
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(e-24, -149))
}

// The exponential is within 1.1 units of the last place, subnormal results
// included, over the whole range.
func TestExpError(t *testing.T) {
	step := uint32(97)
	if testing.Short() {
		step = 9973
	}
	assembly(t, func(t *testing.T, o, _ *ops) {
		buf := make([]float32, 0, 4096)
		worst, at := 0.0, float32(0)
		flush := func() {
			in := append([]float32(nil), buf...)
			o.expSum(buf, 0)
			for i, x := range in {
				if want := math.Exp(float64(x)); want < math.MaxFloat32 {
					if u := ulps(buf[i], want); u > worst {
						worst, at = u, x
					}
				} else if !math.IsInf(float64(buf[i]), 1) {
					t.Errorf("exp(%v): got %v, want Inf", x, buf[i])
				}
			}
			buf = buf[:0]
		}
		for _, sign := range []uint32{0, 1 << 31} {
			for bits := uint32(0x2f000000); bits < 0x7f800000; bits += step {
				if buf = append(buf, math.Float32frombits(sign|bits)); len(buf) == cap(buf) {
					flush()
				}
				if bits > 0x43000000 { // ±128 and beyond: only some
					bits += 1 << 16
				}
			}
		}
		buf = append(buf, 0, float32(math.Inf(-1)), float32(math.Inf(1)))
		flush()
		t.Logf("exp: %.3f units in the last place at %v", worst, at)
		if worst > 1.1 {
			t.Errorf("exp(%v): off by %.2f units in the last place", at, worst)
		}
	})
}

// GELU, SiLU and QuickGELU: the relative error grows with the argument of the
// exponential, as that of any product rounded to float32 does.
func TestGateError(t *testing.T) {
	assembly(t, func(t *testing.T, o, _ *ops) {
		for _, f := range []Activation{GELUTanh, SiLU, QuickGELU} {
			var x []float32
			for v := -9.0; v < 9; v += 0.00037 {
				x = append(x, float32(v))
			}
			y := append([]float32(nil), x...)
			o.activate(y, f)
			worst, at := 0.0, float32(0)
			for i, v := range x {
				w := float64(v)
				z := w
				switch f {
				case GELUTanh:
					z = 2 * math.Sqrt(2/math.Pi) * (w + 0.044715*w*w*w)
				case QuickGELU:
					z = 1.702 * w
				}
				want := w / (1 + math.Exp(-z))
				if want == 0 {
					continue
				}
				e := math.Abs(float64(y[i])-want) / math.Abs(want) / (3 + 2*math.Abs(z))
				if e > worst {
					worst, at = e, v
				}
			}
			t.Logf("activation %d: %.3g·(3+2|z|) at %v", f, worst, at)
			if worst > 7e-8 {
				t.Errorf("activation %d of %v: relative error %g·(3+2|z|)", f, at, worst)
			}
		}
	})
}

// The two vector families give the same bits.
func TestFamiliesAgree(t *testing.T) {
	byName := map[string]*ops{}
	for _, o := range families() {
		byName[o.name] = o
	}
	if byName["avx2"] == nil || byName["avx512"] == nil {
		t.Skip("needs a processor with AVX-512")
	}
	wide, narrow := newCPU(t, "avx512", 2), newCPU(t, "avx2", 1)
	rng := rand.New(rand.NewPCG(13, 14))
	check := func(what string, n int, f func(c *CPU, y []float32)) {
		t.Helper()
		start := random(rng, n)
		a, b := append([]float32(nil), start...), append([]float32(nil), start...)
		f(wide, a)
		f(narrow, b)
		if at := same(a, b); at >= 0 {
			t.Errorf("%s: element %d: avx512 %v, avx2 %v", what, at, a[at], b[at])
		}
	}
	for _, s := range [][2]int{{1, 3}, {21, 53}, {64, 192}, {333, 129}} {
		for _, d := range weightTypes {
			if d == tensor.BF16 && byName["avx512"].pairs != nil {
				continue // x is rounded there
			}
			for _, major := range []bool{false, true} {
				for _, rows := range []int{1, 7, 29} {
					w, _ := weight(rng, s[0], s[1], major, d)
					x, bias := random(rng, rows*s[0]), random(rng, s[1])
					for f := None; f <= QuickGELU; f++ {
						check("linear", rows*s[1], func(c *CPU, y []float32) {
							c.Linear(y, x, rows, w, Epilogue{Bias: bias, Activation: f, Add: f == None})
						})
					}
				}
			}
		}
	}
	for _, width := range []int{1, 7, 21, 100, 768} {
		x, gain, bias := random(rng, 5*width), random(rng, width), random(rng, width)
		check("norm", 5*width, func(c *CPU, y []float32) { c.LayerNorm(y, x, gain, bias, 5, width, 1e-5) })
	}
	for _, dim := range []int{3, 16, 21, 64, 96} {
		for _, d := range kvTypes {
			const heads, tokens = 2, 277
			shape := AttentionShape{heads, dim, d, 0.3, false}
			qkv := random(rng, tokens*3*heads*dim)
			check("attention", heads*tokens*dim, func(c *CPU, y []float32) {
				cache := newCache(t, shape, tokens, nil)
				rows := make([]AttentionRow, tokens)
				for i := range rows {
					rows[i] = cache.at(i + 1)
				}
				c.Attention(y, qkv, rows, shape)
				for _, i := range []int{0, 40, tokens - 1} {
					at := i * heads * dim
					c.Attention(y[at:], qkv[3*at:], rows[i:i+1], shape)
				}
			})
		}
	}
	// Every exponent, and what is not a number.
	var x []float32
	for bits := uint64(0); bits < 1<<32; bits += 99991 {
		x = append(x, math.Float32frombits(uint32(bits)))
	}
	for f := None; f <= QuickGELU; f++ {
		a, b := append([]float32(nil), x...), append([]float32(nil), x...)
		byName["avx512"].activate(a, f)
		byName["avx2"].activate(b, f)
		for i := range a {
			if math.Float32bits(a[i]) != math.Float32bits(b[i]) && !(math.IsNaN(float64(a[i])) && math.IsNaN(float64(b[i]))) {
				t.Fatalf("activation %d of %v: avx512 %v, avx2 %v", f, x[i], a[i], b[i])
			}
		}
	}
}
