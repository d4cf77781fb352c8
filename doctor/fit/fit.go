// Package fit estimates the memory that a piece of work with a GPT-2 takes,
// before any of it is taken: by part, so that a refusal can say what is large,
// and with the settings that would make it smaller.
//
// What is counted is the peak of the memory that the system shows as the
// process's own (resident) on the CPU, or of the device's memory on a GPU.
//
// Inference on the CPU (Run) counts what internal/gpt2, internal/cpu,
// internal/kernel and run really allocate, without beam search: what is read while
// weights are converted, or what computes afterwards, whichever is more; huge pages
// where memory is on these, with their ends. It is checked against measured peaks
// (testdata/measured.tsv; TestMeasure takes them again): runs of seven shapes in F32,
// F16, BF16, Q8_0 and Q4_0, from folders and GGUF files, with 1 to 1000 prompt tokens and
// 1 to 24 samples, from 40 MB to 1.9 GB, are estimated within 8 %, all of 90 MB or more
// within 6 %. Linux 6.18 was measured, on two CPUs of two cores: an Intel with AMX, and an AMD of
// Zen 5 with AVX-512 and, as older CPUs would, with AVX2 and with plain Go: GPT-2 124M
// and the demo model, within 5 %. An Intel without AMX (Kernels.Ahead) is only reckoned.
//
// Training on the CPU (Finetune) counts what internal/train allocates, see there,
// and is checked in the same way (testdata/training.tsv; TestMeasureTraining): full
// training and LoRA in three precisions, with and without checkpointing, of eight
// shapes from 0.2 to 124 million parameters.
//
//   - 16 bytes per trained parameter in every precision: float32 weights,
//     gradients and two AdamW moments. Weights are rounded to 16 bits as they are
//     read, so that there is no copy of them (Megatron-LM's distributed optimizer
//     has 18 bytes; ZeRO, Rajbhandari et al. 2020, section 3.1, 16 with 16-bit
//     gradients).
//   - Activations kept for the backward pass per token and layer: 6·embd + inner
//     numbers in float32, which is 40 bytes per unit of width for GPT-2, since norms
//     and the activation are computed again. Megatron's formula (Korthikanti et al.
//     2022, "Reducing Activation Recomputation in Large Transformer Models",
//     section 4.1) has 34 bytes at 16 bits. No matrix of attention is held.
//   - With checkpointing (section 5 there) only each layer's input is kept, and one
//     layer is recomputed at a time.
//   - Logits exist for some positions at a time, with their gradient in their place.
//   - LoRA (Hu et al. 2021): rank·(in+out) numbers per adapted matrix are trained;
//     the base model stays in float32, and the adapted matrices have a second copy
//     to be merged into, if that is ever done.
//
// Serving and GPUs are UNMEASURED so far: they are the textbooks' accounting, to be
// checked when the code exists.
package fit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// Purpose is what a model is needed for.
type Purpose string

// The purposes, by the names of the verbs.
const (
	Run      Purpose = "run"      // continue one prompt, in one or several samples
	Serve    Purpose = "serve"    // continue prompts of several clients at once
	Finetune Purpose = "finetune" // train with AdamW
)

// Device is where a model computes.
type Device string

// The devices.
const (
	CPU  Device = "cpu"
	CUDA Device = "cuda"
)

// DType is how numbers are stored, by the names of --dtype.
type DType string

// The types. The last two are GGUF's blocks of 32 numbers with one scale.
const (
	F32  DType = "f32"
	BF16 DType = "bf16"
	F16  DType = "f16"
	Q8_0 DType = "q8_0"
	Q4_0 DType = "q4_0"
)

// Precision is how training computes; it always keeps float32 master weights.
type Precision string

// The precisions, by the names of --precision.
const (
	FP32      Precision = "fp32"
	MixedBF16 Precision = "bf16"
	MixedFP16 Precision = "fp16"
)

// dtype is what the weights that the precision computes with are stored as.
func (p Precision) dtype() DType {
	switch p {
	case MixedBF16:
		return BF16
	case MixedFP16:
		return F16
	}
	return F32
}

