package gpt2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Norm is a layer normalisation: Gain [embd], Bias [embd].
type Norm struct{ Gain, Bias tensor.Tensor }

// Projection is y = x·Weight + Bias: Weight [in][out] (InOut, the layout of
// Hugging Face's Conv1D) or [out][in] (OutIn), Bias [out].
type Projection struct {
	Weight, Bias tensor.Tensor
	Layout       Layout
}

// BlockWeights are the weights of one layer.
type BlockWeights struct {
	AttnNorm Norm
	QKV      Projection // [embd][3·embd]: query, key, value side by side
	AttnOut  Projection // [embd][embd]
	MLPNorm  Norm
	Up       Projection // [embd][inner]
	Down     Projection // [inner][embd]
}

// Weights are a model's weights where they lie, usually in a memory-mapped
// file. Each tensor is F32, F16 or BF16, whatever its neighbours are; a matrix
// whose rows are outputs (embeddings, head, projections that are OutIn) may be
// Q8_0 or Q4_0 too.
type Weights struct {
	TokenEmbedding    tensor.Tensor // [vocab][embd]
	PositionEmbedding tensor.Tensor // [positions][embd]
	Blocks            []BlockWeights
	FinalNorm         Norm
	Head              tensor.Tensor // [vocab][embd]; the memory of TokenEmbedding when Tied
	Tied              bool          // as the file says, where it and the configuration differ
	Unused            []string      // tensors of the source that this model has no place for
}

// TensorSource is a model file.
type TensorSource interface {
	Names() []string
	Tensor(name string) (tensor.Tensor, bool)
}

// LayoutSource is a TensorSource that does not store its projections in Hugging
// Face's layout.
type LayoutSource interface {
	TensorSource
	// ProjectionLayout says how the matrices of all projections lie.
	ProjectionLayout() Layout
}

// NamedSource is a TensorSource that has other names for the tensors in its file.
type NamedSource interface {
	TensorSource
	// FileName returns what a name that Tensor knows stands for.
	FileName(name string) string
}

// BindWeights finds the weights of a model of this configuration, with and
// without the prefix "transformer." in their names. It copies nothing. The
// masks that old files carry (attn.bias, attn.masked_bias) are skipped; other
// tensors it has no use for are listed in Unused.
//
// An untied model (Config.TieWordEmbeddings false) must bring lm_head.weight; a
// tied one may, see Tied.
//
// A tensor that is missing, or has another type or shape than the
// configuration asks for, is an error; all missing tensors are named together.
func BindWeights(cfg Config, src TensorSource) (*Weights, error) {
	b := binder{src: src, used: make(map[string]bool)}
	if l, ok := src.(LayoutSource); ok {
		b.layout = l.ProjectionLayout()
	}
	b.fileName = func(name string) string { return name }
	if n, ok := src.(NamedSource); ok {
		b.fileName = n.FileName
	}
	w := &Weights{
		TokenEmbedding:    b.matrix(b.embeddingName(cfg), cfg.VocabSize, cfg.Embd),
		PositionEmbedding: b.matrix("wpe.weight", cfg.Positions, cfg.Embd),
	}
	for layer := range cfg.Layers {
		h := fmt.Sprintf("h.%d.", layer)
		w.Blocks = append(w.Blocks, BlockWeights{
			AttnNorm: b.norm(h+"ln_1", cfg.Embd),
			QKV:      b.projection(h+"attn.c_attn", cfg.Embd, 3*cfg.Embd),
			AttnOut:  b.projection(h+"attn.c_proj", cfg.Embd, cfg.Embd),
			MLPNorm:  b.norm(h+"ln_2", cfg.Embd),
			Up:       b.projection(h+"mlp.c_fc", cfg.Embd, cfg.Inner),
			Down:     b.projection(h+"mlp.c_proj", cfg.Inner, cfg.Embd),
		})
	}
	w.FinalNorm = b.norm("ln_f", cfg.Embd)
	w.Head, w.Tied = b.head(cfg, w.TokenEmbedding)
	if err := b.err(); err != nil {
		return nil, err
	}
	for _, name := range src.Names() {
		if !b.used[name] && !isMask(name) {
			w.Unused = append(w.Unused, name)
		}
	}
	slices.Sort(w.Unused)
	return w, nil
}

