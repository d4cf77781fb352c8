package run

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// SettingError says that a setting has a value that it cannot have.
type SettingError struct {
	Setting string // its name in generation_config.json
	Value   string
	Want    string
}

func (e *SettingError) Error() string {
	return fmt.Sprintf("%s is %s, want %s", e.Setting, e.Value, e.Want)
}

// Limits that are not transformers': a file or a request must not take all memory
// by one number.
const (
	longest     = math.MaxInt32
	mostSamples = 1024
	mostBeams   = 256
	mostEnds    = 1024
)

// These keep scores within float32: what transformers makes of an infinite one is
// a crash, or garbage.
const (
	leastTemperature = 1e-6
	leastPenalty     = 1e-6
	mostPenalty      = 1e6
	mostBias         = 1e20
)

// Validate checks every setting and the settings against each other. The error
// is a *SettingError.
func (s *Settings) Validate() error {
	if err := s.checkRanges(); err != nil {
		return err
	}
	return s.checkTogether()
}

// greedy reports whether no choice is left to chance.
func (s *Settings) greedy() bool { return !s.DoSample || s.Temperature == 0 }

// checkRanges checks each setting by itself.
func (s *Settings) checkRanges() error {
	var c checker
	if s.MaxNewTokens != Unset {
		c.between("max_new_tokens", s.MaxNewTokens, 0, longest)
	}
	if s.MaxLength != Unset {
		c.between("max_length", s.MaxLength, 1, longest)
	}
	c.between("min_new_tokens", s.MinNewTokens, Unset, longest)
	c.between("min_length", s.MinLength, 0, longest)

	c.within("temperature", s.Temperature, s.Temperature == 0 || s.Temperature >= leastTemperature,
		fmt.Sprintf("0 (greedy) or at least %g", leastTemperature))
	c.within("top_h", s.TopH, s.TopH >= 0 && s.TopH <= 1, "more than 0 and at most 1, or 0 for off")
	c.atLeast("top_k", s.TopK, 0)
	c.within("top_p", s.TopP, s.TopP >= 0 && s.TopP <= 1, "0 to 1")
	c.within("min_p", s.MinP, s.MinP >= 0 && s.MinP <= 1, "0 to 1")
	c.within("typical_p", s.TypicalP, s.TypicalP > 0 && s.TypicalP <= 1, "more than 0 and at most 1")
	c.within("epsilon_cutoff", s.EpsilonCutoff, s.EpsilonCutoff >= 0 && s.EpsilonCutoff < 1, "at least 0 and less than 1")
	c.within("eta_cutoff", s.EtaCutoff, s.EtaCutoff >= 0 && s.EtaCutoff < 1, "at least 0 and less than 1")

	c.within("repetition_penalty", s.RepetitionPenalty, s.RepetitionPenalty >= leastPenalty && s.RepetitionPenalty <= mostPenalty,
		fmt.Sprintf("%g to %g", leastPenalty, mostPenalty))
	c.within("presence_penalty", s.PresencePenalty, math.Abs(s.PresencePenalty) <= 2, "-2 to 2")
	c.within("frequency_penalty", s.FrequencyPenalty, math.Abs(s.FrequencyPenalty) <= 2, "-2 to 2")
	c.atLeast("no_repeat_ngram_size", s.NoRepeatNgramSize, 0)
	c.between("exponential_decay_length_penalty", s.DecayPenalty.Start, 0, longest)
	c.within("exponential_decay_length_penalty", s.DecayPenalty.Factor, s.DecayPenalty.Factor >= 0, "a factor above 0, or 0 for off")

	c.between("prompt_lookup_num_tokens", s.Lookup, 0, mostRows-1)
	c.between("num_return_sequences", s.Samples, 1, mostSamples)
	c.between("num_beams", s.Beams, 1, mostBeams)
	c.within("length_penalty", s.LengthPenalty, true, "a finite number")
	c.atLeast("logprobs", s.Logprobs, Unset)

	if n := len(s.EOS); n > mostEnds {
		c.fail("eos_token_id", fmt.Sprintf("a list of %d", n), fmt.Sprintf("at most %d tokens", mostEnds))
	}
	for _, b := range s.SequenceBias {
		if len(b.Tokens) == 0 || !(math.Abs(b.Bias) <= mostBias) && !math.IsInf(b.Bias, -1) {
			c.fail("sequence_bias", fmt.Sprint(b.Tokens, " with ", b.Bias), fmt.Sprintf("at least one token and a bias up to %g", mostBias))
		}
	}
	for _, w := range s.BadWords {
		if len(w) == 0 {
			c.fail("bad_words_ids", fmt.Sprint(s.BadWords), "no empty token sequence")
		}
	}
	for _, stop := range s.Stop {
		if stop == "" || !utf8.ValidString(stop) {
			c.fail("stop_strings", fmt.Sprintf("%q", s.Stop), "UTF-8 strings of at least one character")
		}
	}
	return c.err()
}

