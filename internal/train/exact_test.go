package train_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/train"
)

// run makes steps from the first to the last and returns the losses.
func (f *fixture) run(t *testing.T, tr *train.Trainer, from, to int) (losses []float64) {
	t.Helper()
	for i := from; i < to; i++ {
		s, err := tr.Step(context.Background(), f.Steps[i%len(f.Steps)], f.hyper(), nil)
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, s.Loss)
	}
	return losses
}

// copied returns a State that does not change any more.
func copied(s train.State) train.State {
	clone := func(all []safetensors.Named) []safetensors.Named {
		all = slices.Clone(all)
		for i := range all {
			all[i].Tensor.Data = bytes.Clone(all[i].Tensor.Data)
		}
		return all
	}
	return train.State{Weights: clone(s.Weights), Optimizer: clone(s.Optimizer), Values: s.Values}
}

func sameState(t *testing.T, got, want train.State) {
	t.Helper()
	for i, w := range slices.Concat(want.Weights, want.Optimizer) {
		if g := slices.Concat(got.Weights, got.Optimizer)[i]; g.Name != w.Name || !bytes.Equal(g.Tensor.Data, w.Tensor.Data) {
			t.Fatalf("%s differs", w.Name)
		}
	}
	for k, v := range want.Values {
		if got.Values[k] != v {
			t.Errorf("%s is %q, want %q", k, got.Values[k], v)
		}
	}
}

// variants are settings under which exactness is checked.
var variants = map[string]func(*train.Options){
	"fp32":    func(*train.Options) {},
	"dropout": func(o *train.Options) { o.Dropout = 0.2 },
	"bf16":    func(o *train.Options) { o.Precision, o.Dropout = train.BF16, 0.1 },
	"fp16":    func(o *train.Options) { o.Precision = train.FP16 },
	"frozen":  func(o *train.Options) { o.Freeze = []string{"wte.*", "wpe.*", "h.0.*"} },
}

