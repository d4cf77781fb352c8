// Package train computes the steps of training a GPT-2: the forward pass with
// what the way back needs, the gradients of everything, and AdamW.
//
// Memory: the weights that are trained are copied once, at New, and stay where
// they are; each has a gradient and two moments of its size. Of a layer are kept
// its input, queries, keys and values, the attention's output, the middle of
// the residual stream and the MLP before its activation; the rest is computed
// again on the way back. With Options.Checkpointing only the input is kept. The
// logits exist for headRows positions at a time. Where the device stores what BF16
// rounds in 16 bits (Device.Halves; not with LoRA), norms and activations are kept
// too, and the logits of headHalfRows positions.
//
// Precision: with BF16 or FP16 both factors of each matrix product are rounded
// to that type, and its bias, and what it gives (the gradients of weights and biases
// too), the activation and the attention's output, as under torch.autocast; products
// are summed in float32. Weights, what is kept of their gradients, moments, the
// residual stream, norms, softmax and loss are float32. Attention is rounded as torch
// does it as several operations, scores too, or (where the device has tiles of halves)
// as its one kernel does, which keeps these in float32. FP16 scales the loss (see
// scaler).
//
// Results depend on nothing but the inputs and the seed: not on the number of
// threads, nor on Checkpointing.
package train

import (
	"fmt"

	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Precision is the type that matrices are multiplied in.
type Precision uint8

// The precisions.
const (
	FP32 Precision = iota
	BF16
	FP16
)

var precisionNames = [...]string{"fp32", "bf16", "fp16"}

// String returns "fp32", "bf16" or "fp16".
func (p Precision) String() string { return precisionNames[p] }

// ParsePrecision is the inverse of String.
func ParsePrecision(name string) (Precision, error) {
	for p, n := range precisionNames {
		if n == name {
			return Precision(p), nil
		}
	}
	return 0, fmt.Errorf("precision %q is not known, want fp32, bf16 or fp16", name)
}

func (p Precision) dtype() tensor.DType {
	return [...]tensor.DType{tensor.F32, tensor.BF16, tensor.F16}[p]
}

// Options say what is trained, and how.
type Options struct {
	Precision     Precision
	Seed          uint64   // of dropout and new adapters
	Dropout       float64  // share of the embeddings, attention probabilities and block outputs that is zeroed
	Freeze        []string // patterns (path.Match) of tensors that stay as they are: wte.weight, h.0.*
	LoRA          LoRA
	Copied        func(data []byte) // is told what of the weights is not read again; may be nil
	Checkpointing bool              // compute each layer again on the way back instead of keeping it
}

// LoRA trains low-rank additions to matrices instead of the model (Hu et al.
// 2021, "LoRA: Low-Rank Adaptation of Large Language Models"):
// y = x·W + b + (Alpha/Rank)·(x·Aᵀ)·Bᵀ, A [Rank][in], B [out][Rank]. The zero
// value is none.
type LoRA struct {
	Rank    int
	Alpha   float64
	Targets []string // ends of module names: c_attn, attn.c_proj, c_proj, c_fc, h.0.mlp.c_proj
}

// Ignore is the label of a position that does not count. Any negative one does it.
const Ignore = -100

// Rows are sequences of one length: Tokens and Labels are [Rows][context].
// Labels[i] is the token that should follow Tokens[0 … i] of its row: labels are
// shifted already.
type Rows struct {
	Tokens, Labels []int32
	Rows           int
}

// Hyper are the numbers of one optimizer step. Clip is the largest norm of all
// gradients together, 0 for any. WeightDecay is decoupled and spares biases and
// norms.
type Hyper struct {
	LR, WeightDecay, Clip, Beta1, Beta2, Epsilon float64
}

// Stats say how a step went.
type Stats struct {
	Loss     float64 // mean over the labels that count, in nats
	GradNorm float64 // before clipping
	Scale    float64 // of the loss, with which the step was computed; 1 but for FP16
	Skipped  bool    // gradients were not finite: no weight has changed
	Bad      string  // then the first of the weights or gradients that was not
	Labels   int     // that count
}

// State is all that the following steps depend on. Its tensors are views of the
// trainer's memory.
type State struct {
	Weights   []safetensors.Named // of what is trained, under the names of a model file, or of peft
	Optimizer []safetensors.Named // "exp_avg.NAME", "exp_avg_sq.NAME"
	Values    map[string]string   // counters, the loss scale

	// Forget is called with parts of the tensors that Restore has copied: they need
	// no memory any more. It may be nil.
	Forget func(part []byte)
}
