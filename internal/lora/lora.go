// Package lora adds the low-rank adapters of peft to a model's weights: an
// adapter folder says for some matrices W [in][out] what to add to them,
// scale·(B·A)ᵀ with A [rank][in] and B [out][rank] (Hu et al. 2021, "LoRA:
// Low-Rank Adaptation of Large Language Models").
//
// Which matrix has an adapter, of which rank and scale, is decided by peft's own
// rules. Sums are formed in float32, one matrix at a time and only when it is
// asked for, so that a model that is then quantised never lies in memory as
// floats. Nothing is written.
package lora

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
)

// The files of an adapter's folder.
const (
	ConfigName  = "adapter_config.json"
	WeightsName = "adapter_model.safetensors"
	pickleName  = "adapter_model.bin"
)

// Error says why an adapter cannot be used.
type Error struct {
	Dir string
	Err error
}

func (e *Error) Error() string { return fmt.Sprintf("adapter %s: %v", e.Dir, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Adapter is an open adapter folder. Close it.
type Adapter struct {
	Dir    string
	Config *Config
	file   *safetensors.File
}

// Is reports whether a folder holds an adapter.
func Is(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, ConfigName))
	return err == nil && info.Mode().IsRegular()
}

// Open opens an adapter as peft and gptctl finetune write it. Its errors are
// *Error.
func Open(dir string) (*Adapter, error) {
	a := &Adapter{Dir: dir}
	if err := a.open(); err != nil {
		return nil, &Error{dir, err}
	}
	return a, nil
}

func (a *Adapter) open() error {
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(a.Dir, name))
		return !errors.Is(err, fs.ErrNotExist)
	}
	info, err := os.Stat(a.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no such folder")
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("it is a file, want the folder with %s and %s", ConfigName, WeightsName)
	case !has(ConfigName) && has("config.json"):
		return fmt.Errorf("it is a whole model, not an adapter (there is no %s in it): run it with --model", ConfigName)
	case !has(ConfigName):
		return fmt.Errorf("%s is missing", ConfigName)
	}
	text, err := readSmall(filepath.Join(a.Dir, ConfigName))
	if err != nil {
		return err
	}
	if a.Config, err = ParseConfig(text); err != nil {
		return fmt.Errorf("read %s: %w", ConfigName, err)
	}
	switch {
	case !has(WeightsName) && has(pickleName):
		return fmt.Errorf("its weights are only in %s, which can hold code and is not read: save it again as %s (peft's default)", pickleName, WeightsName)
	case !has(WeightsName):
		return fmt.Errorf("%s is missing", WeightsName)
	}
	a.file, err = safetensors.Open(filepath.Join(a.Dir, WeightsName))
	return err
}

// Close lets go of the files.
func (a *Adapter) Close() error { return a.file.Close() }

// maxConfig bounds adapter_config.json.
const maxConfig = 1 << 20

func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path) // opening a pipe would wait
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxConfig)
	}
	return text, err
}

// site is a matrix of the model that an adapter may be for.
type site struct {
	module  string // as transformers names it
	weight  *tensor.Tensor
	layout  gpt2.Layout
	in, out int
}

// sites lists them; weights of w are pointed at.
func sites(c gpt2.Config, w *gpt2.Weights) (list []site) {
	for i := range w.Blocks {
		b, name := &w.Blocks[i], fmt.Sprintf("transformer.h.%d.", i)
		list = append(list,
			site{name + "attn.c_attn", &b.QKV.Weight, b.QKV.Layout, c.Embd, 3 * c.Embd},
			site{name + "attn.c_proj", &b.AttnOut.Weight, b.AttnOut.Layout, c.Embd, c.Embd},
			site{name + "mlp.c_fc", &b.Up.Weight, b.Up.Layout, c.Embd, c.Inner},
			site{name + "mlp.c_proj", &b.Down.Weight, b.Down.Layout, c.Inner, c.Embd})
	}
	return append(list, site{headModule, &w.Head, gpt2.OutIn, c.Embd, c.VocabSize})
}

const (
	headModule = "lm_head"
	modelPart  = "transformer."
	peftPart   = "base_model.model."
	suffixA    = ".lora_A.weight"
	suffixB    = ".lora_B.weight"
)

// Bind finds out what the adapter adds to a model. The result's Weights are the
// model's with the sums in their places; they are empty until Fill. Errors are
// *Error: an adapter that belongs to another model, misses a matrix or has a NaN
// is refused.
func (a *Adapter) Bind(c gpt2.Config, w *gpt2.Weights) (*Bound, error) {
	own := *w
	own.Blocks = slices.Clone(w.Blocks)
	b := &Bound{Weights: &own, base: w}
	if err := a.bind(b, c); err != nil {
		return nil, &Error{a.Dir, err}
	}
	b.reserve()
	return b, nil
}

