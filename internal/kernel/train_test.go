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
			c.ActivateGrad(Floats(dy), Floats(x), f, tensor.F32)
			within(t, fmt.Sprint("activation ", f), dy, want, 1e-6)
			for _, v := range []struct{ x, want float32 }{{-3e38, 0}, {3e38, 1}, {float32(math.Inf(1)), 1}} {
				dy := []float32{1}
				c.ActivateGrad(Floats(dy), Floats([]float32{v.x}), f, tensor.F32)
				if f != None && f != Tanh && dy[0] != v.want && v.x < math.MaxFloat32 {
					t.Errorf("activation %d at %g: %g, want %g", f, v.x, dy[0], v.want)
				}
			}
			dy = []float32{1}
			c.ActivateGrad(Floats(dy), Floats([]float32{float32(math.NaN())}), f, tensor.F32)
			if f != None && f != ReLU && dy[0] == dy[0] {
				t.Errorf("activation %d of NaN: %g", f, dy[0])
			}
		}
	})
}

func TestProduct(t *testing.T) {
	shapes := [][3]int{{0, 3, 4}, {3, 4, 0}, {2, 1, 3}, {5, 3, 7}, {33, 65, 40}, {20, 17, 130}, {13, 100, 801}, {70, 300, 31}}
	eachFamily(t, func(t *testing.T, c *CPU) {
		rng := rand.New(rand.NewPCG(3, 4))
		for i, s := range shapes {
			for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16} {
				for form := range 16 {
					p := Product{M: s[0], N: s[1], K: s[2], TransposeA: form&1 > 0, TransposeB: form&2 > 0, DType: d, Add: form&4 > 0}
					if p.Round = tensor.F32; form&8 > 0 {
						p.Round = d
					}
					if form%3 == i%3 {
						p.Bias = random(rng, p.N)
					}
					checkProduct(t, c, rng, p)
				}
			}
		}
	})
}

func checkProduct(t *testing.T, c *CPU, rng *rand.Rand, p Product) {
	t.Helper()
	a, b, y := random(rng, p.M*p.K), random(rng, p.K*p.N), random(rng, p.M*p.N)
	exact := slices.Clone(b) // b is rounded by the product itself
	if p.DType != tensor.F32 {
		c.Round(a, p.DType)
		generic.Round(p.DType, exact)
	}
	bias := slices.Clone(p.Bias)
	if p.DType != tensor.F32 {
		generic.Round(p.DType, bias)
	}
	want := make([]float64, p.M*p.N)
	for i := range p.M {
		for j := range p.N {
			var sum float64
			for k := range p.K {
				x, w := a[(i*p.K+k)%max(len(a), 1)], exact[k*p.N+j]
				if p.TransposeA {
					x = a[k*p.M+i]
				}
				if p.TransposeB {
					w = exact[j*p.K+k]
				}
				sum += float64(x) * float64(w)
			}
			if bias != nil {
				sum += float64(bias[j])
			}
			if p.Add {
				sum += float64(y[i*p.N+j])
			}
			want[i*p.N+j] = sum
		}
	}
	c.Product(y, a, b, p)
	name := fmt.Sprintf("%d×%d×%d in %v, rounded to %v, transposed %v and %v, added %v, with bias %v",
		p.M, p.N, p.K, p.DType, p.Round, p.TransposeA, p.TransposeB, p.Add, p.Bias != nil)
	limit := 1e-6
	if p.rounds() {
		limit = map[tensor.DType]float64{tensor.BF16: 1e-2, tensor.F16: 1.25e-3}[p.DType]
	}
	within(t, name, y, want, limit)
	if p.rounds() && !p.Add {
		rounded := slices.Clone(y)
		generic.Round(p.Round, rounded)
		if i := same(y, rounded); i >= 0 {
			t.Errorf("%s: %g at %d is not rounded", name, y[i], i)
		}
	}
}

// The number of threads changes no bit.
func TestProductThreads(t *testing.T) {
	one, two := newCPU(t, "", 1), newCPU(t, "", 2)
	rng := rand.New(rand.NewPCG(5, 4))
	m := 530
	if testing.Short() {
		m = 70 // for the emulated CPU
	}
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16} {
		for form := range 8 {
			p := Product{M: m, N: 290, K: 400, TransposeA: form&1 > 0, TransposeB: form&2 > 0, DType: d, Add: form&4 > 0}
			a, b, y := random(rng, p.M*p.K), random(rng, p.K*p.N), random(rng, p.M*p.N)
			other := slices.Clone(y)
			one.Product(y, a, b, p)
			two.Product(other, a, b, p)
			if i := same(y, other); i >= 0 {
				t.Errorf("%+v: %g and %g at %d", p, y[i], other[i], i)
			}
		}
	}
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
		c.CrossEntropy(losses, Floats(logits), labels, vocab, scale, tensor.F32)
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
