package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/tensor"
)

// The elementwise kernels of training agree with plain Go bit for bit, whatever
// the length.
func TestTrainOps(t *testing.T) {
	want := genericTrainOps()
	eachFamily(t, func(t *testing.T, c *CPU) {
		got := c.ops.train
		for _, n := range []int{0, 1, 7, 8, 15, 16, 17, 31, 48, 63, 64, 65, 130, 1000} {
			for _, test := range []struct {
				name string
				run  func(o *trainOps, rng *rand.Rand) []float32
			}{
				{"dropout", func(o *trainOps, rng *rand.Rand) []float32 {
					x := special(rng, random(rng, n))
					for _, share := range []float64{0.1, 0.5, 1} {
						o.dropout(x, rng.Uint64(), uint64(share*(1<<32)), float32(1/(1-share/2)))
					}
					return x
				}},
				{"adamW", func(o *trainOps, rng *rand.Rand) []float32 {
					p, m, v, g := random(rng, n), random(rng, n), random(rng, n), random(rng, n)
					for i := range v {
						v[i] *= v[i]
					}
					o.adamW(p, m, v, g, &[8]float32{0.5, 0.1, 0.95, 0.05, 0.3, 1e-8, 0.999, 0.01})
					return slices.Concat(p, m, v)
				}},
				{"squares", func(o *trainOps, rng *rand.Rand) (r []float32) {
					var lanes [16]float64
					for range 2 {
						o.squares(&lanes, awkward(rng, n))
					}
					for _, v := range lanes {
						r = append(r, float32(v), float32(v-float64(float32(v))))
					}
					return r
				}},
				{"round bf16", func(o *trainOps, rng *rand.Rand) []float32 {
					x := awkward(rng, n)
					o.round(tensor.BF16, x)
					return x
				}},
				{"round f16", func(o *trainOps, rng *rand.Rand) []float32 {
					x := awkward(rng, n)
					o.round(tensor.F16, x)
					return x
				}},
				{"gateArgument", func(o *trainOps, rng *rand.Rand) []float32 {
					e := make([]float32, n)
					o.gateArgument(e, awkward(rng, n), 1.6, 0.07)
					return e
				}},
				{"gateSlope", func(o *trainOps, rng *rand.Rand) []float32 {
					dy, e := random(rng, n), make([]float32, n)
					for i := range e {
						e[i] = float32(math.Exp(-10 * rng.Float64()))
					}
					o.gateSlope(dy, awkward(rng, n), e, 1.6, 0.21)
					return dy
				}},
				{"softmaxGrad", func(o *trainOps, rng *rand.Rand) []float32 {
					d := random(rng, n)
					o.softmaxGrad(d, random(rng, n), 0.3, 0.125)
					return d
				}},
				{"addRows", func(o *trainOps, rng *rand.Rand) []float32 {
					y := random(rng, n)
					for _, rows := range []int{0, 1, 5} {
						o.addRows(y, random(rng, rows*(n+3)), n+3, rows)
					}
					return y
				}},
				{"normSums", func(o *trainOps, rng *rand.Rand) []float32 {
					var lanes [32]float32
					o.normSums(&lanes, random(rng, n), random(rng, n), random(rng, n), 0.1, 1.5)
					return lanes[:]
				}},
				{"normSlope", func(o *trainOps, rng *rand.Rand) []float32 {
					out := random(rng, n)
					o.normSlope(out, random(rng, n), random(rng, n), random(rng, n), 0.1, 1.5, 0.2, 0.3)
					return out
				}},
				{"normColumns", func(o *trainOps, rng *rand.Rand) []float32 {
					g, b := random(rng, n), random(rng, n)
					for _, rows := range []int{0, 1, 5} {
						o.normColumns(g, b, random(rng, rows*(n+2)), random(rng, rows*(n+2)), random(rng, 2*rows), n+2, rows)
					}
					return slices.Concat(g, b)
				}},
				{"transpose", func(o *trainOps, rng *rand.Rand) []float32 {
					const cols = 21
					dst := random(rng, cols*(n+18))
					o.transpose(dst, n+18, random(rng, n*(cols+4)), cols+4, n, cols)
					return dst
				}},
			} {
				a, b := test.run(got, rand.New(rand.NewPCG(9, 10))), test.run(want, rand.New(rand.NewPCG(9, 10)))
				if i := same(a, b); i >= 0 {
					t.Errorf("%s of %d: %g at %d, want %g", test.name, n, a[i], i, b[i])
				}
			}
		}
	})
}

// awkward has numbers of all sizes, subnormal ones and infinities too.
func awkward(rng *rand.Rand, n int) []float32 {
	special := []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), 65519, 65520, 6e-8, 3e-8, 1e-40, math.MaxFloat32, 1.00390625, 1.01171875}
	x := make([]float32, n)
	for i := range x {
		if i%3 == 0 {
			x[i] = special[rng.IntN(len(special))]
		} else {
			x[i] = float32(rng.NormFloat64() * math.Exp(10*rng.NormFloat64()))
		}
	}
	return x
}

// Bfloat16 is multiplied alike from numbers that the product rounds, and from
// those that were rounded before.
func TestPackFloats(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		if c.ops.train.packFloats == nil || c.ops.pairs == nil {
			t.Skip("no products of bf16")
		}
		rng := rand.New(rand.NewPCG(1, 10))
		for _, s := range [][2]int{{1, 1}, {2, 31}, {3, 32}, {8, 33}, {7, 100}} {
			t.Run(fmt.Sprint(s), func(t *testing.T) {
				rows, cols, ld := s[0], s[1], s[1]+5
				w := random(rng, rows*ld)
				b := make([]byte, 2*len(w))
				c.Narrow(b, w, tensor.BF16)
				n := (rows + 1) / 2 * roundUp(cols, c.ops.nr)
				got, want := make([]uint32, n), make([]uint32, n)
				c.ops.train.packFloats(got, w, ld, rows, cols)
				c.ops.pairs.pack(want, b, 2*ld, rows, cols)
				if !slices.Equal(got, want) {
					t.Errorf("%x, want %x", got, want)
				}
			})
		}
	})
}

// The gradient of embeddings that occur twice, and by how much its squares grow.
func TestEmbedGrad(t *testing.T) {
	const rows, context, width = 6, 3, 70
	rng := rand.New(rand.NewPCG(61, 62))
	ids := []int32{4, 0, 4, 2, 4, 0}
	tokens, positions, dx := random(rng, 5*width), random(rng, context*width), random(rng, rows*width)
	for _, threads := range []int{1, 3} {
		c := newCPU(t, "generic", threads)
		gotTokens, gotPositions := slices.Clone(tokens), slices.Clone(positions)
		grown := c.EmbedGrad(gotTokens, gotPositions, dx, ids, context, width)
		wantTokens, wantPositions := slices.Clone(tokens), slices.Clone(positions)
		for i, id := range ids {
			for j, v := range dx[i*width:][:width] {
				wantTokens[int(id)*width+j] += v
				wantPositions[i%context*width+j] += v
			}
		}
		if !slices.Equal(gotTokens, wantTokens) || !slices.Equal(gotPositions, wantPositions) {
			t.Fatalf("%d threads: the gradients differ", threads)
		}
		var want float64
		for i, v := range wantTokens {
			want += float64(v)*float64(v) - float64(tokens[i])*float64(tokens[i])
		}
		if math.Abs(grown-want) > 1e-9*math.Abs(want) {
			t.Errorf("%d threads: squares have grown by %v, want %v", threads, grown, want)
		}
	}
}
