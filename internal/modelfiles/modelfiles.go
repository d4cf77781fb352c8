// Package modelfiles opens the files that make up a model: a folder in Hugging
// Face's layout, a GGUF file, or the model inside the binary.
package modelfiles

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gptctl/gptctl/internal/demo"
	"github.com/gptctl/gptctl/internal/gguf"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/internal/tokenizer"
)

// Model is an open model. Its weights lie in a memory-mapped file and are valid
// until Close.
type Model struct {
	Name             string // of the folder or file, or "demo"
	Title            string // what a GGUF file calls its model, whatever the file is called; may be empty
	Config           gpt2.Config
	Weights          *gpt2.Weights
	Tokenizer        *tokenizer.Tokenizer
	GenerationConfig []byte       // generation_config.json as it is, nil without one; of a GGUF file what it says in that form
	Files            fs.FS        // the folder; nil for a GGUF file
	DType            tensor.DType // of the larger part of the weights
	InPlace          bool         // the matrices are to be used where they lie in the file
	OutIn            bool         // the matrices lie by their outputs, as in a GGUF file
	Embedded         bool         // in the program, whose memory stays
	Size             int64        // bytes of the weights in use, a tied head counted once

	file weightFile
}

// weightFile is an open model file, or several, of whatever format. Its tensors
// have the names and shapes of Hugging Face's GPT-2.
type weightFile interface {
	gpt2.TensorSource
	Prefault(parts ...[]byte) // brings parts of the file into memory, see mapped.File
	ReadAhead()               // starts bringing it into the page cache
	Forget(data []byte)       // the data of a tensor is not needed any more
	Bytes() int64             // of all of the file
	Close() error
}

// Options say what the weights are opened for.
type Options struct {
	// DType is the type that the caller will convert the matrices to, Invalid
	// if it uses them as they are.
	DType tensor.DType
	// Copied says that he makes copies of matrices that have this type already.
	Copied bool
	// Look says that he only wants to know what the files are.
	Look bool
}

// NoModelError says that a file is not what a model lies in.
type NoModelError struct{ Path string }

func (e *NoModelError) Error() string {
	return fmt.Sprintf("open model: %s is a file, want a folder with config.json, model.safetensors and tokenizer.json, or a .gguf file", e.Path)
}

// Open opens a model folder: config.json, the weights, and tokenizer.json or
// vocab.json with merges.txt. It fails with a *MissingFilesError where some of
// them are absent. dir may also be a GGUF file, which holds all of these.
func Open(dir string, o Options) (*Model, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	if !info.IsDir() {
		if isGGUF(dir, info) {
			return openGGUF(dir, o)
		}
		return nil, &NoModelError{dir}
	}
	files := os.DirFS(dir)
	open, err := findFiles(dir, files)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(dir)
	if abs, err := filepath.Abs(dir); err == nil {
		name = filepath.Base(abs)
	}
	return load(name, dir, files, o, open)
}

// OpenDemo opens the model inside the binary.
func OpenDemo(o Options) (*Model, error) {
	m, err := load("demo", "demo", demo.Files(), o, func() (weightFile, error) {
		f, err := gguf.Parse(demo.Weights())
		return ggufWeights{f}, err
	})
	if err == nil {
		m.Embedded = true
	}
	return m, err
}

// load reads the small files of a model, opens the weights, and checks that
// they belong together. dir is for messages only.
func load(name, dir string, files fs.FS, o Options, open func() (weightFile, error)) (_ *Model, err error) {
	m := &Model{Name: name, Files: files}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	// The tokenizer takes longest to load, so it starts first.
	type loaded struct {
		*tokenizer.Tokenizer
		error
	}
	words := make(chan loaded, 1)
	go func() {
		t, err := tokenizer.Load(files)
		words <- loaded{t, err}
	}()
	if err = m.bind(dir, files, open); err != nil {
		return nil, err
	}
	m.prepare(o)

	if m.GenerationConfig, err = readSmall(files, "generation_config.json"); err != nil && !missing(err) {
		return nil, fmt.Errorf("read model %s: %w", dir, err)
	}
	t := <-words
	if t.error != nil {
		return nil, fmt.Errorf("read tokenizer of %s: %w", dir, t.error)
	}
	m.Tokenizer = t.Tokenizer
	if err = m.checkTokens(dir); err != nil {
		return nil, err
	}
	return m, nil
}

