package modelfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/gguf"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/torchfile"
)

// MissingFilesError says which files a model folder lacks, all of them at once.
type MissingFilesError struct {
	Dir   string
	Files []string // "config.json", or alternatives: "tokenizer.json (or vocab.json and merges.txt)"
}

func (e *MissingFilesError) Error() string {
	are := "are"
	if len(e.Files) == 1 {
		are = "is"
	}
	return fmt.Sprintf("model %s is incomplete: %s %s missing", e.Dir, strings.Join(e.Files, ", "), are)
}

// A format is a way to store weights: the file that shows it, and how that is
// opened.
type format struct {
	name string
	open func(path string) (weightFile, error)
	// parts names the further files that the first one needs; nil: none.
	parts func(path string) ([]string, error)
}

// formats are the readable ones; the first that a folder has counts, in the
// order of transformers.
var formats = []format{
	{"model.safetensors", func(path string) (weightFile, error) { return safetensors.Open(path) }, nil},
	{safetensors.IndexName, func(path string) (weightFile, error) { return safetensors.OpenSharded(path) }, shards},
	{torchfile.Name, func(path string) (weightFile, error) { return torchfile.Open(path) }, nil},
	{torchfile.IndexName, func(path string) (weightFile, error) { return torchfile.OpenSharded(path) }, shards},
}

func shards(path string) ([]string, error) {
	x, err := safetensors.ReadIndex(path)
	if err != nil {
		return nil, err
	}
	return x.Shards(), nil
}

// unreadable are the files of formats that hold weights but are not read.
var unreadable = []string{"*.gguf", "tf_model.h5", "flax_model.msgpack", "*.onnx", "*.ckpt", "model.ckpt*"}

// findFiles checks that a folder has all files of a model and returns how its
// weights are opened.
func findFiles(dir string, files fs.FS) (open func() (weightFile, error), err error) {
	absent := &MissingFilesError{Dir: dir}
	has := func(name string) bool {
		_, err := fs.Stat(files, name)
		return !missing(err) // a file that cannot be looked at gets its error when it is opened
	}
	if !has(configName) {
		absent.Files = append(absent.Files, configName)
	}

	i := slices.IndexFunc(formats, func(f format) bool { return has(f.name) })
	if i < 0 {
		other := findOther(files)
		if filepath.Ext(other) == ggufExt {
			return nil, &gguf.FormatError{Why: fmt.Sprintf("model %s has its weights only in %s, which is a model by itself", dir, other), Mend: "name " + filepath.Join(dir, other)}
		}
		if other != "" {
			return nil, fmt.Errorf("model %s has its weights only in %s, a format that cannot be read yet: save the model as model.safetensors (save_pretrained in transformers does)", dir, other)
		}
		absent.Files = append(absent.Files, formats[0].name)
	} else if f := formats[i]; f.parts != nil {
		parts, err := f.parts(filepath.Join(dir, f.name))
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			if !has(part) {
				absent.Files = append(absent.Files, part)
			}
		}
	}

	if !has("tokenizer.json") {
		switch vocab, merges := has("vocab.json"), has("merges.txt"); {
		case !vocab && !merges:
			absent.Files = append(absent.Files, "tokenizer.json (or vocab.json and merges.txt)")
		case !vocab:
			absent.Files = append(absent.Files, "vocab.json")
		case !merges:
			absent.Files = append(absent.Files, "merges.txt")
		}
	}
	if len(absent.Files) > 0 {
		return nil, absent
	}
	return func() (weightFile, error) { return formats[i].open(filepath.Join(dir, formats[i].name)) }, nil
}

// findOther returns the first file with weights in a format that is not read.
func findOther(files fs.FS) string {
	for _, pattern := range unreadable {
		if found, _ := fs.Glob(files, pattern); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
