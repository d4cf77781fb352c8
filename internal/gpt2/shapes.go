package gpt2

// Shapes names the sizes that GPT-2 was published in, the smallest first.
func Shapes() []string {
	var names []string
	for _, s := range shapes {
		names = append(names, s.name)
	}
	return names
}

// Shape returns the configuration of a published size ("gpt2", "gpt2-medium" …).
func Shape(name string) (Config, bool) {
	for _, s := range shapes {
		if s.name == name {
			return Config{
				VocabSize: 50257, Positions: 1024, Embd: s.embd, Heads: s.heads, Layers: s.layers, Inner: 4 * s.embd,
				Activation: GELUNew, LayerNormEpsilon: 1e-5,
				ScaleAttnWeights: true, TieWordEmbeddings: true, BOS: 50256, EOS: []int{50256}, PAD: -1,
			}, true
		}
	}
	return Config{}, false
}

var shapes = [...]struct {
	name                string
	layers, embd, heads int
}{
	{"distilgpt2", 6, 768, 12},
	{"gpt2", 12, 768, 12},
	{"gpt2-medium", 24, 1024, 16},
	{"gpt2-large", 36, 1280, 20},
	{"gpt2-xl", 48, 1600, 25},
}
