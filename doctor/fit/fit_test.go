package fit

import (
	"math"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// tiny has 896 numbers in biases and norms, 512 in the position embedding, and
// 26624 in matrices and the token embedding: 28032.
var tiny = gpt2.Config{VocabSize: 64, Positions: 16, Embd: 32, Heads: 4, Layers: 2, Inner: 128, TieWordEmbeddings: true}

func TestParametersAreTheConfigs(t *testing.T) {
	untied := tiny
	untied.TieWordEmbeddings = false
	narrow := tiny
	narrow.Inner = 48
	configs := []gpt2.Config{tiny, untied, narrow}
	for _, m := range Models() {
		configs = append(configs, m.Config)
	}
	for _, c := range configs {
		vectors, positions, rest := parameters(Work{Config: c})
		if got := vectors + positions + rest; got != int64(c.Parameters()) {
			t.Errorf("%+v: %d parameters, want %d", c, got, c.Parameters())
		}
	}
}

// The Hub's files are the weights, a mask of 1024×1024 numbers per layer, and at
// most 128 KB of names.
func TestHubFiles(t *testing.T) {
	for _, m := range Models() {
		tensors := 4 * (int64(m.Config.Parameters()) + int64(m.Config.Layers)<<20)
		if names := m.HubFileBytes - tensors; names < 0 || names > 128<<10 {
			t.Errorf("%s: file of %d bytes, tensors of %d", m.Name, m.HubFileBytes, tensors)
		}
	}
}

func TestEstimate(t *testing.T) {
	untied := tiny
	untied.TieWordEmbeddings = false
	const program = 22<<20 + 180*64
	const trainer = program + 14<<20 + 4*512*(6*32+128) + 4*(384*256+512*256)
	const turned = 4 * 128 * (16 + 32) // of what goes into the MLP's second matrix
	const staging = 4 * 64 * 32        // of what is converted
	for _, test := range []struct {
		name string
		work Work
		want Memory
	}{
		{
			"one text in float32, everything by default", Work{Config: tiny},
			Memory{Weights: 4 * 28032, KV: 2 * 2 * 32 * 4 * 16, Activations: 16 * (6*32 + 128) * 4, Logits: 4 * (32 + 6*64), Overhead: program + 4*16*384},
		},
		{
			"short prompt, three samples, two threads", Work{Config: tiny, Prompt: 2, Context: 10, Batch: 3, Threads: 2},
			Memory{Weights: 112128, KV: 3 * 2 * 2 * 32 * 4 * 10, Activations: 3 * 320 * 4, Logits: 4 * (3*32 + 8*64), Overhead: program + 2*4*3*384},
		},
		{
			"more samples than are computed at once", Work{Config: tiny, Batch: 600},
			Memory{Weights: 112128, KV: 600 * 8192, Activations: 512 * 320 * 4, Logits: 4 * (16*32 + 21*64), Overhead: program + 4*(512*256+384*256)},
		},
		{
			"bf16 with float32 copies of the vectors", Work{Config: tiny, DType: BF16},
			Memory{Weights: 2*28032 + 4*896, KV: 8192, Activations: 20480, Logits: 1664, Overhead: program + staging + 24576},
		},
		{
			"q8_0: blocks of 34 bytes", Work{Config: tiny, DType: Q8_0},
			Memory{Weights: 26624/32*34 + 4*(896+512), KV: 4096, Activations: 20480, Logits: 1664, Overhead: program + staging + 24576},
		},
		{
			"q4_0: blocks of 18 bytes", Work{Config: tiny, DType: Q4_0},
			Memory{Weights: 26624/32*18 + 4*(896+512), KV: 4096, Activations: 20480, Logits: 1664, Overhead: program + staging + 24576},
		},
		{
			"a head of its own, a small cache", Work{Config: untied, KVDType: F16},
			Memory{Weights: 4 * (28032 + 64*32), KV: 4096, Activations: 20480, Logits: 1664, Overhead: program + 24576},
		},
		{
			"a mapped file with masks", Work{Config: tiny, FileMapped: true, FileBytes: 112128 + 5000},
			Memory{Weights: 112128, FileRest: 5000, KV: 8192, Activations: 20480, Logits: 1664, Overhead: program + 24576},
		},
		{
			"four clients", Work{Config: tiny, Purpose: Serve, Batch: 4, Context: 8},
			Memory{Weights: 112128, KV: 4 * 4096, Activations: 32 * 320 * 4, Logits: 4 * (16*32 + 21*64), Overhead: program + 16<<20 + 4*(32*256+384*256)},
		},
		{
			"on a GPU", Work{Config: tiny, Device: CUDA, FileMapped: true, FileBytes: 200000},
			Memory{Weights: 112128, KV: 8192, Activations: 20480, Logits: 1664, Overhead: 500 << 20, Host: program + 4*16*64},
		},
		{
			"training in float32: 16 bytes per parameter", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8},
			Memory{
				Weights: 4 * 28032, Gradients: 4 * 28032, Optimizer: 8 * 28032,
				// per token: 3·32 of the stream, 2 layers × (5·32+128+4), 7·32+2·128 for all
				Activations: 4 * 16 * (96 + 584 + 480), Logits: 4*16*64 + turned, Overhead: trainer,
			},
		},
		{
			"in bf16: the same, as weights are rounded when they are read", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8, Precision: MixedBF16},
			Memory{
				Weights: 4 * 28032, Gradients: 4 * 28032, Optimizer: 8 * 28032,
				Activations: 4 * 16 * 1160, Logits: 4096 + turned, Overhead: trainer,
			},
		},
		{
			"with frozen numbers: neither gradients nor moments of these", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8, Frozen: 28000},
			Memory{
				Weights: 4 * 28032, Gradients: 4 * 32, Optimizer: 8 * 32,
				Activations: 4 * 16 * 1160, Logits: 4096 + turned, Overhead: trainer,
			},
		},
		{
			"with checkpointing: the layers' inputs and one layer", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8, Checkpointing: true},
			Memory{
				Weights: 112128, Gradients: 112128, Optimizer: 224256,
				Activations: 4 * 16 * (96 + 292 + 480), Logits: 4096 + turned, Overhead: trainer,
			},
		},
		{
			"LoRA: 2·4·(32+96) numbers are trained, 2·32·96 merged", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8, LoRA: LoRA{Rank: 4}},
			Memory{
				Weights: 4*28032 + 4*1024 + 4*6144, Gradients: 4 * 1024, Optimizer: 8 * 1024,
				Activations: 4 * 16 * (1160 + 2*4), Logits: 4096 + turned, Overhead: trainer,
			},
		},
		{
			"LoRA of both c_proj in bf16: 2·4·(32+32+128+32)", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8,
				LoRA: LoRA{Rank: 4, Targets: []string{"c_proj"}}, Precision: MixedBF16},
			Memory{
				Weights: 4*28032 + 4*1792 + 4*2*(32*32+128*32), Gradients: 4 * 1792, Optimizer: 8 * 1792,
				Activations: 4 * 16 * 1168, Logits: 4096 + turned, Overhead: trainer,
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.work.Check(); err != nil {
				t.Fatal(err)
			}
			if got := Estimate(test.work); got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

// Sums known from elsewhere.
func TestKnownSizes(t *testing.T) {
	m := Estimate(Work{Purpose: Finetune, Model: "gpt2", Batch: 8})
	if got := m.Weights + m.Gradients + m.Optimizer; got != 1991036928 { // 16 × 124439808
		t.Errorf("gpt2 trains in %d bytes", got)
	}
	// Logits of 256 tokens at a time, and 3072 × 8 · 1024 numbers transposed.
	if want := int64(4 * (256*50257 + 3072*(8192+32))); m.Logits != want {
		t.Errorf("logits take %d bytes, want %d", m.Logits, want)
	}
	// 6·embd + inner numbers per token and layer, which is 40 bytes per unit of
	// width; Megatron's 16 bits make 34.
	without := Models()[3].Config // gpt2
	with := without
	with.Layers++
	const heads, tokens = 12, 1024
	layer := Estimate(Work{Purpose: Finetune, Config: with, Precision: MixedBF16}).Activations -
		Estimate(Work{Purpose: Finetune, Config: without, Precision: MixedBF16}).Activations
	if want := int64(tokens * (40*768 + 4*heads)); layer != want {
		t.Errorf("a layer keeps %d bytes, want %d", layer, want)
	}
	if got := Estimate(Work{Model: "openai-community/gpt2", FileMapped: true}); got.Weights+got.FileRest != 548105171 {
		t.Errorf("the mapped file of gpt2 counts %d bytes", got.Weights+got.FileRest)
	}
}

func TestCheck(t *testing.T) {
	huge := tiny
	huge.VocabSize, huge.Embd, huge.Inner = math.MaxInt, math.MaxInt, math.MaxInt
	for _, test := range []struct {
		work Work
		want string // part of the error, "" for none
	}{
		{Work{Model: "gpt2"}, ""},
		{Work{Model: "distilbert/distilgpt2", Purpose: Serve, Device: CUDA, DType: Q4_0, KVDType: BF16}, ""},
		{Work{Config: tiny, Purpose: Finetune, LoRA: LoRA{1, []string{"attn.c_proj", "c_fc"}}}, ""},
		{Work{}, "not positive"},
		{Work{Model: "llama"}, `model "llama" is not one of gpt2-xl`},
		{Work{Model: "someone/gpt2"}, "is not one of"},
		{Work{Config: tiny, Purpose: "walk"}, `purpose "walk": want run, serve or finetune`},
		{Work{Config: tiny, Device: "tpu"}, `device "tpu"`},
		{Work{Config: tiny, DType: "f8"}, `dtype "f8"`},
		{Work{Config: tiny, KVDType: Q8_0}, `dtype "q8_0" of the KV cache`},
		{Work{Config: tiny, Precision: "tf32"}, `precision "tf32"`},
		{Work{Config: tiny, Batch: -1}, "batch -1: want 1 to 1048576"},
		{Work{Config: tiny, Context: 17}, "context 17: want 1 to 16"},
		{Work{Config: tiny, Context: 8, Prompt: 9}, "prompt 9: want 1 to 8"},
		{Work{Config: tiny, Threads: -2}, "threads -2"},
		{Work{Config: tiny, LoRA: LoRA{Rank: 33}}, "LoRA rank 33: want 0 to 32"},
		{Work{Config: tiny, LoRA: LoRA{1, []string{"lm_head"}}}, `LoRA target "lm_head"`},
		{Work{Config: tiny, FileBytes: -1}, "file size -1"},
		{Work{Config: huge}, ""},
	} {
		err := test.work.Check()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: error %v, want %q", test.work, err, test.want)
		}
		if total := Estimate(test.work).Total(); err != nil && total != math.MaxInt64 {
			t.Errorf("%+v is wrong and takes %d bytes", test.work, total)
		}
	}
	for _, p := range []Purpose{Run, Serve, Finetune} {
		w := Work{Config: huge, Purpose: p, Batch: maxBatch, LoRA: LoRA{Rank: 1}}
		if total := Estimate(w).Total(); total != math.MaxInt64 {
			t.Errorf("%s: %d bytes for a hostile configuration", p, total)
		}
	}
}
