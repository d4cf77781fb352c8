package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// Tokenizer is what generation needs of one.
type Tokenizer interface {
	// Encode appends the tokens of text to dst.
	Encode(dst []int32, text string) []int32
	// Bytes returns what a token stands for, nothing for one it does not know.
	Bytes(id int32) []byte
}

// Generator continues texts with one model. Like the model, it is not safe for
// concurrent use.
type Generator struct {
	model     languageModel
	tokenizer Tokenizer
	vocab     int
	context   int // positions of the model
	bos       int
	eos       []int
}

// New returns a generator. The tokenizer is asked for tokens of the model's
// vocabulary only.
func New(m *gpt2.Model, t Tokenizer) *Generator {
	c := m.Config
	return &Generator{
		model: &gpt2Model{Model: m}, tokenizer: t,
		vocab: c.VocabSize, context: c.Positions, bos: c.BOS, eos: c.EOS,
	}
}

// Request is a text to continue.
//
// A prompt of no tokens starts from the token that begins a text, as with
// transformers. One longer than the model's context is a *ContextError; a
// continuation that fills it ends there. With Settings.ContextShift both go on
// instead: whenever a token no longer fits, the model forgets all but the last
// half of its context (that token among it) and reads this half again from
// position 0. With C positions, C/2 tokens, rounded down but at least one, are
// kept. What the model sees is so a function of the text alone, however it was
// cut into prompt and continuation. Penalties still count all tokens.
type Request struct {
	Prompt   string
	IDs      []int // the prompt as tokens; Prompt is not encoded if not nil
	Settings Settings
	// Stream, if not nil, gets each token as soon as its text is settled; with
	// beams that is at the end. An error from it ends the generation and is
	// returned.
	Stream func(Event) error
}

// Event is a token of a sample as Stream gets it.
type Event struct {
	Sample int
	Token  Token
	Finish Finish // of the sample, with its last token
}

// Finish is why a sample ended.
type Finish string

const (
	FinishLength  Finish = "length"  // the length limit
	FinishStop    Finish = "stop"    // a stop string
	FinishEOS     Finish = "eos"     // an end-of-text token
	FinishContext Finish = "context" // the model's context is full
)

// Token is one generated token.
type Token struct {
	ID      int
	Text    string        // what it adds to the text; see [Sample]
	Logprob float64       // the model's own log-softmax, before any setting; 0 if Settings.Logprobs is Unset
	Top     []Alternative // the Settings.Logprobs likeliest in its place, best first
}

// Alternative is a token that could have been.
type Alternative struct {
	ID      int
	Text    string // its bytes as text, U+FFFD for parts of characters
	Logprob float64
}

// Sample is one continuation.
//
// Tokens are all that were generated, as transformers returns them, with the
// end-of-text token or the tokens of the stop string that ended them. Text has
// neither of these. The texts of the tokens together are Text: a token that ends
// inside a character adds nothing of it, the one that completes it adds all
// of it, and one that lies beyond the end of Text has the empty text.
type Sample struct {
	Text   string
	Tokens []Token
	Finish Finish  // "" if it was interrupted
	Score  float64 // of a beam: log-probability / length^length_penalty
}

// Prompt is what was continued.
type Prompt struct {
	Text     string
	IDs      []int     // never empty: an empty prompt has the token it starts from
	Logprobs []float64 // with Echo and Logprobs: of each token given those before it; the first is NaN
}

// Result is what Generate returns.
type Result struct {
	Seed    uint64
	Prompt  Prompt
	Samples []Sample // of beams, best first
	Stats   Stats
}

// Stats are the times of a generation.
type Stats struct {
	Load          time.Duration // left to the caller
	Prefill       time.Duration // until the first token is chosen
	Decode        time.Duration
	PrefillTokens int
	DecodeTokens  int // tokens chosen after the first, of all samples or beams
	Drafted       int // tokens that Settings.Lookup guessed …
	Accepted      int // … and those of them that were right
}

// PrefillRate is in tokens per second, 0 if nothing was measured.
func (s Stats) PrefillRate() float64 { return rate(s.PrefillTokens, s.Prefill) }

// DecodeRate is in tokens per second, of all samples together.
func (s Stats) DecodeRate() float64 { return rate(s.DecodeTokens, s.Decode) }

