package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gptctl/gptctl/fetch"
	"github.com/gptctl/gptctl/internal/bench"
	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/lora"
	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/modelfiles"
	"github.com/gptctl/gptctl/internal/tensor"
)

// DemoModel is the name of the model inside the binary.
const DemoModel = "demo"

// OpenOptions say where and how a model is to run.
type OpenOptions struct {
	Threads int    // 0: one per physical core
	Family  string // of kernels: "avx512" …; "": the best this CPU has
	DType   string // of the weights to multiply by, one of DTypes; "" or "auto": what the file has, multiplied in float32
	KVDType string // of the keys and values of a sequence, one of KVDTypes; "" or "auto": see ParseKVDType
	// Adapter is the folder of a LoRA adapter to add to the weights, "" for none.
	Adapter string
	// Room is asked, before an adapter is added, whether there is memory for so
	// many bytes; nil: there is.
	Room   func(bytes int64) error
	Getenv func(string) string
}

// Model is an opened model, ready to generate. Close it.
type Model struct {
	*Generator
	Name    string // as the user named it
	Path    string // where its files are
	Config  gpt2.Config
	DType   string // of the weights in use: "F32" …
	KVDType string // of the keys and values: "F32" …
	Device  string
	Family  string   // of the kernels
	Skipped []string // better families that cannot be used here, and why
	Threads int
	Load    time.Duration // what Open took
	Unused  []string      // tensors of the files that the model has no place for

	Adapter string   // the folder of the adapter in use, "" without one
	Adapted int      // matrices that it is added to
	Ignored []string // modules that the adapter's file has, but its configuration does not name

	files   *modelfiles.Model
	adapter *lora.Bound // nil without one
	cpu     *kernel.CPU
	device  *cpu.Device
	model   *gpt2.Model
	dtype   tensor.DType // asked for; Invalid: the file's

	kvDType tensor.DType
}

// DTypes are the names that OpenOptions.DType may have beside "auto".
func DTypes() []string {
	var names []string
	for _, d := range dtypes {
		names = append(names, strings.ToLower(d.String()))
	}
	return names
}

var dtypes = [...]tensor.DType{tensor.F32, tensor.BF16, tensor.F16, tensor.Q8_0, tensor.Q4_0}

// ParseDType returns the type that a name of DTypes stands for, Invalid for "" and
// "auto".
func ParseDType(name string) (tensor.DType, error) {
	if name == "" || name == "auto" {
		return tensor.Invalid, nil
	}
	for _, d := range dtypes {
		if strings.ToLower(d.String()) == name {
			return d, nil
		}
	}
	return tensor.Invalid, fmt.Errorf("dtype %q: want auto, %s", name, strings.Join(DTypes(), ", "))
}

// KVDTypes are the names that OpenOptions.KVDType may have beside "auto".
func KVDTypes() []string { return []string{"f32", "f16", "bf16", "q8_0"} }

// ParseKVDType returns the type that a name of KVDTypes stands for, in heads of headDim
// numbers. With "" and "auto" it is as exact as the weights make sense of: F32, F16 where
// 16 bits were asked for (asked; Invalid: nothing was), and Q8_0 for weights that are
// quantised, or F16 where heads are not whole blocks or the CPU has no kernels for codes.
func ParseKVDType(name string, weights, asked tensor.DType, headDim int, kernels kernel.Traits) (tensor.DType, error) {
	blocks := headDim%tensor.QuantBlock == 0
	switch {
	case name != "" && name != "auto":
		d, err := ParseDType(name)
		if err != nil || !slices.Contains(KVDTypes(), name) {
			return tensor.Invalid, fmt.Errorf("dtype %q of keys and values: want auto, %s", name, strings.Join(KVDTypes(), ", "))
		}
		if d == tensor.Q8_0 && !blocks {
			return tensor.Invalid, fmt.Errorf("keys and values of type q8_0 are blocks of %d numbers, and this model has heads of %d: want f32, f16 or bf16", tensor.QuantBlock, headDim)
		}
		return d, nil
	case weights.IsQuantized() && blocks && kernels.Codes:
		return tensor.Q8_0, nil
	case weights.IsQuantized(), asked == tensor.F16, asked == tensor.BF16:
		return tensor.F16, nil
	}
	return tensor.F32, nil
}

