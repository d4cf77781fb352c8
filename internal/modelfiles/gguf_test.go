package modelfiles

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/gguf"
	"github.com/gptctl/gptctl/internal/tensor"
)

// tiny is a GGUF file of a GPT-2 of one layer, two tokens and width 32, with
// changes to its metadata: nil removes a value. All numbers in it are zero.
func tiny(t *testing.T, d tensor.DType, changes map[string]any) string {
	t.Helper()
	values := []gguf.KV{
		{Key: gguf.KeyArchitecture, Value: "gpt2"}, {Key: gguf.KeyContextLength, Value: uint32(4)}, {Key: gguf.KeyEmbedding, Value: uint32(32)},
		{Key: gguf.KeyBlocks, Value: uint32(1)}, {Key: gguf.KeyHeads, Value: uint32(2)}, {Key: gguf.KeyEpsilon, Value: float32(1e-5)},
		{Key: gguf.KeyTokenizer, Value: "gpt2"}, {Key: gguf.KeyPre, Value: "gpt-2"},
		{Key: gguf.KeyTokens, Value: []string{"a", "b", "ab", "<|endoftext|>", "[PAD4]"}}, {Key: gguf.KeyTokenTypes, Value: []int32{1, 1, 1, 1, 5}},
		{Key: gguf.KeyMerges, Value: []string{"a b"}},
	}
	for key, value := range changes {
		values = slices.DeleteFunc(values, func(kv gguf.KV) bool { return kv.Key == key })
		if value != nil {
			values = append(values, gguf.KV{Key: key, Value: value})
		}
	}
	infos := []gguf.Info{{Name: "token_embd.weight", DType: d, Shape: []int{5, 32}}, {Name: "position_embd.weight", DType: tensor.F32, Shape: []int{4, 32}}}
	for _, name := range []string{"output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"} {
		infos = append(infos, gguf.Info{Name: name + ".weight", DType: tensor.F32, Shape: []int{32}}, gguf.Info{Name: name + ".bias", DType: tensor.F32, Shape: []int{32}})
	}
	for name, shape := range map[string][]int{"attn_qkv": {96, 32}, "attn_output": {32, 32}, "ffn_up": {128, 32}, "ffn_down": {32, 128}} {
		infos = append(infos, gguf.Info{Name: "blk.0." + name + ".weight", DType: d, Shape: shape}, gguf.Info{Name: "blk.0." + name + ".bias", DType: tensor.F32, Shape: shape[:1]})
	}
	l, err := gguf.Plan(values, infos)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := os.WriteFile(path, append(l.Head, make([]byte, l.Size-int64(len(l.Head)))...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenGGUF(t *testing.T) {
	path := tiny(t, tensor.Q4_0, nil)
	m, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	c := m.Config
	if m.Name != "tiny" || m.DType != tensor.Q4_0 || c.VocabSize != 5 || c.Positions != 4 || c.Inner != 128 || c.Heads != 2 || c.LayerNormEpsilon != 1e-5 || !m.Weights.Tied {
		t.Errorf("%s, %v, %+v", m.Name, m.DType, c)
	}
	// llama.cpp too takes <|endoftext|> for the end where a file names none.
	if c.BOS != 3 || !slices.Equal(c.EOS, []int{3}) || !m.Tokenizer.IsSpecial(3) || m.Tokenizer.Len() != 4 || m.GenerationConfig != nil {
		t.Errorf("BOS %d, EOS %v, %d tokens, generation_config %q", c.BOS, c.EOS, m.Tokenizer.Len(), m.GenerationConfig)
	}
	if got := m.Tokenizer.Encode(nil, "abba<|endoftext|>"); !slices.Equal(got, []int32{2, 1, 0, 3}) {
		t.Errorf("got %v", got)
	}
	if len(m.Weights.Unused) > 0 || m.Files != nil {
		t.Errorf("unused %v, files %v", m.Weights.Unused, m.Files)
	}
	// A file may have any name.
	other := filepath.Join(t.TempDir(), "blob")
	if err := os.Rename(path, other); err != nil {
		t.Fatal(err)
	}
	again, err := Open(other, Options{})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestOpenGGUFSettings(t *testing.T) {
	m, err := Open(tiny(t, tensor.F32, map[string]any{
		gguf.KeyBOS: uint32(0), gguf.KeyEOS: uint32(1), gguf.KeyEOT: uint32(3), gguf.KeyPAD: uint32(1<<32 - 1), gguf.KeyAddBOS: true, gguf.KeyAddSpace: false,
		gguf.KeyTemperature: float32(0), gguf.KeyTopP: float32(0.9), gguf.KeyTopK: int32(5), gguf.KeyPre: nil, gguf.KeyFeedForward: uint32(128),
	}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Config.BOS != 0 || !slices.Equal(m.Config.EOS, []int{1, 3}) || m.Config.PAD != -1 {
		t.Errorf("%+v", m.Config)
	}
	if got := m.Tokenizer.Encode(nil, "ab"); !slices.Equal(got, []int32{0, 2}) {
		t.Errorf("got %v", got)
	}
	for _, want := range []string{`"do_sample": false`, `"top_p": 0.9`, `"top_k": 5`} {
		if !strings.Contains(string(m.GenerationConfig), want) || strings.Contains(string(m.GenerationConfig), "temperature") {
			t.Errorf("%s has no %s, or a temperature", m.GenerationConfig, want)
		}
	}
}

// What llama.cpp reads so: a temperature or a number of tokens below zero switches
// sampling, or the bound, off; a number of heads may be an array of the layers'.
func TestOpenGGUFAsLlama(t *testing.T) {
	m, err := Open(tiny(t, tensor.F32, map[string]any{
		gguf.KeyTemperature: float32(-1), gguf.KeyTopK: int32(-1), gguf.KeyHeadsKV: []int32{2}, gguf.KeyFeedForward: []int32{128},
	}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if text := string(m.GenerationConfig); !strings.Contains(text, `"top_k": 0`) || !strings.Contains(text, `"do_sample": false`) || strings.Contains(text, "temperature") {
		t.Errorf("got %s", text)
	}
}

func TestOpenGGUFRefuses(t *testing.T) {
	for want, changes := range map[string]map[string]any{
		`architecture "llama", want "gpt2"`:              {gguf.KeyArchitecture: "llama"},
		`architecture "xxx`:                              {gguf.KeyArchitecture: strings.Repeat("x", 1000)},
		`"tokenizer.ggml.pre" is "xxx`:                   {gguf.KeyPre: strings.Repeat("x", 1000)},
		"does not say which architecture":                {gguf.KeyArchitecture: nil},
		"one of 3 parts":                                 {gguf.KeySplitCount: uint32(3), gguf.KeyArchitecture: nil},
		"8 in one place and 4 in another":                {gguf.KeyHeads: []int32{8, 4}},
		`head_count_kv" has 2 in one place`:              {gguf.KeyHeadsKV: []int32{2, 1}},
		`head_count" is an array of int32`:               {gguf.KeyHeads: []int32{}},
		`"gpt2.block_count" is missing`:                  {gguf.KeyBlocks: nil},
		`"gpt2.attention.layer_norm_epsilon" is missing`: {gguf.KeyEpsilon: nil},
		"n_head":     {gguf.KeyHeads: uint32(3)},
		"as many as": {gguf.KeyHeadsKV: uint32(1)},
		"n_layer":    {gguf.KeyBlocks: uint32(1 << 31)},
		"12 tensors are missing: blk.1.attn_norm.weight":      {gguf.KeyBlocks: uint32(2)},
		`tensor "position_embd.weight" has shape [4 32]`:      {gguf.KeyContextLength: uint32(5)},
		`"tokenizer.ggml.model" is missing`:                   {gguf.KeyTokenizer: nil},
		`"tokenizer.ggml.model" is "llama"`:                   {gguf.KeyTokenizer: "llama"},
		`"tokenizer.ggml.pre" is "llama-bpe", want "gpt-2"`:   {gguf.KeyPre: "llama-bpe"},
		`"tokenizer.ggml.tokens" is missing`:                  {gguf.KeyTokens: nil},
		`"tokenizer.ggml.tokens" is string`:                   {gguf.KeyTokens: "a"},
		"has 1 elements":                                      {gguf.KeyTokenTypes: []int32{1}},
		`"tokenizer.ggml.merges" is missing`:                  {gguf.KeyMerges: nil},
		"want two tokens":                                     {gguf.KeyMerges: []string{"ab"}},
		"tokenizer has 6 entries":                             {gguf.KeyTokens: []string{"a", "b", "ab", "c", "d", "e"}, gguf.KeyTokenTypes: nil},
		"are both":                                            {gguf.KeyTokens: []string{"a", "a", "ab"}, gguf.KeyTokenTypes: nil},
		`"tokenizer.ggml.bos_token_id" is -1, want no negati`: {gguf.KeyBOS: int32(-1)},
		`"general.sampling.temp" is bool`:                     {gguf.KeyTemperature: true},
	} {
		path := tiny(t, tensor.F16, changes)
		_, err := Open(path, Options{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || len(err.Error()) > 400+len(path) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "not a GGUF file") {
		t.Errorf("no GGUF file: %v", err)
	}
}
