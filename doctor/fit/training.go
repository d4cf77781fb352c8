package fit

// training counts a fine-tuning with AdamW; the package's documentation names
// the sources.
func training(w Work) Memory {
	c := w.Config
	embd, inner, layers := int64(c.Embd), int64(c.Inner), int64(c.Layers)
	tokens := product(int64(w.Batch), int64(w.Context))
	wide := int64(4) // bytes of an activation
	if w.Precision != FP32 {
		wide = 2
	}
	var m Memory

	vectors, positions, rest := parameters(w)
	trained := sum(vectors, positions, rest)
	adapters := int64(0)
	if w.LoRA.Rank > 0 {
		trained, adapters = loraParameters(w)
		m.Weights = sum(weights(w), product(4, trained))
		if w.FileMapped && w.Device == CPU {
			m.FileRest = max(0, w.FileBytes-m.Weights)
		}
	} else {
		m.Weights = product(wide, trained)
		if w.Precision != FP32 {
			m.Master = product(4, trained)
		}
	}
	m.Gradients = product(4, trained)
	m.Optimizer = product(8, trained)

	// Of each layer: its input, both norms' outputs, q, k, v, what attention
	// gives, the stream between attention and MLP, and the MLP's inside before
	// and after the activation; mean and deviation of both norms, and a sum per head, in float32.
	layer := sum(product(wide, 8*embd+2*inner+adapters), 4*(4+int64(c.Heads)))
	kept := product(layers, layer)
	if w.Checkpointing {
		kept = sum(product(layers, wide, embd), layer)
	}
	outside := product(wide, 2*embd)        // what goes into and comes out of the final norm
	backward := product(wide, 5*embd+inner) // gradients within the layer at hand
	m.Activations = product(tokens, sum(kept, outside, backward))
	m.Logits = product(4, tokens, int64(c.VocabSize))
	return m
}

// loraParameters counts the numbers of all adapters, and the width of what they
// keep per token and layer.
func loraParameters(w Work) (trained, kept int64) {
	rank := int64(w.LoRA.Rank)
	for _, m := range matrices(w.Config) {
		for _, t := range w.LoRA.Targets {
			if m.is(t) {
				trained = sum(trained, product(int64(w.Config.Layers), rank, int64(m.in+m.out)))
				kept += rank
				break
			}
		}
	}
	return trained, kept
}