// checkTogether checks what settings mean for each other.
func (s *Settings) checkTogether() error {
	var c checker
	if s.MaxNewTokens == 0 && !s.Echo {
		c.fail("max_new_tokens", "0", "at least 1 (0 only scores the prompt, with echo)")
	}
	if s.Beams > 1 {
		if s.Samples > s.Beams {
			c.fail("num_return_sequences", fmt.Sprint(s.Samples), fmt.Sprintf("at most num_beams, which is %d", s.Beams))
		}
		if s.Lookup > 0 {
			c.fail("prompt_lookup_num_tokens", fmt.Sprint(s.Lookup), "0 with beams, which are not guessed")
		}
		if s.ContextShift {
			c.fail("num_beams", fmt.Sprint(s.Beams), "1 with a context shift")
		}
	} else if s.Samples > 1 && s.greedy() {
		c.fail("num_return_sequences", fmt.Sprint(s.Samples), "1 for greedy decoding, whose samples are all the same")
	}
	if s.ForcedBOS != Unset && slices.Contains(s.Suppress, s.ForcedBOS) {
		c.fail("forced_bos_token_id", fmt.Sprint(s.ForcedBOS), "a token that suppress_tokens does not forbid")
	}
	if len(s.ForcedEOS) > 0 && containsAll(s.Suppress, s.ForcedEOS) {
		c.fail("forced_eos_token_id", fmt.Sprint(s.ForcedEOS), "a token that suppress_tokens does not forbid")
	}
	return c.err()
}

// checkTokens checks the tokens that settings name against a vocabulary. As in
// transformers, those to stop at or to suppress may lie beyond it.
func (s *Settings) checkTokens(vocab int) error {
	var c checker
	known := func(name string, tokens ...int) {
		for _, t := range tokens {
			if t < 0 || t >= vocab {
				c.fail(name, fmt.Sprint(t), fmt.Sprintf("a token from 0 to %d", vocab-1))
			}
		}
	}
	for _, b := range s.SequenceBias {
		known("sequence_bias", b.Tokens...)
	}
	for _, w := range s.BadWords {
		known("bad_words_ids", w...)
	}
	if s.ForcedBOS != Unset {
		known("forced_bos_token_id", s.ForcedBOS)
	}
	known("forced_eos_token_id", s.ForcedEOS...)
	if s.Logprobs > vocab {
		c.fail("logprobs", fmt.Sprint(s.Logprobs), fmt.Sprintf("at most the size of the vocabulary, %d", vocab))
	}
	return c.err()
}

// checker keeps the first failure.
type checker struct{ first *SettingError }

func (c *checker) fail(setting, value, want string) {
	if c.first == nil {
		c.first = &SettingError{setting, value, want}
	}
}

func (c *checker) err() error {
	if c.first == nil {
		return nil
	}
	return c.first
}

func (c *checker) atLeast(setting string, v, least int) {
	if v < least {
		c.fail(setting, fmt.Sprint(v), fmt.Sprintf("at least %d", least))
	}
}

func (c *checker) between(setting string, v, least, most int) {
	if v < least || v > most {
		c.fail(setting, fmt.Sprint(v), fmt.Sprintf("%d to %d", least, most))
	}
}

// within wants ok, and a finite number.
func (c *checker) within(setting string, v float64, ok bool, want string) {
	if !ok || math.IsNaN(v) || math.IsInf(v, 0) {
		c.fail(setting, fmt.Sprint(v), want)
	}
}

func containsAll(list, xs []int) bool {
	for _, x := range xs {
		if !slices.Contains(list, x) {
			return false
		}
	}
	return true
}
