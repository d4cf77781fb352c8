package gpt2_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/demo"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
)

// maxLogitsError is the bar for logits against transformers: the norm of the
// difference over the norm of the expected values.
const maxLogitsError = 1e-4

// fixture is a model of testdata with what transformers computes with it.
type fixture struct {
	name    string
	config  gpt2.Config
	weights *gpt2.Weights
	golden  *safetensors.File
	dtype   tensor.DType // of the matrices: Invalid as they are
	expect  struct {
		Greedy []struct {
			Prompt, Tokens []int
		}
	}
}

func fixtures(t *testing.T) []fixture {
	t.Helper()
	dirs, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var all []fixture
	for _, d := range dirs {
		if d.IsDir() && d.Name() != "fuzz" {
			all = append(all, load(t, d.Name()))
		}
	}
	if len(all) < 20 {
		t.Fatalf("only %d fixtures", len(all))
	}
	return all
}

func load(t *testing.T, name string) fixture {
	t.Helper()
	f := fixture{name: name}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	dir := filepath.Join("testdata", name)
	var config []byte
	var source *safetensors.File
	var err error
	if name == "demo" {
		config, err = fs.ReadFile(demo.Files(), "config.json")
		check(err)
		tensors, e := demo.Float32s()
		check(e)
		var file bytes.Buffer
		check(safetensors.Write(&file, tensors, nil))
		source, err = safetensors.Parse(file.Bytes())
	} else {
		config, err = os.ReadFile(filepath.Join(dir, "config.json"))
		check(err)
		if index := filepath.Join(dir, "model.safetensors.index.json"); exists(index) {
			source, err = safetensors.OpenSharded(index)
		} else {
			source, err = safetensors.Open(filepath.Join(dir, "model.safetensors"))
		}
	}
	check(err)
	f.config, err = gpt2.ParseConfig(config)
	check(err)
	f.weights, err = gpt2.BindWeights(f.config, source)
	check(err)
	f.golden, err = safetensors.Open(filepath.Join(dir, "golden.safetensors"))
	check(err)
	data, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	check(err)
	check(json.Unmarshal(data, &f.expect))
	t.Cleanup(func() { source.Close(); f.golden.Close() })
	return f
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (f fixture) model(t *testing.T, family string, threads int) *gpt2.Model {
	t.Helper()
	return f.modelWith(t, kernel.Options{Family: family, Threads: threads})
}

func (f fixture) modelWith(t *testing.T, o kernel.Options) *gpt2.Model {
	t.Helper()
	c, err := kernel.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	m, err := gpt2.New(cpu.New(c, cpu.Options{DType: f.dtype}), f.config, f.weights)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func sequence(t *testing.T, m *gpt2.Model) *gpt2.Sequence {
	t.Helper()
	s, err := m.NewSequence(m.Config.Positions)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// forward returns copies of the logits that the inputs want, in order.
func forward(t *testing.T, m *gpt2.Model, inputs ...gpt2.Input) [][]float32 {
	t.Helper()
	var all [][]float32
	err := m.Forward(context.Background(), inputs, func(_, _ int, logits []float32) error {
		all = append(all, slices.Clone(logits))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (f fixture) floats(name string) ([]float32, bool) {
	v, ok := f.golden.Tensor(name)
	if !ok {
		return nil, false
	}
	values, _ := v.Float32s()
	return values, true
}

func (f fixture) ids(name string) ([]int, bool) {
	v, ok := f.golden.Tensor(name)
	if !ok {
		return nil, false
	}
	ids := make([]int, v.Len())
	for i := range ids {
		ids[i] = int(binary.LittleEndian.Uint64(v.Data[8*i:]))
	}
	return ids, true
}

func relativeError(got, want []float32) float64 {
	var diff, norm float64
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		diff += d * d
		norm += float64(w) * float64(w)
	}
	return math.Sqrt(diff / norm)
}

func logprob(logits []float32, id int) float32 {
	top := float64(slices.Max(logits))
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v) - top)
	}
	return float32(float64(logits[id]) - top - math.Log(sum))
}

// Every model, every kernel family: the logits of transformers.
func TestLogits(t *testing.T) {
	for _, family := range kernel.Families() {
		for _, f := range fixtures(t) {
			t.Run(family+"/"+f.name, func(t *testing.T) {
				if testing.Short() && family == "generic" && f.config.Parameters() > 200_000 {
					t.Skip("plain Go takes long for a model of this size")
				}
				f.checkLogits(t, f.modelWith(t, kernel.Options{Family: family, Threads: 2, Wide: true}), maxLogitsError)
			})
		}
	}
}

// Where bf16 is multiplied by bf16 (some fixtures have such weights), activations
// have its eight bits as well, and f16 weights are rounded to them too.
func TestLogitsBF16(t *testing.T) {
	for _, family := range kernel.Families() {
		rounded := kernel.TraitsOf(family).Held(tensor.F16) == tensor.BF16
		for _, f := range fixtures(t) {
			limit := maxLogitsError
			switch {
			case f.name == "bf16" && family != "amx" || f.name == "mixed" && !rounded:
				limit = 5e-3
			case f.name == "bf16" || f.name == "mixed" || f.name == "f16" && rounded:
				limit = 1e-2
			}
			t.Run(family+"/"+f.name, func(t *testing.T) {
				if testing.Short() && family == "generic" && f.config.Parameters() > 200_000 {
					t.Skip("plain Go takes long for a model of this size")
				}
				f.checkLogits(t, f.model(t, family, 2), limit)
			})
		}
	}
}

func (f fixture) checkLogits(t *testing.T, m *gpt2.Model, limit float64) {
	worst := 0.0
	compare := func(what string, got, want []float32) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
		}
		e := relativeError(got, want)
		worst = max(worst, e)
		if !(e <= limit) {
			t.Errorf("%s: relative error %.2g", what, e)
		}
	}
	for i := 0; ; i++ {
		ids, ok := f.ids(fmt.Sprintf("ids.%d", i))
		if !ok {
			break
		}
		all := forward(t, m, gpt2.Input{Sequence: sequence(t, m), Tokens: ids, Logits: gpt2.AllLogits})
		if want, ok := f.floats(fmt.Sprintf("logits.%d", i)); ok {
			compare(fmt.Sprintf("logits of sequence %d", i), slices.Concat(all...), want)
			continue
		}
		want, _ := f.floats(fmt.Sprintf("last_logits.%d", i))
		compare(fmt.Sprintf("last logits of sequence %d", i), all[len(all)-1], want)
		want, _ = f.floats(fmt.Sprintf("logprobs.%d", i))
		got := make([]float32, len(want))
		for k := range got {
			got[k] = logprob(all[k], ids[k+1])
		}
		compare(fmt.Sprintf("log-probabilities of sequence %d", i), got, want)
	}
	t.Logf("relative error of the logits: %.2g", worst)
}

