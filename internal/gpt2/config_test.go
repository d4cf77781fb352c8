package gpt2

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func gpt2Small() Config {
	return Config{VocabSize: 50257, Positions: 1024, Embd: 768, Heads: 12, Layers: 12, Inner: 3072,
		Activation: GELUNew, LayerNormEpsilon: 1e-5, ScaleAttnWeights: true, TieWordEmbeddings: true,
		BOS: 50256, EOS: []int{50256}, PAD: -1}
}

func TestParseConfig(t *testing.T) {
	for _, c := range []struct {
		name, fields string // fields beside "model_type": "gpt2"
		change       func(*Config)
	}{
		{"defaults", ``, func(*Config) {}},
		{"ignored fields", `"n_ctx": 5, "use_cache": false, "torch_dtype": "float16", "attn_pdrop": 0.3, "task_specific_params": {"a": [1, {}]}, "transformers_version": "4.1"`, func(*Config) {}},
		{"sizes", `"vocab_size": 53, "n_positions": 11, "n_embd": 24, "n_head": 3, "n_layer": 2`, func(c *Config) {
			c.VocabSize, c.Positions, c.Embd, c.Heads, c.Layers, c.Inner = 53, 11, 24, 3, 2, 96
		}},
		{"aliases", `"max_position_embeddings": 11, "hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2`, func(c *Config) {
			c.Positions, c.Embd, c.Heads, c.Layers, c.Inner = 11, 24, 3, 2, 96
		}},
		{"an alias wins, whatever the order", `"hidden_size": 24, "n_embd": 48`, func(c *Config) { c.Embd, c.Inner = 24, 96 }},
		{"n_inner", `"n_inner": 7`, func(c *Config) { c.Inner = 7 }},
		{"n_inner null", `"n_inner": null`, func(*Config) {}},
		{"intermediate_size is no field of GPT-2", `"intermediate_size": 7`, func(*Config) {}},
		{"swish", `"activation_function": "swish"`, func(c *Config) { c.Activation = SiLU }},
		{"quick_gelu", `"activation_function": "quick_gelu"`, func(c *Config) { c.Activation = QuickGELU }},
		{"epsilon", `"layer_norm_epsilon": 1e-12`, func(c *Config) { c.LayerNormEpsilon = 1e-12 }},
		{"booleans", `"scale_attn_weights": false, "scale_attn_by_inverse_layer_idx": true, "reorder_and_upcast_attn": true, "tie_word_embeddings": false`, func(c *Config) {
			c.ScaleAttnWeights, c.ScaleAttnByInverseLayerIdx, c.ReorderAndUpcastAttn, c.TieWordEmbeddings = false, true, true, false
		}},
		{"tokens", `"bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": 4`, func(c *Config) { c.BOS, c.EOS, c.PAD = 1, []int{2, 3}, 4 }},
		{"no tokens", `"bos_token_id": null, "eos_token_id": null, "pad_token_id": -1`, func(c *Config) { c.BOS, c.EOS, c.PAD = -1, nil, -1 }},
		{"no end tokens", `"eos_token_id": []`, func(c *Config) { c.EOS = nil }},
		{"nothing asked for", `"add_cross_attention": false, "is_encoder_decoder": false, "is_decoder": true, "pruned_heads": {}, "quantization_config": null, "architectures": null`, func(*Config) {}},
		{"a bare GPT2Model", `"architectures": ["GPT2Model"]`, func(*Config) {}},
		{"two heads", `"architectures": ["GPT2DoubleHeadsModel"]`, func(*Config) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := `{"model_type": "gpt2"`
			if c.fields != "" {
				text += ", " + c.fields
			}
			got, err := ParseConfig([]byte(text + "}"))
			if err != nil {
				t.Fatal(err)
			}
			want := gpt2Small()
			c.change(&want)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
	if _, err := ParseConfig([]byte(` {"architectures": ["GPT2LMHeadModel"], "n_embd": 24} ` + "\n")); err != nil {
		t.Errorf("model_type inferred from architectures: %v", err)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	gpt2 := func(fields string) string { return `{"model_type": "gpt2", ` + fields + `}` }
	for _, c := range []struct{ name, text, want string }{
		{"empty", ``, "the text ends"},
		{"array", `[]`, "an object is expected"},
		{"no model_type", `{}`, `"model_type" is missing`},
		{"null model_type", `{"model_type": null, "n_embd": 4}`, `"model_type" is missing`},
		{"other model_type", `{"model_type": "gpt_neo"}`, `"model_type" is "gpt_neo"`},
		{"case", `{"model_type": "GPT2"}`, `"model_type" is "GPT2"`},
		{"missing type of another architecture", `{"architectures": ["BertModel"]}`, `"model_type" is missing`},
		{"classifier", gpt2(`"architectures": ["GPT2ForSequenceClassification"]`), `"architectures" is "GPT2ForSequenceClassification"`},
		{"architectures no list", gpt2(`"architectures": "GPT2LMHeadModel"`), `"architectures": found a string where an array`},
		{"cross attention", gpt2(`"add_cross_attention": true`), "add_cross_attention is true"},
		{"encoder and decoder", gpt2(`"is_encoder_decoder": true`), "is_encoder_decoder is true"},
		{"quantized", gpt2(`"quantization_config": {"load_in_8bit": true}`), "quantization_config is set"},
		{"pruned", gpt2(`"pruned_heads": {"0": [1]}`), "pruned_heads is set"},
		{"per layer", gpt2(`"per_layer_config": {"0": {"n_inner": 5}}`), "per_layer_config is set"},
		{"heads", gpt2(`"n_embd": 10, "n_head": 3`), "n_embd 10 is not divisible by n_head 3"},
		{"zero", gpt2(`"vocab_size": 0`), `"vocab_size": got 0`},
		{"negative", gpt2(`"n_positions": -1`), `"n_positions": got -1`},
		{"zero inner", gpt2(`"n_inner": 0`), `"n_inner": got 0`},
		{"huge", gpt2(`"n_layer": 1000000000000`), `"n_layer": got 1000000000000`},
		{"beyond 64 bits", gpt2(`"n_embd": 1180591620717411303424`), `"n_embd": 1180591620717411303424 does not fit`},
		{"string size", gpt2(`"n_embd": "768"`), `"n_embd": found a string where a number`},
		{"float size", gpt2(`"n_embd": 768.0`), `"n_embd": found 768.0 where an integer`},
		{"bool size", gpt2(`"n_embd": true`), `"n_embd": found a boolean`},
		{"null size", gpt2(`"n_embd": null`), `"n_embd": found null`},
		{"number for bool", gpt2(`"scale_attn_weights": 1`), `"scale_attn_weights": found a number where a boolean`},
		{"null bool", gpt2(`"tie_word_embeddings": null`), `"tie_word_embeddings": found null`},
		{"activation", gpt2(`"activation_function": "mish"`), `field "activation_function": activation "mish" is not supported, want one of gelu_new, gelu,`},
		{"empty activation", gpt2(`"activation_function": ""`), `activation "" is not supported`},
		{"null activation", gpt2(`"activation_function": null`), `"activation_function": found null`},
		{"zero epsilon", gpt2(`"layer_norm_epsilon": 0`), `"layer_norm_epsilon": got 0`},
		{"epsilon that vanishes in float32", gpt2(`"layer_norm_epsilon": 1e-60`), `"layer_norm_epsilon": got 1e-60`},
		{"infinite epsilon", gpt2(`"layer_norm_epsilon": 1e999`), `1e999 is out of range`},
		{"NaN epsilon", gpt2(`"layer_norm_epsilon": NaN`), `"layer_norm_epsilon": found 'N'`},
		{"string epsilon", gpt2(`"layer_norm_epsilon": "1e-5"`), `"layer_norm_epsilon": found a string`},
		{"token", gpt2(`"eos_token_id": "x"`), `"eos_token_id": found a string`},
		{"token list", gpt2(`"bos_token_id": [1]`), `"bos_token_id": found an array`},
		{"huge token", gpt2(`"pad_token_id": 99999999999`), `"pad_token_id": got token 99999999999`},
		{"twice", gpt2(`"n_embd": 12, "n_embd": 24`), `key "n_embd" occurs twice`},
		{"rest", `{"model_type": "gpt2"} x`, "after the end"},
		{"cut", `{"model_type": "gpt2"`, "no ',' or '}'"},
		{"deep", gpt2(`"a": ` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000)), "nested deeper"},
		{"deep objects", gpt2(`"a": ` + strings.Repeat(`{"a":`, 10000)), "nested deeper"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseConfig([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestActivationNames(t *testing.T) {
	for a := GELUNew; a <= QuickGELU; a++ {
		if got, err := ParseActivation(a.String()); err != nil || got != a {
			t.Errorf("%v: parsed as %v, %v", a, got, err)
		}
	}
}

func TestConfigArithmetic(t *testing.T) {
	c := gpt2Small()
	if c.HeadDim() != 64 {
		t.Errorf("head dim %d", c.HeadDim())
	}
	if n := c.Parameters(); n != 124_439_808 { // the published count
		t.Errorf("%d parameters", n)
	}
	untied := c
	untied.TieWordEmbeddings = false
	if n := untied.Parameters(); n != 124_439_808+50257*768 {
		t.Errorf("untied: %d parameters", n)
	}
	for _, s := range []struct {
		scale, byLayer bool
		layer          int
		want           float64
	}{{true, false, 3, 0.125}, {false, false, 3, 1}, {true, true, 3, 0.125 / 4}, {false, true, 0, 1}, {false, true, 2, 1. / 3}} {
		c.ScaleAttnWeights, c.ScaleAttnByInverseLayerIdx = s.scale, s.byLayer
		if got := c.AttentionScale(s.layer); math.Abs(float64(got)-s.want) > 1e-7 {
			t.Errorf("%+v: scale %g", s, got)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, seed := range []string{
		`{"model_type": "gpt2", "n_embd": 24, "n_head": 3, "eos_token_id": [1, null], "activation_function": "relu"}`,
		`{"architectures": ["GPT2LMHeadModel"], "hidden_size": 4, "num_attention_heads": 2, "layer_norm_epsilon": 1e-06}`,
		`{"model_type": "gpt2", "pruned_heads": {"0": []}, "n_inner": null, "a": "\ud83d\ude00\u0000"}`,
		`[[[[`, `{"a":{"a":{`, `{"n_embd": 1e400}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		if c.VocabSize < 1 || c.Positions < 1 || c.Layers < 1 || c.Inner < 1 || c.Heads < 1 || c.Embd%c.Heads != 0 {
			t.Fatalf("accepted sizes %+v", c)
		}
		if !(c.LayerNormEpsilon > 0) || c.Parameters() <= 0 || c.BOS < -1 || c.PAD < -1 {
			t.Fatalf("accepted %+v", c)
		}
	})
}
