// Package demo carries the model `demo` inside the binary, a small GPT-2 that
// gptctl trained itself, so that the first command works on a machine without a
// network. The weights are Q8_0 in a GGUF file of tensors alone, the rest is in
// the files of the Hugging Face format. model/README.md says where it comes from
// and under which licences; recipe makes it.
package demo

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/gptctl/gptctl/internal/gguf"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
)

//go:embed model/README.md model/config.json model/generation_config.json model/tokenizer.json model/tokenizer_config.json
var files embed.FS

// A []byte of its own, not a file of the FS: reading an embed.FS copies.
//
//go:embed model/model.gguf
var weights []byte

// Files returns the model's small files by their usual names at the root:
// config.json, generation_config.json, tokenizer.json, tokenizer_config.json
// and README.md (origin and licences). The weights are not among them.
func Files() fs.FS {
	sub, err := fs.Sub(files, "model")
	if err != nil {
		panic("demo: " + err.Error()) // only an invalid path, and it is a constant
	}
	return sub
}

// Weights returns the bytes of a GGUF file: matrices Q8_0 and [out][in],
// positions F16, all else F32. It has no metadata but the architecture. They are
// the binary's own pages, not a copy: callers must not write to them.
func Weights() []byte { return weights }

// Float32s returns the weights as transformers has them: dequantised, under
// Hugging Face's names, the projections [in][out].
func Float32s() ([]safetensors.Named, error) {
	f, err := gguf.Parse(weights)
	if err != nil {
		return nil, fmt.Errorf("demo model: %w", err)
	}
	var list []safetensors.Named
	for _, own := range f.Names() {
		name, ok := gguf.HFName(own)
		if !ok {
			return nil, fmt.Errorf("demo model: tensor %q is none of a GPT-2", own)
		}
		t, _ := f.Tensor(own)
		values, _ := t.Float32s()
		if len(t.Shape) == 2 && strings.HasPrefix(name, "h.") {
			values = transposed(values, t.Shape[0], t.Shape[1])
			t.Shape = []int{t.Shape[1], t.Shape[0]}
		}
		list = append(list, safetensors.Named{Name: "transformer." + name, Tensor: tensor.Tensor{DType: tensor.F32, Shape: t.Shape, Data: tensor.Bytes(values)}})
	}
	return list, nil
}

// transposed turns [rows][cols] into [cols][rows].
func transposed(x []float32, rows, cols int) []float32 {
	out := make([]float32, len(x))
	for r := range rows {
		for c := range cols {
			out[c*rows+r] = x[r*cols+c]
		}
	}
	return out
}
