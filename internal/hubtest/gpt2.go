package hubtest

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
)

// The real repository's names.
const (
	GPT2       = "openai-community/gpt2"
	GPT2Commit = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
)

// merges.txt of GPT-2; testdata/README.md has its licence.
//
//go:embed testdata/merges.txt.gz
var mergesGzip []byte

const gpt2Config = `{
  "activation_function": "gelu_new",
  "architectures": [
    "GPT2LMHeadModel"
  ],
  "attn_pdrop": 0.1,
  "bos_token_id": 50256,
  "embd_pdrop": 0.1,
  "eos_token_id": 50256,
  "initializer_range": 0.02,
  "layer_norm_epsilon": 1e-05,
  "model_type": "gpt2",
  "n_ctx": 1024,
  "n_embd": 768,
  "n_head": 12,
  "n_layer": 12,
  "n_positions": 1024,
  "resid_pdrop": 0.1,
  "summary_activation": null,
  "summary_first_dropout": 0.1,
  "summary_proj_to_labels": true,
  "summary_type": "cls_index",
  "summary_use_proj": true,
  "task_specific_params": {
    "text-generation": {
      "do_sample": true,
      "max_length": 50
    }
  },
  "vocab_size": 50257
}`

const gpt2Generation = `{
  "bos_token_id": 50256,
  "eos_token_id": 50256,
  "transformers_version": "4.26.0.dev0",
  "_from_model_config": true
}
`

// GPT2Files are the small files of openai-community/gpt2 at GPT2Commit, byte for
// byte, by name. Two of them are derived: GPT-2's vocabulary is its 256 byte
// symbols, then the merges in order, then <|endoftext|>.
func GPT2Files() (map[string]string, error) {
	z, err := gzip.NewReader(bytes.NewReader(mergesGzip))
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	merges := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")[1:]
	tokens := byteSymbols()
	for _, m := range merges {
		tokens = append(tokens, strings.Replace(m, " ", "", 1))
	}
	tokens = append(tokens, "<|endoftext|>")

	var vocab, tokenizer strings.Builder
	vocab.WriteString("{")
	tokenizer.WriteString(`{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":50256,"special":true,"content":"<|endoftext|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":true}],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true},"post_processor":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":false},"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true},"model":{"dropout":null,"unk_token":null,"continuing_subword_prefix":"","end_of_word_suffix":"","fuse_unk":false,"vocab":{`)
	for id, token := range tokens {
		if id > 0 {
			vocab.WriteString(", ")
			tokenizer.WriteString(",")
		}
		fmt.Fprintf(&vocab, "%s: %d", jsonString(token, true), id)
		fmt.Fprintf(&tokenizer, "%s:%d", jsonString(token, false), id)
	}
	vocab.WriteString("}")
	tokenizer.WriteString(`},"merges":[`)
	for i, m := range merges {
		if i > 0 {
			tokenizer.WriteString(",")
		}
		tokenizer.WriteString(jsonString(m, false))
	}
	tokenizer.WriteString("]}}")
	return map[string]string{
		"config.json":            gpt2Config,
		"generation_config.json": gpt2Generation,
		"merges.txt":             string(raw),
		"tokenizer.json":         tokenizer.String(),
		"tokenizer_config.json":  `{"model_max_length": 1024}`,
		"vocab.json":             vocab.String(),
	}, nil
}

// byteSymbols are GPT-2's first 256 tokens: the printable bytes as they are,
// then the others as the letters from U+0100.
func byteSymbols() []string {
	var printable, others []string
	for b := rune(0); b < 256; b++ {
		if b >= '!' && b <= '~' || b >= '¡' && b <= '¬' || b >= '®' {
			printable = append(printable, string(b))
		} else {
			others = append(others, string(rune(256+len(others))))
		}
	}
	return append(printable, others...)
}

// jsonString quotes as Python's json does; GPT-2's symbols need only these escapes.
func jsonString(s string, ascii bool) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case ascii && r >= utf8.RuneSelf:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// GPT2Options shape the preset.
type GPT2Options struct {
	Weights int64 // bytes of noise as model.safetensors; 0: a real, small model with a config.json of its own
	Seed    uint64
	Xet     bool
}

