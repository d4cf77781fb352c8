package convert

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/gguf"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/modelfiles"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/internal/tokenizer"
)

// fileTypes are llama.cpp's numbers for what most tensors of a file are.
var fileTypes = map[tensor.DType]uint32{tensor.F32: 0, tensor.F16: 1, tensor.Q4_0: 2, tensor.Q8_0: 7, tensor.BF16: 32}

func writeGGUF(ctx context.Context, m *modelfiles.Model, o Options) (Result, error) {
	r := Result{Path: o.Out, Format: GGUF, DType: o.DType}
	if r.DType == tensor.Invalid {
		r.DType = m.DType
	}
	if _, ok := fileTypes[r.DType]; !ok {
		return r, errNoType
	}
	values, notes, err := metadata(m, o, r.DType)
	if err != nil {
		return r, err
	}
	r.Notes = notes
	out := &output{targets: targets(m.Weights, gpt2.OutIn)}
	infos := make([]gguf.Info, len(out.targets))
	for i := range out.targets {
		t := &out.targets[i]
		d := r.DType
		if own := o.kept(t.dtype); o.DType == tensor.Invalid {
			if _, ok := fileTypes[own]; ok {
				d = own // without a wish each tensor keeps its own type
			}
		}
		t.dtype = ggufType(t, d)
		name, ok := gguf.TensorName(t.name)
		if !ok {
			return r, fmt.Errorf("tensor %s has no name in a GGUF file", t.name)
		}
		infos[i] = gguf.Info{Name: name, DType: t.dtype, Shape: t.shape}
	}
	layout, err := gguf.Plan(values, infos)
	if err != nil {
		return r, err
	}
	out.head, out.offsets, out.size = layout.Head, layout.Offsets, layout.Size
	if err := checkRoom(o, filepath.Dir(o.Out), out.size); err != nil {
		return r, err
	}
	p, err := beside(o.Out, func(name string) (err error) {
		out.file, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		return err
	})
	if err != nil {
		return r, err
	}
	defer p.remove()
	defer out.file.Close()
	if err := writeOutputs(ctx, o, []*output{out}); err != nil {
		return r, err
	}
	if err := os.Rename(p.name, o.Out); err != nil {
		return r, err
	}
	syncFolder(filepath.Dir(o.Out))
	r.Bytes, r.Tensors = out.size, len(infos)
	r.Files = []File{{filepath.Base(o.Out), out.size}}
	return r, nil
}

// ggufType is the type that llama.cpp's own tools give a tensor of a file whose
// matrices are of type d: it computes with vectors and positions as F32 only,
// and rows that are not whole blocks become F16.
func ggufType(t *target, d tensor.DType) tensor.DType {
	_, width := t.rows()
	switch {
	case len(t.shape) == 1 || t.name == "wpe.weight":
		return tensor.F32
	case d.IsQuantized() && width%tensor.QuantBlock != 0:
		return tensor.F16
	}
	return d
}

// metadata is what a GGUF file says about the model beside its tensors.
func metadata(m *modelfiles.Model, o Options, d tensor.DType) (values []gguf.KV, notes []string, err error) {
	c := m.Config
	set := func(key string, value any) { values = append(values, gguf.KV{Key: key, Value: value}) }
	switch {
	case c.Activation != gpt2.GELUNew && c.Activation != gpt2.GELUPytorchTanh && c.Activation != gpt2.GELUFast:
		return nil, nil, fmt.Errorf("the model's activation is %v, but a GPT-2 in a GGUF file has %v: write safetensors", c.Activation, gpt2.GELUNew)
	case !c.ScaleAttnWeights || c.ScaleAttnByInverseLayerIdx:
		return nil, nil, fmt.Errorf("the model scales attention in a way that a GGUF file cannot say: write safetensors")
	}
	set(gguf.KeyArchitecture, gguf.GPT2)
	set(gguf.KeyType, "model")
	set(gguf.KeyName, strings.ToValidUTF8(o.Name, "\uFFFD")) // a folder's name may be any bytes, and readers want text
	set(gguf.KeyBlocks, uint32(c.Layers))
	set(gguf.KeyContextLength, uint32(c.Positions))
	set(gguf.KeyEmbedding, uint32(c.Embd))
	set(gguf.KeyFeedForward, uint32(c.Inner))
	set(gguf.KeyHeads, uint32(c.Heads))
	set(gguf.KeyEpsilon, float32(c.LayerNormEpsilon))
	set(gguf.KeyFileType, fileTypes[d])
	set(gguf.KeyQuantizationVersion, uint32(2))
	values = append(values, samplingValues(m.GenerationConfig)...)
	parts, err := m.Tokenizer.Parts()
	if err != nil {
		return nil, nil, fmt.Errorf("%w, which a GGUF file cannot say: write safetensors", err)
	}
	words, notes, err := tokenizerValues(c, parts)
	return append(values, words...), notes, err
}