// prepare has the weights read before they are needed: those that are used where
// they lie are brought into memory in the background; of others only one matrix
// at a time has to be there. The CPU device uses floats in place, at least at first.
func (m *Model) prepare(o Options) {
	same := o.DType == tensor.Invalid || o.DType == m.DType
	_, m.OutIn = m.file.(gpt2.LayoutSource)
	m.InPlace = same && m.DType.IsFloat() && !o.Copied
	switch {
	case o.Look:
	case m.InPlace:
		go m.file.Prefault(m.used()...)
	default:
		m.file.ReadAhead()
	}
}

// used is the memory of the weights: a file may hold more, GPT-2's the masks of attention.
func (m *Model) used() (parts [][]byte) {
	for _, t := range m.Weights.Tensors() {
		parts = append(parts, t.Data)
	}
	return parts
}

// checkTokens checks that the embedding has a row for each token. More is
// legal: rows that no token uses are padding.
func (m *Model) checkTokens(dir string) error {
	if t, rows := m.Tokenizer, m.Config.VocabSize; t.Len() > rows && !onlyEndOfText(t, rows) {
		return fmt.Errorf("read model %s: its tokenizer has %d entries, but the embedding has only %d rows", dir, t.Len(), rows)
	}
	return nil
}

// onlyEndOfText reports whether the one token that has no row is <|endoftext|>:
// like transformers the tokenizer adds it where its files lack it, as they do for
// models that were trained without one. In a prompt it is refused as any other
// token that the model does not know.
func onlyEndOfText(t *tokenizer.Tokenizer, rows int) bool {
	text, ok := t.Token(int32(rows))
	return t.Len() == rows+1 && ok && text == "<|endoftext|>"
}

// bind reads config.json and finds the weights that it describes.
func (m *Model) bind(dir string, files fs.FS, open func() (weightFile, error)) error {
	text, err := readSmall(files, configName)
	if err != nil {
		return fmt.Errorf("read model %s: %w", dir, err)
	}
	if m.Config, err = gpt2.ParseConfig(text); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(dir, configName), err)
	}
	if m.file, err = open(); err != nil {
		m.file = nil // not a typed nil in an interface
		return err
	}
	return m.bindWeights(dir)
}

// bindWeights finds the weights of the configuration in the file.
func (m *Model) bindWeights(dir string) (err error) {
	if m.Weights, err = gpt2.BindWeights(m.Config, m.file); err != nil {
		return fmt.Errorf("read weights of %s: %w", dir, err)
	}
	bytes := map[tensor.DType]int64{}
	for _, t := range m.Weights.Tensors() {
		n := int64(len(t.Data))
		m.Size += n
		if bytes[t.DType] += n; bytes[t.DType] > bytes[m.DType] {
			m.DType = t.DType
		}
	}
	return nil
}

// Forget says that data of a tensor was read for the last time: a device that
// makes itself a copy of each then needs no memory for the file.
func (m *Model) Forget(data []byte) { m.file.Forget(data) }

// FileBytes is the size of all of the weights' file, or of several together.
func (m *Model) FileBytes() int64 {
	switch {
	case m.file == nil:
		return 0
	case m.Embedded:
		return int64(len(demo.Weights()))
	}
	return m.file.Bytes()
}

// ForgetAll says so of all tensors of the file, those too that the model has no use
// for.
func (m *Model) ForgetAll() {
	if m.file == nil {
		return
	}
	for _, name := range m.file.Names() {
		if t, ok := m.file.Tensor(name); ok {
			m.file.Forget(t.Data)
		}
	}
}

// Close lets go of the weights. Nothing of the model may be used afterwards but
// its tokenizer and configuration.
func (m *Model) Close() error {
	if m.file == nil {
		return nil
	}
	return m.file.Close()
}

const configName = "config.json"

// maxSmall bounds the JSON files read whole.
const maxSmall = 16 << 20

// readSmall reads a JSON file of reasonable size. It never waits for a pipe.
func readSmall(files fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSmall {
		return nil, fmt.Errorf("%s is larger than %d MB", name, maxSmall>>20)
	}
	return text, nil
}