// The likeliest token, one after the other through the KV cache, is
// transformers' for as long as the context lasts.
func TestGreedy(t *testing.T) {
	for _, f := range fixtures(t) {
		t.Run(f.name, func(t *testing.T) {
			// Some families round 16-bit weights and what they are multiplied by; who
			// asks for no type gets no rounding.
			m := f.modelWith(t, kernel.Options{Threads: 2, Wide: kernel.TraitsOf("").Held(tensor.F16) != tensor.F16})
			for _, g := range f.expect.Greedy {
				s, next := sequence(t, m), g.Prompt
				for i, want := range g.Tokens {
					logits := forward(t, m, gpt2.Input{Sequence: s, Tokens: next})[0]
					got := slices.Index(logits, slices.Max(logits))
					if got != want {
						t.Fatalf("token %d after %v is %d, want %d", i, g.Prompt, got, want)
					}
					next = []int{got}
				}
			}
		})
	}
}

// With AMX a text has the same logits on any number of threads and beside others.
func TestSameBitsAMX(t *testing.T) {
	if !slices.Contains(kernel.Families(), "amx") {
		t.Skip("needs AMX")
	}
	f := load(t, "mixed")
	ids, _ := f.ids("ids.2")
	one, two := f.model(t, "amx", 1), f.model(t, "amx", 2)
	text := func(m *gpt2.Model, n int) gpt2.Input {
		return gpt2.Input{Sequence: sequence(t, m), Tokens: ids[:n], Logits: gpt2.AllLogits}
	}
	want := forward(t, one, text(one, 20))
	for i, got := range forward(t, two, text(two, 3), text(two, 20), text(two, 25))[3:23] {
		if !slices.Equal(got, want[i]) {
			t.Errorf("position %d: other logits beside other texts", i)
		}
	}
}

