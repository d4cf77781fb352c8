package gguf

import (
	"fmt"
	"strings"
)

// The keys of a GPT-2's metadata, as llama.cpp names them.
const (
	KeyArchitecture        = "general.architecture" // "gpt2"
	KeyType                = "general.type"         // "model"
	KeyName                = "general.name"
	KeyFileType            = "general.file_type"
	KeyQuantizationVersion = "general.quantization_version"
	KeyAlignment           = "general.alignment"
	KeySizeLabel           = "general.size_label"

	KeySplitCount = "split.count"

	KeyContextLength = "gpt2.context_length"
	KeyEmbedding     = "gpt2.embedding_length"
	KeyBlocks        = "gpt2.block_count"
	KeyFeedForward   = "gpt2.feed_forward_length"
	KeyHeads         = "gpt2.attention.head_count"
	KeyHeadsKV       = "gpt2.attention.head_count_kv"
	KeyEpsilon       = "gpt2.attention.layer_norm_epsilon"
	KeyVocab         = "gpt2.vocab_size"

	KeyTokenizer  = "tokenizer.ggml.model" // "gpt2": byte pair encoding
	KeyPre        = "tokenizer.ggml.pre"   // "gpt-2"
	KeyTokens     = "tokenizer.ggml.tokens"
	KeyTokenTypes = "tokenizer.ggml.token_type"
	KeyMerges     = "tokenizer.ggml.merges"
	KeyBOS        = "tokenizer.ggml.bos_token_id"
	KeyEOS        = "tokenizer.ggml.eos_token_id"
	KeyEOT        = "tokenizer.ggml.eot_token_id"
	KeyUNK        = "tokenizer.ggml.unknown_token_id"
	KeyPAD        = "tokenizer.ggml.padding_token_id"
	KeyAddBOS     = "tokenizer.ggml.add_bos_token"
	KeyAddEOS     = "tokenizer.ggml.add_eos_token"
	KeyAddSpace   = "tokenizer.ggml.add_space_prefix"

	KeyTemperature = "general.sampling.temp"
	KeyTopK        = "general.sampling.top_k"
	KeyTopP        = "general.sampling.top_p"
	KeyMinP        = "general.sampling.min_p"
	KeyRepeat      = "general.sampling.penalty_repeat"
)

// GPT2 is the architecture's name.
const GPT2 = "gpt2"

// The values of KeyTokenTypes.
const (
	TokenNormal      = 1
	TokenUnknown     = 2
	TokenControl     = 3 // special
	TokenUserDefined = 4 // added, not special
	TokenUnused      = 5
	TokenByte        = 6
)

// tensorNames pairs Hugging Face's names with llama.cpp's; those below "h.N."
// and "blk.N." stand without it.
var tensorNames = []struct{ hf, gguf string }{
	{"wte", "token_embd"},
	{"wpe", "position_embd"},
	{"ln_f", "output_norm"},
	{"lm_head", "output"},
}

var blockNames = []struct{ hf, gguf string }{
	{"ln_1", "attn_norm"},
	{"attn.c_attn", "attn_qkv"},
	{"attn.c_proj", "attn_output"},
	{"ln_2", "ffn_norm"},
	{"mlp.c_fc", "ffn_up"},
	{"mlp.c_proj", "ffn_down"},
}

// TensorName translates Hugging Face's name of a GPT-2 tensor, such as
// "h.3.attn.c_attn.weight", to llama.cpp's: "blk.3.attn_qkv.weight".
func TensorName(hf string) (string, bool) {
	base, part := cutLast(hf)
	if rest, ok := strings.CutPrefix(base, "h."); ok {
		layer, name, _ := strings.Cut(rest, ".")
		for _, n := range blockNames {
			if n.hf == name {
				return fmt.Sprintf("blk.%s.%s.%s", layer, n.gguf, part), true
			}
		}
		return "", false
	}
	for _, n := range tensorNames {
		if n.hf == base {
			return n.gguf + "." + part, true
		}
	}
	return "", false
}

// HFName is the inverse of TensorName.
func HFName(name string) (string, bool) {
	base, part := cutLast(name)
	if rest, ok := strings.CutPrefix(base, "blk."); ok {
		layer, name, _ := strings.Cut(rest, ".")
		for _, n := range blockNames {
			if n.gguf == name {
				return fmt.Sprintf("h.%s.%s.%s", layer, n.hf, part), true
			}
		}
		return "", false
	}
	for _, n := range tensorNames {
		if n.gguf == base {
			return n.hf + "." + part, true
		}
	}
	return "", false
}

// cutLast cuts at the last dot.
func cutLast(name string) (before, after string) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return name, ""
	}
	return name[:i], name[i+1:]
}
