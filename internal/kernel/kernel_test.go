package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/tensor"
)

func newCPU(t testing.TB, family string, threads int) *CPU {
	t.Helper()
	c, err := New(Options{Threads: threads, Family: family})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// eachFamily runs f with a CPU of two threads of every family there is.
func eachFamily(t *testing.T, f func(t *testing.T, c *CPU)) {
	for _, name := range Families() {
		t.Run(name, func(t *testing.T) { f(t, newCPU(t, name, 2)) })
	}
}

func random(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

func weight(rng *rand.Rand, in, out int, outMajor bool, d tensor.DType) (*Weight, []float32) {
	v := random(rng, in*out)
	w := &Weight{In: in, Out: out, OutMajor: outMajor, DType: d, Data: make([]byte, len(v)*d.Size())}
	tensor.FromFloat32(w.Data, d, v)
	tensor.ToFloat32(v, d, w.Data)
	return w, v
}

func same(a, b []float32) int {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return i
		}
	}
	return -1
}

// distance is the relative norm of the difference.
func distance(got []float32, want []float64) float64 {
	var diff, norm float64
	for i, w := range want {
		d := float64(got[i]) - w
		diff += d * d
		norm += w * w
	}
	if diff == 0 {
		return 0
	}
	return math.Sqrt(diff / norm)
}

func TestNew(t *testing.T) {
	if _, err := New(Options{Family: "sse9"}); err == nil || !strings.Contains(err.Error(), "generic") {
		t.Errorf("unknown family: %v", err)
	}
	if _, err := New(Options{Threads: -1}); err == nil {
		t.Error("negative threads: no error")
	}
	c := newCPU(t, "", 0)
	if c.Threads() < 1 || c.Family() != Families()[0] {
		t.Errorf("default: %d threads, family %s of %v", c.Threads(), c.Family(), Families())
	}
}

// A continuous integration job names the family that its machine must choose.
func TestRequiredFamily(t *testing.T) {
	want := os.Getenv("GPTCTL_REQUIRE_CPU")
	if want == "" {
		t.Skip("GPTCTL_REQUIRE_CPU is not set")
	}
	if got := newCPU(t, "", 1).Family(); got != want {
		t.Errorf("chosen family: got %s, want %s", got, want)
	}
}

func reference(x, w []float32, rows int, m *Weight, e Epilogue, y []float32) []float64 {
	out := make([]float64, rows*m.Out)
	for r := range rows {
		for o := range m.Out {
			var s float64
			for k := range m.In {
				if m.OutMajor {
					s += float64(x[r*m.In+k]) * float64(w[o*m.In+k])
				} else {
					s += float64(x[r*m.In+k]) * float64(w[k*m.Out+o])
				}
			}
			if e.Bias != nil {
				s += float64(e.Bias[o])
			}
			s = activation(s, e.Activation)
			if e.Add {
				s += float64(y[r*m.Out+o])
			}
			out[r*m.Out+o] = s
		}
	}
	return out
}

// activation is written from the definitions.
func activation(x float64, a Activation) float64 {
	switch a {
	case GELUTanh:
		return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	case GELUErf:
		return 0.5 * x * (1 + math.Erf(x/math.Sqrt2))
	case ReLU:
		return max(x, 0)
	case SiLU:
		return x / (1 + math.Exp(-x))
	case Tanh:
		return math.Tanh(x)
	case QuickGELU:
		return x / (1 + math.Exp(-1.702*x))
	}
	return x
}

// The product is right for every shape, and a row does not depend on how many
// rows there are or how many threads.
func TestLinear(t *testing.T) {
	type shape struct{ in, out int }
	shapes := []shape{{1, 1}, {3, 5}, {16, 16}, {21, 53}, {48, 33}, {64, 100}, {257, 71}, {300, 515}}
	if testing.Short() {
		shapes = shapes[:6]
	}
	eachFamily(t, func(t *testing.T, c *CPU) {
		alone := newCPU(t, c.Family(), 1)
		for _, s := range shapes {
			for _, d := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
				for _, outMajor := range []bool{false, true} {
					t.Run(fmt.Sprintf("%dx%d/%v/%v", s.in, s.out, d, outMajor), func(t *testing.T) {
						linearCase(t, c, alone, s.in, s.out, outMajor, d)
					})
				}
			}
		}
	})
}

