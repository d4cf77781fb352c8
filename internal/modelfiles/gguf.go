package modelfiles

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gptctl/gptctl/internal/gguf"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/internal/tokenizer"
)

const (
	ggufExt   = ".gguf"
	endOfText = "<|endoftext|>"
)

// isGGUF recognises a file by its name or by how it begins.
func isGGUF(path string, info os.FileInfo) bool {
	if strings.EqualFold(filepath.Ext(path), ggufExt) {
		return true
	}
	if !info.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var begin [4]byte
	_, err = io.ReadFull(f, begin[:])
	return err == nil && string(begin[:]) == "GGUF"
}

// ggufWeights gives the tensors of a GGUF file Hugging Face's names.
type ggufWeights struct{ *gguf.File }

func (w ggufWeights) Names() []string {
	names := make([]string, 0, len(w.File.Names()))
	for _, name := range w.File.Names() {
		if hf, ok := gguf.HFName(name); ok {
			name = hf
		}
		names = append(names, name)
	}
	return names
}

func (w ggufWeights) Tensor(name string) (tensor.Tensor, bool) {
	own, ok := gguf.TensorName(name)
	if !ok {
		return tensor.Tensor{}, false
	}
	return w.File.Tensor(own)
}

// FileName implements gpt2.NamedSource.
func (w ggufWeights) FileName(name string) string {
	if own, ok := gguf.TensorName(name); ok {
		return own
	}
	return name
}

// ProjectionLayout implements gpt2.LayoutSource.
func (w ggufWeights) ProjectionLayout() gpt2.Layout { return gpt2.OutIn }

// openGGUF opens a model that is one GGUF file.
func openGGUF(path string, o Options) (_ *Model, err error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	m := &Model{Name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), file: ggufWeights{f}}
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	if err = checkGGUF(f); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	var parts tokenizer.Parts
	if parts, err = ggufParts(f); err != nil {
		return nil, fmt.Errorf("read tokenizer of %s: %w", path, err)
	}
	if m.Config, err = ggufConfig(f, parts); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if m.GenerationConfig, err = ggufGeneration(f, m.Config); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if err = m.bindWeights(path); err != nil {
		return nil, err
	}
	m.Title, _, _ = f.Text(gguf.KeyName) // nothing depends on it
	m.prepare(o)
	if m.Tokenizer, err = tokenizer.New(parts); err != nil {
		return nil, fmt.Errorf("read tokenizer of %s: %w", path, err)
	}
	if err = m.checkTokens(path); err != nil {
		return nil, err
	}
	return m, nil
}

// checkGGUF refuses what is not a GPT-2 in one file, in types that are read or
// can be brought to one.
func checkGGUF(f *gguf.File) error {
	parts, _, err := f.Uint(gguf.KeySplitCount) // first of all: only the first part says more
	switch {
	case err != nil:
		return err
	case parts > 1:
		return &gguf.FormatError{Why: fmt.Sprintf("the file is one of %d parts of a model", parts), Mend: "join them with llama.cpp's llama-gguf-split --merge FIRST.gguf FILE.gguf"}
	}
	architecture, ok, err := f.Text(gguf.KeyArchitecture)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("the file does not say which architecture it holds (%s)", gguf.KeyArchitecture)
	case architecture != gguf.GPT2:
		return &gpt2.FamilyError{Why: fmt.Sprintf("the file holds a model of architecture %.60q, want %q", architecture, gguf.GPT2)}
	}
	f.Requantize()
	return f.CheckTypes()
}

