package fit

import (
	"strings"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// Model is a well-known GPT-2.
type Model struct {
	Name         string // on the Hub, without its owner
	Config       gpt2.Config
	HubFileBytes int64 // of the Hub's model.safetensors, all F32, with the masks [1][1][1024][1024] of each layer
}

// Models lists the GPT-2 family, the largest first.
func Models() []Model {
	return []Model{
		family("gpt2-xl", 48, 1600, 25, 6431878936),
		family("gpt2-large", 36, 1280, 20, 3247159078),
		family("gpt2-medium", 24, 1024, 16, 1519984962),
		family("gpt2", 12, 768, 12, 548105171),
		family("distilgpt2", 6, 768, 12, 352824413),
	}
}

func family(name string, layers, embd, heads int, file int64) Model {
	return Model{name, gpt2.Config{
		VocabSize: 50257, Positions: 1024, Embd: embd, Heads: heads, Layers: layers, Inner: 4 * embd,
		Activation: gpt2.GELUNew, LayerNormEpsilon: 1e-5,
		ScaleAttnWeights: true, TieWordEmbeddings: true, BOS: 50256, EOS: []int{50256}, PAD: -1,
	}, file}
}

// Lookup finds a model of the family by its name or Hub id ("gpt2",
// "openai-community/gpt2", "distilbert/distilgpt2").
func Lookup(name string) (Model, bool) {
	if owner, rest, ok := strings.Cut(name, "/"); ok && (owner == "openai-community" || owner == "distilbert") {
		name = rest
	}
	for _, m := range Models() {
		if m.Name == name {
			return m, true
		}
	}
	return Model{}, false
}

func modelNames() []string {
	var names []string
	for _, m := range Models() {
		names = append(names, m.Name)
	}
	return names
}

// matrix is a weight that occurs once in every layer.
type matrix struct {
	name    string // Hugging Face's, within a layer
	in, out int
}

func matrices(c gpt2.Config) []matrix {
	return []matrix{
		{"attn.c_attn", c.Embd, 3 * c.Embd},
		{"attn.c_proj", c.Embd, c.Embd},
		{"mlp.c_fc", c.Embd, c.Inner},
		{"mlp.c_proj", c.Inner, c.Embd},
	}
}

// is reports whether a LoRA target names the matrix.
func (m matrix) is(target string) bool {
	return m.name == target || strings.HasSuffix(m.name, "."+target)
}
