package run

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/convert"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/modelfiles"
	"github.com/gptctl/gptctl/internal/randomtest"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/internal/tokenizer"
	"github.com/gptctl/gptctl/internal/train"
)

// The check of .ci/slow random: any small model writes the same text with any number of
// threads, guesses or none, in every type, from a folder and from a GGUF file; and plain
// Go finds its prompt as likely.
func TestRandomModels(t *testing.T) {
	randomtest.Rounds(t, func(t *testing.T, rng *rand.Rand) {
		m := randomModel(t, rng)
		folder := filepath.Join(t.TempDir(), "folder")
		rewrite(t, m, convert.Options{Out: folder})
		r := randomRequest(rng, m.Config)
		kv := append(KVDTypes(), "")[rng.IntN(len(KVDTypes())+1)]
		if kv == "q8_0" && m.Config.HeadDim()%tensor.QuantBlock != 0 {
			kv = "f16"
		}
		t.Logf("%+v", m.Config)
		t.Logf("a prompt of %d tokens, %d more, sampled %v, keys and values %q", len(r.IDs), r.Settings.MaxNewTokens, r.Settings.DoSample, kv)

		found := map[string]*Result{}
		for _, d := range append(DTypes(), "auto") {
			o := OpenOptions{DType: d, KVDType: kv}
			found[d] = sameWithThreads(t, rng, folder, o, r)
			o.Family = "generic"
			near(t, d+" in plain Go", continued(t, folder, o, r), found[d], apart[d])
		}
		if rng.IntN(3) == 0 {
			randomGGUF(t, rng, folder, kv, r, found)
		}
	})
}

// apart is how far log-probabilities may be from those that are computed in another way in
// the same type.
var apart = map[string]float64{"auto": 3e-3, "f32": 3e-3, "f16": 0.03, "bf16": 0.03, "q8_0": 0.04, "q4_0": 0.04}

// randomGGUF writes the model in each type, and from F32 back.
func randomGGUF(t *testing.T, rng *rand.Rand, folder, kv string, r Request, found map[string]*Result) {
	dir := t.TempDir()
	m := must[*modelfiles.Model](t)(modelfiles.Open(folder, modelfiles.Options{}))
	defer m.Close()
	if c := m.Config; !c.ScaleAttnWeights || c.ScaleAttnByInverseLayerIdx || c.Activation != gpt2.GELUNew {
		return // it cannot be said in a GGUF file
	}
	for _, d := range DTypes() {
		file := filepath.Join(dir, d+".gguf")
		rewrite(t, m, convert.Options{Out: file, DType: must[tensor.DType](t)(ParseDType(d))})
		near(t, d+" of a GGUF file", sameWithThreads(t, rng, file, OpenOptions{DType: d, KVDType: kv}, r), found[d], apart[d])
	}
	back := filepath.Join(dir, "back")
	g := must[*modelfiles.Model](t)(modelfiles.Open(filepath.Join(dir, "f32.gguf"), modelfiles.Options{}))
	defer g.Close()
	rewrite(t, g, convert.Options{Out: back})
	weights := func(dir string) []byte { return must[[]byte](t)(os.ReadFile(filepath.Join(dir, "model.safetensors"))) }
	if !bytes.Equal(weights(back), weights(folder)) {
		t.Error("the weights are others when they come back from a GGUF file")
	}
	sameText(t, "back from GGUF", continued(t, back, OpenOptions{DType: "f32", KVDType: kv}, r), found["f32"])
}

