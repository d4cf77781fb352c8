package run

import (
	"context"
	"fmt"
	"slices"

	"github.com/gptctl/gptctl/internal/gpt2"
)

// script is a model whose logits are a function of the tokens it sees.
type script struct {
	context, vocab int
	logits         func(seen []int, logits []float32)
	steps          [][]int // what forward has read, of all inputs together
	copied         int     // tokens copied from sequence to sequence
}

type scriptSequence struct {
	model  *script
	tokens []int
	cap    int
}

func (s *scriptSequence) Len() int       { return len(s.tokens) }
func (s *scriptSequence) Truncate(n int) { s.tokens = s.tokens[:min(n, len(s.tokens))] }

func (s *scriptSequence) copyFrom(other sequence, common int) {
	o := other.(*scriptSequence)
	if common > len(s.tokens) || common > len(o.tokens) || !slices.Equal(s.tokens[:common], o.tokens[:common]) {
		panic(fmt.Sprintf("%v and %v do not have %d tokens in common", s.tokens, o.tokens, common))
	}
	s.model.copied += len(o.tokens) - common
	s.tokens = append(s.tokens[:common], o.tokens[common:]...)
}

func (m *script) newSequence(capacity int) (sequence, error) {
	return &scriptSequence{model: m, cap: min(capacity, m.context)}, nil
}

func (m *script) forward(ctx context.Context, inputs []input, visit visitor) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var step []int
	for i, in := range inputs {
		s := in.sequence.(*scriptSequence)
		for j, token := range in.tokens {
			if len(s.tokens) == s.cap {
				return gpt2.ErrContextFull
			}
			s.tokens = append(s.tokens, token)
			step = append(step, token)
			if in.logits == gpt2.AllLogits || in.logits == gpt2.LastLogits && j == len(in.tokens)-1 {
				logits := make([]float32, m.vocab)
				m.logits(s.tokens, logits)
				if err := visit(i, j, logits); err != nil {
					return err
				}
			}
		}
	}
	m.steps = append(m.steps, step)
	return nil
}

// generator of a script, whose beginning and end of text is token 0.
func (m *script) generator(t Tokenizer) *Generator {
	return &Generator{model: m, tokenizer: t, vocab: m.vocab, context: m.context, bos: 0, eos: []int{0}}
}

// says is a script that continues a prompt of n tokens with the given ones.
func says(vocab, context, n int, tokens ...int) *script {
	return &script{context: context, vocab: vocab, logits: func(seen []int, logits []float32) {
		if i := len(seen) - n; i >= 0 && i < len(tokens) {
			logits[tokens[i]] = 10
		}
	}}
}

// greedy settings, changed.
func greedy(changes ...func(*Settings)) Settings {
	return Resolve(append(Layer{func(s *Settings) { s.SetTemperature(0) }}, changes...))
}
