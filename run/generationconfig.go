package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// ParseGenerationConfig reads a model's generation_config.json; name is the
// file's, for messages. The layer changes what the file sets and leaves the
// rest alone; null is as good as absent.
//
// A setting that would change the text and that this package does not have is
// an error that names it, unless its value switches it off. Assisted generation
// (prompt_lookup_num_tokens, use_mtp, assistant_…) changes no distribution, only
// how fast one is drawn from, and is ignored, as are settings for caches, for
// what Python returns, for padding, and ones that nobody knows.
func ParseGenerationConfig(name string, data []byte) (Layer, error) {
	var fields map[string]json.RawMessage
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&fields); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, jsonError(err))
	}
	if fields == nil {
		return nil, fmt.Errorf("read %s: null is not an object", name)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("read %s: more follows the object", name)
	}
	p := configParser{fields: fields}
	p.parse()
	p.refuseUnsupported()
	if p.err != nil {
		return nil, fmt.Errorf("%s: %w", name, p.err)
	}
	s := Resolve(p.layer)
	if err := s.checkRanges(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p.layer, nil
}

// jsonError says what encoding/json found without its names of Go types.
func jsonError(err error) error {
	var shape *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the file ends before its JSON object does")
	case errors.As(err, &shape):
		return fmt.Errorf("the file holds a JSON %s, want an object", shape.Value)
	}
	return err
}

// configParser turns fields into changes and keeps the first error.
type configParser struct {
	fields map[string]json.RawMessage
	layer  Layer
	err    error
}

func (p *configParser) parse() {
	// Lengths that include the prompt come first: they forget an earlier
	// layer's max_new_tokens and min_new_tokens, but not this one's.
	count(p, "max_length", (*Settings).SetMaxLength)
	count(p, "max_new_tokens", func(s *Settings, v int) { s.MaxNewTokens = v })
	count(p, "min_length", (*Settings).SetMinLength)
	count(p, "min_new_tokens", func(s *Settings, v int) { s.MinNewTokens = v })
	field(p, "bos_token_id", "a token", func(s *Settings, v int) { s.BOS = v })
	field(p, "eos_token_id", "a token or a list of tokens", func(s *Settings, v oneOrMore[int]) { s.EOS = v })
	field(p, "stop_strings", "a string or a list of strings", func(s *Settings, v oneOrMore[string]) { s.Stop = v })

	field(p, "do_sample", "true or false", func(s *Settings, v bool) { s.DoSample = v })
	field(p, "temperature", "a number", func(s *Settings, v float64) { s.Temperature = v })
	field(p, "top_h", "a number", func(s *Settings, v float64) { s.TopH = v })
	field(p, "top_k", "a whole number", func(s *Settings, v int) { s.TopK = v })
	field(p, "top_p", "a number", func(s *Settings, v float64) { s.TopP = v })
	field(p, "min_p", "a number", func(s *Settings, v float64) { s.MinP = v })
	field(p, "typical_p", "a number", func(s *Settings, v float64) { s.TypicalP = v })
	field(p, "epsilon_cutoff", "a number", func(s *Settings, v float64) { s.EpsilonCutoff = v })
	field(p, "eta_cutoff", "a number", func(s *Settings, v float64) { s.EtaCutoff = v })

	field(p, "sequence_bias", "a list of pairs [[token, …], bias]", func(s *Settings, v []SequenceBias) { s.SequenceBias = v })
	field(p, "repetition_penalty", "a number", func(s *Settings, v float64) { s.RepetitionPenalty = v })
	field(p, "no_repeat_ngram_size", "a whole number", func(s *Settings, v int) { s.NoRepeatNgramSize = v })
	field(p, "bad_words_ids", "a list of lists of tokens", func(s *Settings, v [][]int) { s.BadWords = v })
	field(p, "forced_bos_token_id", "a token", func(s *Settings, v int) { s.ForcedBOS = v })
	field(p, "forced_eos_token_id", "a token or a list of tokens", func(s *Settings, v oneOrMore[int]) { s.ForcedEOS = v })
	field(p, "remove_invalid_values", "true or false", func(s *Settings, v bool) { s.RemoveInvalid = v })
	field(p, "exponential_decay_length_penalty", "a pair [start, factor above 0]", func(s *Settings, v DecayPenalty) { s.DecayPenalty = v })
	field(p, "suppress_tokens", "a list of tokens", func(s *Settings, v []int) { s.Suppress = v })
	field(p, "begin_suppress_tokens", "a list of tokens", func(s *Settings, v []int) { s.BeginSuppress = v })
	field(p, "renormalize_logits", "true or false", func(s *Settings, v bool) { s.Renormalize = v })

	field(p, "num_return_sequences", "a whole number", func(s *Settings, v int) { s.Samples = v })
	field(p, "num_beams", "a whole number", func(s *Settings, v int) { s.Beams = v })
	field(p, "length_penalty", "a number", func(s *Settings, v float64) { s.LengthPenalty = v })
	field(p, "early_stopping", `true, false or "never"`, func(s *Settings, v EarlyStopping) { s.EarlyStopping = v })
}

