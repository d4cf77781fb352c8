package run

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/modelfiles"
)

func TestValidate(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	tests := []struct {
		setting string // "" if fine
		change  func(*Settings)
	}{
		{"", func(s *Settings) {}},
		{"", func(s *Settings) { s.SetTemperature(0) }},
		{"", func(s *Settings) { s.SetMaxLength(1) }},
		{"", func(s *Settings) { s.MaxNewTokens, s.Echo = 0, true }},
		{"", func(s *Settings) { s.TopP = 0 }},
		{"", func(s *Settings) { s.Samples = 5 }},
		{"", func(s *Settings) { s.SetTemperature(0); s.Beams, s.Samples = 3, 3 }},
		{"", func(s *Settings) { s.ForcedEOS, s.Suppress = []int{1, 2}, []int{1} }},
		{"max_new_tokens", func(s *Settings) { s.MaxNewTokens = 0 }},
		{"max_new_tokens", func(s *Settings) { s.MaxNewTokens = -2 }},
		{"max_length", func(s *Settings) { s.SetMaxLength(0) }},
		{"min_new_tokens", func(s *Settings) { s.MinNewTokens = -2 }},
		{"min_length", func(s *Settings) { s.MinLength = -1 }},
		{"temperature", func(s *Settings) { s.SetTemperature(-1) }},
		{"temperature", func(s *Settings) { s.SetTemperature(nan) }},
		{"temperature", func(s *Settings) { s.SetTemperature(1e-40) }},
		{"temperature", func(s *Settings) { s.SetTemperature(inf) }},
		{"top_h", func(s *Settings) { s.TopH = 1.1 }},
		{"top_k", func(s *Settings) { s.TopK = -1 }},
		{"top_p", func(s *Settings) { s.TopP = 1.01 }},
		{"top_p", func(s *Settings) { s.TopP = nan }},
		{"min_p", func(s *Settings) { s.MinP = -0.1 }},
		{"typical_p", func(s *Settings) { s.TypicalP = 0 }},
		{"epsilon_cutoff", func(s *Settings) { s.EpsilonCutoff = 1 }},
		{"eta_cutoff", func(s *Settings) { s.EtaCutoff = -1 }},
		{"repetition_penalty", func(s *Settings) { s.RepetitionPenalty = 0 }},
		{"presence_penalty", func(s *Settings) { s.PresencePenalty = 2.5 }},
		{"frequency_penalty", func(s *Settings) { s.FrequencyPenalty = -2.5 }},
		{"no_repeat_ngram_size", func(s *Settings) { s.NoRepeatNgramSize = -1 }},
		{"bad_words_ids", func(s *Settings) { s.BadWords = [][]int{{1}, {}} }},
		{"sequence_bias", func(s *Settings) { s.SequenceBias = []SequenceBias{{nil, 1}} }},
		{"sequence_bias", func(s *Settings) { s.SequenceBias = []SequenceBias{{[]int{1}, inf}} }},
		{"sequence_bias", func(s *Settings) { s.SequenceBias = []SequenceBias{{[]int{1}, 1e300}} }},
		{"", func(s *Settings) { s.SequenceBias = []SequenceBias{{[]int{1}, -inf}} }},
		{"exponential_decay_length_penalty", func(s *Settings) { s.DecayPenalty = DecayPenalty{-1, 1} }},
		{"exponential_decay_length_penalty", func(s *Settings) { s.DecayPenalty = DecayPenalty{1, nan} }},
		{"forced_bos_token_id", func(s *Settings) { s.ForcedBOS, s.Suppress = 3, []int{3} }},
		{"forced_eos_token_id", func(s *Settings) { s.ForcedEOS, s.Suppress = []int{3, 4}, []int{4, 3} }},
		{"num_return_sequences", func(s *Settings) { s.Samples = 0 }},
		{"num_return_sequences", func(s *Settings) { s.SetTemperature(0); s.Samples = 2 }},
		{"num_return_sequences", func(s *Settings) { s.Beams, s.Samples = 2, 3 }},
		{"num_beams", func(s *Settings) { s.Beams = 0 }},
		{"num_beams", func(s *Settings) { s.Beams = 1 << 40 }},
		{"num_return_sequences", func(s *Settings) { s.Samples = 1 << 40 }},
		{"max_new_tokens", func(s *Settings) { s.MaxNewTokens = math.MaxInt }},
		{"num_beams", func(s *Settings) { s.Beams, s.ContextShift = 2, true }},
		{"length_penalty", func(s *Settings) { s.LengthPenalty = inf }},
		{"logprobs", func(s *Settings) { s.Logprobs = -2 }},
		{"stop_strings", func(s *Settings) { s.Stop = []string{"a", ""} }},
		{"stop_strings", func(s *Settings) { s.Stop = []string{"\xff"} }},
	}
	for _, test := range tests {
		s := Resolve(Layer{test.change})
		err := s.Validate()
		var e *SettingError
		if test.setting == "" && err != nil || test.setting != "" && (!errors.As(err, &e) || e.Setting != test.setting) {
			t.Errorf("want %q refused, got %v", test.setting, err)
		}
	}

	for setting, change := range map[string]func(*Settings){
		"sequence_bias":       func(s *Settings) { s.SequenceBias = []SequenceBias{{[]int{1, 10}, 1}} },
		"bad_words_ids":       func(s *Settings) { s.BadWords = [][]int{{-1}} },
		"forced_bos_token_id": func(s *Settings) { s.ForcedBOS = 10 },
		"forced_eos_token_id": func(s *Settings) { s.ForcedEOS = []int{10} },
		"logprobs":            func(s *Settings) { s.Logprobs = 11 },
	} {
		s := Resolve(Layer{change})
		var e *SettingError
		if err := s.checkTokens(10); !errors.As(err, &e) || e.Setting != setting {
			t.Errorf("want %q refused for a vocabulary of 10, got %v", setting, err)
		}
	}
}