// Weights are the same bit for bit with any number of threads, with layers
// computed twice, and when training is broken off and resumed.
func TestSameBits(t *testing.T) {
	for _, name := range []string{"accumulated", "wide", "lora", "untied-gelu-inner"} {
		f := load(t, name)
		for variant, set := range variants {
			if variant == "frozen" && (f.LoRA != nil || name == "wide") {
				continue
			}
			t.Run(name+"/"+variant, func(t *testing.T) {
				o := f.options()
				set(&o)
				want := f.trainer(t, device(t, 1, ""), o)
				f.run(t, want, 0, 6)

				o.Checkpointing = true
				twice := f.trainer(t, device(t, 3, ""), o)
				f.run(t, twice, 0, 6)
				sameState(t, twice.State(), want.State())

				o.Checkpointing = false
				first := f.trainer(t, device(t, 2, ""), o)
				f.run(t, first, 0, 3)
				s := copied(first.State())
				o.Seed = 99 // the state's counts
				second := f.trainer(t, device(t, 2, ""), o)
				f.run(t, second, 0, 1)
				if err := second.Restore(s); err != nil {
					t.Fatal(err)
				}
				f.run(t, second, 3, 6)
				sameState(t, second.State(), want.State())
			})
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	f, d := load(t, "plain"), device(t, 1, "")
	tr := f.trainer(t, d, f.options())
	half := f.options()
	half.Precision = train.BF16
	for name, s := range map[string]train.State{
		"another model":     f.trainer(t, d, train.Options{Freeze: []string{"wte.*"}}).State(),
		"another precision": f.trainer(t, d, half).State(),
		"nothing":           {},
		"no tensors":        {Values: tr.State().Values},
	} {
		if err := tr.Restore(s); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			t.Log(err)
		}
	}
}

// What is frozen keeps its bits, the rest does not.
func TestFreeze(t *testing.T) {
	f := load(t, "plain")
	before := make(map[string][]byte)
	for name, w := range f.weights.Tensors() {
		before["transformer."+name] = w.Data
	}
	tr := f.trainer(t, device(t, 2, ""), train.Options{Freeze: []string{"h.1.*", "ln_f.bias", "wpe.weight"}})
	f.run(t, tr, 0, 2)
	all, err := tr.Weights()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range all {
		plain := strings.TrimPrefix(w.Name, "transformer.")
		frozen := strings.HasPrefix(plain, "h.1.") || plain == "ln_f.bias" || plain == "wpe.weight"
		if same := bytes.Equal(w.Tensor.Data, before[w.Name]); same != frozen {
			t.Errorf("%s: the same %v, want %v", w.Name, same, frozen)
		}
	}
}

func TestRefuses(t *testing.T) {
	f, d := load(t, "plain"), device(t, 1, "")
	for _, o := range []train.Options{
		{Freeze: []string{"*"}}, {Freeze: []string{"h.7.*"}}, {Freeze: []string{"["}}, {Dropout: 1}, {Dropout: math.NaN()},
		{LoRA: train.LoRA{Rank: 2, Alpha: 1, Targets: []string{"q_proj"}}}, {LoRA: train.LoRA{Rank: 2, Alpha: 1}}, {LoRA: train.LoRA{Rank: -1}}, {Precision: 9},
	} {
		if _, err := train.New(d, f.cfg, f.weights, o); err == nil {
			t.Errorf("%+v: no error", o)
		} else {
			t.Log(err)
		}
	}
	tr := f.trainer(t, d, train.Options{})
	ctx := context.Background()
	for name, r := range map[string]train.Rows{
		"no rows": {}, "ragged": {Rows: 2, Tokens: make([]int32, 3), Labels: make([]int32, 3)},
		"labels": {Rows: 1, Tokens: make([]int32, 3), Labels: make([]int32, 2)}, "too long": {Rows: 1, Tokens: make([]int32, 25), Labels: make([]int32, 25)},
		"token": {Rows: 1, Tokens: []int32{61}, Labels: []int32{1}}, "negative": {Rows: 1, Tokens: []int32{-1}, Labels: []int32{1}},
		"label": {Rows: 1, Tokens: []int32{1}, Labels: []int32{61}}, "masked": {Rows: 1, Tokens: []int32{1}, Labels: []int32{train.Ignore}},
	} {
		if _, err := tr.Step(ctx, []train.Rows{r}, f.hyper(), nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	before := copied(tr.State())
	stop, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := tr.Step(stop, f.Steps[0], f.hyper(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	own := errors.New("own")
	if _, err := tr.Step(ctx, f.Steps[0], f.hyper(), func() error { return own }); !errors.Is(err, own) {
		t.Errorf("ready: %v", err)
	}
	sameState(t, tr.State(), before)
}

// A weight that is NaN is named, and nothing is trained.
func TestNonFinite(t *testing.T) {
	f := load(t, "plain")
	for _, p := range []train.Precision{train.FP32, train.BF16, train.FP16} {
		tr := f.trainer(t, device(t, 1, ""), train.Options{Precision: p})
		s := tr.State()
		for _, w := range s.Weights {
			if strings.HasSuffix(w.Name, "h.1.mlp.c_fc.weight") {
				copy(w.Tensor.Data[40:], []byte{0, 0, 0xc0, 0x7f})
			}
		}
		if err := tr.Restore(s); err != nil {
			t.Fatal(err)
		}
		stats, err := tr.Step(context.Background(), f.Steps[0], f.hyper(), nil)
		if err != nil || !stats.Skipped || stats.Bad != "h.1.mlp.c_fc.weight" {
			t.Errorf("%v: %+v, %v", p, stats, err)
		}
	}
}

// Evaluate is the loss of Step, without dropout.
func TestEvaluate(t *testing.T) {
	f := load(t, "accumulated")
	tr := f.trainer(t, device(t, 2, ""), train.Options{Dropout: 0.5})
	before := copied(tr.State())
	var sum float64
	var labels int
	for _, r := range f.Steps[0] {
		s, n, err := tr.Evaluate(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		sum, labels = sum+s, labels+n
	}
	if e := math.Abs(sum/float64(labels) - f.Loss); !(e < 1e-5*f.Loss) {
		t.Errorf("loss %v, want %v", sum/float64(labels), f.Loss)
	}
	sameState(t, tr.State(), before)
}

// With dropout the losses of many draws are around one mean, each another.
func TestDropout(t *testing.T) {
	f := load(t, "plain")
	o := f.options()
	o.Dropout = 0.1
	tr := f.trainer(t, device(t, 2, ""), o)
	seen := make(map[float64]bool)
	for range 20 {
		s, err := tr.Step(context.Background(), f.Steps[0], train.Hyper{Epsilon: 1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		seen[s.Loss] = true
	}
	if len(seen) != 20 {
		t.Errorf("%d losses in 20 draws", len(seen))
	}
}

// The loss scale follows torch's GradScaler.
func TestScaler(t *testing.T) {
	data, err := os.ReadFile("testdata/scaler.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Steps  int
		Bad    []int
		States [][3]float64
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	update, state := train.NewTestScaler()
	for i := range golden.Steps {
		update(slices.Contains(golden.Bad, i))
		for len(golden.States) > 0 && int(golden.States[0][0]) == i {
			want := golden.States[0]
			golden.States = golden.States[1:]
			if scale, good := state(); scale != want[1] || good != int(want[2]) {
				t.Fatalf("step %d: scale %v and %d good steps, want %v and %v", i, scale, good, want[1], want[2])
			}
		}
	}
	if len(golden.States) > 0 {
		t.Errorf("%d states not reached", len(golden.States))
	}
}

// A model that has learned nothing guesses, and learns.
func TestInitial(t *testing.T) {
	for _, tied := range []bool{true, false} {
		cfg := gpt2.Config{
			VocabSize: 50, Positions: 16, Embd: 24, Heads: 2, Layers: 12, Inner: 96, Activation: gpt2.GELUNew,
			LayerNormEpsilon: 1e-5, ScaleAttnWeights: true, TieWordEmbeddings: tied,
		}
		tr, err := train.New(device(t, 2, ""), cfg, train.Initial(cfg, 1), train.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := train.Rows{Rows: 2, Tokens: make([]int32, 32), Labels: make([]int32, 32)}
		for i := range r.Tokens {
			r.Tokens[i], r.Labels[i] = int32(i*7%50), int32((i+1)*7%50)
		}
		var first, last float64
		for i := range 40 {
			s, err := tr.Step(context.Background(), []train.Rows{r}, train.Hyper{LR: 3e-3, Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8, Clip: 1}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if last = s.Loss; i == 0 {
				first = s.Loss
			}
		}
		if math.Abs(first-math.Log(50)) > 0.1 || last > 0.5*first {
			t.Errorf("tied %v: loss from %v to %v", tied, first, last)
		}
	}
}

// Restore says of every byte of a state, once, that it has been copied.
func TestRestoreForgets(t *testing.T) {
	f, d := load(t, "plain"), device(t, 1, "")
	first := f.trainer(t, d, f.options())
	f.run(t, first, 0, 2)
	s, forgotten, all := copied(first.State()), 0, 0
	for _, w := range slices.Concat(s.Weights, s.Optimizer) {
		all += len(w.Tensor.Data)
	}
	s.Forget = func(part []byte) {
		forgotten += len(part)
		clear(part) // it may not be read again
	}
	second := f.trainer(t, d, f.options())
	if err := second.Restore(s); err != nil {
		t.Fatal(err)
	}
	sameState(t, second.State(), first.State())
	if forgotten != all {
		t.Errorf("%d of %d bytes forgotten", forgotten, all)
	}
}
