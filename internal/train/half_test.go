package train_test

import (
	"context"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/internal/train"
)

// distance is the mean difference of two curves.
func distance(a, b []float64) (mean float64) {
	for i := range a {
		mean += math.Abs(a[i]-b[i]) / float64(len(a))
	}
	return mean
}

// Reduced precision is as close to one of torch's runs under autocast as these are to each
// other: with the attention in one kernel or in several, with CUDA's lists of what runs in
// which type or the CPU's. (A hundred steps magnify every rounding, so that of runs which
// differ only in the order of sums, torch's or ours, any may be next to any: see
// TestCurvesManyHalf. The spread to float32 is not counted, nor are runs from weights an
// ulp apart.)
func TestCurvesHalf(t *testing.T) {
	f := load(t, "plain")
	exact := f.Curves["fp32"].Losses
	for _, p := range []train.Precision{train.BF16, train.FP16} {
		t.Run(p.String(), func(t *testing.T) {
			want := f.Curves[p.String()]
			o := f.options()
			o.Precision = p
			tr := f.trainer(t, device(t, 2, ""), o)
			var losses []float64
			for i := range want.Losses {
				s, err := tr.Step(context.Background(), f.Steps[i%len(f.Steps)], f.hyper(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if p == train.FP16 && s.Scale != want.Scales[i] {
					t.Errorf("step %d: scale %v, want %v", i, s.Scale, want.Scales[i])
				}
				losses = append(losses, s.Loss)
			}
			spread, got := 0.0, math.Inf(1)
			for a, x := range f.Curves {
				if sameWeights(p, a) {
					got = min(got, distance(losses, x.Losses))
				}
				for b, y := range f.Curves {
					if sameWeights(p, a) && sameWeights(p, b) {
						spread = max(spread, distance(x.Losses, y.Losses))
					}
				}
			}
			t.Logf("from autocast %.2g (the first %.2g), from float32 %.2g; the spread of autocast %.2g", got, distance(losses, want.Losses), distance(losses, exact), spread)
			if !(got <= spread) {
				t.Errorf("off by %.3g, the spread is %.3g", got, spread)
			}
		})
	}
}

// sameWeights reports whether a curve is one of p from the weights of the fixture.
func sameWeights(p train.Precision, name string) bool {
	return strings.HasPrefix(name, p.String()) && !strings.Contains(name, "-ulp")
}

// runs are the curves of a precision that torch made, each in another way.
func (f *fixture) runs(p train.Precision) (all [][]float64) {
	for _, name := range slices.Sorted(maps.Keys(f.Curves)) {
		if strings.HasPrefix(name, p.String()) {
			all = append(all, f.Curves[name].Losses)
		}
	}
	return all
}

// mean is that of curves but for one.
func mean(curves [][]float64, but int) []float64 {
	sum := make([]float64, len(curves[0]))
	for i, c := range curves {
		for j, v := range c {
			if i != but {
				sum[j] += v / float64(len(curves)-1)
			}
		}
	}
	return sum
}

// ours are curves of a fixture, from its weights and from some an ulp beside them.
func (f *fixture) ours(t *testing.T, p train.Precision, n int) (all [][]float64) {
	o := f.options()
	o.Precision = p
	d := device(t, 2, "")
	for i := range n {
		tr := f.trainer(t, d, o)
		if i > 0 {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			s := tr.State()
			for _, w := range s.Weights {
				v, _ := tensor.View[float32](w.Tensor.Data)
				for i := range v {
					if v[i] != 0 {
						v[i] = math.Float32frombits(math.Float32bits(v[i]) + uint32(rng.IntN(3)-1))
					}
				}
			}
			if err := tr.Restore(s); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, f.run(t, tr, 0, len(f.Curves["fp32"].Losses)))
	}
	return all
}

// In nine models of many shapes our curves are as near to the middle of torch's runs
// as one of these is to the middle of the others. An ulp in the weights is enough to
// take torch's own runs as far from each other as other kernels do, and some much
// farther, so that one distance says little: four curves of ours for each model, and
// the mean over the models. (Biases that were not rounded made it 1.3.)
func TestCurvesManyHalf(t *testing.T) {
	if testing.Short() {
		t.Skip("trains 81 times")
	}
	folders, err := filepath.Glob("testdata/curves/*")
	if err != nil || len(folders) < 9 {
		t.Fatalf("%d models: %v", len(folders), err)
	}
	ratios, beyond := map[train.Precision]float64{}, 0
	for _, folder := range folders {
		f := load(t, strings.TrimPrefix(filepath.ToSlash(folder), "testdata/"))
		for i, v := range f.ours(t, train.FP32, 1)[0] {
			if w := f.Curves["fp32"].Losses[i]; !(math.Abs(v-w) <= 1e-3) {
				t.Errorf("%s, fp32, step %d: loss %v, want %v", f.name, i, v, w)
			}
		}
		for _, p := range []train.Precision{train.BF16, train.FP16} {
			torch, ours := f.runs(p), f.ours(t, p, 4)
			var own, other, most float64
			for i, r := range torch {
				others := mean(torch, i)
				own += distance(r, others) / float64(len(torch))
				for _, o := range ours {
					other += distance(o, others) / float64(len(torch)*len(ours))
				}
				for _, r2 := range torch {
					most = max(most, distance(r, r2))
				}
			}
			first := distance(ours[0], f.Curves[p.String()].Losses)
			t.Logf("%s, %v: a run of torch is %.2g from the others, one of ours %.2f times that; ours to the first %.2g, torch's runs to each other at most %.2g",
				f.name, p, own, other/own, first, most)
			if !(first <= most) {
				beyond++
			}
			if !(other <= 3*own) {
				t.Errorf("%s, %v: %.2g from torch's runs, which are %.2g from each other", f.name, p, other, own)
			}
			ratios[p] += math.Log(other/own) / float64(len(folders))
		}
	}
	if beyond > 1 {
		t.Errorf("in %d of %d cases ours is farther from the first than any two of torch's from each other", beyond, 2*len(folders))
	}
	for p, r := range ratios {
		r = math.Exp(r)
		t.Logf("%v: %.2f", p, r)
		if !(r <= 1.2) {
			t.Errorf("%v: ours are %.2f times as far from torch's runs as these are from each other", p, r)
		}
	}
}

// Each gradient of reduced precision is as near to float32's as torch's. Beside torch's they
// are much nearer to one of its ways than its ways are to each other: attention by vectors is
// rounded as torch's is of several operations, through tiles as its kernel of one. So it
// goes wrong where something is rounded that torch does not round, or is not.
func TestGradientsHalf(t *testing.T) {
	f := load(t, "plain")
	for _, family := range kernel.Families() {
		for _, p := range []train.Precision{train.BF16, train.FP16} {
			o := f.options()
			o.Precision = p
			got, _ := f.gradients(t, f.trainer(t, device(t, 2, family), o))
			var off, torchOff, fromEager, fromSDPA, torchApart float64
			for name, g := range got {
				exact, _ := f.golden.Tensor("grad." + name)
				eager, _ := f.golden.Tensor(p.String() + ".eager." + name)
				sdpa, _ := f.golden.Tensor(p.String() + ".sdpa." + name)
				n := float64(len(got))
				off += relativeError(g, exact) / n
				torchOff += (relativeError(eager, exact) + relativeError(sdpa, exact)) / 2 / n
				fromEager += relativeError(g, eager) / n
				fromSDPA += relativeError(g, sdpa) / n
				torchApart += relativeError(sdpa, eager) / n
				if e, w := relativeError(g, exact), max(relativeError(eager, exact), relativeError(sdpa, exact)); !(e <= 1.5*w) {
					t.Errorf("%s, %v: %s is off by %.2g, torch's by %.2g", family, p, name, e, w)
				}
			}
			t.Logf("%s, %v: off by %.2g, torch by %.2g; from torch's %.2g and %.2g, those from each other %.2g", family, p, off, torchOff, fromEager, fromSDPA, torchApart)
			if !(off <= 1.1*torchOff) || !(min(fromEager, fromSDPA) <= 0.25*torchApart) {
				t.Errorf("%s, %v: off by %.2g, torch by %.2g; from torch's %.2g and %.2g, those from each other %.2g", family, p, off, torchOff, fromEager, fromSDPA, torchApart)
			}
		}
	}
}

// On a sequence whose gradients overflow the scale is torch's at every step. (All of
// torch's runs agree on it.)
func TestOverflow(t *testing.T) {
	f := load(t, "overflow")
	o := f.options()
	o.Precision = train.FP16
	tr := f.trainer(t, device(t, 2, ""), o)
	want := f.Curves["fp16"]
	for name, c := range f.Curves {
		if !slices.Equal(c.Scales, want.Scales) {
			t.Fatalf("torch's run %s has other scales", name)
		}
	}
	skipped := 0
	for i := range want.Losses {
		s, err := tr.Step(context.Background(), f.Steps[i%len(f.Steps)], f.hyper(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.Skipped {
			skipped++
		}
		if s.Scale != want.Scales[i] {
			t.Errorf("step %d: scale %v, want %v", i, s.Scale, want.Scales[i])
		}
	}
	if skipped < 3 {
		t.Errorf("%d steps skipped, want some", skipped)
	}
}
