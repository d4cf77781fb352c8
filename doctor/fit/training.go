package fit

// Blocking of internal/train and internal/kernel.
const (
	headRows     = 256  // positions whose logits exist at a time
	headHalfRows = 1024 // the same of bfloat16
	panelCols    = 32
	padding      = 32         // of a transposed row
	packedDepth  = 3072       // of a product by tiles, for which factors are packed at a time
	packedShared = 1664 << 10 // bytes of its second factor, above which the first is packed as a whole
	tileScratch  = 2 << 20    // at least, of each thread
)

// halves says whether activations are stored as bfloat16.
func halves(w Work) bool {
	return w.Halves && w.Device == CPU && w.Precision == MixedBF16 && w.LoRA.Rank == 0
}

// training counts a fine-tuning with AdamW as internal/train does it. Every
// precision has float32 weights; activations are float32 and rounded as they are
// multiplied, unless they are halves.
func training(w Work) Memory {
	c := w.Config
	embd, inner, layers, vocab := int64(c.Embd), int64(c.Inner), int64(c.Layers), int64(c.VocabSize)
	tokens := product(int64(w.Batch), int64(w.Context))
	heads := min(tokens, headRows)
	var m Memory

	vectors, positions, rest := parameters(w)
	trained, rank := sum(vectors, positions, rest), int64(w.LoRA.Rank)
	m.Weights = product(4, trained)
	m.Logits = product(4, heads, vocab)
	// The widest matrix that is transposed for the gradient of a weight: the
	// logits, or what goes into or comes out of a matrix of a layer.
	turned := product(4, max(inner, 3*embd), sum(tokens, padding))
	if rank > 0 {
		trained = loraParameters(w)
		// The adapters, and copies of the matrices that they are merged into.
		m.Weights = sum(m.Weights, product(4, trained), product(4, mergedNumbers(w)))
		if w.FileMapped && w.Device == CPU {
			m.FileRest = max(0, w.FileBytes-m.Weights)
		}
	} else {
		turned = max(turned, product(4, vocab, heads+padding))
		trained = max(0, trained-int64(w.Frozen))
	}
	if halves(w) {
		heads = min(tokens, headHalfRows)
		m.Logits = product(2, heads, vocab)
		turned = trainingTiles(w, tokens, heads)
	}
	m.Logits = sum(m.Logits, turned)
	m.Gradients = product(4, trained)
	m.Optimizer = product(8, trained)

	// The stream before each layer and after the last; of a layer q, k and v, what
	// attention gives, the stream in its middle, the MLP before its activation,
	// and a sum per head; and one for all layers: a norm's output, the activation,
	// the gradients of the stream, of a branch, of a norm, of q, k, v and of the
	// MLP's inside, and of LoRA the low-rank inside with its gradient.
	stream := product(layers+1, embd)
	kept := 5*embd + inner + int64(c.Heads)
	shared := 7*embd + 2*inner + 2*rank
	if halves(w) { // but for the stream
		kept = 3*embd + inner + int64(c.Heads)
		shared = 4*embd + inner/2
		if !w.Checkpointing { // norms and activations are kept, too
			kept = 4*embd + inner + int64(c.Heads)
		}
	}
	if !w.Checkpointing {
		kept = product(layers, kept)
	}
	m.Activations = product(4, tokens, sum(stream, kept, shared))
	return m
}

// trainingTiles is what the largest product by tiles takes: a factor, packed for a
// part of its depth, and the sums where there are several.
func trainingTiles(w Work, tokens, heads int64) int64 {
	c := w.Config
	var packed, sums int64
	count := func(m, n, k int64) {
		parts := (k + packedDepth - 1) / packedDepth
		deep := (k + parts - 1) / parts
		factor := product(2, n, deep)
		if factor > packedShared {
			factor = product(2, m, deep)
		}
		if packed = max(packed, factor); parts > 1 {
			sums = max(sums, product(4, m, n))
		}
	}
	each := func(rows int64, in, out int) {
		i, o := int64(in), int64(out)
		count(rows, o, i) // forward, and the gradients of the input and of the weight
		count(rows, i, o)
		count(i, o, rows)
	}
	for _, m := range matrices(c) {
		each(tokens, m.in, m.out)
	}
	each(heads, c.VocabSize, c.Embd) // the head is [vocabulary][width]
	return sum(packed, sums)
}

// trainingScratch is what each thread keeps: blocks of a product, or one head of
// attention.
func trainingScratch(w Work) int64 {
	t := int64(w.Context)
	dim := int64(w.Config.Embd / max(w.Config.Heads, 1))
	wide := (dim + panelCols - 1) / panelCols * panelCols
	attention := sum(product(t, 3*dim+3*wide), panelCols*(5*t+4*wide))
	if halves(w) {
		return sum(tileScratch, product(2, t, sum(t, 5*wide)), product(4, panelCols, 3*t))
	}
	return product(4, max(attention, depthBlock*colBlock+chunkRows*colBlock))
}

// adapted lists the matrices of a layer that have an adapter.
func adapted(w Work) (list []matrix) {
	for _, m := range matrices(w.Config) {
		for _, t := range w.LoRA.Targets {
			if m.is(t) {
				list = append(list, m)
				break
			}
		}
	}
	return list
}

// loraParameters counts the numbers of all adapters.
func loraParameters(w Work) (n int64) {
	for _, m := range adapted(w) {
		n = sum(n, product(int64(w.Config.Layers), int64(w.LoRA.Rank), int64(m.in+m.out)))
	}
	return n
}

// mergedNumbers counts the numbers of the matrices that have an adapter.
func mergedNumbers(w Work) (n int64) {
	for _, m := range adapted(w) {
		n = sum(n, product(int64(w.Config.Layers), int64(m.in), int64(m.out)))
	}
	return n
}
