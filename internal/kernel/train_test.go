package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// within compares by a relative norm.
func within(t *testing.T, what string, got []float32, want []float64, limit float64) {
	t.Helper()
	if e := distance(got, want); !(e <= limit) {
		t.Errorf("%s: off by %.3g, want at most %g", what, e, limit)
	}
}

// numeric is the derivative of Σ g·f(x) by each x.
func numeric(x, g []float32, f func(x []float32) []float64) []float64 {
	sum := func() (s float64) {
		for i, v := range f(x) {
			s += v * float64(g[i])
		}
		return s
	}
	d := make([]float64, len(x))
	for i, v := range x {
		const h = 1.0 / 1024
		x[i] = v + h
		up := sum()
		x[i] = v - h
		d[i] = (up - sum()) / (2 * h)
		x[i] = v
	}
	return d
}

// attend is TrainAttention in float64, written down plainly.
func attend(qkv []float32, a TrainAttention) []float64 {
	width := a.Heads * a.HeadDim
	at := func(row, part, h, d int) float64 { return float64(qkv[(row*3+part)*width+h*a.HeadDim+d]) }
	out := make([]float64, a.Sequences*a.Context*width)
	for b := range a.Sequences {
		for h := range a.Heads {
			for t := range a.Context {
				row := b*a.Context + t
				p := make([]float64, t+1)
				mask := make([]float32, t+1)
				var sum float64
				for s := range p {
					for d := range a.HeadDim {
						p[s] += at(row, 0, h, d) * at(b*a.Context+s, 1, h, d)
					}
					p[s] = math.Exp(p[s] * float64(a.Scale))
					sum += p[s]
					mask[s] = 1
				}
				genericOps().drop(mask, a.Dropout, uint64((b*a.Heads+h)*a.Context+t)*uint64(a.Context))
				for s, v := range p {
					for d := range a.HeadDim {
						out[row*width+h*a.HeadDim+d] += v / sum * float64(mask[s]) * at(b*a.Context+s, 2, h, d)
					}
				}
			}
		}
	}
	return out
}

func TestTrainAttention(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		for _, a := range []TrainAttention{
			{Sequences: 1, Context: 1, Heads: 1, HeadDim: 1, Scale: 1},
			{Sequences: 2, Context: 5, Heads: 3, HeadDim: 4, Scale: 0.5},
			{Sequences: 1, Context: 37, Heads: 1, HeadDim: 3, Scale: 0.7},
			{Sequences: 2, Context: 33, Heads: 1, HeadDim: 5, Scale: 0.4, Dropout: Dropout{5, 0.3}},
		} {
			t.Run(fmt.Sprint(a), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(1, 2))
				rows, width := a.Sequences*a.Context, a.Heads*a.HeadDim
				qkv, dout := random(rng, rows*3*width), random(rng, rows*width)
				out, lse, dqkv := make([]float32, rows*width), make([]float32, rows*a.Heads), random(rng, rows*3*width)
				c.TrainAttention(out, lse, qkv, a)
				within(t, "output", out, attend(qkv, a), 1e-6)
				c.TrainAttentionGrad(dqkv, dout, qkv, out, lse, a)
				within(t, "gradient", dqkv, numeric(qkv, dout, func(x []float32) []float64 { return attend(x, a) }), 1e-5)
			})
		}
	})
}

// Dropping is by position alone: it hits about its share, and the sum is kept.
func TestDropout(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		x := make([]float32, 100_000)
		for i := range x {
			x[i] = 1
		}
		c.Dropout(x, Dropout{Key: 3, Share: 0.2})
		zeros := 0
		for _, v := range x {
			if v == 0 {
				zeros++
			} else if v != 1.25 {
				t.Fatalf("kept as %v, want 1.25", v)
			}
		}
		if zeros < 19_500 || zeros > 20_500 {
			t.Errorf("%d of %d dropped", zeros, len(x))
		}
	})
}

