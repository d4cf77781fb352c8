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
	models := []Model{
		{Name: "gpt2-xl", HubFileBytes: 6431878936},
		{Name: "gpt2-large", HubFileBytes: 3247159078},
		{Name: "gpt2-medium", HubFileBytes: 1519984962},
		{Name: "gpt2", HubFileBytes: 548105171},
		{Name: "distilgpt2", HubFileBytes: 352824413},
	}
	for i := range models {
		models[i].Config, _ = gpt2.Shape(models[i].Name)
	}
	return models
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
