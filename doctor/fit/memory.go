package fit

import (
	"math"
	"math/bits"
)

// Memory is bytes by part.
type Memory struct {
	Weights     int64 // as the device computes with them
	FileRest    int64 // what a mapped file holds beside them
	KV          int64 // keys and values of all positions of all sequences
	Activations int64 // of the positions that are computed at once, or kept for the backward pass
	Logits      int64
	Gradients   int64 // of what is trained
	Optimizer   int64 // AdamW's two moments
	Master      int64 // float32 weights of a 16-bit training
	Overhead    int64 // the program, its tokenizer and scratch; on a GPU its driver's context

	// Host is the main memory that work on a GPU takes beside it. It is not
	// part of Total.
	Host int64
}

// Total adds the parts up.
func (m Memory) Total() int64 {
	return sum(m.Weights, m.FileRest, m.KV, m.Activations, m.Logits, m.Gradients, m.Optimizer, m.Master, m.Overhead)
}

// Sizes of the engine, see chunkRows and logitsRows of internal/gpt2 and the
// blocking of internal/kernel's Linear.
const (
	chunkRows  = 512
	logitsRows = 16
	fewRows    = 16
	depthBlock = 384
	colBlock   = 256
)

// What the program takes on the CPU beside the tensors, measured: its code and
// runtime, and the tokenizer with what loading leaves behind, per token.
const (
	programBytes   = 22 << 20
	tokenizerBytes = 180
	serverBytes    = 16 << 20 // HTTP connections and queues: a guess
	trainerBytes   = 14 << 20 // texts, reports and checkpoints of a training, measured
)

// cudaContext is what the driver keeps on a GPU for a process: a guess, it
// differs from 200 to 600 MB between GPUs and drivers.
const cudaContext = 500 << 20

// Estimate returns the memory that a piece of work takes at its peak. Work that
// Check finds wrong takes more than any machine has.
func Estimate(w Work) Memory {
	if w.Check() != nil {
		return Memory{Weights: math.MaxInt64}
	}
	w = w.withDefaults()
	var m Memory
	if w.Purpose == Finetune {
		m = training(w)
	} else {
		m = inference(w)
	}
	overhead := sum(programBytes, product(tokenizerBytes, int64(w.Config.VocabSize)))
	switch w.Purpose {
	case Serve:
		overhead += serverBytes
	case Finetune: // and a model that continues texts with the weights of the moment
		overhead = sum(overhead, trainerBytes, product(4, chunkRows, 6*int64(w.Config.Embd)+int64(w.Config.Inner)))
	}
	if w.Device == CUDA {
		// The file is read through the page cache; only the program must stay.
		m.Overhead, m.Host = cudaContext, sum(overhead, product(4, int64(logitsRows), int64(w.Config.VocabSize)))
		return m
	}
	m.Overhead = sum(overhead, staging(w), product(int64(w.Threads), scratch(w)))
	return m
}

// inference counts Run and Serve.
func inference(w Work) Memory {
	c := w.Config
	embd, inner, vocab, batch := int64(c.Embd), int64(c.Inner), int64(c.VocabSize), int64(w.Batch)
	var m Memory
	m.Weights = weights(w)
	if w.FileMapped && w.Device == CPU {
		m.FileRest = max(0, w.FileBytes-m.Weights)
	}
	m.KV = product(hugePages(product(2, int64(c.Layers), w.KVDType.bytes(embd), int64(w.Context))), batch)

	// x, norm, qkv, att and mid of gpt2.Model.
	m.Activations = product(4, int64(rows(w)), 6*embd+inner)

	// picked and logits of gpt2.Model, and what the sampler keeps of a
	// vocabulary: scores and four or five lists.
	heads := min(batch, logitsRows)
	if w.Purpose == Serve {
		heads = logitsRows
	}
	m.Logits = product(4, sum(product(heads, embd), product(heads+5, vocab)))
	return m
}

// hugePages is memory as internal/mapped gives it: whole pages of 2 MB, if it
// is not less than one.
func hugePages(n int64) int64 {
	const page = 2 << 20
	if n < page || n > math.MaxInt64-page {
		return n
	}
	return (n + page - 1) / page * page
}

// staging is what is in memory at a time of a file whose weights are converted.
func staging(w Work) int64 {
	if w.DType == F32 || w.FileMapped || w.Purpose == Finetune {
		return 0
	}
	return min(8<<20, product(4, int64(w.Config.VocabSize), int64(w.Config.Embd)))
}

// rows are the positions that go through the network at once.
func rows(w Work) int {
	if w.Purpose == Serve { // prompts are read together
		return int(min(chunkRows, product(int64(w.Batch), int64(w.Prompt))))
	}
	return min(chunkRows, max(w.Prompt, w.Batch))
}

// weights are the parameters as they lie in memory.
func weights(w Work) int64 {
	vectors, positions, rest := parameters(w)
	switch w.DType {
	case F32:
		return product(4, sum(vectors, positions, rest))
	case BF16, F16:
		// The engine makes itself a float32 copy of the vectors.
		return sum(product(2, sum(vectors, positions, rest)), product(4, vectors))
	}
	return sum(product(4, sum(vectors, positions)), w.DType.bytes(rest))
}

// parameters counts the numbers of a model: biases and norms, the position
// embedding, and the matrices with token embedding and head.
func parameters(w Work) (vectors, positions, rest int64) {
	c := w.Config
	embd, inner, layers := int64(c.Embd), int64(c.Inner), int64(c.Layers)
	vectors = sum(product(layers, 9*embd+inner), 2*embd)
	positions = product(int64(c.Positions), embd)
	rest = product(int64(c.VocabSize), embd)
	if !c.TieWordEmbeddings {
		rest = product(2, rest)
	}
	for _, m := range matrices(c) {
		rest = sum(rest, product(layers, int64(m.in), int64(m.out)))
	}
	return vectors, positions, rest
}

// scratch is what each thread of internal/kernel keeps.
func scratch(w Work) int64 {
	if w.Purpose == Finetune {
		return trainingScratch(w)
	}
	n := rows(w)
	if n <= fewRows {
		return 4 * int64(n) * depthBlock
	}
	return 4 * (int64(n)*colBlock + depthBlock*colBlock)
}

// sum and product stop at the largest number instead of wrapping around: a
// size from a hostile configuration must not look small. Their arguments are
// not negative.
func sum(list ...int64) int64 {
	total := int64(0)
	for _, n := range list {
		if n > math.MaxInt64-total {
			return math.MaxInt64
		}
		total += n
	}
	return total
}

func product(list ...int64) int64 {
	total := int64(1)
	for _, n := range list {
		hi, lo := bits.Mul64(uint64(total), uint64(n))
		if hi != 0 || lo > math.MaxInt64 {
			return math.MaxInt64
		}
		total = int64(lo)
	}
	return total
}