func rate(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// ContextError says that a prompt does not fit into the model's context.
type ContextError struct {
	Prompt, Context int // tokens
}

func (e *ContextError) Error() string {
	return fmt.Sprintf("the prompt has %d tokens, more than the model's context of %d", e.Prompt, e.Context)
}

// ErrNoStart says that a prompt is empty and the model has no token to start
// a text from.
var ErrNoStart = errors.New("the prompt is empty and the model has no bos_token_id to start from")

// Generate continues a prompt. Its errors are a *SettingError, a *ContextError,
// ErrNoStart, the model's, Stream's, or ctx's. With the latter two the result
// holds what was generated before; it is nil if nothing could be.
func (g *Generator) Generate(ctx context.Context, r Request) (*Result, error) {
	run, err := g.newGeneration(r)
	if err != nil {
		return nil, err
	}
	if run.settings.Beams > 1 && run.settings.MaxNewTokens != 0 {
		err = run.beamSearch(ctx)
	} else {
		err = run.samples(ctx)
	}
	return run.result, err
}

// generation is one call of Generate.
type generation struct {
	*Generator
	settings Settings
	stream   func(Event) error
	prompt   []int
	text     string // of the prompt's tokens
	limit    int    // longest text, prompt included, as the settings want it
	eos      []int  // what ends a text, empty if nothing does
	sampler  *sampler
	observed observation
	result   *Result

	mistrusted bool // no more guesses
}

func (g *Generator) newGeneration(r Request) (*generation, error) {
	s := r.Settings
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if err := s.checkTokens(g.vocab); err != nil {
		return nil, err
	}
	prompt, err := g.promptTokens(r)
	if err != nil {
		return nil, err
	}
	if len(prompt) > g.context && !s.ContextShift {
		return nil, &ContextError{len(prompt), g.context}
	}
	limit, err := s.limit(len(prompt))
	if err != nil {
		return nil, err
	}
	eos := s.EOS
	if eos == nil {
		eos = g.eos
	}
	if s.IgnoreEOS {
		eos = nil
	}
	if s.Beams > 1 && max(2, 1+len(eos)) > g.vocab {
		return nil, &SettingError{"num_beams", fmt.Sprint(s.Beams), fmt.Sprintf("1 with a vocabulary of %d", g.vocab)}
	}
	seed := freshSeed()
	if s.Seed != nil {
		seed = *s.Seed
	}
	shown := r.Prompt
	if r.IDs != nil {
		shown = g.decode(r.IDs)
	}
	return &generation{
		Generator: g, settings: s, stream: r.Stream, prompt: prompt, text: g.decode(prompt), limit: limit, eos: eos,
		sampler: newSampler(&s, eos, len(prompt), limit),
		result:  &Result{Seed: seed, Prompt: Prompt{Text: shown, IDs: prompt}},
	}, nil
}

// promptTokens returns the tokens of the prompt, at least one.
func (g *Generator) promptTokens(r Request) ([]int, error) {
	tokens := slices.Clone(r.IDs)
	if r.IDs == nil {
		for _, id := range g.tokenizer.Encode(nil, r.Prompt) {
			tokens = append(tokens, int(id))
		}
	}
	if len(tokens) > 0 {
		return tokens, nil
	}
	bos := r.Settings.BOS
	if bos == Unset {
		bos = g.bos
	}
	if bos < 0 {
		return nil, ErrNoStart
	}
	if bos >= g.vocab {
		return nil, fmt.Errorf("%w: %d is not in the vocabulary of %d", ErrNoStart, bos, g.vocab)
	}
	return []int{bos}, nil
}

// BadWords returns the tokens of words for Settings.BadWords: of each by itself
// and after a space, as it is inside a text.
func (g *Generator) BadWords(words []string) [][]int {
	var list [][]int
	for _, w := range words {
		if w == "" {
			continue
		}
		for _, form := range [...]string{w, " " + w} {
			var tokens []int
			for _, id := range g.tokenizer.Encode(nil, form) {
				tokens = append(tokens, int(id))
			}
			if len(tokens) > 0 && !slices.ContainsFunc(list, func(l []int) bool { return slices.Equal(l, tokens) }) {
				list = append(list, tokens)
			}
		}
	}
	return list
}

// decode returns the text of tokens by themselves.
func (g *Generator) decode(tokens []int) string {
	var b []byte
	for _, t := range tokens {
		b = append(b, g.tokenizer.Bytes(int32(t))...)
	}
	text, _ := appendText(nil, b, true)
	return string(text)
}
