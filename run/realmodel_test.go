package run

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/safetensors"
)

// openRealModel opens the 124M GPT-2 that GPTCTL_TEST_MODEL names (a folder,
// or a Hub id in the cache), or skips the test.
func openRealModel(t *testing.T) *Model {
	t.Helper()
	name := os.Getenv("GPTCTL_TEST_MODEL")
	if name == "" {
		t.Skip("GPTCTL_TEST_MODEL does not name the 124M GPT-2")
	}
	m, err := Open(context.Background(), name, OpenOptions{Getenv: os.Getenv})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// What others published of the real GPT-2: logits (transformer-explainer), a
// loss (llm.c), a text (the transformers and llama.cpp documentation).
func TestRealModel(t *testing.T) {
	m := openRealModel(t)
	golden, err := safetensors.Open("testdata/gpt2-124m.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer golden.Close()
	ids := func(name string) []int {
		v, ok := golden.Tensor(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		ids := make([]int, v.Len())
		for i := range ids {
			ids[i] = int(binary.LittleEndian.Uint64(v.Data[8*i:]))
		}
		return ids
	}
	model := m.Generator.model.(*gpt2Model).Model
	forward := func(tokens []int, wanted gpt2.Wanted, visit func(i int, logits []float32)) {
		t.Helper()
		s, err := model.NewSequence(len(tokens))
		if err != nil {
			t.Fatal(err)
		}
		err = model.Forward(context.Background(), []gpt2.Input{{Sequence: s, Tokens: tokens, Logits: wanted}},
			func(_, i int, logits []float32) error { visit(i, logits); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}

	prompts := []string{
		"Data visualization empowers users to",
		"Artificial Intelligence is transforming the",
		"As the spaceship was approaching the",
		"On the deserted planet they discovered a",
		"IEEE VIS conference highlights the",
	}
	for i, prompt := range prompts {
		want := ids(fmt.Sprintf("ids.%d", i))
		if got := m.tokenizer.Encode(nil, prompt); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q is %v, want %v", prompt, got, want)
		}
		v, _ := golden.Tensor(fmt.Sprintf("logits.%d", i))
		logits, _ := v.Float32s()
		forward(want, gpt2.LastLogits, func(_ int, got []float32) {
			var diff, norm float64
			for k, w := range logits {
				d := float64(got[k] - w)
				diff += d * d
				norm += float64(w) * float64(w)
			}
			if e := math.Sqrt(diff / norm); !(e <= 1e-4) {
				t.Errorf("logits of %q: relative error %.2g", prompt, e)
			} else {
				t.Logf("logits of %q: relative error %.2g", prompt, e)
			}
		})
	}

	x, y := ids("loss.x"), ids("loss.y")
	var loss float64
	for b := range 4 {
		forward(x[64*b:64*b+64], gpt2.AllLogits, func(i int, logits []float32) {
			loss -= logSoftmax(logits, y[64*b+i]) / 256
		})
	}
	if math.Abs(loss-5.270007) > 1e-4 {
		t.Errorf("loss of llm.c's batch is %.6f, want 5.270007", loss)
	}

	s := Defaults()
	s.SetTemperature(0)
	s.MaxNewTokens = 8
	r, err := m.Generate(context.Background(), Request{Prompt: "Alan Turing theorized that computers would one day become", Settings: s})
	if err != nil {
		t.Fatal(err)
	}
	if want := " the most powerful machines on the planet."; r.Samples[0].Text != want {
		t.Errorf("Alan Turing … %q, want %q", r.Samples[0].Text, want)
	}
}

// logSoftmax is the log-probability of one token, in float64.
func logSoftmax(logits []float32, id int) float64 {
	top := math.Inf(-1)
	for _, v := range logits {
		top = max(top, float64(v))
	}
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v) - top)
	}
	return float64(logits[id]) - top - math.Log(sum)
}