// LoRA is a fine-tuning of low-rank additions to some matrices. Rank 0 is none.
type LoRA struct {
	Rank int
	// Targets are the matrices, by the ends of Hugging Face's names: "c_attn",
	// "c_fc", "c_proj" (two per layer), "attn.c_proj", "mlp.c_proj". None is
	// c_attn, peft's default for GPT-2.
	Targets []string
	// Apart says that they are never added to the matrices, for samples neither.
	Apart bool
}

// Work is what is to be done. What is left out (zero) has a default.
type Work struct {
	Purpose Purpose     // Run
	Model   string      // a name of Models; Config is not looked at then
	Config  gpt2.Config // of any other model
	Device  Device      // CPU

	// DType is that of the weights: F32. Fine-tuning has float32 weights whatever
	// it multiplies in.
	DType DType
	// AsIs says that nobody asked for the type: the weights have that of the file, and
	// products are float32's.
	AsIs bool
	// FileDType is the type that the weights have in the file: F32, or DType if that is
	// as it is.
	FileDType DType
	// GGUF says that the file is one: each matrix lies by its outputs, and the
	// tokenizer's words lie in it.
	GGUF bool
	// FileMapped says that the weights are used where they lie in the file, at least at
	// first, or, if Copied, that all of it becomes resident beside copies of them.
	FileMapped, Copied bool
	// FileBytes is the size of that file, or of several together. By default it
	// has no more than the weights, or for a Model in F32 it is the Hub's, which
	// carries attention masks too.
	FileBytes int64

	KVDType DType // F32, one of the 16-bit types or Q8_0; "": F32, or run's choice beside quantised weights
	Batch   int   // samples, clients, or sequences of one training step: 1
	Context int   // longest text in tokens, prompt included, or length of a training sequence: the model's own
	Prompt  int   // longest prompt in tokens: Context
	Threads int   // of the CPU: 1

	Precision     Precision // FP32
	LoRA          LoRA
	Checkpointing bool // recompute the activations of each layer in the backward pass
	Frozen        int  // numbers that a training without LoRA leaves as they are

	Kernels Kernels // of the CPU

	// Program is what of the program's file is in memory, if that is known: all of it
	// where the page cache has it in huge pages, else what is used.
	Program int64
}

// Kernels are what of the CPU's arithmetic has memory of its own, see
// kernel.Traits. The zero value is that of a family without any of it.
type Kernels struct {
	Tiles bool // many rows go through a matrix unit
	Ahead bool // many rows of float32 are multiplied with panels on huge pages
	Pairs bool // bfloat16 by bfloat16 without a matrix unit
	Codes bool // attention takes keys and values in codes (Q8_0)
}

// Bounds of what Check lets pass; they are far from anything that fits.
const (
	maxBatch   = 1 << 20
	maxThreads = 1 << 12
)