// randomModel has weights large enough for tokens to differ.
func randomModel(t *testing.T, rng *rand.Rand) *modelfiles.Model {
	c := randomtest.Config(rng)
	if rng.IntN(2) == 0 { // as GGUF files have it
		c.Activation, c.ScaleAttnWeights, c.ScaleAttnByInverseLayerIdx = gpt2.GELUNew, true, false
	}
	c.BOS, c.EOS = 0, []int{0}
	w := train.Initial(c, rng.Uint64())
	for _, x := range w.Tensors() {
		v, _ := x.Float32s()
		for i := range v {
			v[i] = v[i]*2 + float32(rng.NormFloat64()*0.02)
		}
		copy(x.Data, tensor.Bytes(v))
	}
	p := tokenizer.Parts{BOS: 0, EOS: 0, UNK: -1, PAD: -1}
	for i := range c.VocabSize {
		p.Tokens = append(p.Tokens, tokenizer.Piece{Text: fmt.Sprint(i, "."), Kind: tokenizer.Normal})
	}
	words := must[*tokenizer.Tokenizer](t)(tokenizer.New(p))
	return &modelfiles.Model{Name: "random", Config: c, Weights: w, Tokenizer: words, DType: tensor.F32}
}

func rewrite(t *testing.T, m *modelfiles.Model, o convert.Options) {
	t.Helper()
	must[convert.Result](t)(convert.Write(background, m, o))
}

// randomRequest is a prompt that repeats itself, so that something is guessed.
func randomRequest(rng *rand.Rand, c gpt2.Config) Request {
	unit := make([]int, 1+rng.IntN(30))
	for i := range unit {
		unit[i] = rng.IntN(c.VocabSize)
	}
	ids := make([]int, 1+rng.IntN(min(100, c.Positions)))
	for i := range ids {
		ids[i] = unit[i%len(unit)]
	}
	seed := rng.Uint64()
	s := Resolve(Layer{func(s *Settings) {
		s.MaxNewTokens, s.IgnoreEOS, s.Seed, s.Logprobs, s.Echo = 1+rng.IntN(30), true, &seed, 1, true
		if rng.IntN(2) == 0 {
			s.SetTemperature(0)
		}
	}})
	return Request{IDs: ids, Settings: s}
}

// continued is what a model makes of a request.
func continued(t *testing.T, name string, o OpenOptions, r Request) *Result {
	t.Helper()
	if o.Threads == 0 {
		o.Threads = 2
	}
	o.Getenv = func(string) string { return "" }
	m := must[*Model](t)(Open(background, name, o))
	defer m.Close()
	return must[*Result](t)(m.Generate(background, r))
}

// sameWithThreads is what a model makes of a request, with one thread and more.
func sameWithThreads(t *testing.T, rng *rand.Rand, name string, o OpenOptions, r Request) *Result {
	t.Helper()
	o.Threads = 1
	want := continued(t, name, o, r)
	for _, o.Threads = range []int{2, 3} {
		r.Settings.Lookup = rng.IntN(mostRows)
		got := continued(t, name, o, r)
		sameText(t, fmt.Sprintf("%s in %s with %d threads and up to %d guesses", filepath.Base(name), o.DType, o.Threads, r.Settings.Lookup), got, want)
	}
	return want
}

// likelihoods are those of the prompt's tokens.
func likelihoods(r *Result) []float64 { return r.Prompt.Logprobs[1:] }

// sameText fails if tokens or any of their likelihoods differ.
func sameText(t *testing.T, what string, got, want *Result) {
	t.Helper()
	if !slices.Equal(likelihoods(got), likelihoods(want)) {
		t.Errorf("%s: the prompt has log-probabilities\n%v, want\n%v", what, likelihoods(got), likelihoods(want))
	}
	g, w := got.Samples[0].Tokens, want.Samples[0].Tokens
	if !slices.EqualFunc(g, w, func(a, b Token) bool { return a.ID == b.ID && a.Logprob == b.Logprob }) {
		t.Errorf("%s: got\n%v, want\n%v", what, g, w)
	}
}

// near fails if the log-probabilities of the prompt's tokens are off by more than the
// limit in the mean.
func near(t *testing.T, what string, got, want *Result, limit float64) {
	t.Helper()
	var sum float64
	for i, w := range likelihoods(want) {
		sum += math.Abs(likelihoods(got)[i] - w)
	}
	if n := len(likelihoods(want)); !(sum <= limit*float64(n)) {
		t.Errorf("%s: the %d tokens of the prompt have other log-probabilities, by %.3g in the mean", what, n, sum/float64(n))
	}
}