func TestActivateGrad(t *testing.T) {
	exact := map[Activation]func(x float64) float64{
		None:      func(x float64) float64 { return x },
		GELUTanh:  func(x float64) float64 { return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))) },
		GELUErf:   func(x float64) float64 { return x / 2 * math.Erfc(-x/math.Sqrt2) },
		ReLU:      func(x float64) float64 { return max(x, 0) },
		SiLU:      func(x float64) float64 { return x / (1 + math.Exp(-x)) },
		Tanh:      math.Tanh,
		QuickGELU: func(x float64) float64 { return x / (1 + math.Exp(-1.702*x)) },
	}
	eachFamily(t, func(t *testing.T, c *CPU) {
		for f, exact := range exact {
			var x, dy []float32
			var want []float64
			for v := -30.0; v < 30; v += 0.0371 {
				const h = 1e-5
				x, dy = append(x, float32(v)), append(dy, 2)
				v := float64(float32(v))
				want = append(want, 2*(exact(v+h)-exact(v-h))/(2*h))
			}
			c.ActivateGrad(dy, x, f)
			within(t, fmt.Sprint("activation ", f), dy, want, 1e-6)
			for _, v := range []struct{ x, want float32 }{{-3e38, 0}, {3e38, 1}, {float32(math.Inf(1)), 1}} {
				dy := []float32{1}
				c.ActivateGrad(dy, []float32{v.x}, f)
				if f != None && f != Tanh && dy[0] != v.want && v.x < math.MaxFloat32 {
					t.Errorf("activation %d at %g: %g, want %g", f, v.x, dy[0], v.want)
				}
			}
			dy = []float32{1}
			c.ActivateGrad(dy, []float32{float32(math.NaN())}, f)
			if f != None && f != ReLU && dy[0] == dy[0] {
				t.Errorf("activation %d of NaN: %g", f, dy[0])
			}
		}
	})
}

func TestTransposedProduct(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		rng := rand.New(rand.NewPCG(3, 4))
		for _, s := range [][3]int{{0, 3, 4}, {1, 1, 1}, {5, 3, 7}, {40, 33, 65}, {130, 20, 17}} {
			rows, in, out := s[0], s[1], s[2]
			for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16} {
				x, dy, dw := random(rng, rows*in), random(rng, rows*out), random(rng, in*out)
				if d != tensor.F32 {
					c.Round(x, x, d)
					c.Round(dy, dy, d)
				}
				want := make([]float64, in*out)
				for i := range want {
					want[i] = float64(dw[i])
					for r := range rows {
						want[i] += float64(x[r*in+i/out]) * float64(dy[r*out+i%out])
					}
				}
				c.TransposedProduct(dw, x, dy, rows, in, out, d)
				limit := 1e-6
				if d == tensor.F16 {
					limit = 5e-4 // the product is rounded
				}
				within(t, fmt.Sprint(s, d), dw, want, limit)
			}
		}
	})
}

func TestCrossEntropy(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		const vocab, scale = 37, 0.25
		logits := random(rand.New(rand.NewPCG(5, 6)), 3*vocab)
		labels := []int32{4, -100, 36}
		loss := func(x []float32) []float64 {
			all := make([]float64, 3)
			for r, l := range labels {
				if l < 0 {
					continue
				}
				for _, v := range x[r*vocab:][:vocab] {
					all[r] += math.Exp(float64(v))
				}
				all[r] = math.Log(all[r]) - float64(x[r*vocab+int(l)])
			}
			return all
		}
		want, losses := loss(logits), make([]float64, 3)
		gradient := numeric(logits, []float32{scale, scale, scale}, loss)
		c.CrossEntropy(losses, logits, labels, vocab, scale)
		for r, w := range want {
			if math.Abs(losses[r]-w) > 1e-6 {
				t.Errorf("loss %d: %v, want %v", r, losses[r], w)
			}
		}
		within(t, "gradient", logits, gradient, 1e-5)
	})
}

func TestSumSquares(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		x := random(rand.New(rand.NewPCG(7, 8)), 3*elementPart+5)
		var want float64
		for _, v := range x {
			want += float64(v) * float64(v)
		}
		if got, finite := c.SumSquares(x); !finite || math.Abs(got-want) > 1e-9*want {
			t.Errorf("%v, %v, want %v", got, finite, want)
		}
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			x[elementPart+1] = float32(bad)
			if _, finite := c.SumSquares(x); finite {
				t.Errorf("%v is not finite", bad)
			}
		}
		if got, finite := c.SumSquares(nil); got != 0 || !finite {
			t.Error("nothing is finite, and 0")
		}
	})
}

// Families agree bit for bit, whatever the length.
func TestAdamW(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		rng := rand.New(rand.NewPCG(9, 10))
		for _, n := range []int{0, 1, 15, 16, 17, 100, 1000} {
			var got, want [4][]float32
			for i := range got {
				got[i] = random(rng, n)
				for j := range got[2] {
					got[2][j] = max(got[2][j], -got[2][j])
				}
				want[i] = slices.Clone(got[i])
			}
			k := [8]float32{0.5, 0.1, 0.95, 0.05, 0.3, 1e-8, 0.999, 0.01}
			generic.AdamW(want[0], want[1], want[2], want[3], &k)
			c.ops.adamW(got[0], got[1], got[2], got[3], &k)
			for i := range got {
				if j := same(got[i], want[i]); j >= 0 {
					t.Errorf("%d numbers: array %d differs at %d: %g, want %g", n, i, j, got[i][j], want[i][j])
				}
			}
		}
	})
}
