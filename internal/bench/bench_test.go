package bench

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

var tiny = gpt2.Config{
	VocabSize: 77, Positions: 40, Embd: 32, Heads: 4, Layers: 2, Inner: 96,
	Activation: gpt2.GELUNew, LayerNormEpsilon: 1e-5, ScaleAttnWeights: true, TieWordEmbeddings: true, BOS: -1, PAD: -1,
}

func subject(t *testing.T, d tensor.DType) *Subject {
	k, err := kernel.New(kernel.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	s, err := Random("tiny", tiny, cpu.Options{DType: d}, k)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// steady is a machine with the same limits at all times.
type steady struct{}

func (steady) Measure(ctx context.Context, l Limit) (float64, error) { return 1000, ctx.Err() }

func TestCPUMeter(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 512 MB")
	}
	var l, own Limits
	s := subject(t, tensor.F32)
	meter := NewCPUMeter(s.CPU)
	defer meter.Close()
	weights := meter.ForWeights(s)
	if weights == meter {
		t.Error("the weights in the device's memory are not read")
	}
	if err := errors.Join(l.MeasureAll(t.Context(), meter), own.MeasureAll(t.Context(), weights)); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []Limit{Read, F32, Int8} {
		if !(l.Median(limit) > 0) || !(own.Median(limit) > 0) {
			t.Errorf("%s: %v, %v of the weights", limit, l.Median(limit), own.Median(limit))
		}
	}
	// Weights in a file, or a part of them, are no memory of the model's own: the
	// faster of the two is the limit.
	file := *s
	file.Weights, file.InFile = nil, s.Weights
	both := meter.ForWeights(&file)
	if both.meter != meter.meter || both.file == nil {
		t.Errorf("weights in a file: %+v", both)
	}
	if v, err := both.Measure(t.Context(), Read); err != nil || !(v > 0) {
		t.Errorf("of weights in a file: %v, %v", v, err)
	}
	for _, memory := range [][][]byte{nil, {s.Weights[0][:100]}} {
		s.Weights = memory
		if meter.ForWeights(s) != meter {
			t.Errorf("%d pieces of weights are read", len(memory))
		}
	}
}

func TestRun(t *testing.T) {
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16, tensor.Q8_0, tensor.Q4_0} {
		s := subject(t, d)
		rounds := 0
		o := Options{PromptTokens: []int{20}, GenTokens: []int{5}, Batches: []int{1, 3}, Depths: []int{0, 7}, Repetitions: 2}
		rows, err := Run(t.Context(), s, o, steady{}, func(int) error { rounds++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		if rounds != 3 {
			t.Errorf("%v: %d rounds, want a warm-up and 2", d, rounds)
		}
		want := []struct {
			test  string
			batch int
		}{{"pp20", 1}, {"tg5", 1}, {"tg5", 3}, {"tg5@d7", 1}, {"tg5@d7", 3}}
		if len(rows) != len(want) {
			t.Fatalf("%v: %d rows, want %d", d, len(rows), len(want))
		}
		for i, r := range rows {
			if r.Test != want[i].test || r.Batch != want[i].batch || len(r.Rates) != 2 || r.DType != d || r.Shape != "tiny" {
				t.Errorf("%v: row %d is %+v", d, i, r)
			}
			if !(r.Median() > 0) || !(r.Bound > 0) || !(r.Share() > 0) {
				t.Errorf("%v: row %d: %v tokens/s of %v", d, i, r.Median(), r.Bound)
			}
			if (r.Limit == Read) != (i > 0) {
				t.Errorf("%v: row %d is bound by %v", d, i, r.Limit)
			}
		}
	}
}

func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Run(ctx, subject(t, tensor.F32), Options{PromptTokens: []int{2}, Repetitions: 100}, steady{}, func(round int) error {
		if round == 1 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What the issue states of GPT-2: 123.7 million weights are read per token, and a
// token of a prompt costs 170 million operations and attention, but that all tokens but
// the last are spared some of the last block.
func TestCosts(t *testing.T) {
	c, ok := gpt2.Shape("gpt2")
	if !ok {
		t.Fatal("no shape gpt2")
	}
	attention, spared := 2.0*2*12*768*256.5, 2.0*(768*768+2*768*3072)*511/512
	if got := prefillCost(c, 512) - attention + spared; math.Abs(got-170e6) > 1e6 {
		t.Errorf("a token of a prompt costs %v without attention", got)
	}
	if got := subject(t, tensor.F32).Model.TokenBytes(); got != 4*(77*32+2*(4*32*32+2*32*96)) {
		t.Errorf("a token reads %d bytes", got)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 9, 2}, 3}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.values, got, c.want)
		}
	}
}

// The windows of the documentation's program, written plainly: each is computed
// on its own, all of it.
func TestPerplexity(t *testing.T) {
	m := subject(t, tensor.F32).Model
	random := rand.New(rand.NewPCG(1, 2))
	tokens := make([]int, 101)
	for i := range tokens {
		tokens[i] = random.IntN(tiny.VocabSize)
	}
	for _, c := range []struct{ n, window, stride int }{
		{101, 40, 20}, {101, 40, 40}, {101, 40, 1}, {101, 40, 39}, {101, 2, 1}, {2, 40, 20}, {40, 40, 7}, {41, 40, 40},
	} {
		var sum, weights float64
		for begin, before := 0, 0; ; begin += c.stride {
			end := min(begin+c.window, c.n)
			targets := end - before
			mean, n := 0.0, 0
			seq, err := m.NewSequence(c.window)
			if err != nil {
				t.Fatal(err)
			}
			in := []gpt2.Input{{Sequence: seq, Tokens: tokens[begin:end], Logits: gpt2.AllLogits}}
			err = m.Forward(t.Context(), in, func(_, i int, logits []float32) error {
				if i+1 < end-begin && i+1 >= end-begin-targets {
					mean -= logProbability(logits, tokens[begin+i+1])
					n++
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 { // the last token of {41, 40, 40} is alone in its window
				sum += mean / float64(n) * float64(targets-1)
				weights += float64(targets - 1)
			}
			if before = end; end == c.n {
				break
			}
		}
		got, err := MeasurePerplexity(t.Context(), m, tokens[:c.n], c.window, c.stride, func(int) {})
		if weights == 0 || c.stride == 1 && c.window == 2 {
			continue // every window but the first counts nothing
		}
		if want := math.Exp(sum / weights); err != nil || !(math.Abs(got.Value/want-1) <= 1e-9) || float64(got.Tokens) != weights {
			t.Errorf("%+v: got %+v, %v, want %v of %v tokens", c, got, err, want, weights)
		}
	}
	for _, c := range []struct{ n, window, stride int }{{1, 40, 20}, {0, 40, 20}, {50, 41, 20}, {50, 1, 1}, {50, 40, 0}, {50, 40, 41}} {
		if _, err := MeasurePerplexity(t.Context(), m, tokens[:c.n], c.window, c.stride, func(int) {}); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}
