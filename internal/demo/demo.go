// Package demo carries the model `demo` inside the binary: a GPT-2 of
// 5,853,184 parameters in the files of the Hugging Face format, so that the
// first command works on a machine without a network. model/README.md says
// where it comes from and under which licences.
package demo

import (
	"embed"
	"io/fs"
)

//go:embed model/README.md model/config.json model/generation_config.json model/tokenizer.json model/tokenizer_config.json
var files embed.FS

// A []byte of its own, not a file of the FS: reading an embed.FS copies.
//
//go:embed model/model.safetensors
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

// Weights returns the bytes of model.safetensors, all tensors BF16. They are
// the binary's own pages, not a copy: callers must not write to them.
func Weights() []byte { return weights }
