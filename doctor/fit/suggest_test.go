package fit

import (
	"fmt"
	"strings"
	"testing"
)

func TestLargestBatch(t *testing.T) {
	base := Estimate(Work{Config: tiny, Prompt: 1, Context: 16, Batch: 2}).Total()
	// Up to 16 a sequence more takes 12288 bytes of cache, 768 of activations,
	// 384 of logits and 1536 of scratch; the second one two lists of a vocabulary, too.
	const each = 12288 + 768 + 384 + 1536
	const second = 2 * 4 * 64
	for _, test := range []struct {
		available int64
		want      int
	}{
		{0, 0}, {base, 2}, {base - 1, 1}, {base - each - second, 1}, {base - each - second - 1, 0}, {base + 3*each, 5}, {base + 3*each - 1, 4},
		{1 << 60, maxBatch},
	} {
		if got := LargestBatch(Work{Config: tiny, Prompt: 1, Context: 16}, test.available); got != test.want {
			t.Errorf("%d bytes: batch %d, want %d", test.available, got, test.want)
		}
	}
	if got := LargestBatch(Work{}, 1<<60); got != 0 {
		t.Errorf("batch %d for wrong work", got)
	}
}

func TestLargestModel(t *testing.T) {
	for _, test := range []struct {
		work      Work
		available int64
		want      string
	}{
		{Work{}, 100e6, ""},
		{Work{}, 500e6, "distilgpt2"},
		{Work{}, 1e9, "gpt2"},
		{Work{DType: BF16}, 1e9, "gpt2-medium"},
		{Work{Config: tiny, Context: 1024}, 8e9, "gpt2-xl"},
		{Work{Purpose: Finetune}, 6e9, "gpt2"},
		{Work{Purpose: Finetune, LoRA: LoRA{Rank: 8}, Precision: MixedBF16, Checkpointing: true, Context: 256}, 10e9, "gpt2-xl"},
		{Work{Purpose: Finetune}, 64e9, "gpt2-xl"},
		{Work{Batch: -1}, 64e9, ""},
	} {
		got, ok := LargestModel(test.work, test.available)
		if got != test.want || ok != (test.want != "") {
			t.Errorf("%+v in %d: %q %v, want %q", test.work, test.available, got, ok, test.want)
		}
	}
}

func TestSuggest(t *testing.T) {
	for _, test := range []struct {
		name      string
		work      Work
		available int64
		want      string // settings of each suggestion
	}{
		{"fits", Work{Model: "gpt2"}, 1e9, ""},
		{"wrong", Work{Model: "no"}, 1e9, ""},
		{"hopeless", Work{Model: "gpt2"}, 1e6, ""},
		{"weights too large", Work{Model: "gpt2-xl"}, 4e9,
			"dtype=bf16 | dtype=q8_0 | dtype=q4_0 | model=gpt2-large"},
		{"cache too large", Work{Model: "gpt2", Batch: 16}, 1500e6,
			"dtype=q8_0 | batch=12 | context=768 | dtype=q4_0 | model=distilgpt2"},
		{"both too large", Work{Model: "gpt2-xl", Batch: 16}, 4e9,
			"dtype=bf16 batch=1 | dtype=bf16 context=64 | dtype=q4_0 batch=9 | model=gpt2"},
		{"steps in parts", Work{Model: "gpt2", Purpose: Finetune, Batch: 12}, 6e9,
			"batch=6 accumulate=2 | checkpointing=true | context=704 | lora.rank=8 | model=distilgpt2"},
		{"training a little too large", Work{Model: "gpt2-large", Purpose: Finetune, Batch: 4}, 18e9,
			"batch=2 accumulate=2 | checkpointing=true | context=640 | lora.rank=8 | model=gpt2-medium"},
		{"training much too large", Work{Model: "gpt2-xl", Purpose: Finetune, Batch: 8}, 16e9,
			"lora.rank=8 batch=2 accumulate=4 | model=gpt2-medium"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, s := range Suggest(test.work, test.available) {
				var words []string
				for _, n := range s.Settings {
					words = append(words, n.Name+"="+n.Value)
				}
				got = append(got, strings.Join(words, " "))
				if s.Memory != Estimate(s.Work) || s.Memory.Total() > test.available || s.Cost == "" {
					t.Errorf("%v: %+v", words, s)
				}
			}
			if got := strings.Join(got, " | "); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func ExampleSuggest() {
	w := Work{Model: "gpt2-xl", Purpose: Finetune, Batch: 8, Device: CUDA}
	for _, s := range Suggest(w, 24e9) {
		fmt.Println(s.Settings, s.Memory.Total()/1e6, "MB:", s.Cost)
	}
	// Output:
	// [{lora.rank 8} {batch 4} {accumulate 2}] 21342 MB: only small additions to the model are trained; the same steps, in several parts
	// [{model gpt2-medium}] 14855 MB: a smaller model, whose texts are worse
}