// ggufConfig reads the configuration. It goes through config.json's parser, so
// that both are held to the same rules.
func ggufConfig(f *gguf.File, parts tokenizer.Parts) (gpt2.Config, error) {
	fields := map[string]any{"model_type": gguf.GPT2, "activation_function": gpt2.GELUNew.String()}
	for _, size := range []struct {
		key, field string
		optional   bool
	}{
		{gguf.KeyContextLength, "n_positions", false}, {gguf.KeyEmbedding, "n_embd", false}, {gguf.KeyBlocks, "n_layer", false},
		{gguf.KeyHeads, "n_head", false}, {gguf.KeyFeedForward, "n_inner", true},
	} {
		n, ok, err := f.Uint(size.key)
		if err != nil {
			return gpt2.Config{}, err
		}
		if !ok && !size.optional {
			return gpt2.Config{}, fmt.Errorf("metadata %q is missing", size.key)
		}
		if ok {
			fields[size.field] = n
		}
	}
	if n, ok, err := f.Uint(gguf.KeyHeadsKV); err != nil {
		return gpt2.Config{}, err
	} else if ok && n != fields["n_head"] {
		return gpt2.Config{}, fmt.Errorf("metadata %q is %d, want as many as %q", gguf.KeyHeadsKV, n, gguf.KeyHeads)
	}
	epsilon, ok, err := f.Float(gguf.KeyEpsilon)
	if err != nil {
		return gpt2.Config{}, err
	}
	if !ok || math.IsNaN(epsilon) || math.IsInf(epsilon, 0) {
		return gpt2.Config{}, fmt.Errorf("metadata %q is missing or no number", gguf.KeyEpsilon)
	}
	fields["layer_norm_epsilon"] = number(epsilon)
	// As many rows as the embedding has: a tokenizer may leave some unused.
	fields["vocab_size"] = max(len(parts.Tokens), 1)
	if name, ok := gguf.TensorName("wte.weight"); ok {
		if t, ok := f.Tensor(name); ok && len(t.Shape) == 2 {
			fields["vocab_size"] = t.Shape[0]
		}
	}
	id := func(n int32) any {
		if n < 0 {
			return nil
		}
		return n
	}
	fields["bos_token_id"], fields["pad_token_id"] = id(parts.BOS), id(parts.PAD)
	eos := []int32{}
	if parts.EOS >= 0 {
		eos = append(eos, parts.EOS)
	}
	if eot, err := tokenID(f, gguf.KeyEOT); err != nil {
		return gpt2.Config{}, err
	} else if eot >= 0 && eot != parts.EOS {
		eos = append(eos, eot)
	}
	fields["eos_token_id"] = eos
	text, err := json.Marshal(fields)
	if err != nil {
		return gpt2.Config{}, err
	}
	return gpt2.ParseConfig(text)
}

// number writes a float32 with the digits that it takes to tell it from others.
func number(x float64) json.Number {
	return json.Number(strconv.FormatFloat(x, 'g', -1, 32))
}

// tokenID reads the id of a named token, -1 without one.
func tokenID(f *gguf.File, key string) (int32, error) {
	n, ok, err := f.Uint(key)
	switch {
	case err != nil:
		return -1, err
	case !ok || n > math.MaxInt32: // 2³²-1 stands for none
		return -1, nil
	}
	return int32(n), nil
}

// preTokenizers are the names of GPT-2's way to split text. "default" and none
// at all come from converters older than the name.
var preTokenizers = []string{"", "gpt-2", "default"}

// ggufParts reads the tokenizer.
func ggufParts(f *gguf.File) (tokenizer.Parts, error) {
	p := tokenizer.Parts{}
	kind, ok, err := f.Text(gguf.KeyTokenizer)
	if err != nil {
		return p, err
	}
	if !ok {
		return p, orMissing(nil, gguf.KeyTokenizer)
	}
	if kind != "gpt2" {
		return p, &gpt2.FamilyError{Why: fmt.Sprintf("metadata %q is %.60q, want \"gpt2\"", gguf.KeyTokenizer, kind)}
	}
	pre, _, err := f.Text(gguf.KeyPre)
	if err != nil {
		return p, err
	}
	if !slices.Contains(preTokenizers, pre) {
		return p, &gpt2.FamilyError{Why: fmt.Sprintf("metadata %q is %.60q, want \"gpt-2\"", gguf.KeyPre, pre)}
	}
	if err := ggufTokens(f, &p); err != nil {
		return p, err
	}
	if p.Merges, ok, err = f.Texts(gguf.KeyMerges); err != nil || !ok {
		return p, orMissing(err, gguf.KeyMerges)
	}
	return p, ggufSpecials(f, &p)
}

func orMissing(err error, key string) error {
	if err == nil {
		err = fmt.Errorf("metadata %q is missing", key)
	}
	return err
}

