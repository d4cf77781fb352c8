package kernel

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/tensor"
)

func TestTwinScores(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		rng := rand.New(rand.NewPCG(15, 16))
		for _, d := range kvTypes {
			for dim := range 70 {
				for _, panels := range []int{0, 1, 3} {
					v := random(rng, panels*dim*KVPanel)
					if panels == 3 {
						special(rng, v)
					}
					k, q := encode(t, d, v), guardedFloats(t, random(rng, dim))
					got := guardedFloats(t, random(rng, panels*KVPanel))
					want := make([]float32, panels*KVPanel)
					o.scores(d, got, q, k, panels, dim, nil)
					g.scores(d, want, q, k, panels, dim, nil)
					near(t, d.String(), got, want, 2e-5)
				}
			}
		}
	})
}

func TestTwinValues(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		rng := rand.New(rand.NewPCG(17, 18))
		for _, d := range kvTypes {
			for dim := 0; dim <= 8*o.nr; dim += o.nr {
				for _, n := range []int{0, 1, 2, 7, 33} {
					v := random(rng, n*dim)
					if n == 7 {
						special(rng, v)
					}
					w, p := encode(t, d, v), guardedFloats(t, random(rng, n))
					want := random(rng, dim)
					got := guardedFloats(t, want)
					o.values(d, got, p, w, dim, nil)
					g.values(d, want, p, w, dim, nil)
					near(t, d.String(), got, want, 2e-5)
				}
			}
		}
	})
}

// What is rounded to 16 bits, and widened again, is the same bit for bit.
func TestTwinNarrowWiden(t *testing.T) {
	assembly(t, func(t *testing.T, o, _ *ops) {
		rng := rand.New(rand.NewPCG(19, 20))
		for _, d := range []tensor.DType{tensor.F16, tensor.BF16} {
			for _, n := range append(lengths(), 100_000) {
				v := special(rng, random(rng, n))
				for i := range v {
					if n > 300 { // every exponent
						v[i] = math.Float32frombits(rng.Uint32())
					}
				}
				src, got, want := guardedFloats(t, v), guarded(t, 2*n), make([]byte, 2*n)
				o.narrow(d, got, src)
				tensor.FromFloat32(want, d, v)
				if !bytes.Equal(got, want) {
					t.Fatalf("%v, %d numbers: rounded to something else", d, n)
				}
				wide := guardedFloats(t, make([]float32, n))
				tensor.ToFloat32(v, d, want)
				o.widen(d, wide, got)
				if at := same(wide, v); at >= 0 {
					t.Fatalf("%v: %v widened to %v", d, v[at], wide[at])
				}
			}
		}
	})
}

func TestTwinTriangle(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		if o.triangle == nil {
			t.Skip("has none")
		}
		rng := rand.New(rand.NewPCG(21, 22))
		for range 20 {
			lda, ldb, ldc := o.mr+3, o.nr+2, o.nr+1
			a := guardedFloats(t, random(rng, o.mr*lda-4))
			b := guardedFloats(t, special(rng, random(rng, (o.mr-1)*ldb-2)))
			want := random(rng, o.mr*ldc-1)
			c := guardedFloats(t, want)
			o.triangle(c, ldc, a, lda, b, ldb)
			for i := 1; i < o.mr; i++ {
				o.multiply(want[i*ldc:], ldc, a[i*lda:], lda, b, ldb, 1, i, true)
			}
			near(t, "triangle", c, want, 0)
		}
	})
}