func linearCase(t *testing.T, c, alone *CPU, in, out int, outMajor bool, d tensor.DType) {
	rows := 29
	rng := rand.New(rand.NewPCG(uint64(in), uint64(out)))
	w, wf := weight(rng, in, out, outMajor, d)
	if c.ops.tiled(rows, w) {
		rows = fewRows // TestLinearTiles has more
	}
	x := random(rng, rows*in)
	if d == tensor.BF16 && c.ops.pairs != nil {
		// Both factors are bf16, by definition of this path.
		b := make([]byte, 2*len(x))
		tensor.FromFloat32(b, d, x)
		tensor.ToFloat32(x, d, b)
	}
	before := random(rng, rows*out)
	for i, e := range []Epilogue{{}, {Bias: random(rng, out), Activation: GELUTanh}, {Bias: random(rng, out), Add: true}} {
		y := append([]float32(nil), before...)
		c.Linear(y, x, rows, w, e)
		if e := distance(y, reference(x, wf, rows, w, e, before)); !(e < 1e-6) {
			t.Errorf("epilogue %d: off by %g", i, e)
		}
		for _, cpu := range []*CPU{c, alone} {
			for _, n := range []int{1, 2, 7, 17} {
				for first := n / 2; first+n <= rows; first += n + 6 {
					part := append([]float32(nil), before[first*out:(first+n)*out]...)
					cpu.Linear(part, x[first*in:], n, w, e)
					if at := same(part, y[first*out:]); at >= 0 {
						t.Fatalf("epilogue %d, rows %d+%d: element %d is %v alone, %v among others",
							i, first, n, at, part[at], y[first*out+at])
					}
				}
			}
		}
	}
}

func TestLayerNorm(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		for _, width := range []int{1, 2, 3, 15, 16, 17, 21, 31, 32, 33, 64, 100, 768, 1023} {
			const rows, eps = 11, 1e-5
			rng := rand.New(rand.NewPCG(1, uint64(width)))
			x, gain, bias := random(rng, rows*width), random(rng, width), random(rng, width)
			y := make([]float32, rows*width)
			c.LayerNorm(y, x, gain, bias, rows, width, eps)
			want := make([]float64, rows*width)
			for r := range rows {
				var mean, variance float64
				for _, v := range x[r*width:][:width] {
					mean += float64(v) / float64(width)
				}
				for _, v := range x[r*width:][:width] {
					variance += (float64(v) - mean) * (float64(v) - mean) / float64(width)
				}
				for i, v := range x[r*width:][:width] {
					want[r*width+i] = (float64(v)-mean)/math.Sqrt(variance+eps)*float64(gain[i]) + float64(bias[i])
				}
				one := make([]float32, width)
				c.LayerNorm(one, x[r*width:], gain, bias, 1, width, eps)
				if at := same(one, y[r*width:]); at >= 0 {
					t.Errorf("width %d, row %d: element %d differs alone", width, r, at)
				}
			}
			if e := distance(y, want); !(e < 1e-6) {
				t.Errorf("width %d: off by %g", width, e)
			}
			c.LayerNorm(x, x, gain, bias, rows, width, eps)
			if at := same(x, y); at >= 0 {
				t.Errorf("width %d: in place differs at %d", width, at)
			}
		}
	})
}

func TestActivations(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		var x []float32
		for v := -30.0; v < 30; v += 0.0137 {
			x = append(x, float32(v))
		}
		x = append(x, float32(math.Inf(1)), 0, float32(math.Copysign(0, -1)), 1e-38, 1e-45, -200, 200)
		for a := None; a <= QuickGELU; a++ {
			y := append([]float32(nil), x...)
			c.ops.activate(y, a)
			for i, v := range x {
				want := activation(float64(v), a)
				if !(math.Abs(float64(y[i])-want) <= 3e-7*math.Max(math.Abs(want), math.Min(math.Abs(float64(v)), 1e-1))+2e-45) && !math.IsInf(want, 0) {
					t.Errorf("activation %d of %v: got %v, want %v", a, v, y[i], want)
				}
			}
			y = []float32{1, float32(math.NaN()), 2}
			c.ops.activate(y, a)
			if !math.IsNaN(float64(y[1])) || math.IsNaN(float64(y[0]+y[2])) {
				t.Errorf("activation %d: NaN among numbers gives %v", a, y)
			}
		}
	})
}
