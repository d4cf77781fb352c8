package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gptctl/gptctl/run"
)

// addSettingsFlags declares the flags that shape a generation, and returns what
// makes a layer of those that were given, by whatever way.
func addSettingsFlags(f *pflag.FlagSet, o *runOptions) func() (run.Layer, error) {
	d := run.Defaults()
	s := d // the flags' values land here first
	var (
		seed                                     uint64
		badWordIDs, suppress, suppressFirst, eos []string
		decay, early                             string
	)
	var layers []func() (run.Layer, error)
	// on adds change to the layer if one of the flags was given.
	on := func(name string, change func(*run.Settings)) {
		layers = append(layers, func() (run.Layer, error) {
			if !f.Changed(name) {
				return nil, nil
			}
			return run.Layer{change}, nil
		})
	}
	parsed := func(name string, change func() (func(*run.Settings), error)) {
		layers = append(layers, func() (run.Layer, error) {
			if !f.Changed(name) {
				return nil, nil
			}
			c, err := change()
			if err != nil {
				return nil, usagef("--%s: %w", name, err)
			}
			return run.Layer{c}, nil
		})
	}

	f.IntVarP(&s.MaxNewTokens, "max-tokens", "n", d.MaxNewTokens, "generate at most `N` tokens")
	f.IntVar(&s.MaxLength, "max-length", 0, "stop at `N` tokens, prompt included (--max-tokens comes first)")
	on("max-length", func(r *run.Settings) { r.SetMaxLength(s.MaxLength) }) // before max-tokens, which wins
	on("max-tokens", func(r *run.Settings) { r.MaxNewTokens = s.MaxNewTokens })
	f.IntVar(&s.MinLength, "min-length", 0, "do not end the text before `N` tokens, prompt included")
	on("min-length", func(r *run.Settings) { r.SetMinLength(s.MinLength) })
	f.IntVar(&s.MinNewTokens, "min-new-tokens", 0, "do not end the text before `N` new tokens")
	on("min-new-tokens", func(r *run.Settings) { r.MinNewTokens = s.MinNewTokens })

	f.IntVar(&s.Beams, "num-beams", 1, "beam search over `N` beams; samples only if --temperature is given too")
	on("num-beams", func(r *run.Settings) { r.SetBeams(s.Beams) }) // before temperature
	f.Float64Var(&s.Temperature, "temperature", d.Temperature, "0: always the likeliest token; higher: more surprising")
	on("temperature", func(r *run.Settings) { r.SetTemperature(s.Temperature) })
	f.IntVar(&s.TopK, "top-k", d.TopK, "sample from the `K` likeliest tokens (0: all)")
	on("top-k", func(r *run.Settings) { r.TopK = s.TopK })
	f.Float64Var(&s.TopP, "top-p", d.TopP, "sample from the likeliest tokens that make up probability `P` (1: all)")
	on("top-p", func(r *run.Settings) { r.TopP = s.TopP })
	f.Float64Var(&s.MinP, "min-p", 0, "sample from tokens at least `P` times as likely as the likeliest (0: all)")
	on("min-p", func(r *run.Settings) { r.MinP = s.MinP })
	f.Float64Var(&s.TypicalP, "typical-p", 1, "locally typical sampling with mass `P` (1: off)")
	on("typical-p", func(r *run.Settings) { r.TypicalP = s.TypicalP })
	f.Float64Var(&s.TopH, "top-h", 0, "entropy-bounded sampling with `H` (0: off)")
	on("top-h", func(r *run.Settings) { r.TopH = s.TopH })
	f.Float64Var(&s.EpsilonCutoff, "epsilon-cutoff", 0, "drop tokens less likely than `P` (0: off)")
	on("epsilon-cutoff", func(r *run.Settings) { r.EpsilonCutoff = s.EpsilonCutoff })
	f.Float64Var(&s.EtaCutoff, "eta-cutoff", 0, "eta sampling with `P` (0: off)")
	on("eta-cutoff", func(r *run.Settings) { r.EtaCutoff = s.EtaCutoff })
	f.Uint64Var(&seed, "seed", 0, "start the random numbers from `S` (default: a fresh seed)")
	on("seed", func(r *run.Settings) { r.Seed = &seed })

	f.Float64Var(&s.RepetitionPenalty, "repeat-penalty", 1, "make tokens that occurred less likely by `R` (1: off)")
	on("repeat-penalty", func(r *run.Settings) { r.RepetitionPenalty = s.RepetitionPenalty })
	f.Float64Var(&s.PresencePenalty, "presence-penalty", 0, "subtract `R` from the score of tokens generated before")
	on("presence-penalty", func(r *run.Settings) { r.PresencePenalty = s.PresencePenalty })
	f.Float64Var(&s.FrequencyPenalty, "frequency-penalty", 0, "subtract `R` for each time that a token was generated")
	on("frequency-penalty", func(r *run.Settings) { r.FrequencyPenalty = s.FrequencyPenalty })
	f.IntVar(&s.NoRepeatNgramSize, "no-repeat-ngram-size", 0, "let no run of `N` tokens occur twice (0: off)")
	on("no-repeat-ngram-size", func(r *run.Settings) { r.NoRepeatNgramSize = s.NoRepeatNgramSize })
	f.StringArrayVar(&o.badWords, "bad-words", nil, "never generate `TEXT` (repeatable)")
	f.StringArrayVar(&badWordIDs, "bad-words-ids", nil, "never generate the tokens `IDS` in this order (repeatable)")
	parsed("bad-words-ids", func() (func(*run.Settings), error) {
		var words [][]int
		for _, w := range badWordIDs {
			ids, err := tokenIDs(w)
			if err != nil {
				return nil, err
			}
			words = append(words, ids)
		}
		return func(r *run.Settings) { r.BadWords = words }, nil
	})
	f.StringArrayVar(&suppress, "suppress-tokens", nil, "never generate any of the tokens `IDS`")
	parsed("suppress-tokens", func() (func(*run.Settings), error) {
		ids, err := tokenIDs(strings.Join(suppress, ","))
		return func(r *run.Settings) { r.Suppress = ids }, err
	})
	f.StringArrayVar(&suppressFirst, "begin-suppress-tokens", nil, "do not begin with any of the tokens `IDS`")
	parsed("begin-suppress-tokens", func() (func(*run.Settings), error) {
		ids, err := tokenIDs(strings.Join(suppressFirst, ","))
		return func(r *run.Settings) { r.BeginSuppress = ids }, err
	})
	f.StringVar(&decay, "exponential-decay-length-penalty", "", "after N tokens make the end likelier, by a factor of F each (`N,F`)")
	parsed("exponential-decay-length-penalty", func() (func(*run.Settings), error) {
		start, factor, _ := strings.Cut(decay, ",")
		n, err1 := strconv.Atoi(strings.TrimSpace(start))
		x, err2 := strconv.ParseFloat(strings.TrimSpace(factor), 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("%q: want a number of tokens and a factor, such as 50,1.1", decay)
		}
		return func(r *run.Settings) { r.DecayPenalty = run.DecayPenalty{Start: n, Factor: x} }, nil
	})
	f.BoolVar(&s.Renormalize, "renormalize-logits", false, "normalise the scores after all samplers")
	on("renormalize-logits", func(r *run.Settings) { r.Renormalize = s.Renormalize })
	f.BoolVar(&s.RemoveInvalid, "remove-invalid-values", false, "replace NaN and infinite scores")
	on("remove-invalid-values", func(r *run.Settings) { r.RemoveInvalid = s.RemoveInvalid })

	f.StringArrayVar(&s.Stop, "stop", nil, "end the text before `TEXT` (repeatable)")
	on("stop", func(r *run.Settings) { r.Stop = s.Stop })
	f.StringArrayVar(&eos, "eos-token-id", nil, "end the text at any of the tokens `IDS` (default: the model's)")
	parsed("eos-token-id", func() (func(*run.Settings), error) {
		ids, err := tokenIDs(strings.Join(eos, ","))
		return func(r *run.Settings) { r.EOS = ids }, err
	})
	f.BoolVar(&s.IgnoreEOS, "ignore-eos", false, "do not stop at the end-of-text token")
	on("ignore-eos", func(r *run.Settings) { r.IgnoreEOS = s.IgnoreEOS })
	f.BoolVar(&s.ContextShift, "context-shift", false, "when the context is full, drop its first half and go on")
	on("context-shift", func(r *run.Settings) { r.ContextShift = s.ContextShift })

	f.IntVar(&s.Lookup, "lookup", 0, "guess up to `N` tokens (at most 15) from what came earlier: the same text, sooner if it repeats itself (0: off)")
	on("lookup", func(r *run.Settings) { r.Lookup = s.Lookup })
	f.IntVar(&s.Samples, "samples", 1, "generate `N` texts at once")
	on("samples", func(r *run.Settings) { r.Samples = s.Samples })
	f.Float64Var(&s.LengthPenalty, "length-penalty", 1, "beam scores are divided by length to the power of `R`")
	on("length-penalty", func(r *run.Settings) { r.LengthPenalty = s.LengthPenalty })
	f.StringVar(&early, "early-stopping", "false", "when a beam search ends: `true|false|never`")
	parsed("early-stopping", func() (func(*run.Settings), error) {
		how, ok := map[string]run.EarlyStopping{"false": run.StopByHeuristic, "true": run.StopEarly, "never": run.StopNever}[early]
		if !ok {
			return nil, fmt.Errorf("%q: want true, false or never", early)
		}
		return func(r *run.Settings) { r.EarlyStopping = how }, nil
	})

	f.IntVar(&s.Logprobs, "logprobs", 0, "report log-probabilities, and those of the `K` likeliest tokens (with --json)")
	on("logprobs", func(r *run.Settings) { r.Logprobs = s.Logprobs })
	f.BoolVar(&s.Echo, "echo", false, "print the prompt before the continuation; with --logprobs score it, too")
	on("echo", func(r *run.Settings) { r.Echo = s.Echo })

	return func() (run.Layer, error) {
		for _, name := range []string{"max-tokens", "max-length", "min-new-tokens", "logprobs"} {
			if n, err := f.GetInt(name); err == nil && n < 0 && f.Changed(name) { // to run.Settings it would mean unset
				return nil, usagef("--%s %d: want 0 or more", name, n)
			}
		}
		var all run.Layer
		for _, l := range layers {
			part, err := l()
			if err != nil {
				return nil, err
			}
			all = append(all, part...)
		}
		return all, nil
	}
}

// tokenIDs reads "318,262".
func tokenIDs(s string) ([]int, error) {
	var ids []int
	for _, part := range strings.Split(s, ",") {
		id, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || id < 0 {
			return nil, fmt.Errorf("%q: want token ids separated by commas", s)
		}
		ids = append(ids, id)
	}
	return ids, nil
}
