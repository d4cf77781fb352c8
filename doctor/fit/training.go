package fit

// Blocking of internal/train and internal/kernel.
const (
	headRows  = 256 // positions whose logits exist at a time
	panelCols = 32
	padding   = 32 // of a transposed row
)

// training counts a fine-tuning with AdamW as internal/train does it. Every
// precision has float32 weights and activations: what is multiplied in 16 bits is
// rounded as it is read.
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
	if !w.Checkpointing {
		kept = product(layers, kept)
	}
	m.Activations = product(4, tokens, sum(stream, kept, 7*embd+2*inner+2*rank))
	return m
}

// trainingScratch is what each thread keeps: blocks of a product, or one head of
// attention.
func trainingScratch(w Work) int64 {
	t := int64(w.Context)
	dim := int64(w.Config.Embd / max(w.Config.Heads, 1))
	wide := (dim + panelCols - 1) / panelCols * panelCols
	attention := sum(product(t, 3*dim+3*wide), panelCols*(5*t+4*wide))
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