// ggufTokens reads the vocabulary.
func ggufTokens(f *gguf.File, p *tokenizer.Parts) error {
	tokens, ok, err := f.Texts(gguf.KeyTokens)
	if err != nil || !ok {
		return orMissing(err, gguf.KeyTokens)
	}
	kinds, ok, err := f.Ints(gguf.KeyTokenTypes)
	if err != nil {
		return err
	}
	if ok && len(kinds) != len(tokens) {
		return fmt.Errorf("metadata %q has %d elements, want one for each of the %d tokens", gguf.KeyTokenTypes, len(kinds), len(tokens))
	}
	p.Tokens = make([]tokenizer.Piece, len(tokens))
	for i, text := range tokens {
		kind := tokenizer.Normal
		if ok {
			switch kinds[i] {
			case gguf.TokenControl, gguf.TokenUnknown:
				kind = tokenizer.Special
			case gguf.TokenUserDefined:
				kind = tokenizer.Added
			case gguf.TokenUnused:
				kind = tokenizer.Hole
			}
		}
		p.Tokens[i] = tokenizer.Piece{Text: text, Kind: kind}
	}
	return nil
}

// ggufSpecials reads what is named or put around a text. As in llama.cpp GPT-2's
// own <|endoftext|> is special whatever a file says, and ends a text where the
// file names nothing that does; it begins one too.
func ggufSpecials(f *gguf.File, p *tokenizer.Parts) (err error) {
	for _, named := range []struct {
		dst *int32
		key string
	}{{&p.BOS, gguf.KeyBOS}, {&p.EOS, gguf.KeyEOS}, {&p.UNK, gguf.KeyUNK}, {&p.PAD, gguf.KeyPAD}} {
		if *named.dst, err = tokenID(f, named.key); err != nil {
			return err
		}
	}
	for i, piece := range p.Tokens {
		if piece.Text != endOfText || piece.Kind == tokenizer.Hole {
			continue
		}
		p.Tokens[i].Kind = tokenizer.Special
		if p.EOS < 0 {
			p.EOS = int32(i)
		}
		if p.BOS < 0 {
			p.BOS = int32(i)
		}
	}
	if p.PrefixSpace, _, err = f.Flag(gguf.KeyAddSpace); err != nil {
		return err
	}
	for _, add := range []struct {
		dst *[]int32
		key string
		id  int32
	}{{&p.Before, gguf.KeyAddBOS, p.BOS}, {&p.After, gguf.KeyAddEOS, p.EOS}} {
		set, _, err := f.Flag(add.key)
		if err != nil {
			return err
		}
		if set && add.id >= 0 {
			*add.dst = []int32{add.id}
		}
	}
	return nil
}

// sampling pairs the keys of general.sampling with Hugging Face's names.
var sampling = []struct {
	key, field string
	whole      bool
}{
	{gguf.KeyTemperature, "temperature", false}, {gguf.KeyTopK, "top_k", true}, {gguf.KeyTopP, "top_p", false},
	{gguf.KeyMinP, "min_p", false}, {gguf.KeyRepeat, "repetition_penalty", false},
}

// ggufGeneration writes what the file says about sampling as a
// generation_config.json; nil if it says nothing.
func ggufGeneration(f *gguf.File, cfg gpt2.Config) ([]byte, error) {
	fields, greedy := map[string]any{}, false
	for _, s := range sampling {
		if s.whole {
			n, ok, err := f.Int(s.key)
			if err != nil {
				return nil, err
			}
			if ok {
				fields[s.field] = max(n, 0) // llama.cpp's -1 is off, as 0
			}
			continue
		}
		x, ok, err := f.Float(s.key)
		if err != nil {
			return nil, err
		}
		if ok && !math.IsNaN(x) && !math.IsInf(x, 0) {
			fields[s.field] = number(x)
			greedy = greedy || s.key == gguf.KeyTemperature && x <= 0 // as in llama.cpp
		}
	}
	if len(fields) == 0 {
		return nil, nil
	}
	if fields["do_sample"] = !greedy; greedy {
		delete(fields, "temperature")
	}
	if cfg.BOS >= 0 {
		fields["bos_token_id"] = cfg.BOS
	}
	if len(cfg.EOS) > 0 {
		fields["eos_token_id"] = cfg.EOS
	}
	return json.MarshalIndent(fields, "", "  ")
}
