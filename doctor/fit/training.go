package fit

// Blocking of internal/train and internal/kernel.
const (
	headRows     = 256  // positions whose logits exist at a time
	headHalfRows = 1024 // the same of bfloat16
	padding      = 32   // of a transposed row
	trainChunk   = 96   // panels of 32 rows, columns or depth that are packed at a time
	wholeDepth   = 50   // panels of depth up to which a thread packs some columns itself
	productDepth = 512
	sampleTokens = 64 // of what a training writes to show how it goes
)

// halves says whether activations are stored as bfloat16.
func halves(w Work) bool {
	return w.Kernels.Tiles && w.Device == CPU && w.Precision == MixedBF16 && w.LoRA.Rank == 0
}

// training counts a fine-tuning with AdamW as internal/train does it. Every
// precision has float32 weights; activations are float32 and rounded as they are
// multiplied, unless they are halves.
func training(w Work) Memory {
	c := w.Config
	embd, inner, layers, vocab := int64(c.Embd), int64(c.Inner), int64(c.Layers), int64(c.VocabSize)
	tokens := tokensOf(w)
	var m Memory

	vectors, positions, rest := parameters(w)
	trained, rank := sum(vectors, positions, rest), int64(w.LoRA.Rank)
	m.Weights = product(4, trained)
	m.Logits = product(4, headsOf(w), vocab)
	if halves(w) {
		m.Logits /= 2
	}
	if rank > 0 {
		trained = loraParameters(w)
		// The adapters, and copies of the matrices that they are merged into.
		m.Weights = sum(m.Weights, product(4, trained), product(4, mergedNumbers(w)))
	} else {
		trained = max(0, trained-int64(w.Frozen))
	}
	if w.FileMapped && w.Device == CPU {
		m.FileRest = w.FileBytes
		if !w.Copied {
			m.FileRest = max(0, w.FileBytes-m.Weights)
		}
	}
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

// tokensOf are the positions of a step's part, headsOf those whose logits exist at a
// time.
func tokensOf(w Work) int64 { return product(int64(w.Batch), int64(w.Context)) }

func headsOf(w Work) int64 {
	if halves(w) {
		return min(tokensOf(w), headHalfRows)
	}
	return min(tokensOf(w), headRows)
}

// trainedTensors tells the tensors of a training and how many of the size there are: a
// weight with its gradient and moments, or what is frozen. A frozen one of float32 stays
// in its file.
func trainedTensors(w Work, take func(bytes int64, tensors int)) {
	c := w.Config
	frozen := w.LoRA.Rank > 0
	tensor := func(n int) {
		switch {
		case !frozen:
			take(product(4, int64(n)), 4)
		case w.FileDType != F32 || w.GGUF:
			take(product(4, int64(n)), 1)
		}
	}
	norm := func() { tensor(c.Embd); tensor(c.Embd) }
	table := func(n int) { tensor(int(product(int64(n), int64(c.Embd)))) }
	table(c.VocabSize)
	table(c.Positions)
	added := adapted(w)
	for range min(c.Layers, maxLayers) {
		norm()
		for i, m := range matrices(c) {
			if i == 2 {
				norm()
			}
			tensor(int(product(int64(m.in), int64(m.out))))
			tensor(m.out)
			for _, a := range added {
				if a == m {
					take(product(4, int64(w.LoRA.Rank), int64(m.in)), 4)
					take(product(4, int64(w.LoRA.Rank), int64(m.out)), 4)
				}
			}
		}
	}
	norm()
	if !c.TieWordEmbeddings {
		table(c.VocabSize)
	}
	for range min(c.Layers, maxLayers) { // merged
		for _, a := range merged(w) {
			take(product(4, int64(a.in), int64(a.out)), 1)
		}
	}
}

// sampling is what a model takes that continues texts with the weights of the moment.
func sampling(w Work) int64 {
	w.KVDType, w.Context = F32, min(w.Config.Positions, 1+sampleTokens)
	return sum(caches(w), product(4, 6, int64(w.Config.VocabSize)))
}

// factors are the sizes of a product, [m][k] by [k][n].
type factors struct{ m, n, k int64 }

// products are those of a training: forward and of the gradients of inputs; of the
// gradients of weights, whose first factor is turned; and those of low-rank additions,
// whose first factor is too, that a matrix unit does not take.
func products(w Work) (straight, turned, low []factors) {
	c, tokens, heads, rank := w.Config, tokensOf(w), headsOf(w), int64(w.LoRA.Rank)
	each := func(rows, in, out int64) {
		straight = append(straight, factors{rows, out, in}, factors{rows, in, out})
	}
	for _, m := range matrices(c) {
		each(tokens, int64(m.in), int64(m.out))
		if rank == 0 {
			turned = append(turned, factors{int64(m.in), int64(m.out), tokens})
		}
	}
	each(heads, int64(c.Embd), int64(c.VocabSize))
	if rank == 0 { // the head is [vocabulary][width]
		turned = append(turned, factors{int64(c.VocabSize), int64(c.Embd), heads})
	}
	for _, m := range adapted(w) {
		in, out := int64(m.in), int64(m.out)
		each(tokens, in, rank)
		each(tokens, rank, out)
		turned = append(turned, factors{out, rank, tokens})
		a := factors{rank, in, tokens}
		if rank > fewRows {
			turned = append(turned, a)
		} else {
			low = append(low, a)
		}
		if !w.LoRA.Apart { // merged in float32
			low = append(low, factors{in, out, rank})
		}
	}
	return straight, turned, low
}

// trainingScratch is what internal/kernel keeps to work in: factors in the form in which
// they are multiplied, and of each thread blocks of a product, or one head of
// attention.
func trainingScratch(w Work) int64 {
	if w.Device != CPU {
		return 0
	}
	straight, turned, low := products(w)
	shared, own := int64(0), int64(0)
	bf16 := w.Precision == MixedBF16
	switch {
	case bf16 && w.Kernels.Tiles:
		shared, own = packedFactors(append(straight, turned...))
	case bf16 && w.Kernels.Pairs:
		for _, f := range append(straight, turned...) {
			shared = max(shared, product(4, f.m, sum(f.k/2, padding)))
		}
		own = product(4, productDepth, colBlock)
	default:
		low = append(low, turned...)
	}
	if len(low) > 0 {
		transposed, block := int64(0), product(4, productDepth, colBlock)
		for _, f := range low {
			transposed = max(transposed, product(4, f.m, sum(f.k, padding)))
		}
		if w.Kernels.Ahead {
			transposed, block = reserved(transposed), reserved(block)
		}
		shared, own = sum(shared, transposed), sum(own, block)
	}
	if halves(w) { // and a row of logits as float32
		own = sum(own, reserved(attentionGradTiles(w))-reserved(0), product(4, int64(w.Config.VocabSize)))
	} else {
		own = sum(own, attentionGrad(w))
	}
	return sum(shared, product(int64(w.Threads), own))
}

// packedFactors is what products by tiles pack: the first factor; the second, where it is
// too deep for each thread to pack of it what it multiplies; and sums where the depth is
// cut. own is each thread's, which holds sums, too.
func packedFactors(list []factors) (shared, own int64) {
	var a, b, sums int64
	own = reserved(0)
	whole := false
	for _, f := range list {
		m, n, k := chunk(f.m), chunk(f.n), chunk(f.k)
		a = max(a, product(tileBytes, m, k))
		if k <= wholeDepth {
			whole, n = true, roundUp(f.n, panelCols)/panelCols
		} else {
			b = max(b, product(tileBytes, n, k))
		}
		if product(panelCols, k) < f.k {
			sums = max(sums, product(4, panelCols, panelCols, m, n))
		}
	}
	shared = reserved(a)
	for _, n := range [...]int64{b, sums} {
		if n > 0 {
			shared = sum(shared, reserved(n))
		}
	}
	if whole {
		own = sum(own, reserved(0))
	}
	return shared, own
}

// chunk is so many rows, columns or depth in panels, as far as they are packed at a
// time.
func chunk(n int64) int64 {
	panels := roundUp(n, panelCols) / panelCols
	parts := (panels + trainChunk - 1) / trainChunk
	return (panels + parts - 1) / parts
}

// attentionGrad is one head of attention on its way back.
func attentionGrad(w Work) int64 {
	t := int64(w.Context)
	dim := int64(w.Config.HeadDim())
	wide := roundUp(dim, panelCols)
	return product(4, sum(product(t, 3*dim+3*wide), panelCols*(5*t+4*wide)))
}

// attentionGradTiles is the same through a matrix unit.
func attentionGradTiles(w Work) int64 {
	long, deep := roundUp(int64(w.Context), panelCols)/panelCols, roundUp(int64(w.Config.HeadDim()), panelCols)/panelCols
	all := product(long, long+1) / 2
	return sum(product(tileBytes, sum(product(5, long, deep), product(2, all), deep, long)), product(4, panelCols, panelCols, sum(product(3, long), deep, 2)))
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

// merged lists the matrices of a layer that an adapter is added to.
func merged(w Work) []matrix {
	if w.LoRA.Apart {
		return nil
	}
	return adapted(w)
}

// mergedNumbers counts the numbers of these matrices.
func mergedNumbers(w Work) (n int64) {
	for _, m := range merged(w) {
		n = sum(n, product(int64(w.Config.Layers), int64(m.in), int64(m.out)))
	}
	return n
}
