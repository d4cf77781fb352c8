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
	oneHead := tiny
	oneHead.Heads = 1
	const (
		page    = 2 << 20
		program = 22<<20 + 110*64
		trainer = program + 2<<20 + 12288 + 4*6*64   // with the cache of a model that continues texts, and lists of a vocabulary
		lines   = 4 * 16 * 160                       // numbers of up to 16 rows: norm or att, qkv or mid
		cache   = 2 * 4 * 32 * (32 + 16)             // keys in a panel of 32 positions, and values
		lists   = 6 * 4 * 64                         // of a vocabulary
		turned  = 4*128*(16+32) + 4*(512*256)        // of what goes into the MLP's second matrix, and a block
		attends = 4 * (8*(3*8+3*32) + 32*(5*8+4*32)) // a head on its way back
		work    = 4 * 16 * 384                       // of a product of few rows
		weights = 4 * 28032                          // all of them
		adapted = 4 * 4 * (32 + 96) * 2              // low-rank additions to c_attn of both layers, or a gradient of these
		merged  = 4 * 2 * 32 * 96                    // with which it is merged
		both    = 4 * 4 * (32 + 32 + 128 + 32) * 2   // the same of both c_proj
		mergedB = 4 * 2 * (32*32 + 128*32)
	)
	amx := Kernels{Tiles: true, Ahead: true}
	for _, test := range []struct {
		name string
		work Work
		want Memory
	}{
		{
			"one text in float32, everything by default: only the positions are a copy", Work{Config: tiny},
			Memory{Weights: weights, KV: cache, Activations: lines + 16*32*4, Logits: 4*(32+64) + lists, Overhead: program + page - 2048 + work},
		},
		{
			"short prompt, three samples, two threads", Work{Config: tiny, Prompt: 2, Context: 10, Batch: 3, Threads: 2},
			Memory{Weights: weights, KV: 3 * 2 * 4 * 32 * (32 + 10), Activations: 3 * 192 * 4, Logits: 4*3*(32+64) + lists + 2*4*64, Overhead: program + page - 2048 + 2*4*3*384},
		},
		{
			"more samples than are computed at once", Work{Config: tiny, Batch: 600},
			Memory{Weights: weights, KV: 600 * cache, Activations: lines + 2048 + 512*192*4, Logits: 4*32*(32+64) + lists + 2*4*64,
				Overhead: program + page - 2048 + 4*256*(512+128) + 4*56*(16+3*8)},
		},
		{
			"bf16 with float32 vectors, and positions as in the file", Work{Config: tiny, DType: BF16},
			Memory{Weights: 2*26624 + 4*(896+512), KV: cache, Activations: lines + 2048, Logits: 384 + lists, Overhead: program + page - 2*26624 - 2048 + work},
		},
		{
			"q8_0: blocks of 34 bytes", Work{Config: tiny, DType: Q8_0},
			Memory{Weights: 26624/32*34 + 4*(896+512), KV: cache / 2, Activations: lines + 2048, Logits: 384 + lists, Overhead: program + page - 28288 - 2048 + work},
		},
		{
			"q4_0: blocks of 18 bytes", Work{Config: tiny, DType: Q4_0},
			Memory{Weights: 26624/32*18 + 4*(896+512), KV: cache / 2, Activations: lines + 2048, Logits: 384 + lists, Overhead: program + page - 14976 - 2048 + work},
		},
		{
			"a head of its own, a small cache", Work{Config: untied, KVDType: F16},
			Memory{Weights: weights + 4*64*32, KV: cache / 2, Activations: lines + 2048, Logits: 384 + lists, Overhead: program + page - 2048 + work},
		},
		{
			"a mapped file with masks, which stay out of memory", Work{Config: tiny, FileMapped: true, FileBytes: weights + 5000},
			Memory{Weights: weights, KV: cache, Activations: lines + 2048, Logits: 384 + lists, Overhead: program + work},
		},
		{
			"a file that stays beside the copies", Work{Config: tiny, FileMapped: true, Copied: true, FileBytes: 30000, FileDType: Q8_0, GGUF: true, DType: Q8_0, AsIs: true},
			Memory{Weights: 28288 + 4*(896+512), FileRest: 30000, KV: cache / 2, Activations: lines + 2048, Logits: 384 + lists,
				Overhead: program + 30*64 + page - 28288 - 2048 + work},
		},
		{
			"four clients", Work{Config: tiny, Purpose: Serve, Batch: 4, Context: 8},
			Memory{Weights: weights, KV: 4 * 2 * 4 * 32 * (32 + 8), Activations: lines + 2048 + 32*192*4, Logits: 4*32*(32+64) + lists + 2*4*64,
				Overhead: program + 16<<20 + page - 2048 + 4*256*(32+128) + 4*56*(8+3*8)},
		},
		{
			"on a GPU", Work{Config: tiny, Device: CUDA, FileMapped: true, FileBytes: 200000},
			Memory{Weights: weights, KV: cache, Activations: 16 * 320 * 4, Logits: 384 + lists, Overhead: 500 << 20, Host: program + 4*32*64},
		},
		{
			// x, what norms and attention give and the MLP's inside are tiles on one page; q, k
			// and v are not, as heads are narrow, and each text's attention gives numbers.
			"tiles, 20 texts", Work{Config: tiny, DType: BF16, Batch: 20, Threads: 2, Kernels: amx},
			Memory{Weights: 2*26624 + 4*(896+512), KV: 20 * cache, Activations: lines + 2048 + 20*128*4 + 20*32*4 + page, Logits: 4*20*(32+64) + lists + 2*4*64,
				Overhead: program + page - 2*26624 - 2048 + 2*(page+4*2048+2*4096)},
		},
		{
			"what is quantised as it is goes through tiles that are made of numbers", Work{Config: tiny, DType: Q4_0, AsIs: true, GGUF: true, Batch: 20, Kernels: amx},
			Memory{Weights: 14976 + 4*(896+512), KV: 20 * cache / 2, Activations: lines + 2048 + 20*192*4, Logits: 4*20*(32+64) + lists + 2*4*64,
				Overhead: program + 30*64 + page - 14976 - 2048 + 2*page + 4*56*(16+3*8)},
		},
		{
			// norm and the MLP's inside are codes of 28 rows, attention's output is quantised later;
			// q, k and v are numbers, as the cache has no codes.
			"what is quantised, without tiles", Work{Config: tiny, DType: Q8_0, Batch: 20, Threads: 2},
			Memory{Weights: 28288 + 4*(896+512), KV: 20 * cache / 2, Activations: lines + 2048 + 20*(32+32+128)*4 + 28*(1+4)*40, Logits: 4*20*(32+64) + lists + 2*4*64,
				Overhead: program + page - 28288 - 2048 + 20*40 + 2*4*56*(16+3*8)},
		},
		{
			"quantised as it is, with codes in the cache: so are q, k and v", Work{Config: oneHead, DType: Q8_0, AsIs: true, GGUF: true, Batch: 20, Kernels: Kernels{Codes: true}},
			Memory{Weights: 28288 + 4*1408, KV: 20 * 2 * (32 + 32) * 34, Activations: lines + 2048 + 20*(32+32)*4 + 28*(1+4)*40, Logits: 4*20*(32+64) + lists + 2*4*64,
				Overhead: program + 30*64 + page - 28288 - 2048 + 20*40 + 4*56*(16+3*32)},
		},
		{
			// x in pairs, as these matrices are not worth panels
			"pairs", Work{Config: tiny, DType: BF16, Batch: 20, Threads: 2, Kernels: Kernels{Pairs: true, Codes: true}},
			Memory{Weights: 2*26624 + 4*1408, KV: 20 * cache, Activations: lines + 2048 + 20*192*4, Logits: 4*20*(32+64) + lists + 2*4*64,
				Overhead: program + page - 2*26624 - 2048 + 4*20*(64+16) + 2*(4*256*(20+128)+4*56*(16+3*8))},
		},
		{
			"training in float32: 16 bytes per parameter", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8},
			Memory{
				Weights: weights, Gradients: weights, Optimizer: 2 * weights,
				// per token: 3·32 of the stream, 2 layers × (5·32+128+4), 7·32+2·128 for all
				Activations: 4 * 16 * (96 + 584 + 480), Logits: 4 * 16 * 64, Overhead: trainer + page - 4*weights + turned + attends,
			},
		},
		{
			"on an Intel CPU transposed factors, and those of each thread, are on huge pages", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8, Threads: 2, Kernels: Kernels{Ahead: true}},
			Memory{
				Weights: weights, Gradients: weights, Optimizer: 2 * weights,
				Activations: 4 * 16 * 1160, Logits: 4096, Overhead: trainer + page - 4*weights + page + 2*(page+attends),
			},
		},
		{
			"in bf16: the same, as weights are rounded when they are read", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8, Precision: MixedBF16},
			Memory{
				Weights: weights, Gradients: weights, Optimizer: 2 * weights,
				Activations: 4 * 16 * 1160, Logits: 4096, Overhead: trainer + page - 4*weights + turned + attends,
			},
		},
		{
			// per token: 3·32 of the stream, 2 layers × (4·32+128+4), 4·32+64 for all
			"in bf16 on a matrix unit", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8, Precision: MixedBF16, Kernels: amx},
			Memory{
				Weights: weights, Gradients: weights, Optimizer: 2 * weights,
				Activations: 4 * 16 * (96 + 520 + 192), Logits: 2 * 16 * 64, Overhead: trainer + page - 4*weights + 3*page + 4*64,
			},
		},
		{
			"with frozen numbers: neither gradients nor moments of these", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8, Frozen: 28000},
			Memory{
				Weights: weights, Gradients: 4 * 32, Optimizer: 8 * 32,
				Activations: 4 * 16 * 1160, Logits: 4096, Overhead: trainer + page - 4*weights + turned + attends,
			},
		},
		{
			"with checkpointing: the layers' inputs and one layer", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8, Checkpointing: true},
			Memory{
				Weights: weights, Gradients: weights, Optimizer: 2 * weights,
				Activations: 4 * 16 * (96 + 292 + 480), Logits: 4096, Overhead: trainer + page - 4*weights + turned + attends,
			},
		},
		{
			"LoRA: 2·4·(32+96) numbers are trained, 2·32·96 merged", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8, LoRA: LoRA{Rank: 4}},
			Memory{
				Weights: weights + adapted + merged, Gradients: adapted, Optimizer: 2 * adapted,
				Activations: 4 * 16 * (1160 + 2*4), Logits: 4096, Overhead: trainer + page - 4*adapted - merged + 4*96*(16+32) + 4*512*256 + attends,
			},
		},
		{
			"LoRA that is never merged", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8, LoRA: LoRA{Rank: 4, Apart: true}},
			Memory{
				Weights: weights + adapted, Gradients: adapted, Optimizer: 2 * adapted,
				Activations: 4 * 16 * (1160 + 2*4), Logits: 4096, Overhead: trainer + page - 4*adapted + 4*96*(16+32) + 4*512*256 + attends,
			},
		},
		{
			"LoRA of both c_proj in bf16: 2·4·(32+32+128+32)", Work{Config: tiny, Purpose: Finetune, Batch: 2, Context: 8,
				LoRA: LoRA{Rank: 4, Targets: []string{"c_proj"}}, Precision: MixedBF16},
			Memory{
				Weights: weights + both + mergedB, Gradients: both, Optimizer: 2 * both,
				Activations: 4 * 16 * 1168, Logits: 4096, Overhead: trainer + page - 4*both - mergedB + 4*128*(4+32) + 4*512*256 + attends,
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
	// Logits of 256 tokens at a time.
	if want := int64(4 * 256 * 50257); m.Logits != want {
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
	// While c_fc is laid out in panels a part of it is there twice.
	if got := Estimate(Work{Model: "openai-community/gpt2", AsIs: true, FileMapped: true}); got.Weights != 4*124439808 || got.FileRest != 4<<20 {
		t.Errorf("the mapped file of gpt2 counts %d and %d bytes", got.Weights, got.FileRest)
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
		{Work{Config: tiny, Purpose: Finetune, LoRA: LoRA{Rank: 1, Targets: []string{"attn.c_proj", "c_fc"}}}, ""},
		{Work{}, "not positive"},
		{Work{Model: "llama"}, `model "llama" is not one of gpt2-xl`},
		{Work{Model: "someone/gpt2"}, "is not one of"},
		{Work{Config: tiny, Purpose: "walk"}, `purpose "walk": want run, serve or finetune`},
		{Work{Config: tiny, Device: "tpu"}, `device "tpu"`},
		{Work{Config: tiny, DType: "f8"}, `dtype "f8"`},
		{Work{Config: tiny, KVDType: Q4_0}, `dtype "q4_0" of the KV cache`},
		{Work{Config: tiny, KVDType: Q8_0}, "q8_0 in heads of 8: want a multiple of 32"},
		{Work{KVDType: Q8_0}, "not positive"},
		{Work{Model: "gpt2", KVDType: Q8_0}, ""},
		{Work{Config: tiny, Precision: "tf32"}, `precision "tf32"`},
		{Work{Config: tiny, Batch: -1}, "batch -1: want 1 to 1048576"},
		{Work{Config: tiny, Context: 17}, "context 17: want 1 to 16"},
		{Work{Config: tiny, Context: 8, Prompt: 9}, "prompt 9: want 1 to 8"},
		{Work{Config: tiny, Threads: -2}, "threads -2"},
		{Work{Config: tiny, LoRA: LoRA{Rank: 33}}, "LoRA rank 33: want 0 to 32"},
		{Work{Config: tiny, LoRA: LoRA{Rank: 1, Targets: []string{"lm_head"}}}, `LoRA target "lm_head"`},
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

// Pieces of memory end with a whole page, where the next tensor has no room in them.
func TestPieces(t *testing.T) {
	const page, size = 2 << 20, 8 << 20
	p := pieces{size: size}
	p.take(3<<20+10, 2) // 64 bytes aligned
	p.take(20<<20+1, 1) // has its own
	p.take(1<<20, 1)
	if p.taken != 2*(3<<20+10)+20<<20+1+1<<20 || p.used != 2*(3<<20+64)+1<<20 {
		t.Errorf("%+v", p)
	}
	if got := p.end(); got != page-1+8<<20-p.used {
		t.Errorf("%d bytes wasted", got)
	}
	p.take(2<<20, 1) // no room
	if got := p.end(); got != page-1+8<<20-(2*(3<<20+64)+1<<20) {
		t.Errorf("%d bytes wasted", got)
	}
}

// A matrix that cannot be quantised keeps the file's type, and what is laid out anew is
// rounded up to what kernels take.
func TestMatrixHeld(t *testing.T) {
	amx := Kernels{Tiles: true}
	for _, test := range []struct {
		work     Work
		in, out  int
		outMajor bool
		want     held
	}{
		{Work{DType: F32, AsIs: true, FileDType: F32}, 768, 50257, true, held{4 * 768 * 50257, false}},
		{Work{DType: F32, FileDType: F32}, 768, 50257, true, held{4 * 768 * 50257, false}},
		{Work{DType: F32, FileDType: F32}, 768, 2305, false, held{4 * 768 * 2336, true}},
		{Work{DType: F32, FileDType: BF16}, 768, 50257, true, held{4 * 768 * 50257, true}},
		{Work{DType: BF16, FileDType: F32}, 768, 50257, true, held{2 * 768 * 50257, true}},
		{Work{DType: BF16, AsIs: true, FileDType: BF16, Kernels: amx}, 768, 2304, false, held{2 * 768 * 2304, true}},
		{Work{DType: BF16, AsIs: true, FileDType: BF16, Kernels: amx}, 768, 2304, true, held{2 * 768 * 2304, false}},
		{Work{DType: F16, FileDType: F16, Kernels: amx}, 400, 50257, true, held{2 * 416 * 50272, true}},
		{Work{DType: Q8_0, FileDType: F32}, 768, 50257, true, held{50272 * 24 * 34, true}},
		{Work{DType: Q8_0, FileDType: F32}, 400, 50257, true, held{4 * 400 * 50257, false}},
		{Work{DType: Q4_0, FileDType: BF16, Kernels: amx}, 400, 50257, true, held{2 * 416 * 50272, true}},
	} {
		test.work.Device = CPU
		if got := matrixHeld(test.work, test.in, test.out, test.outMajor); got != test.want {
			t.Errorf("%+v, %d×%d: %+v, want %+v", test.work, test.in, test.out, got, test.want)
		}
	}
}

// While the token embedding is converted, 16 MB of it are in memory, and nothing else;
// in the end all weights and the last matrix.
func TestLoading(t *testing.T) {
	w := Work{Model: "gpt2", DType: Q8_0, Prompt: 1, Context: 10}.withDefaults()
	if got, want := loading(w), weights(w)-4*(121344)+4*3072*768; got != want {
		t.Errorf("GPT-2: %d bytes, want %d", got, want)
	}
	w.Config.Layers, w.Config.Embd, w.Config.Heads, w.Config.Inner = 1, 64, 1, 64
	w.Model = ""
	if got, want := loading(w), int64(50272*2*34+4*50257*64); got != want {
		t.Errorf("a tiny model: %d bytes, want %d", got, want)
	}
}

// A member that multiplies GPT-2's 512 rows with panels of pairs has 640 KB of them at most,
// and of a GGUF file, whose matrices are not in panels, all share x in pairs.
func TestProductsOfPairs(t *testing.T) {
	w := Work{Model: "gpt2", DType: BF16, Kernels: Kernels{Pairs: true}}.withDefaults()
	if x, own := productsOfPairs(w, 512); x != 0 || own != 4*409*(384+16+128) {
		t.Errorf("panels: %d and %d bytes", x, own)
	}
	w.GGUF = true
	if x, own := productsOfPairs(w, 512); x != 4*512*(1536+16) || own != 4*512*64 {
		t.Errorf("by outputs: %d and %d bytes", x, own)
	}
}
