package fit

import (
	"math"
	"math/bits"
)

// Memory is bytes by part.
type Memory struct {
	Weights     int64 // as the device computes with them
	FileRest    int64 // what of a mapped file is in memory beside them
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

// Sizes of the engine: chunkRows and logitsRows of internal/gpt2, and how
// internal/kernel cuts a product of many rows.
const (
	chunkRows  = 512
	logitsRows = 32
	fewRows    = 16
	depthBlock = 384
	colBlock   = 256
	aheadDepth = 768 // where the next ones are asked for
	panelCols  = 32
	tileBytes  = 2048    // of 32 × 32 numbers as tiles
	workPiece  = 8 << 20 // that operands in tiles share
	quantCols  = 32      // numbers of x that are quantised together
	quantBlock = 40      // bytes of them
	attended   = 56      // rows of a head that attend at a time, at most
	spareRows  = 8       // of codes
	runsStep   = 640 << 10
	runsCols   = 128
	dotBlock   = 64
)

// What the program takes on the CPU beside the tensors, measured: its code and
// runtime, and the tokenizer with what loading leaves behind, per token. That of a GGUF
// file keeps words in the file.
const (
	programBytes   = 22 << 20
	programFile    = 14 << 20 // of it, what is used of the program's file
	programLeft    = 6 << 20  // the same, after what its start needed is forgotten
	tokenizerBytes = 110
	ggufTokenBytes = 140
	serverBytes    = 16 << 20 // HTTP connections and queues: a guess
	trainerBytes   = 2 << 20  // texts, reports and checkpoints of a training, measured
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
	token := int64(tokenizerBytes)
	if w.GGUF {
		token = ggufTokenBytes
	}
	var m Memory
	overhead := sum(programBytes, max(0, w.Program-programFile), product(token, int64(w.Config.VocabSize)))
	if w.Purpose == Finetune {
		m = training(w)
		overhead = sum(overhead, trainerBytes, sampling(w))
	} else {
		m = inference(w)
	}
	if w.Purpose == Serve {
		overhead = sum(overhead, serverBytes)
	}
	if w.Device == CUDA {
		// The file is read through the page cache; only the program must stay.
		m.Overhead, m.Host = cudaContext, sum(overhead, product(4, int64(logitsRows), int64(w.Config.VocabSize)))
		return m
	}
	// While weights are read, some of the file is in memory, and nothing of what computes;
	// after that run forgets most of the program, where the system lets it.
	work, load, forgotten := scratch(w), loading(w), int64(0)
	if w.Copied {
		load = max(load, m.Weights)
	}
	if w.Purpose == Run {
		forgotten = max(0, w.Program-programLeft)
	}
	m.Overhead = sum(overhead-forgotten, gaps(w), work)
	m.Overhead = sum(m.Overhead, max(0, sum(load, forgotten)-sum(m.Weights, m.KV, m.Activations, m.Logits, work)))
	return m
}

// inference counts Run and Serve.
func inference(w Work) Memory {
	c := w.Config
	vocab, batch := int64(c.VocabSize), int64(w.Batch)
	var m Memory
	m.Weights = weights(w)
	if w.FileMapped && w.Device == CPU {
		if m.FileRest = w.FileBytes; !w.Copied {
			m.FileRest = twice(w)
		}
	}
	m.KV = product(caches(w), batch)
	m.Activations = operands(w)

	// picked and logits of gpt2.Model. A vocabulary wide are scores, and lists of the
	// sampler and of what observes the model's own probabilities: six, measured.
	heads, lists := min(batch, logitsRows), int64(6)
	if w.Purpose == Serve {
		heads = logitsRows
	}
	if heads > 1 {
		lists += 2 // the scores of the first token, which all samples share, and of one of them
	}
	m.Logits = sum(floats(product(heads, int64(c.Embd))), floats(product(heads, vocab)), product(4, lists, vocab))
	return m
}

// caches is one sequence's keys and values: keys, and values in codes, lie in panels of 32
// positions.
func caches(w Work) int64 {
	positions := int64(w.Context)
	if w.KVDType == Q8_0 {
		positions = roundUp(positions, panelCols)
	}
	keys, values := w.KVDType.bytes(product(roundUp(positions, panelCols), int64(w.Config.Embd))), w.KVDType.bytes(product(positions, int64(w.Config.Embd)))
	return product(int64(w.Config.Layers), sum(keys, values))
}

// hugePage is the size of pages that internal/mapped asks for, as many as are whole; for
// numbers on Go's heap from half of one on, and one more.
const hugePage = 2 << 20

// hugePages is memory of which all of the last huge page counts.
func hugePages(n int64) int64 {
	if n < hugePage {
		return n
	}
	return wholePages(n)
}

func wholePages(n int64) int64 { return roundUp(n, hugePage) }

// reserved is memory that internal/kernel keeps to work in.
func reserved(n int64) int64 { return wholePages(max(n, 1)) }

// floats is n numbers as mapped.Floats gives them.
func floats(n int64) int64 {
	n = product(4, n)
	if n < hugePage/2 {
		return n
	}
	return wholePages(n)
}

// exact reports whether products are float32's. So they are with quantised weights
// that nobody asked for, but where these go through a matrix unit.
func exact(w Work) bool { return w.AsIs || w.DType == F32 }

// tiled reports whether products of many rows go through a matrix unit.
func tiled(w Work, rows int64) bool {
	return w.Kernels.Tiles && w.Device == CPU && rows > fewRows && (quantised(w.DType) || !exact(w))
}

func quantised(d DType) bool { return d == Q8_0 || d == Q4_0 }

// tiles is rows of so many numbers as bfloat16 tiles.
func tiles(rows, width int64) int64 {
	return product(roundUp(rows, panelCols)/panelCols, roundUp(width, panelCols)/panelCols, tileBytes)
}

// codes is rows of so many numbers, quantised.
func codes(rows, width int64) int64 { return product(rows, width/quantCols, quantBlock) }

// coded reports whether many rows of norm (0), qkv (1), att (2) or mid (3) are kept as
// codes, where products do not go through a matrix unit: att, which is quantised for the
// product, is not. (Of a file of several types, which a Work cannot be, less is.)
func coded(w Work, operand int) bool {
	c := w.Config
	if !quantised(w.DType) || c.Embd%quantCols != 0 || w.Kernels.Tiles || w.Device != CPU {
		return false
	}
	switch operand {
	case 0:
		return true
	case 1:
		return w.KVDType == Q8_0 && w.Kernels.Codes
	case 3:
		return c.Inner%quantCols == 0
	}
	return false
}

// operands are x, norm, qkv, att and mid of gpt2.Model: numbers, or tiles and blocks,
// which share pieces, and then numbers of few rows too. norm and att have one
// memory, and qkv and mid, but on a GPU.
func operands(w Work) (total int64) {
	c, n, few := w.Config, rows(w), int64(fewRows)
	embd, inner := int64(c.Embd), max(product(3, int64(c.Embd)), int64(c.Inner))
	if w.Device != CPU {
		return product(4, n, sum(product(6, embd), int64(c.Inner)))
	}
	total = product(4, min(few, n), sum(product(2, embd), inner))
	if !tiled(w, n) || exact(w) {
		if n <= few {
			return total
		}
		total = sum(total, product(4, n, embd))
		for i, width := range []int64{embd, inner} {
			a, b := coded(w, i), coded(w, i+2)
			if a || b {
				total = sum(total, codes(n+spareRows, width))
			}
			if !a || !b {
				total = sum(total, product(4, n, width))
			}
		}
		return total
	}
	p := pieces{size: workPiece}
	p.take(product(2, tiles(n, embd)), 1)
	own, texts := []int64{embd, product(3, embd), embd, int64(c.Inner)}, int64(w.Batch)
	for i, width := range []int64{embd, inner} {
		var inTiles, inNumbers bool
		written := int64(0)
		for _, j := range []int{i, i + 2} {
			if own[j]%panelCols != 0 || j == 1 && (w.KVDType == F32 || c.HeadDim()%panelCols != 0) {
				inNumbers = true
				continue
			}
			inTiles = true
			if (j == 1 || j == 2) && texts > few { // of a row each, that attention gets and gives as numbers
				written = product(min(texts, n), own[j])
			}
		}
		if inTiles {
			p.take(tiles(n, width), 1)
		}
		if inNumbers {
			total = sum(total, product(4, n, width))
		} else if written > 0 {
			total = sum(total, begun(product(n, width), written))
		}
	}
	return sum(total, p.taken, p.end())
}

// begun is n numbers of which only so many are written.
func begun(n, written int64) int64 {
	return min(product(4, n), wholePages(product(4, written)))
}

// rows are the positions that go through the network at once.
func rows(w Work) int64 {
	if w.Purpose == Serve { // prompts are read together
		return min(chunkRows, product(int64(w.Batch), int64(w.Prompt)))
	}
	return int64(min(chunkRows, max(w.Prompt, w.Batch)))
}

// scratch is what internal/kernel keeps to work in.
func scratch(w Work) int64 {
	if w.Purpose == Finetune {
		return trainingScratch(w)
	}
	c, n, threads := w.Config, rows(w), int64(w.Threads)
	widest := max(int64(c.Embd), int64(c.Inner))
	switch {
	case n <= fewRows:
		return product(threads, 4, n, depthBlock)
	case tiled(w, n):
		own := reserved(0) // of a product
		if exact(w) {
			return sum(reserved(tiles(n, widest)), product(threads, sum(own, attentionFloats(w))))
		}
		return product(threads, sum(own, attentionTiles(w)))
	case quantised(w.DType):
		if coded(w, 0) && (coded(w, 3) || c.Inner%quantCols != 0) {
			widest = int64(c.Embd) // what attention gives
		}
		return sum(codes(n, widest), product(threads, attentionFloats(w)))
	}
	x, own := int64(0), product(4, colBlock, sum(n, min(depthBlock, widest)))
	switch {
	case w.Kernels.Pairs && w.DType != F32 && !exact(w):
		x, own = productsOfPairs(w, n)
	case w.Kernels.Ahead:
		own = product(4, colBlock, sum(n, min(aheadDepth, widest)))
	}
	return sum(x, product(threads, sum(own, attentionFloats(w))))
}

// productsOfPairs is what products of many rows with pairs of bfloat16 work in: x in pairs,
// and for each member x of some rows, and results.
func productsOfPairs(w Work, rows int64) (x, own int64) {
	for _, m := range matrices(w.Config) {
		in, pairs := int64(m.in), int64(m.in+1)/2+16
		if w.GGUF { // by its outputs
			x, own = max(x, product(4, rows, pairs)), max(own, product(4, rows, dotBlock))
			continue
		}
		if product(2, in, int64(m.out)) < panelsFrom {
			x = max(x, product(4, rows, pairs))
			own = max(own, product(4, colBlock, sum(rows, min(depthBlock, in))))
			continue
		}
		step := min(roundUp(rows, 4), max(1, runsStep/(4*pairs)))
		own = max(own, product(4, step, sum(pairs, runsCols)))
	}
	return x, own
}

// attentionFloats is what a member attends in, some rows of a head at a time, with keys and
// values of 16 bits unpacked where a family has kernels for these rows.
func attentionFloats(w Work) int64 {
	dim, unpacked := int64(w.Config.HeadDim()), int64(0)
	if k := w.Kernels; (w.KVDType == F16 || w.KVDType == BF16) && (k.Ahead || k.Pairs || k.Codes) && dim%panelCols == 0 {
		unpacked = product(2, 4, int64(w.Prompt), dim)
	}
	return sum(product(4, attended, sum(int64(w.Context), product(3, dim))), unpacked)
}

// attentionTiles is the same of tiles: all keys and values of a head, and scores.
func attentionTiles(w Work) int64 {
	panels, steps := roundUp(int64(w.Context), panelCols)/panelCols, roundUp(int64(w.Config.HeadDim()), panelCols)/panelCols
	return sum(product(tileBytes, sum(product(2, panels, steps), panels, steps)), product(4, panelCols, panelCols, sum(panels, steps)))
}

// roundUp returns whole pieces.
func roundUp(n, piece int64) int64 {
	if n > math.MaxInt64-piece {
		return math.MaxInt64
	}
	return (n + piece - 1) / piece * piece
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