// UnreadableModelError says that a model's files are there, but are damaged or
// describe something else than a GPT-2.
type UnreadableModelError struct{ Err error }

func (e *UnreadableModelError) Error() string { return e.Err.Error() }
func (e *UnreadableModelError) Unwrap() error { return e.Err }

// ErrLost says that a model's file was cut short while it is in use, or its disk fails.
var ErrLost = mapped.ErrLost

// RefusedError says that the system does not allow a family of kernels that the
// processor has.
type RefusedError = kernel.RefusedError

// CheckFamily says why OpenOptions.Family cannot name this family on this
// machine, and what it can name: a *RefusedError where the processor has it and the
// system does not allow it.
func CheckFamily(name string) error { return kernel.CheckFamily(name) }

// Open finds a model and makes it ready: name is "demo", a folder in Hugging
// Face format, a GGUF file, or a Hub id that is in the shared cache. It never asks the
// network. Errors are fetch.CachedModel's, a *modelfiles.MissingFilesError, an
// *UnreadableModelError, a *lora.Error, ErrLost, or the system's.
func Open(ctx context.Context, name string, o OpenOptions) (*Model, error) {
	start := time.Now()
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	dtype, err := ParseDType(o.DType)
	if err != nil {
		return nil, err
	}
	var files *modelfiles.Model
	var path string
	err = mapped.Readable(func() (err error) {
		files, path, err = openFiles(name, modelfiles.Options{DType: dtype, Copied: kernel.TraitsOf(o.Family).Copied(dtype)}, o.Getenv)
		return err
	})
	if err != nil {
		return nil, err
	}
	weights := dtype
	if dtype == tensor.Invalid {
		weights = files.DType
	}
	m := &Model{Name: name, Path: path, Config: files.Config, DType: weights.String(), Unused: files.Weights.Unused, files: files, dtype: dtype}
	if m.kvDType, err = ParseKVDType(o.KVDType, weights, dtype, files.Config.HeadDim(), kernel.TraitsOf(o.Family)); err == nil {
		m.KVDType = m.kvDType.String()
		err = m.bindAdapter(o)
	}
	if err == nil {
		err = mapped.Readable(func() error { return m.start(ctx, o) })
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	m.Load = time.Since(start)
	return m, ctx.Err()
}

// OpenFiles finds and opens a model's files as Open does, for those who want the
// weights and not their sums. path is where they are, "" for the demo model.
func OpenFiles(name string, getenv func(string) string) (files *modelfiles.Model, path string, err error) {
	files, path, err = openFiles(name, modelfiles.Options{}, getenv)
	if name == DemoModel {
		path = ""
	}
	return files, path, err
}

func openFiles(name string, options modelfiles.Options, getenv func(string) string) (files *modelfiles.Model, path string, err error) {
	if name == DemoModel {
		files, err = modelfiles.OpenDemo(options)
		return files, "inside gptctl", err
	}
	path = name
	if !isPath(name) {
		if path, err = fetch.CachedModel(name, getenv); err != nil {
			return nil, "", err
		}
	}
	files, err = modelfiles.Open(path, options)
	var missing *modelfiles.MissingFilesError
	if err != nil && !errors.As(err, &missing) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		err = &UnreadableModelError{err}
	}
	return files, path, err
}

// isPath tells a folder or file from a Hub id. What exists is one (as in
// transformers), and what looks like a path is meant as one.
func isPath(name string) bool {
	if filepath.IsAbs(name) || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "~") ||
		strings.HasSuffix(name, "/") || strings.EqualFold(filepath.Ext(name), ".gguf") || strings.Count(name, "/") > 1 || strings.ContainsRune(name, filepath.Separator) && filepath.Separator != '/' {
		return true
	}
	_, err := os.Stat(name)
	return err == nil
}

