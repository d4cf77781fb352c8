package prune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

func TestParsePlan(t *testing.T) {
	for _, test := range []struct {
		texts []string
		want  Plan
		err   string
	}{
		{nil, Plan{}, ""},
		{[]string{"mlp=25%"}, Plan{Neurons: 0.25}, ""},
		{[]string{"mlp=12.5%,layers=2"}, Plan{Neurons: 0.125, Blocks: 2}, ""},
		{[]string{"layers=1", " mlp=50%"}, Plan{Neurons: 0.5, Blocks: 1}, ""},
		{[]string{"mlp=0%"}, Plan{}, "above 0 and below 100"},
		{[]string{"mlp=100%"}, Plan{}, "above 0 and below 100"},
		{[]string{"mlp=NaN%"}, Plan{}, "above 0 and below 100"},
		{[]string{"mlp=-3%"}, Plan{}, "above 0 and below 100"},
		{[]string{"mlp=abc"}, Plan{}, `"mlp=abc": want mlp=P%`},
		{[]string{"mlp=25"}, Plan{}, "want mlp=P%"},
		{[]string{"mlp"}, Plan{}, "want mlp=P%"},
		{[]string{"layers=0"}, Plan{}, "want layers=N"},
		{[]string{"layers=10%"}, Plan{}, "want layers=N"},
		{[]string{"layers=99999999999999999999"}, Plan{}, "want layers=N"},
		{[]string{"heads=2"}, Plan{}, "want mlp=P% or layers=N"},
		{[]string{""}, Plan{}, "want mlp=P% or layers=N"},
		{[]string{"mlp=25%,"}, Plan{}, "want mlp=P% or layers=N"},
		{[]string{"mlp=25%", "mlp=30%"}, Plan{}, "mlp is given twice"},
	} {
		got, err := ParsePlan(test.texts)
		var typed *SyntaxError
		switch {
		case test.err == "" && (err != nil || got != test.want):
			t.Errorf("%q: %+v, %v, want %+v", test.texts, got, err, test.want)
		case test.err != "" && (!errors.As(err, &typed) || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%q: error %v, want %q", test.texts, err, test.err)
		}
	}
}

func TestInner(t *testing.T) {
	for _, test := range []struct {
		inner int
		share float64
		want  int // 0: refused
	}{
		{3072, 0.25, 2304}, {1024, 0.25, 768}, {1024, 0.3, 704}, {1024, 0.99, 32}, {1024, 0.01, 992}, {3072, 0.001, 3040}, {1024, 0.02, 992},
		{64, 0.25, 48}, {64, 0.5, 32}, {40, 0.25, 32}, {37, 0.5, 19}, {1024, 0.0001, 0}, {10, 0.99, 0}, {1024, 0, 1024},
	} {
		p := Plan{Neurons: test.share}
		c := gpt2.Config{Inner: test.inner, Layers: 2}
		err := p.Check(c)
		if (err != nil) != (test.want == 0) || err == nil && p.Inner(c) != test.want {
			t.Errorf("%g of %d: %d, %v, want %d", test.share, test.inner, p.Inner(c), err, test.want)
		}
	}
	for blocks, ok := range []bool{true, true, false, false} {
		if err := (Plan{Blocks: blocks}).Check(gpt2.Config{Inner: 64, Layers: 2}); (err == nil) != ok {
			t.Errorf("%d of 2 layers: %v", blocks, err)
		}
	}
}

var config = gpt2.Config{
	VocabSize: 50, Positions: 24, Embd: 32, Heads: 2, Layers: 3, Inner: 64, Activation: gpt2.GELUNew, LayerNormEpsilon: 1e-5,
	ScaleAttnWeights: true, TieWordEmbeddings: true, BOS: 1, PAD: -1,
}

// model makes random weights.
func model(c gpt2.Config) *gpt2.Weights {
	random := rand.New(rand.NewPCG(3, 4))
	numbers := func(std float64, shape ...int) tensor.Tensor {
		v := make([]float32, tensor.Tensor{Shape: shape}.Len())
		for i := range v {
			v[i] = float32(random.NormFloat64() * std)
		}
		return floats(v, shape...)
	}
	norm := func() gpt2.Norm {
		n := gpt2.Norm{Gain: numbers(0.1, c.Embd), Bias: numbers(0.1, c.Embd)}
		for i := range values(n.Gain) {
			values(n.Gain)[i]++
		}
		return n
	}
	projection := func(in, out int) gpt2.Projection {
		return gpt2.Projection{Weight: numbers(0.2, in, out), Bias: numbers(0.2, out)}
	}
	w := &gpt2.Weights{TokenEmbedding: numbers(1, c.VocabSize, c.Embd), PositionEmbedding: numbers(0.2, c.Positions, c.Embd), Tied: true}
	w.Head = w.TokenEmbedding
	for range c.Layers {
		w.Blocks = append(w.Blocks, gpt2.BlockWeights{
			AttnNorm: norm(), QKV: projection(c.Embd, 3*c.Embd), AttnOut: projection(c.Embd, c.Embd),
			MLPNorm: norm(), Up: projection(c.Embd, c.Inner), Down: projection(c.Inner, c.Embd),
		})
	}
	w.FinalNorm = norm()
	return w
}

// values are the numbers of a tensor, to be changed.
func values(t tensor.Tensor) []float32 {
	v, _ := tensor.View[float32](t.Data)
	return v
}

func text(n int) []int {
	random := rand.New(rand.NewPCG(5, 6))
	tokens := make([]int, n)
	for i := range tokens {
		tokens[i] = random.IntN(config.VocabSize)
	}
	return tokens
}

// logits of a text that Prune has not seen.
func logits(t *testing.T, c gpt2.Config, w *gpt2.Weights) (all []float32) {
	t.Helper()
	k, err := kernel.New(kernel.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	m, err := gpt2.New(cpu.New(k, cpu.Options{}), c, w)
	if err != nil {
		t.Fatal(err)
	}
	seq, err := m.NewSequence(c.Positions)
	if err != nil {
		t.Fatal(err)
	}
	tokens := make([]int, c.Positions)
	for i := range tokens {
		tokens[i] = (i*i*7 + 3) % c.VocabSize
	}
	if err := m.Forward(context.Background(), []gpt2.Input{{Sequence: seq, Tokens: tokens, Logits: gpt2.AllLogits}}, func(_, _ int, l []float32) error {
		all = append(all, l...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func distance(got, want []float32) float64 {
	var d, n float64
	for i := range want {
		d += math.Pow(float64(got[i]-want[i]), 2)
		n += math.Pow(float64(want[i]), 2)
	}
	return math.Sqrt(d / n)
}

// Neurons that nobody listens to, or that always say the same, go first, and
// nothing is lost; whatever the layout of the matrices.
func TestNeurons(t *testing.T) {
	for _, layout := range []gpt2.Layout{gpt2.InOut, gpt2.OutIn} {
		w := model(config)
		for i := range w.Blocks {
			b := &w.Blocks[i]
			up, down := values(b.Up.Weight), values(b.Down.Weight)
			for k := range 16 {
				dead, constant := (4*k+i)%64, (4*k+i+1)%64
				for e := range config.Embd {
					down[dead*config.Embd+e] = 0
					up[e*config.Inner+constant] = 0
				}
			}
			if layout == gpt2.OutIn {
				b.Up = gpt2.Projection{Weight: floats(outputs(b.Up, 32, 64), 64, 32), Bias: b.Up.Bias, Layout: layout}
				b.Down = gpt2.Projection{Weight: floats(outputs(b.Down, 64, 32), 32, 64), Bias: b.Down.Bias, Layout: layout}
			}
		}
		want := logits(t, config, w)
		r, err := Prune(context.Background(), config, w, text(2000), Plan{Neurons: 0.5}, Options{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		if r.Config.Inner != 32 || r.Config.Layers != 3 || len(r.Blocks) != 0 {
			t.Errorf("configuration %+v, blocks %v", r.Config, r.Blocks)
		}
		if e := distance(logits(t, r.Config, r.Weights), want); !(e < 1e-4) {
			t.Errorf("layout %v: relative error %.2g", layout, e)
		}
		if e := distance(logits(t, config, w), want); e != 0 {
			t.Errorf("the model itself was changed")
		}
	}
}

// A neuron that says the same as one that stays is stood in for.
func TestStandIn(t *testing.T) {
	w := model(config)
	for i := range w.Blocks {
		b := &w.Blocks[i]
		up, bias, down := values(b.Up.Weight), values(b.Up.Bias), values(b.Down.Weight)
		for j := range 32 {
			bias[j+32] = bias[j]
			for e := range config.Embd {
				up[e*64+j+32] = up[e*64+j]
				down[(j+32)*32+e] *= 0.3 // the least important, but not of no importance
			}
		}
	}
	want := logits(t, config, w)
	silent := model(config)
	for i := range silent.Blocks {
		silent.Blocks[i].Up = w.Blocks[i].Up
		down := values(silent.Blocks[i].Down.Weight)
		clear(down[32*32:])
	}
	without := distance(logits(t, config, silent), want)
	var weights [2]*gpt2.Weights
	for i := range weights {
		r, err := Prune(context.Background(), config, w, text(4000), Plan{Neurons: 0.5}, Options{Threads: i + 1})
		if err != nil {
			t.Fatal(err)
		}
		weights[i] = r.Weights
		if e := distance(logits(t, r.Config, r.Weights), want); !(e < without/3) {
			t.Errorf("relative error %.2g, and %.2g with nothing in their place", e, without)
		}
	}
	a, b := weights[0].Blocks[1].Down.Weight, weights[1].Blocks[1].Down.Weight
	if !slices.Equal(a.Data, b.Data) {
		t.Error("one thread and two give different weights")
	}
}

// A block that adds nothing is the first to go, by either measure, and also where
// attention depends on the number of the layer.
func TestBlocks(t *testing.T) {
	for idle := range 3 {
		for _, work := range []float64{0, 1} {
			for _, inverse := range []bool{false, true} {
				c := config
				c.ScaleAttnByInverseLayerIdx = inverse
				w := model(c)
				b := &w.Blocks[idle]
				for _, x := range []tensor.Tensor{b.AttnOut.Weight, b.AttnOut.Bias, b.Down.Weight, b.Down.Bias} {
					clear(x.Data)
				}
				// A text that the model itself would write: it knows nothing of another.
				k, err := kernel.New(kernel.Options{Threads: 1})
				if err != nil {
					t.Fatal(err)
				}
				m, err := gpt2.New(cpu.New(k, cpu.Options{}), c, w)
				if err != nil {
					t.Fatal(err)
				}
				sample, err := Sample(context.Background(), m, func(int, int) {})
				k.Close()
				if err != nil {
					t.Fatal(err)
				}
				r, err := Prune(context.Background(), c, w, sample[:3000], Plan{Blocks: 1}, Options{Threads: 1, work: work})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(r.Blocks, []int{idle}) || r.Config.Layers != 2 || len(r.Weights.Blocks) != 2 || len(w.Blocks) != 3 {
					t.Errorf("left out %v, want %d (work %g, inverse %v)", r.Blocks, idle, work, inverse)
				} else if e := distance(logits(t, r.Config, r.Weights), logits(t, c, w)); !(e < 1e-5) {
					t.Errorf("without block %d (inverse %v): relative error %.2g", idle, inverse, e)
				}
			}
		}
	}
}

func TestRefused(t *testing.T) {
	damaged := model(config)
	values(damaged.Blocks[1].Up.Bias)[3] = float32(math.NaN())
	stopped, stop := context.WithCancel(context.Background())
	stop()
	for _, test := range []struct {
		name   string
		ctx    context.Context
		w      *gpt2.Weights
		tokens int
		plan   Plan
		want   string
	}{
		{"short", context.Background(), model(config), 1023, Plan{Neurons: 0.5}, "has 1023 tokens, want at least 1024"},
		{"layers", context.Background(), model(config), 2000, Plan{Blocks: 3}, "the model has 3 layers, and at least one must stay"},
		{"neurons", context.Background(), damaged, 2000, Plan{Neurons: 0.5}, "overflow on the calibration text"},
		{"blocks", context.Background(), damaged, 2000, Plan{Blocks: 1}, "NaN"},
		{"stopped", stopped, model(config), 2000, Plan{Neurons: 0.5}, context.Canceled.Error()},
	} {
		_, err := Prune(test.ctx, config, test.w, text(test.tokens), test.plan, Options{Threads: 1})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, test := range []struct{ n, calibration, held int }{
		{1279, 0, 0}, {1280, 1024, 256}, {4000, 3500, 500}, {9000, 7875, 1125}, {100000, 8184, 4096},
	} {
		all := make([]int, test.n)
		for i := range all {
			all[i] = i
		}
		a, b, err := Split(config, all)
		if (err != nil) != (test.held == 0) || len(a) != test.calibration || len(b) != test.held {
			t.Errorf("%d tokens: %d and %d, %v, want %d and %d", test.n, len(a), len(b), err, test.calibration, test.held)
			continue
		}
		if err == nil && (b[0] != test.n-test.held || a[len(a)-1] != b[0]-1 || a[0] != 0) {
			t.Errorf("%d tokens: pieces end at %d, %d is held out from %d", test.n, a[len(a)-1], test.held, b[0])
		}
	}
}

func TestSpeed(t *testing.T) {
	k, err := kernel.New(kernel.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	m, err := gpt2.New(cpu.New(k, cpu.Options{}), config, model(config))
	if err != nil {
		t.Fatal(err)
	}
	rates, err := Speed(context.Background(), m, m)
	if err != nil || len(rates) != 2 || !(rates[0] > 0) || !(rates[1] > 0) {
		t.Error(rates, err)
	}
}

func TestSampleNeedsAStart(t *testing.T) {
	c := config
	c.BOS = -1
	if _, err := Sample(context.Background(), &gpt2.Model{Config: c}, func(int, int) {}); !errors.Is(err, ErrNoStart) {
		t.Error(err)
	}
}

func FuzzParsePlan(f *testing.F) {
	for _, s := range []string{"mlp=25%", "layers=2,mlp=1e1%", "mlp=0x1p-2%", "mlp=inf%", ",", "layers=+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePlan([]string{s})
		if err == nil && (p == Plan{} || p.Neurons < 0 || p.Neurons >= 1 || p.Blocks < 0) {
			t.Error(fmt.Sprintf("%q", s), p)
		}
	})
}