const (
	prefix   = "transformer."
	wteName  = "wte.weight"
	headName = "lm_head.weight"
)

// isMask recognises the causal masks "h.3.attn.bias" and "h.3.attn.masked_bias",
// constants that old versions of transformers saved with the weights.
func isMask(name string) bool {
	name = strings.TrimPrefix(name, prefix)
	return strings.HasPrefix(name, "h.") &&
		(strings.HasSuffix(name, ".attn.bias") || strings.HasSuffix(name, ".attn.masked_bias"))
}

type binder struct {
	src      TensorSource
	fileName func(name string) string
	layout   Layout // of the projections
	used     map[string]bool
	missing  []string
	wrong    error // the first tensor of another shape or type
}

func (b *binder) norm(name string, embd int) Norm {
	return Norm{Gain: b.floats(name+".weight", embd), Bias: b.floats(name+".bias", embd)}
}

func (b *binder) projection(name string, in, out int) Projection {
	p := Projection{Layout: b.layout}
	if b.layout == OutIn {
		p.Weight = b.matrix(name+".weight", out, in)
	} else {
		p.Weight = b.floats(name+".weight", in, out)
	}
	p.Bias = b.floats(name+".bias", out)
	return p
}

// find looks a tensor up with and, if that fails, without the prefix.
func (b *binder) find(name string) (t tensor.Tensor, full string, ok bool) {
	if t, ok = b.src.Tensor(prefix + name); ok {
		return t, prefix + name, true
	}
	t, ok = b.src.Tensor(name)
	return t, name, ok
}

// embeddingName is the tensor to take as the token embedding. Tying works both
// ways in transformers: a file that has only the head provides the embedding.
func (b *binder) embeddingName(cfg Config) string {
	_, _, embedding := b.find(wteName)
	_, _, head := b.find(headName)
	if cfg.TieWordEmbeddings && !embedding && head {
		return headName
	}
	return wteName
}

// head finds the output head. Where the configuration ties it to the embedding
// but the file holds another head, that one counts: the configuration is wrong,
// and transformers (tie_weights) decides the same way.
func (b *binder) head(cfg Config, embedding tensor.Tensor) (head tensor.Tensor, tied bool) {
	if cfg.TieWordEmbeddings {
		own, full, ok := b.find(headName)
		if !ok || b.used[full] {
			return embedding, true
		}
		if sameValues(own, embedding) {
			b.used[full] = true
			return embedding, true
		}
	}
	return b.matrix(headName, cfg.VocabSize, cfg.Embd), false
}

// sameValues compares tensors by value, whatever type they are stored in.
func sameValues(a, b tensor.Tensor) bool {
	if !slices.Equal(a.Shape, b.Shape) {
		return false
	}
	if a.DType == b.DType {
		return bytes.Equal(a.Data, b.Data)
	}
	if !a.DType.IsFloat() && !a.DType.IsQuantized() || !b.DType.IsFloat() && !b.DType.IsQuantized() {
		return false
	}
	const step = 1024
	var x, y [step]float32
	for from, n := 0, a.Len(); from < n; from += step {
		k := min(step, n-from)
		tensor.ToFloat32(x[:k], a.DType, a.Data[a.DType.Bytes(from):])
		tensor.ToFloat32(y[:k], b.DType, b.Data[b.DType.Bytes(from):])
		if !slices.Equal(x[:k], y[:k]) {
			return false
		}
	}
	return true
}

// matrix binds [rows][width], of any type that the engine computes with.
func (b *binder) matrix(name string, rows, width int) tensor.Tensor {
	return b.bind(name, true, rows, width)
}

// floats binds a tensor whose elements cannot be quantised.
func (b *binder) floats(name string, shape ...int) tensor.Tensor {
	return b.bind(name, false, shape...)
}