// What a position's logits are does not depend on how it was computed: with
// the whole text at once, token by token, in pieces, beside other sequences,
// or on how many threads. Bit for bit, since equal seeds promise equal texts.
func TestSameBitsHoweverComputed(t *testing.T) {
	for _, family := range kernel.Families() {
		for _, name := range []string{"plain", "tanh-head-dim-3", "mixed", "demo"} {
			f := load(t, name)
			if name == "demo" {
				f.dtype = tensor.BF16
			}
			t.Run(family+"/"+name, func(t *testing.T) {
				if testing.Short() && family == "generic" && name == "demo" {
					t.Skip("plain Go takes long for a model of this size")
				}
				ids, _ := f.ids("ids.2")
				ids = ids[:min(len(ids), 70)]
				o := kernel.Options{Family: family, Threads: 1}
				one := f.modelWith(t, o)
				o.Threads = 2
				two := f.modelWith(t, o)
				want := forward(t, one, gpt2.Input{Sequence: sequence(t, one), Tokens: ids, Logits: gpt2.AllLogits})

				equal := func(how string, got [][]float32) {
					t.Helper()
					for i := range want {
						for j := range want[i] {
							if math.Float32bits(got[i][j]) != math.Float32bits(want[i][j]) {
								t.Fatalf("%s: logit %d of position %d is %g, want %g", how, j, i, got[i][j], want[i][j])
							}
						}
					}
				}
				equal("2 threads", forward(t, two, gpt2.Input{Sequence: sequence(t, two), Tokens: ids, Logits: gpt2.AllLogits}))

				var steps [][]float32
				s := sequence(t, two)
				for i := range ids {
					steps = append(steps, forward(t, two, gpt2.Input{Sequence: s, Tokens: ids[i : i+1]})...)
				}
				equal("token by token", steps)

				var pieces [][]float32
				s = sequence(t, two)
				for rest, n := ids, 1; len(rest) > 0; n += 3 {
					n = min(n, len(rest))
					pieces = append(pieces, forward(t, two, gpt2.Input{Sequence: s, Tokens: rest[:n], Logits: gpt2.AllLogits})...)
					rest = rest[n:]
				}
				equal("in pieces", pieces)

				// As the third of five sequences of different lengths, and then
				// on in a batch with a copy of itself.
				inputs := make([]gpt2.Input, 5)
				for i := range inputs {
					inputs[i] = gpt2.Input{Sequence: sequence(t, two), Tokens: ids[:7*i+1], Logits: gpt2.NoLogits}
				}
				inputs[2].Tokens, inputs[2].Logits = ids[:40], gpt2.AllLogits
				batched := forward(t, two, inputs...)
				fork := sequence(t, two)
				fork.CopyFrom(inputs[2].Sequence, 0)
				for i := 40; i < len(ids); i++ {
					both := forward(t, two,
						gpt2.Input{Sequence: fork, Tokens: ids[i : i+1]},
						gpt2.Input{Sequence: inputs[0].Sequence, Tokens: ids[3:4]},
						gpt2.Input{Sequence: inputs[2].Sequence, Tokens: ids[i : i+1]})
					if !slices.Equal(both[0], both[2]) {
						t.Fatalf("a copied sequence has other logits at position %d", i)
					}
					batched = append(batched, both[2])
				}
				equal("in a batch", batched)
			})
		}
	}
}
