package train_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/internal/train"
)

// fixture is a model of testdata with what torch computed.
type fixture struct {
	name    string
	cfg     gpt2.Config
	weights *gpt2.Weights
	golden  *safetensors.File

	Loss float64
	LoRA *struct {
		Rank    int
		Alpha   float64
		Targets []string
	}
	Hyper struct {
		LR          float64
		WeightDecay float64 `json:"weight_decay"`
		Clip        float64
		Beta1       float64
		Beta2       float64
		Epsilon     float64
	}
	Steps  [][]train.Rows
	Curves map[string]struct{ Losses, Norms, Scales []float64 }
}

func fixtures(t *testing.T) []*fixture {
	t.Helper()
	folders, err := filepath.Glob("testdata/*/golden.json")
	if err != nil || len(folders) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	var all []*fixture
	for _, f := range folders {
		all = append(all, load(t, filepath.Base(filepath.Dir(f))))
	}
	return all
}

func load(t *testing.T, name string) *fixture {
	t.Helper()
	folder := filepath.Join("testdata", name)
	f := &fixture{name: name}
	read := func(file string) []byte {
		data, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if err := json.Unmarshal(read("golden.json"), f); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.cfg, err = gpt2.ParseConfig(read("config.json")); err != nil {
		t.Fatal(err)
	}
	open := func(file string) *safetensors.File {
		s, err := safetensors.Open(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	f.golden = open("golden.safetensors")
	if f.weights, err = gpt2.BindWeights(f.cfg, open("model.safetensors")); err != nil {
		t.Fatal(err)
	}
	return f
}

// options are those of the fixture.
func (f *fixture) options() train.Options {
	o := train.Options{Seed: 7}
	if l := f.LoRA; l != nil {
		o.LoRA = train.LoRA{Rank: l.Rank, Alpha: l.Alpha, Targets: l.Targets}
	}
	return o
}

func device(t *testing.T, threads int, family string) *cpu.Device {
	t.Helper()
	c, err := kernel.New(kernel.Options{Threads: threads, Family: family})
	if err != nil {
		t.Skip(err)
	}
	d := cpu.New(c, cpu.Options{})
	t.Cleanup(func() { d.Close(); c.Close() })
	return d
}

// trainer makes one, with the adapter of the fixture.
func (f *fixture) trainer(t *testing.T, d train.Device, o train.Options) *train.Trainer {
	t.Helper()
	tr, err := train.New(d, f.cfg, f.weights, o)
	if err != nil {
		t.Fatal(err)
	}
	s := tr.State()
	for _, w := range s.Weights {
		if from, ok := f.golden.Tensor("adapter." + w.Name); ok {
			copy(w.Tensor.Data, from.Data)
		}
	}
	if err := tr.Restore(s); err != nil { // the rounded copies follow
		t.Fatal(err)
	}
	return tr
}

func (f *fixture) hyper() train.Hyper {
	h := f.Hyper
	return train.Hyper{LR: h.LR, WeightDecay: h.WeightDecay, Clip: h.Clip, Beta1: h.Beta1, Beta2: h.Beta2, Epsilon: h.Epsilon}
}

func relativeError(got, want tensor.Tensor) float64 {
	g, _ := got.Float32s()
	w, _ := want.Float32s()
	if len(g) != len(w) {
		return math.Inf(1)
	}
	var diff, norm float64
	for i := range w {
		d := float64(g[i]) - float64(w[i])
		diff += d * d
		norm += float64(w[i]) * float64(w[i])
	}
	if norm == 0 && diff == 0 {
		return 0
	}
	return math.Sqrt(diff / norm)
}

// gradients runs a step that changes nothing and returns the gradients: after
// one step from zero moments with beta1 = 0 the first moment is the gradient.
func (f *fixture) gradients(t *testing.T, tr *train.Trainer) (map[string]tensor.Tensor, train.Stats) {
	t.Helper()
	stats, err := tr.Step(context.Background(), f.Steps[0], train.Hyper{Beta1: 0, Beta2: 0.9, Epsilon: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]tensor.Tensor)
	for _, m := range tr.State().Optimizer {
		if name, ok := strings.CutPrefix(m.Name, "exp_avg."); ok {
			found[name] = m.Tensor
		}
	}
	return found, stats
}

// Every gradient is that of torch's autograd.
func TestGradients(t *testing.T) {
	for _, family := range append(kernel.Families(), "generic") {
		d := device(t, 2, family)
		for _, f := range fixtures(t) {
			t.Run(family+"/"+f.name, func(t *testing.T) {
				got, stats := f.gradients(t, f.trainer(t, d, f.options()))
				if e := math.Abs(stats.Loss-f.Loss) / f.Loss; !(e < 1e-5) {
					t.Errorf("loss %v, want %v", stats.Loss, f.Loss)
				}
				checked, worst := 0, 0.0
				for _, name := range f.golden.Names() {
					plain, ok := strings.CutPrefix(name, "grad.")
					if !ok {
						continue
					}
					want, _ := f.golden.Tensor(name)
					g, ok := got[plain]
					if !ok {
						t.Errorf("%s has no gradient", plain)
						continue
					}
					if e := relativeError(g, want); !(e <= 1e-4) {
						t.Errorf("%s: off by %.3g", plain, e)
					}
					checked++
					worst = max(worst, relativeError(g, want))
				}
				t.Logf("%d gradients, off by at most %.2g", checked, worst)
				if checked == 0 || checked != len(got) {
					t.Errorf("%d gradients compared, there are %d", checked, len(got))
				}
			})
		}
	}
}

// The loss of a hundred steps is that of torch's AdamW with clipping.
func TestCurves(t *testing.T) {
	for _, f := range fixtures(t) {
		want, ok := f.Curves["fp32"]
		if !ok {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			tr := f.trainer(t, device(t, 2, ""), f.options())
			for i, w := range want.Losses {
				s, err := tr.Step(context.Background(), f.Steps[i%len(f.Steps)], f.hyper(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if e := math.Abs(s.Loss - w); !(e <= 1e-3) {
					t.Fatalf("step %d: loss %v, want %v", i, s.Loss, w)
				}
				if e := math.Abs(s.GradNorm-want.Norms[i]) / want.Norms[i]; !(e <= 1e-2) {
					t.Fatalf("step %d: norm %v, want %v", i, s.GradNorm, want.Norms[i])
				}
			}
		})
	}
}

// The adapter that is merged is the one that peft merges.
func TestMerge(t *testing.T) {
	merged := 0
	for _, f := range fixtures(t) {
		if f.LoRA == nil {
			continue
		}
		all, err := f.trainer(t, device(t, 2, ""), f.options()).Weights()
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range all {
			if want, ok := f.golden.Tensor("merged." + w.Name); ok {
				merged++
				if e := relativeError(w.Tensor, want); !(e < 1e-6) {
					t.Errorf("%s: %s is off by %g", f.name, w.Name, e)
				}
			}
		}
	}
	if merged == 0 {
		t.Error("nothing compared")
	}
}