func TestLayers(t *testing.T) {
	file := func(text string) Layer {
		return must[Layer](t)(ParseGenerationConfig("generation_config.json", []byte(text)))
	}
	flags := func(changes ...func(*Settings)) Layer { return changes }
	tests := []struct {
		name   string
		layers []Layer
		want   func(*Settings) // of Defaults
	}{
		{"nothing", nil, func(*Settings) {}},
		{"an empty file", []Layer{file(`{}`)}, func(*Settings) {}},
		{"null is not set", []Layer{file(`{"temperature": null, "top_k": null, "eos_token_id": null}`)}, func(*Settings) {}},
		{"harmless fields", []Layer{file(`{"_from_model_config": true, "pad_token_id": 1, "use_cache": false, "transformers_version": "5.23.0",
			"prompt_lookup_num_tokens": 3, "num_beam_groups": 1, "diversity_penalty": 0.0, "guidance_scale": null, "something": [1]}`)}, func(*Settings) {}},
		{"the model beats the defaults", []Layer{file(`{"do_sample": false, "top_k": 7}`)}, func(s *Settings) { s.DoSample, s.TopK = false, 7 }},
		{"a flag beats the model", []Layer{file(`{"top_k": 7, "top_p": 0.5}`), flags(func(s *Settings) { s.TopK = 9 })}, func(s *Settings) { s.TopK, s.TopP = 9, 0.5 }},
		{"a temperature asks for sampling", []Layer{file(`{"do_sample": false}`), flags(func(s *Settings) { s.SetTemperature(0.5) })}, func(s *Settings) { s.Temperature = 0.5 }},
		{"beams do not sample", []Layer{flags(func(s *Settings) { s.SetBeams(4) })}, func(s *Settings) { s.Beams, s.DoSample = 4, false }},
		{"beams sample at a temperature", []Layer{flags(func(s *Settings) { s.SetBeams(4) }, func(s *Settings) { s.SetTemperature(2) })}, func(s *Settings) { s.Beams, s.Temperature = 4, 2 }},
		{"max_length replaces the default", []Layer{file(`{"max_length": 50}`)}, func(s *Settings) { s.MaxLength, s.MaxNewTokens = 50, Unset }},
		{"max_new_tokens beats max_length", []Layer{file(`{"max_new_tokens": 5, "max_length": 50}`)}, func(s *Settings) { s.MaxLength, s.MaxNewTokens = 50, 5 }},
		{"the flag max_length beats the file's max_new_tokens", []Layer{file(`{"max_new_tokens": 5}`), flags(func(s *Settings) { s.SetMaxLength(9) })}, func(s *Settings) { s.MaxLength, s.MaxNewTokens = 9, Unset }},
		{"everything", []Layer{file(`{"min_length": 1, "min_new_tokens": 2, "bos_token_id": 3, "eos_token_id": [4, 5], "stop_strings": "x",
			"temperature": 1, "top_h": 0.5, "top_p": 1.0, "min_p": 0.1, "typical_p": 0.9, "epsilon_cutoff": 0.01, "eta_cutoff": 0.02,
			"sequence_bias": [[[1, 2], -1.5]], "repetition_penalty": 1.1, "no_repeat_ngram_size": 3, "bad_words_ids": [[6]],
			"forced_bos_token_id": 7, "forced_eos_token_id": 8, "remove_invalid_values": true, "exponential_decay_length_penalty": [9, 1.2],
			"suppress_tokens": [10], "begin_suppress_tokens": [11], "renormalize_logits": true, "num_return_sequences": 2, "num_beams": 3,
			"length_penalty": 0.5, "early_stopping": "never"}`)}, func(s *Settings) {
			s.MinLength, s.MinNewTokens, s.BOS, s.EOS, s.Stop = 1, 2, 3, []int{4, 5}, []string{"x"}
			s.Temperature, s.TopH, s.TopP, s.MinP, s.TypicalP, s.EpsilonCutoff, s.EtaCutoff = 1, 0.5, 1, 0.1, 0.9, 0.01, 0.02
			s.SequenceBias, s.RepetitionPenalty, s.NoRepeatNgramSize, s.BadWords = []SequenceBias{{[]int{1, 2}, -1.5}}, 1.1, 3, [][]int{{6}}
			s.ForcedBOS, s.ForcedEOS, s.RemoveInvalid, s.DecayPenalty = 7, []int{8}, true, DecayPenalty{9, 1.2}
			s.Suppress, s.BeginSuppress, s.Renormalize, s.Samples, s.Beams = []int{10}, []int{11}, true, 2, 3
			s.LengthPenalty, s.EarlyStopping = 0.5, StopNever
		}},
	}
	for _, test := range tests {
		want := Defaults()
		test.want(&want)
		if got := Resolve(test.layers...); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%+v, want\n%+v", test.name, got, want)
		}
	}
}

