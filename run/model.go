package run

import (
	"context"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// languageModel is what generation needs of a model; tests have one whose
// logits are written in a table.
type languageModel interface {
	newSequence(capacity int) (sequence, error)
	// forward is gpt2.Model.Forward.
	forward(ctx context.Context, inputs []input, visit visitor) error
}

// sequence is a text's state in the model.
type sequence interface {
	Len() int
	Truncate(n int)
	// copyFrom makes it equal to other; their first common positions are
	// known to be the same already.
	copyFrom(other sequence, common int)
}

// input is what forward appends to a sequence.
type input struct {
	sequence sequence
	tokens   []int
	logits   gpt2.Wanted
}

// visitor gets the logits [vocab] of one token of one input, which are its to
// change until it returns.
type visitor func(input, token int, logits []float32) error

type gpt2Model struct {
	*gpt2.Model
	inputs []gpt2.Input // kept from call to call
}

type gpt2Sequence struct{ *gpt2.Sequence }

func (m *gpt2Model) newSequence(capacity int) (sequence, error) {
	s, err := m.Model.NewSequence(capacity)
	if err != nil {
		return nil, err
	}
	return gpt2Sequence{s}, nil
}

func (m *gpt2Model) forward(ctx context.Context, inputs []input, visit visitor) error {
	in := m.inputs[:0]
	for _, x := range inputs {
		in = append(in, gpt2.Input{Sequence: x.sequence.(gpt2Sequence).Sequence, Tokens: x.tokens, Logits: x.logits})
	}
	m.inputs = in
	defer clear(in) // they hold on to the texts
	return m.Model.Forward(ctx, in, visit)
}

func (s gpt2Sequence) copyFrom(other sequence, common int) {
	s.Sequence.CopyFrom(other.(gpt2Sequence).Sequence, common)
}
