package run

import "fmt"

// Settings say how a text is continued. The names in the comments are those of
// transformers' GenerationConfig where it has such a setting. Start from
// [Defaults] or [Resolve]: the zero value is not usable.
type Settings struct {
	// How long.

	MaxNewTokens int  // max_new_tokens; Unset: MaxLength decides; 0 only with Echo (score the prompt)
	MaxLength    int  // max_length, prompt included; Unset: none; MaxNewTokens wins over it
	MinNewTokens int  // min_new_tokens: no end-of-text token before so many
	MinLength    int  // min_length: the same, prompt included
	ContextShift bool // go on past the model's context; see [Request]

	// Where to start and when to stop.

	BOS       int      // bos_token_id, where an empty prompt starts; Unset: the model configuration's
	EOS       []int    // eos_token_id; nil: the model configuration's; empty: none
	IgnoreEOS bool     // treat end-of-text tokens as any other, as if there were no eos_token_id
	Stop      []string // stop_strings: the text ends before the first of them; as in transformers one may begin in the prompt

	// How to choose.

	DoSample bool    // do_sample: draw at random; else take the likeliest
	Seed     *uint64 // nil: a fresh one, reported in Result.Seed

	// What reshapes the distribution before a random choice, in this order.

	Temperature   float64 // temperature; 0 means DoSample = false
	TopH          float64 // top_h, (0, 1]; 0: off
	TopK          int     // top_k; 0: off
	TopP          float64 // top_p, [0, 1]; 1: off
	MinP          float64 // min_p, [0, 1]; 0: off
	TypicalP      float64 // typical_p, (0, 1]; 1: off
	EpsilonCutoff float64 // epsilon_cutoff, [0, 1); 0: off
	EtaCutoff     float64 // eta_cutoff, [0, 1); 0: off

	// What changes scores before any choice, in this order.

	SequenceBias      []SequenceBias // sequence_bias
	RepetitionPenalty float64        // repetition_penalty, over prompt and continuation; 1: off
	PresencePenalty   float64        // OpenAI's presence_penalty, over the continuation alone; 0: off
	FrequencyPenalty  float64        // OpenAI's frequency_penalty, over the continuation alone; 0: off
	NoRepeatNgramSize int            // no_repeat_ngram_size, over prompt and continuation; 0: off
	BadWords          [][]int        // bad_words_ids: token sequences that may not occur
	ForcedBOS         int            // forced_bos_token_id: the second token of a text; Unset: none
	ForcedEOS         []int          // forced_eos_token_id: allowed last tokens at the length limit
	RemoveInvalid     bool           // remove_invalid_values
	DecayPenalty      DecayPenalty   // exponential_decay_length_penalty; Factor 0: off
	Suppress          []int          // suppress_tokens: may never occur
	BeginSuppress     []int          // begin_suppress_tokens: may not begin the continuation
	Renormalize       bool           // renormalize_logits

	// How fast.

	// Lookup (prompt_lookup_num_tokens) is how many tokens at most, up to 15, are
	// guessed from what came earlier in the text and verified at once; 0: off. It
	// changes no text, only how long a text takes that repeats itself.
	Lookup int

	// How many.

	Samples       int     // num_return_sequences
	Beams         int     // num_beams; 1: no beam search
	LengthPenalty float64 // length_penalty: a beam's score is its log-probability / length^penalty
	EarlyStopping EarlyStopping

	// What to report.

	Logprobs int  // Unset: none; K: of each token, and of the K likeliest in its place
	Echo     bool // with Logprobs: of the prompt's tokens, too
}

// Unset is the value of an integer setting that nobody has set.
const Unset = -1

// DefaultMaxNewTokens is the length limit if nobody sets one.
const DefaultMaxNewTokens = 256

// SequenceBias is added to the score of the last of Tokens where the others
// come just before it.
type SequenceBias struct {
	Tokens []int
	Bias   float64
}

// DecayPenalty raises the score of end-of-text tokens s by |s|·(Factor^n − 1)
// at the n-th token after Start new ones.
type DecayPenalty struct {
	Start  int
	Factor float64
}

// EarlyStopping says when a beam search is over.
type EarlyStopping uint8

const (
	// StopByHeuristic (early_stopping false): when the best running beam,
	// taken at its present length, is no better than the worst finished one.
	StopByHeuristic EarlyStopping = iota
	// StopEarly (true): as soon as there are enough finished beams.
	StopEarly
	// StopNever ("never"): when no running beam can become better.
	StopNever
)

// Defaults returns the program's own settings.
func Defaults() Settings {
	return Settings{
		MaxNewTokens:      DefaultMaxNewTokens,
		MaxLength:         Unset,
		MinNewTokens:      Unset,
		DoSample:          true,
		Temperature:       0.8,
		TopK:              40,
		TopP:              0.95,
		TypicalP:          1,
		RepetitionPenalty: 1,
		BOS:               Unset,
		ForcedBOS:         Unset,
		Samples:           1,
		Beams:             1,
		LengthPenalty:     1,
		Logprobs:          Unset,
	}
}

// Layer is a list of changes to settings by one party: a model's
// generation_config.json, a configuration file, the flags of a command line, the
// fields of a request. What it does not set explicitly it has no change for.
type Layer []func(*Settings)

// Resolve applies the layers to [Defaults]; a later layer beats an earlier one.
// The result is not checked: see [Settings.Validate].
func Resolve(layers ...Layer) Settings {
	s := Defaults()
	for _, l := range layers {
		for _, change := range l {
			change(&s)
		}
	}
	return s
}

// SetTemperature sets Temperature, and with it whether to sample: 0 is greedy,
// anything else is not, whatever an earlier layer said of do_sample.
func (s *Settings) SetTemperature(t float64) {
	s.Temperature, s.DoSample = t, t != 0
}

// SetBeams sets Beams, and with more than one not to sample: beams alone mean the
// likeliest text. A later SetTemperature can still ask for sampled beams.
func (s *Settings) SetBeams(n int) {
	s.Beams = n
	if n > 1 {
		s.DoSample = false
	}
}

// SetMaxLength sets MaxLength and forgets an earlier layer's MaxNewTokens,
// which would win over it. In a layer that sets both it comes first.
func (s *Settings) SetMaxLength(n int) {
	s.MaxLength, s.MaxNewTokens = n, Unset
}

// SetMinLength sets MinLength and forgets an earlier layer's MinNewTokens, like
// SetMaxLength.
func (s *Settings) SetMinLength(n int) {
	s.MinLength, s.MinNewTokens = n, Unset
}

// limit returns the length of the longest text, prompt included.
func (s *Settings) limit(prompt int) (int, error) {
	switch {
	case s.MaxNewTokens != Unset:
		return prompt + s.MaxNewTokens, nil
	case s.MaxLength == Unset:
		return prompt + DefaultMaxNewTokens, nil
	case s.MaxLength <= prompt:
		return 0, &SettingError{"max_length", fmt.Sprint(s.MaxLength), fmt.Sprintf("more than the %d tokens of the prompt", prompt)}
	}
	return s.MaxLength, nil
}