func TestParseGenerationConfigRefuses(t *testing.T) {
	for text, wants := range map[string]string{
		`[]`:                                                "array",
		`null`:                                              "object",
		`{"top_k": 5} x`:                                    "more follows",
		`{"top_k": 5`:                                       "the file ends before its JSON object does",
		`{"max_new_tokens": -1}`:                            "max_new_tokens is -1, want 0 or more",
		`{"top_k": 5.5}`:                                    "top_k is 5.5, want a whole number",
		`{"top_k": "5"}`:                                    `top_k is "5", want a whole number`,
		`{"top_k": true}`:                                   "top_k is true",
		`{"top_k": -5}`:                                     "top_k is -5, want at least 0",
		`{"top_p": 1.5}`:                                    "top_p is 1.5, want 0 to 1",
		`{"do_sample": 1}`:                                  "do_sample is 1, want true or false",
		`{"temperature": "hot"}`:                            "temperature is",
		`{"temperature": 1e999}`:                            "temperature is",
		`{"eos_token_id": "x"}`:                             "eos_token_id is",
		`{"eos_token_id": [1, null]}`:                       "eos_token_id is",
		`{"eos_token_id": 1e30}`:                            "eos_token_id is",
		`{"bad_words_ids": [1]}`:                            "bad_words_ids is",
		`{"bad_words_ids": [[]]}`:                           "bad_words_ids is",
		`{"sequence_bias": [[[1]]]}`:                        "sequence_bias is",
		`{"sequence_bias": {"1": 2}}`:                       "sequence_bias is",
		`{"early_stopping": "sometimes"}`:                   "early_stopping is",
		`{"penalty_alpha": 0.6}`:                            "penalty_alpha is 0.6, which would change the text and is not supported",
		`{"constraints": []}`:                               "constraints is",
		`{"dola_layers": "high"}`:                           "dola_layers is",
		`{"guidance_scale": 1.5}`:                           "guidance_scale is",
		`{"watermarking_config": {}}`:                       "watermarking_config is",
		`{"encoder_repetition_penalty":2}`:                  "encoder_repetition_penalty is",
		`{"exponential_decay_length_penalty": [1]}`:         "exponential_decay_length_penalty is",
		`{"stop_strings": [""]}`:                            "stop_strings is",
		`{"suppress_tokens": ` + deep(`[`, 20000) + `}`:     "exceeded max depth",
		`{"something": ` + deep(`{"a":`, 20000) + `1` + `}`: "exceeded max depth",
	} {
		_, err := ParseGenerationConfig("model/generation_config.json", []byte(text))
		if err == nil || !strings.Contains(err.Error(), wants) || !strings.Contains(err.Error(), "model/generation_config.json") {
			t.Errorf("%.60s: %v, want the file and %q", text, err, wants)
		}
	}
}

