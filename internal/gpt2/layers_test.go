package gpt2_test

import (
	"context"
	"encoding/binary"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/safetensors"
)

// recorder is a device that keeps what every operation wrote.
type recorder struct {
	gpt2.Device
	trace []recorded
}

type recorded struct {
	op     string
	values []float32
}

func (r *recorder) keep(op string, b gpt2.Buffer, n int) {
	values, err := r.Read(b, n)
	if err != nil {
		panic(err)
	}
	r.trace = append(r.trace, recorded{op, slices.Clone(values)})
}

func (r *recorder) Embed(x gpt2.Buffer, tokens, positions gpt2.Matrix, rows []gpt2.Row) {
	r.Device.Embed(x, tokens, positions, rows)
	width, _ := tokens.Dims()
	r.keep("embed", x, len(rows)*width)
}

func (r *recorder) Norm(y, x, gain, bias gpt2.Buffer, rows, width int, epsilon float32) {
	r.Device.Norm(y, x, gain, bias, rows, width, epsilon)
	r.keep("norm", y, rows*width)
}

func (r *recorder) Linear(y, x gpt2.Buffer, rows int, w gpt2.Matrix, e gpt2.Epilogue) {
	r.Device.Linear(y, x, rows, w, e)
	_, out := w.Dims()
	r.keep("linear", y, rows*out)
}

func (r *recorder) Attention(out, qkv gpt2.Buffer, layer int, rows []gpt2.Row, scale float32) {
	r.Device.Attention(out, qkv, layer, rows, scale)
	r.keep("attention", out, out.Len())
}

// The intermediate values that the author of llm-viz published for his model,
// layer by layer: three sequences of 11 positions.
func TestLayers(t *testing.T) {
	f := load(t, "llmviz-gpt-nano-sort")
	goldens, err := safetensors.Open(filepath.Join("testdata", f.name, "goldens.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer goldens.Close()
	idx, _ := goldens.Tensor("idx") // ids as float32
	ids := make([]int, idx.Len())
	for i := range ids {
		ids[i] = int(math.Float32frombits(binary.LittleEndian.Uint32(idx.Data[4*i:])))
	}
	for _, family := range kernel.Families() {
		t.Run(family, func(t *testing.T) {
			c, err := kernel.New(kernel.Options{Family: family})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			r := &recorder{Device: cpu.New(c, cpu.Options{})}
			m, err := gpt2.New(r, f.config, f.weights)
			if err != nil {
				t.Fatal(err)
			}
			var inputs []gpt2.Input
			for i := range 3 {
				inputs = append(inputs, gpt2.Input{Sequence: sequence(t, m), Tokens: ids[i*11 : (i+1)*11], Logits: gpt2.AllLogits})
			}
			if err := m.Forward(context.Background(), inputs, func(int, int, []float32) error { return nil }); err != nil {
				t.Fatal(err)
			}
			step := 0
			next := func(op, name string) {
				t.Helper()
				got := r.trace[step]
				step++
				if got.op != op {
					t.Fatalf("operation %d is %s, want %s for %s", step, got.op, op, name)
				}
				if name == "" {
					return
				}
				tensor, ok := goldens.Tensor(name)
				if !ok {
					t.Fatalf("no golden %s", name)
				}
				want, _ := tensor.Float32s()
				if e := relativeError(got.values, want); !(e <= maxLogitsError) {
					t.Errorf("%s: relative error %.2g", name, e)
				}
			}
			next("embed", "x")
			next("norm", "ln1")
			next("linear", "qkv")
			next("attention", "y")
			next("linear", "attnResid")
			next("norm", "ln2")
			next("linear", "gelu")
			next("linear", "block0")
			for _, block := range []string{"block1", "block2"} {
				for _, op := range []string{"norm", "linear", "attention", "linear", "norm", "linear"} {
					next(op, "")
				}
				next("linear", block)
			}
			// The head takes a few rows at a time.
			var norms, logits []float32
			for ; step < len(r.trace); step += 2 {
				norms = append(norms, r.trace[step].values...)
				logits = append(logits, r.trace[step+1].values...)
			}
			r.trace, step = []recorded{{"norm", norms}, {"linear", logits}}, 0
			next("norm", "ln_f")
			next("linear", "lm_head")
		})
	}
}