func (m *Model) start(ctx context.Context, o OpenOptions) error {
	var err error
	// Who does not ask for a type gets the numbers that the weights have in
	// float32, even where fewer bits would be faster to multiply.
	wide := m.dtype == tensor.Invalid && !m.files.DType.IsQuantized()
	if m.cpu, err = kernel.New(kernel.Options{Threads: o.Threads, Family: o.Family, Wide: wide}); err != nil {
		return err
	}
	m.Family, m.Threads, m.Skipped = m.cpu.Family(), m.cpu.Threads(), m.cpu.Skipped()
	options := cpu.Options{DType: m.dtype, KVType: m.kvDType, Copied: m.files.Forget, Stop: ctx.Err}
	if m.adapter == nil {
		options.Later, options.Detach = m.files.InPlace, !m.files.InPlace
	} else { // what becomes panels does so at once: its sums are in memory that is used again
		panels := !m.files.OutIn && (m.dtype != tensor.Invalid || m.files.DType != tensor.F32)
		options.Detach = !m.files.InPlace || panels
	}
	weights := m.files.Weights
	if m.adapter != nil {
		weights = m.adapter.Weights
		m.adapt(&options)
	}
	m.device = cpu.New(m.cpu, options)
	model, err := gpt2.New(m.device, m.Config, weights)
	if err != nil {
		return err
	}
	if m.adapter != nil {
		if err := m.adapter.Settle(); err != nil {
			return &UnreadableModelError{err}
		}
	}
	if options.Detach {
		m.files.ForgetAll()
	}
	m.model = model
	m.Device = model.Device().Name()
	m.Generator = New(model, m.files.Tokenizer)
	return nil
}

// Close lets go of the model's files and threads.
func (m *Model) Close() {
	if m.device != nil {
		m.device.Close()
	}
	if m.cpu != nil {
		m.cpu.Close()
	}
	if m.adapter != nil {
		m.adapter.Close()
	}
	m.files.Close()
}

// StayInFile uses the weights where they lie in the file for good, if they are used
// there at first: slower, but the system can drop them and read them again. Without it
// they are laid out anew in memory after the first tokens.
func (m *Model) StayInFile() { m.device.StayInFile() }

// WeightBytes is what the weights take in the file, a tied head counted once.
func (m *Model) WeightBytes() int64 { return m.files.Size }

// Subject is the model as package bench measures it. It is valid until Close.
func (m *Model) Subject() *bench.Subject {
	dtype := m.dtype
	if dtype == tensor.Invalid {
		dtype = m.files.DType
	}
	m.device.Settle()
	return &bench.Subject{Name: m.Name, DType: dtype, KV: m.kvDType, Model: m.model, CPU: m.cpu, Weights: m.device.Memory(), InFile: m.device.InFile(), Close: m.Close}
}

// Encode turns text into tokens as the model was trained on.
func (m *Model) Encode(text string) []int {
	var tokens []int
	for _, id := range m.files.Tokenizer.Encode(nil, text) {
		tokens = append(tokens, int(id))
	}
	return tokens
}

// Generate is the generator's, with the time of Open in its statistics. Its error is
// also ErrLost, after which the model is of no more use.
func (m *Model) Generate(ctx context.Context, r Request) (*Result, error) {
	var result *Result
	err := mapped.Readable(func() (err error) {
		result, err = m.Generator.Generate(ctx, r)
		return err
	})
	if result != nil {
		result.Stats.Load = m.Load
	}
	return result, err
}

// Settings resolves what the model's generation_config.json says and what the
// user set.
func (m *Model) Settings(user Layer) (Settings, error) {
	var own Layer
	if m.files.GenerationConfig != nil {
		var err error
		name := filepath.Join(m.Path, "generation_config.json")
		if own, err = ParseGenerationConfig(name, m.files.GenerationConfig); err != nil {
			return Settings{}, err
		}
		// Where there is such a file, transformers does not look at the model's
		// config.json for what ends a text: without eos_token_id nothing does.
		own = append(Layer{func(s *Settings) { s.EOS = []int{} }}, own...)
	}
	return Resolve(own, user), nil
}