// field adds a change for a field that is set.
func field[T any](p *configParser, name, want string, set func(*Settings, T)) {
	raw, ok := p.fields[name]
	if !ok || p.err != nil || isNull(raw) {
		return
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil || hasNull(raw) {
		p.err = &SettingError{name, excerpt(raw), want}
		return
	}
	p.layer = append(p.layer, func(s *Settings) { set(s, v) })
}

// count is field for a number that cannot be negative, which Settings would take
// for Unset.
func count(p *configParser, name string, set func(*Settings, int)) {
	field(p, name, "a whole number", set)
	var n int
	if raw := p.fields[name]; p.err == nil && json.Unmarshal(raw, &n) == nil && n < 0 {
		p.err = &SettingError{name, excerpt(raw), "0 or more"}
	}
}

// unsupported lists what would change the text, with the values (as JSON, null
// aside) that do not.
var unsupported = []struct {
	name string
	off  []string
}{
	{"constraints", nil},
	{"force_words_ids", nil},
	{"penalty_alpha", []string{"0", "0.0"}},
	{"dola_layers", nil},
	{"num_beam_groups", []string{"1"}},
	{"diversity_penalty", []string{"0", "0.0"}},
	{"guidance_scale", []string{"1", "1.0"}},
	{"watermarking_config", nil},
	{"token_healing", []string{"false"}},
	{"encoder_repetition_penalty", []string{"1", "1.0"}},
	{"encoder_no_repeat_ngram_size", []string{"0"}},
	{"max_time", nil},
}

func (p *configParser) refuseUnsupported() {
	for _, u := range unsupported {
		raw, ok := p.fields[u.name]
		if p.err == nil && ok && !isNull(raw) && !slices.Contains(u.off, string(bytes.TrimSpace(raw))) {
			p.err = fmt.Errorf("%s is %s, which would change the text and is not supported", u.name, excerpt(raw))
		}
	}
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// hasNull reports whether a list holds a null, which encoding/json would take
// for a zero.
func hasNull(raw json.RawMessage) bool {
	d := json.NewDecoder(bytes.NewReader(raw))
	for {
		t, err := d.Token()
		if err != nil {
			return false
		}
		if t == nil {
			return true
		}
	}
}

// excerpt is a value as a message shows it.
func excerpt(raw json.RawMessage) string {
	const most = 60
	if len(raw) <= most {
		return string(raw)
	}
	return string(bytes.ToValidUTF8(raw[:most], nil)) + "…"
}

// oneOrMore is a value or a list of them.
type oneOrMore[T any] []T

func (l *oneOrMore[T]) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		return json.Unmarshal(data, (*[]T)(l))
	}
	var v T
	err := json.Unmarshal(data, &v)
	*l = []T{v}
	return err
}

var errShape = errors.New("wrong shape")

// UnmarshalJSON reads [[token, …], bias].
func (b *SequenceBias) UnmarshalJSON(data []byte) error { return pair(data, &b.Tokens, &b.Bias) }

// UnmarshalJSON reads [start, factor].
func (p *DecayPenalty) UnmarshalJSON(data []byte) error {
	err := pair(data, &p.Start, &p.Factor)
	if err == nil && p.Factor == 0 {
		err = errShape // it would look like off
	}
	return err
}

func pair(data []byte, first, second any) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	if len(parts) != 2 {
		return errShape
	}
	if err := json.Unmarshal(parts[0], first); err != nil {
		return err
	}
	return json.Unmarshal(parts[1], second)
}

// UnmarshalJSON reads true, false or "never".
func (e *EarlyStopping) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "false":
		*e = StopByHeuristic
	case "true":
		*e = StopEarly
	case `"never"`:
		*e = StopNever
	default:
		return errShape
	}
	return nil
}
