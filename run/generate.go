package run

import (
	"context"
	"errors"
	"time"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// Tokenizer is what generation needs of one.
type Tokenizer interface {
	// Encode appends the tokens of text to dst.
	Encode(dst []int32, text string) []int32
	// Bytes returns what a token stands for, nothing for one it does not know.
	Bytes(id int) []byte
}

// Generator continues texts with one model. Like the model, it is not safe for
// concurrent use.
type Generator struct {
	model     languageModel
	tokenizer Tokenizer
	bos       int
	eos       []int
	context   int
	vocab     int
}

// New returns a generator.
func New(m *gpt2.Model, t Tokenizer) *Generator {
	return &Generator{
		model: gpt2Model{m}, tokenizer: t,
		bos: m.Config.BOS, eos: m.Config.EOS, context: m.Config.Positions, vocab: m.Config.VocabSize,
	}
}

// Request is a text to continue.
type Request struct {
	Prompt   string
	IDs      []int // the prompt as tokens; Prompt is not encoded if not nil
	Settings Settings
	// Stream, if not nil, gets each token as soon as its text is settled. An
	// error ends the generation and is returned by it.
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

// Token is one token of a continuation.
type Token struct {
	ID      int
	Text    string        // what it adds to the text
	Logprob float64       // the model's own log-softmax; 0 if Settings.Logprobs is Unset
	Top     []Alternative // the likeliest in its place, best first
}

// Alternative is a token that could have been.
type Alternative struct {
	ID      int
	Text    string
	Logprob float64
}

// Sample is one continuation.
type Sample struct {
	Text   string
	Tokens []Token
	Finish Finish // "" if it was interrupted
	Score  float64
}

// Prompt is what was continued.
type Prompt struct {
	Text     string
	IDs      []int
	Logprobs []float64 // with Echo and Logprobs; the first is NaN
}

// Result is what Generate returns.
type Result struct {
	Seed    uint64
	Prompt  Prompt
	Samples []Sample
	Stats   Stats
}

// Stats are the times of a generation.
type Stats struct {
	Load          time.Duration // left to the caller
	Prefill       time.Duration
	Decode        time.Duration
	PrefillTokens int
	DecodeTokens  int
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

func (e *ContextError) Error() string { return "" }

// Generate continues a prompt.
func (g *Generator) Generate(ctx context.Context, r Request) (*Result, error) {
	return nil, errors.New("not yet")
}