// AddGPT2 adds openai-community/gpt2 with all its real file names, and "gpt2" as
// the name it had before. The weights are the test's own, and so is README.md.
func (s *Server) AddGPT2(o GPT2Options) (*Repo, error) {
	small, err := GPT2Files()
	if err != nil {
		return nil, err
	}
	weights := Content(Noise(o.Seed, o.Weights))
	if o.Weights == 0 {
		config, data, err := smallModel(o.Seed)
		if err != nil {
			return nil, err
		}
		small["config.json"], weights = config, bytes.NewReader(data)
	}
	small["README.md"] = "---\nlanguage: en\nlicense: mit\n---\n\n# A stand-in for GPT-2\n"
	small[".gitattributes"] = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
	files := []File{{Path: "model.safetensors", Content: weights, LFS: true, Xet: o.Xet}}
	for _, name := range slices.Sorted(maps.Keys(small)) {
		files = append(files, File{Path: name, Content: Text(small[name])})
	}
	// What nobody needs who has the safetensors.
	for i, name := range []string{"pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "rust_model.ot", "64.tflite", "64-8bits.tflite",
		"64-fp16.tflite", "onnx/decoder_model.onnx", "onnx/decoder_model_merged.onnx", "onnx/decoder_with_past_model.onnx"} {
		files = append(files, File{Path: name, Content: Noise(o.Seed+100+uint64(i), 1<<20), LFS: true, Xet: o.Xet})
	}
	for _, name := range []string{"config.json", "generation_config.json", "merges.txt", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.json"} {
		files = append(files, File{Path: "onnx/" + name, Content: Text("{}")})
	}
	repo := s.Repo(GPT2)
	repo.CommitAs(GPT2Commit, files...)
	s.Rename("gpt2", GPT2)
	return repo, nil
}

const (
	smallLayers = 2
	smallWidth  = 16
	smallHeads  = 2
	smallVocab  = 50257
	smallPlaces = 1024
)

// smallModel returns a GPT-2 of 2 layers of width 16 as transformers saves it.
func smallModel(seed uint64) (config string, weights []byte, err error) {
	config = gpt2Config
	for old, with := range map[string]string{`"n_embd": 768`: fmt.Sprintf(`"n_embd": %d`, smallWidth),
		`"n_head": 12`: fmt.Sprintf(`"n_head": %d`, smallHeads), `"n_layer": 12`: fmt.Sprintf(`"n_layer": %d`, smallLayers)} {
		config = strings.Replace(config, old, with, 1)
	}
	if !json.Valid([]byte(config)) {
		return "", nil, fmt.Errorf("config.json is not JSON")
	}
	source := rand.New(rand.NewPCG(seed, 7))
	var tensors []safetensors.Named
	add := func(name string, fill func() float32, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		data := make([]byte, 0, 4*n)
		for range n {
			bits := math.Float32bits(fill())
			data = append(data, byte(bits), byte(bits>>8), byte(bits>>16), byte(bits>>24))
		}
		tensors = append(tensors, safetensors.Named{Name: name, Tensor: tensor.Tensor{DType: tensor.F32, Shape: shape, Data: data}})
	}
	normal := func() float32 { return float32(source.NormFloat64() * 0.02) }
	one, zero := func() float32 { return 1 }, func() float32 { return 0 }
	add("wte.weight", normal, smallVocab, smallWidth)
	add("wpe.weight", normal, smallPlaces, smallWidth)
	for layer := range smallLayers {
		p := fmt.Sprintf("h.%d.", layer)
		add(p+"ln_1.weight", one, smallWidth)
		add(p+"ln_1.bias", zero, smallWidth)
		add(p+"attn.c_attn.weight", normal, smallWidth, 3*smallWidth)
		add(p+"attn.c_attn.bias", zero, 3*smallWidth)
		add(p+"attn.c_proj.weight", normal, smallWidth, smallWidth)
		add(p+"attn.c_proj.bias", zero, smallWidth)
		add(p+"ln_2.weight", one, smallWidth)
		add(p+"ln_2.bias", zero, smallWidth)
		add(p+"mlp.c_fc.weight", normal, smallWidth, 4*smallWidth)
		add(p+"mlp.c_fc.bias", zero, 4*smallWidth)
		add(p+"mlp.c_proj.weight", normal, 4*smallWidth, smallWidth)
		add(p+"mlp.c_proj.bias", zero, smallWidth)
	}
	add("ln_f.weight", one, smallWidth)
	add("ln_f.bias", zero, smallWidth)
	var out bytes.Buffer
	err = safetensors.Write(&out, tensors, map[string]string{"format": "pt"})
	return config, out.Bytes(), err
}