func (a *Adapter) bind(b *Bound, c gpt2.Config) error {
	left := map[string]bool{}
	// An adapter for the model without its head has names without this part.
	whole := false
	for _, name := range a.file.Names() {
		left[name] = true
		whole = whole || strings.HasPrefix(name, peftPart+modelPart) || strings.HasPrefix(name, peftPart+headModule)
	}
	if len(left) == 0 {
		return fmt.Errorf("%s holds no tensors", WeightsName)
	}
	for _, s := range sites(c, b.Weights) {
		if !whole {
			s.module = strings.TrimPrefix(s.module, modelPart)
		}
		nameA, nameB := peftPart+s.module+suffixA, peftPart+s.module+suffixB
		yes, sure := a.Config.targeted(s.module)
		if !sure {
			yes = left[nameA] || left[nameB]
		}
		if !yes {
			if left[nameA] || left[nameB] {
				b.Ignored = append(b.Ignored, s.module)
				delete(left, nameA)
				delete(left, nameB)
			}
			continue
		}
		m, err := a.sum(s)
		if err != nil {
			return err
		}
		b.sums = append(b.sums, m)
		delete(left, nameA)
		delete(left, nameB)
	}
	if err := a.checkRest(b, left); err != nil {
		return err
	}
	if len(b.sums) == 0 {
		return errors.New("it has no matrix for this model: its target_modules fit none of c_attn, c_proj, c_fc and lm_head")
	}
	return nil
}

// sum reads the two matrices of a module.
func (a *Adapter) sum(s site) (*sum, error) {
	m := &sum{site: s, base: *s.weight, scale: float32(a.Config.scaleOf(s.module))}
	rank := a.Config.rankOf(s.module)
	for _, part := range []struct {
		dst    *[]float32
		suffix string
		shape  []int
	}{{&m.a, suffixA, []int{rank, s.in}}, {&m.b, suffixB, []int{s.out, rank}}} {
		name := peftPart + s.module + part.suffix
		t, ok := a.file.Tensor(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("%s lacks %s, which %s asks for: it was made for another model", WeightsName, name, ConfigName)
		case !t.DType.IsFloat():
			return nil, fmt.Errorf("%s is %v, want F32, F16 or BF16", name, t.DType)
		case !slices.Equal(t.Shape, part.shape):
			return nil, fmt.Errorf("%s has shape %s, want %s for this model and rank %d: it was made for another model, or %s is another adapter's",
				name, t.ShapeString(), tensor.Tensor{Shape: part.shape}.ShapeString(), rank, ConfigName)
		}
		v, view := t.Float32s()
		if *part.dst = v; view {
			*part.dst = slices.Clone(v) // the file is closed before the sums are formed
		}
		if i := notFinite(*part.dst); i >= 0 {
			return nil, fmt.Errorf("it is damaged: %s holds a NaN or an infinite number at index %d", name, i)
		}
	}
	m.rank = rank
	return m, nil
}

// checkRest judges tensors that are no additions to a matrix of the model. peft
// saves the embeddings with an adapter of the head; they are the model's own.
func (a *Adapter) checkRest(b *Bound, left map[string]bool) error {
	for _, name := range a.file.Names() {
		if !left[name] {
			continue
		}
		short := strings.TrimPrefix(strings.TrimPrefix(name, peftPart), modelPart)
		t, _ := a.file.Tensor(name)
		switch {
		case short == "wte.weight" && equal(t, b.base.TokenEmbedding),
			(short == "lm_head.base_layer.weight" || short == "lm_head.weight") && equal(t, b.base.Head):
		case strings.Contains(short, "lora_embedding_"):
			return fmt.Errorf("it is for an embedding (%s), which is not supported: only matrices of the layers and lm_head are", short)
		case strings.HasSuffix(short, suffixA), strings.HasSuffix(short, suffixB):
			return fmt.Errorf("it adds to %s, which this model of %d layers does not have: it was made for another model",
				strings.TrimSuffix(strings.TrimSuffix(short, suffixA), suffixB), len(b.base.Blocks))
		default:
			return fmt.Errorf("it holds %s, which is not supported: only additions to matrices are", clip(name))
		}
	}
	return nil
}

// equal compares values, whatever type they are stored in.
func equal(a, b tensor.Tensor) bool {
	if !a.DType.IsFloat() || !slices.Equal(a.Shape, b.Shape) {
		return false
	}
	x, _ := a.Float32s()
	y, _ := b.Float32s()
	return slices.Equal(x, y)
}

// notFinite returns the index of the first NaN or infinity, -1 without one.
func notFinite(x []float32) int {
	return slices.IndexFunc(x, func(v float32) bool { return v-v != 0 })
}