// tokenizerValues describes the vocabulary. It has as many tokens as the
// embedding has rows, as llama.cpp wants it.
func tokenizerValues(c gpt2.Config, p tokenizer.Parts) (values []gguf.KV, notes []string, err error) {
	set := func(key string, value any) { values = append(values, gguf.KV{Key: key, Value: value}) }
	tokens, kinds := make([]string, c.VocabSize), make([]int32, c.VocabSize)
	for i := range tokens {
		piece := tokenizer.Piece{}
		if i < len(p.Tokens) {
			piece = p.Tokens[i]
		}
		tokens[i] = piece.Text
		switch piece.Kind {
		case tokenizer.Hole:
			tokens[i], kinds[i] = fmt.Sprintf("[PAD%d]", i), gguf.TokenUnused
		case tokenizer.Normal:
			kinds[i] = gguf.TokenNormal
		case tokenizer.Added:
			kinds[i] = gguf.TokenUserDefined
		case tokenizer.Special:
			kinds[i] = gguf.TokenControl
		}
	}
	set(gguf.KeyTokenizer, "gpt2")
	set(gguf.KeyPre, "gpt-2")
	set(gguf.KeyTokens, tokens)
	set(gguf.KeyTokenTypes, kinds)
	set(gguf.KeyMerges, append([]string{}, p.Merges...))

	// id names the first of the ids that has a row.
	id := func(key string, ids ...int) int {
		for _, n := range ids {
			if n >= 0 && n < c.VocabSize {
				set(key, uint32(n))
				return n
			}
		}
		return -1
	}
	eos := slices.Clone(c.EOS)
	if len(eos) == 0 {
		eos = append(eos, int(p.EOS))
	}
	begin, end := id(gguf.KeyBOS, c.BOS, int(p.BOS)), id(gguf.KeyEOS, eos[0])
	if len(eos) > 1 {
		id(gguf.KeyEOT, eos[1])
	}
	if len(eos) > 2 {
		notes = append(notes, fmt.Sprintf("of the %d tokens that end a text the file names two", len(eos)))
	}
	id(gguf.KeyUNK, int(p.UNK))
	id(gguf.KeyPAD, c.PAD, int(p.PAD))
	for _, add := range []struct {
		key   string
		ids   []int32
		named int
	}{{gguf.KeyAddBOS, p.Before, begin}, {gguf.KeyAddEOS, p.After, end}} {
		if len(add.ids) > 1 || len(add.ids) == 1 && int(add.ids[0]) != add.named {
			return nil, nil, fmt.Errorf("the tokenizer puts tokens around a text in a way that a GGUF file cannot say: write safetensors")
		}
		set(add.key, len(add.ids) == 1)
	}
	if p.PrefixSpace {
		set(gguf.KeyAddSpace, true)
	}
	return values, notes, nil
}

// samplingValues takes over what a generation_config.json sets of what GGUF
// has keys for; one that does not sample sets nothing.
func samplingValues(text []byte) (values []gguf.KV) {
	var c struct {
		DoSample    bool     `json:"do_sample"`
		Temperature *float32 `json:"temperature"`
		TopK        *int32   `json:"top_k"`
		TopP        *float32 `json:"top_p"`
		MinP        *float32 `json:"min_p"`
		Repeat      *float32 `json:"repetition_penalty"`
	}
	if json.Unmarshal(text, &c) != nil || !c.DoSample {
		return nil
	}
	if c.TopK != nil {
		values = append(values, gguf.KV{Key: gguf.KeyTopK, Value: *c.TopK})
	}
	for _, s := range []struct {
		key   string
		value *float32
	}{{gguf.KeyTopP, c.TopP}, {gguf.KeyMinP, c.MinP}, {gguf.KeyTemperature, c.Temperature}, {gguf.KeyRepeat, c.Repeat}} {
		if s.value != nil {
			values = append(values, gguf.KV{Key: s.key, Value: *s.value})
		}
	}
	return values
}