func deep(s string, n int) string { return strings.Repeat(s, n) }

func FuzzParseGenerationConfig(f *testing.F) {
	f.Add([]byte(`{"_from_model_config": true, "bos_token_id": 50256, "eos_token_id": 50256, "transformers_version": "4.26.0.dev0"}`))
	f.Add([]byte(`{"do_sample": true, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [1, 2], "max_length": 20}`))
	f.Add([]byte(`{"sequence_bias": [[[1, 2], -1.5]], "bad_words_ids": [[6]], "exponential_decay_length_penalty": [9, 1.2], "early_stopping": "never"}`))
	f.Add([]byte(`{"stop_strings": ["a", "b"], "suppress_tokens": [], "num_beams": 3, "max_new_tokens": null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		layer, err := ParseGenerationConfig("f", data)
		if err != nil {
			if layer != nil {
				t.Error("a layer and an error")
			}
			return
		}
		s := Resolve(layer)
		if s.Validate() != nil || s.checkTokens(4) != nil {
			return
		}
		// Whatever is valid can be run: a few tokens of a tiny model.
		if s.Samples > 4 || s.Beams > 4 || len(s.Suppress) > 100 || len(s.SequenceBias) > 100 {
			return
		}
		m := &script{context: 6, vocab: 4, logits: func(seen []int, logits []float32) {
			for i := range logits {
				logits[i] = float32((len(seen)*3+i*5)%7) - 3
			}
		}}
		if s.MaxNewTokens == 0 {
			return
		}
		s.MaxNewTokens = 8
		got, err := m.generator(numbers{}).Generate(background, Request{IDs: []int{1, 2}, Settings: s})
		if err != nil {
			return
		}
		for _, sample := range got.Samples {
			if sample.Finish == "" || len(sample.Tokens) > 5 {
				t.Errorf("settings %+v give %+v", s, sample)
			}
		}
	})
}

// As in transformers config.json names the end of a text only for a model without
// a generation_config.json.
func TestEOSOfModel(t *testing.T) {
	for _, c := range []struct {
		file string
		want []int
	}{
		{"", nil},
		{"{}", []int{}},
		{`{"eos_token_id": null}`, []int{}},
		{`{"eos_token_id": 5}`, []int{5}},
	} {
		m := &Model{files: &modelfiles.Model{}}
		if c.file != "" {
			m.files.GenerationConfig = []byte(c.file)
		}
		s, err := m.Settings(nil)
		if err != nil || !slices.Equal(s.EOS, c.want) || (s.EOS == nil) != (c.want == nil) {
			t.Errorf("%s: got %#v, %v, want %#v", c.file, s.EOS, err, c.want)
		}
	}
}