func (b *binder) bind(name string, quantized bool, shape ...int) tensor.Tensor {
	t, full, ok := b.find(name)
	if !ok {
		b.missing = append(b.missing, b.fileName(name))
		return t
	}
	b.used[full] = true
	switch {
	case b.wrong != nil:
	case !t.DType.IsFloat() && !(quantized && t.DType.IsQuantized()):
		b.wrong = fmt.Errorf("tensor %q is %v, want F32, F16 or BF16", b.fileName(full), t.DType)
	case !slices.Equal(t.Shape, shape):
		b.wrong = fmt.Errorf("tensor %q has shape %s, want %s as the configuration says",
			b.fileName(full), t.ShapeString(), tensor.Tensor{Shape: shape}.ShapeString())
	}
	return t
}

func (b *binder) err() error {
	if len(b.missing) == 0 {
		return b.wrong
	}
	const most = 5
	names, more := b.missing, ""
	if len(names) > most {
		names, more = names[:most], fmt.Sprintf(" and %d more", len(b.missing)-most)
	}
	are := "tensors are"
	if len(b.missing) == 1 {
		are = "tensor is"
	}
	return fmt.Errorf("%d %s missing: %s%s", len(b.missing), are, strings.Join(names, ", "), more)
}

// FindNonFinite looks for a NaN or an infinity in the weights and returns the
// first tensor that holds one, under its name without prefix, and the place
// in it.
func (w *Weights) FindNonFinite() (name string, index int, ok bool) {
	for name, t := range w.Tensors() {
		if i, found := nonFinite(t); found {
			return name, i, true
		}
	}
	return "", 0, false
}

// Tensors yields the model's tensors under their names without prefix; a tied
// head is not among them.
func (w *Weights) Tensors() iter.Seq2[string, tensor.Tensor] {
	return func(yield func(string, tensor.Tensor) bool) {
		pair := func(name string, weight, bias tensor.Tensor) bool {
			return yield(name+".weight", weight) && yield(name+".bias", bias)
		}
		if !yield("wte.weight", w.TokenEmbedding) || !yield("wpe.weight", w.PositionEmbedding) {
			return
		}
		for i, b := range w.Blocks {
			h := fmt.Sprintf("h.%d.", i)
			if !pair(h+"ln_1", b.AttnNorm.Gain, b.AttnNorm.Bias) ||
				!pair(h+"attn.c_attn", b.QKV.Weight, b.QKV.Bias) ||
				!pair(h+"attn.c_proj", b.AttnOut.Weight, b.AttnOut.Bias) ||
				!pair(h+"ln_2", b.MLPNorm.Gain, b.MLPNorm.Bias) ||
				!pair(h+"mlp.c_fc", b.Up.Weight, b.Up.Bias) ||
				!pair(h+"mlp.c_proj", b.Down.Weight, b.Down.Bias) {
				return
			}
		}
		if !pair("ln_f", w.FinalNorm.Gain, w.FinalNorm.Bias) {
			return
		}
		if !w.Tied {
			yield(headName, w.Head)
		}
	}
}

// nonFinite finds the first element whose exponent bits are all ones; of a
// quantised block, whose scale decides, the first of the block.
func nonFinite(t tensor.Tensor) (int, bool) {
	step, elements := t.DType.Size(), 1
	if t.DType.IsQuantized() {
		step, elements = t.DType.Bytes(tensor.QuantBlock), tensor.QuantBlock
	}
	for i := range len(t.Data) / max(step, 1) {
		var bad bool
		switch at := t.Data[i*step:]; t.DType {
		case tensor.F32:
			bad = binary.LittleEndian.Uint32(at)&0x7f800000 == 0x7f800000
		case tensor.BF16:
			bad = binary.LittleEndian.Uint16(at)&0x7f80 == 0x7f80
		case tensor.F16, tensor.Q8_0, tensor.Q4_0: // a block begins with its scale
			bad = binary.LittleEndian.Uint16(at)&0x7c00 == 0x7c00
		}
		if bad {
			return i * elements, true
		}
	}
	return 0, false
}