// Check reports the first thing in a Work that makes no sense: a name that is
// unknown, a number that is negative or too large.
func (w Work) Check() error {
	w = w.withDefaults()
	switch {
	case !slices.Contains([]Purpose{Run, Serve, Finetune}, w.Purpose):
		return fmt.Errorf("purpose %q: want run, serve or finetune", w.Purpose)
	case !slices.Contains([]Device{CPU, CUDA}, w.Device):
		return fmt.Errorf("device %q: want cpu or cuda", w.Device)
	case w.DType.bits() == 0:
		return fmt.Errorf("dtype %q: want f32, bf16, f16, q8_0 or q4_0", w.DType)
	case w.FileDType.bits() == 0:
		return fmt.Errorf("dtype %q of the file: want f32, bf16, f16, q8_0 or q4_0", w.FileDType)
	case w.KVDType != F32 && w.KVDType != BF16 && w.KVDType != F16 && w.KVDType != Q8_0:
		return fmt.Errorf("dtype %q of the KV cache: want f32, bf16, f16 or q8_0", w.KVDType)
	case w.KVDType == Q8_0 && w.Config.Heads > 0 && w.Config.HeadDim()%panelCols != 0:
		return fmt.Errorf("a KV cache of q8_0 in heads of %d: want a multiple of %d", w.Config.HeadDim(), panelCols)
	case !slices.Contains([]Precision{FP32, MixedBF16, MixedFP16}, w.Precision):
		return fmt.Errorf("precision %q: want fp32, bf16 or fp16", w.Precision)
	}
	if w.Model != "" {
		if _, ok := Lookup(w.Model); !ok {
			return fmt.Errorf("model %q is not one of %s, and its config.json is not known", w.Model, strings.Join(modelNames(), ", "))
		}
	}
	c := w.Config
	if min(c.VocabSize, c.Positions, c.Embd, c.Heads, c.Layers, c.Inner) < 1 {
		return errors.New("the model's configuration has a size that is not positive")
	}
	for _, n := range []struct {
		name            string
		got, least, max int
	}{
		{"batch", w.Batch, 1, maxBatch},
		{"context", w.Context, 1, c.Positions},
		{"prompt", w.Prompt, 1, w.Context},
		{"threads", w.Threads, 1, maxThreads},
		{"LoRA rank", w.LoRA.Rank, 0, c.Embd},
	} {
		if n.got < n.least || n.got > n.max {
			return fmt.Errorf("%s %d: want %d to %d", n.name, n.got, n.least, n.max)
		}
	}
	if w.Frozen < 0 || w.Frozen > 0 && w.Frozen >= c.Parameters() {
		return fmt.Errorf("%d frozen numbers: want less than the %d of the model", w.Frozen, c.Parameters())
	}
	if w.FileBytes < 0 {
		return fmt.Errorf("file size %d: want 0 or more", w.FileBytes)
	}
	for _, t := range w.LoRA.Targets {
		if !slices.ContainsFunc(matrices(c), func(m matrix) bool { return m.is(t) }) {
			return fmt.Errorf("LoRA target %q: want c_attn, c_fc, c_proj, attn.c_proj or mlp.c_proj", t)
		}
	}
	return nil
}

// Longest is the longest text in tokens.
func (w Work) Longest() int { return w.withDefaults().Context }

// withDefaults fills in what was left out.
func (w Work) withDefaults() Work {
	if w.Purpose == "" {
		w.Purpose = Run
	}
	if w.Device == "" {
		w.Device = CPU
	}
	if w.Precision == "" {
		w.Precision = FP32
	}
	if w.DType == "" {
		w.DType = F32
		if w.Purpose == Finetune && w.Precision != FP32 {
			w.DType = w.Precision.dtype()
		}
	}
	if w.FileDType == "" {
		w.FileDType = F32
		if w.AsIs {
			w.FileDType = w.DType
		}
	}
	if m, ok := Lookup(w.Model); ok {
		w.Config = m.Config
		if w.FileBytes == 0 && w.DType == F32 {
			w.FileBytes = m.HubFileBytes
		}
	}
	if w.KVDType == "" {
		w.KVDType = F32
		if w.DType == Q8_0 || w.DType == Q4_0 {
			w.KVDType = F16
			if w.Device == CPU && w.Kernels.Codes && w.Config.Heads > 0 && w.Config.HeadDim()%panelCols == 0 {
				w.KVDType = Q8_0
			}
		}
	}
	if w.LoRA.Rank > 0 && len(w.LoRA.Targets) == 0 {
		w.LoRA.Targets = []string{"c_attn"}
	}
	if w.Batch == 0 {
		w.Batch = 1
	}
	if w.Context == 0 {
		w.Context = w.Config.Positions
	}
	if w.Prompt == 0 {
		w.Prompt = w.Context
	}
	if w.Threads == 0 {
		w.Threads = 1
	}
	return w
}

// bits is the bits of 32 numbers: blocks of Q8_0 and Q4_0 carry a 16-bit scale.
func (d DType) bits() int64 {
	switch d {
	case F32:
		return 32 * 32
	case BF16, F16:
		return 16 * 32
	case Q8_0:
		return 8*32 + 16
	case Q4_0:
		return 4*32 + 16
	}
	return 0
}

// bytes of n numbers, in whole blocks.
func (d DType) bytes(n int64) int64 {
	if d == Q8_0 || d == Q4_0 {
		return product((n+31)/32, d.bits()/8)
	}
	return product(n, d.bits()/32/8)
}
