package gpt2

import (
	"context"
	"errors"
	"fmt"
)

// ErrContextFull is wrapped by Forward's error when a sequence would grow past
// its cache or past the positions that the model has learned.
var ErrContextFull = errors.New("context is full")

// Sequence is the state of one text on its way through the model: the KV cache
// and how far it is filled.
type Sequence struct {
	kv  KV
	len int
	cap int
}

// NewSequence makes room for capacity positions, at most the model's own.
func (m *Model) NewSequence(capacity int) (*Sequence, error) {
	capacity = min(capacity, m.Config.Positions)
	c := m.Config
	kv, err := m.dev.NewKV(KVShape{c.Layers, c.Heads, c.HeadDim()}, capacity)
	if err != nil {
		return nil, fmt.Errorf("allocate a KV cache of %d positions: %w", capacity, err)
	}
	return &Sequence{kv: kv, cap: capacity}, nil
}

// Len returns the positions that the sequence holds.
func (s *Sequence) Len() int { return s.len }

// Cap returns the positions that the sequence has room for.
func (s *Sequence) Cap() int { return s.cap }

// Truncate forgets all positions from n on.
func (s *Sequence) Truncate(n int) { s.len = min(s.len, max(n, 0)) }

// CopyFrom makes s equal to other, of which the first common positions are
// known to be the same in both already. s must have the capacity for it.
func (s *Sequence) CopyFrom(other *Sequence, common int) {
	if s == other {
		return
	}
	if common < other.len {
		s.kv.CopyFrom(other.kv, common, other.len)
	}
	s.len = other.len
}

// Input is what Forward appends to one sequence.
type Input struct {
	Sequence *Sequence
	Tokens   []int
	Logits   Wanted
}

// Wanted says which positions of an Input need logits.
type Wanted uint8

const (
	// LastLogits asks for those that predict the next token.
	LastLogits Wanted = iota
	// AllLogits asks for those of every position of the input.
	AllLogits
	// NoLogits only fills the cache.
	NoLogits
)

// Forward appends the tokens of each input to its sequence: one input of many
// tokens is a prefill, many inputs of one token a batched decode, and any
// mixture is allowed (but each sequence only once). For each position that
// wants logits it calls visit with the index of the input, the index of the
// token in it, and the logits [vocab], which are visit's to change and valid
// until it returns. Inputs are visited in order, tokens in order.
//
// An error leaves the sequences as they were. It wraps ErrContextFull, is a
// *NonFiniteError, is ctx's error, or names a token that the vocabulary lacks.
func (m *Model) Forward(ctx context.Context, inputs []Input, visit func(input, token int, logits []float32) error) error {
	if err := m.check(inputs); err != nil {
		return err
	}
	before := m.lists.before[:0]
	for _, in := range inputs {
		before = append(before, in.Sequence.len)
	}
	m.lists.before = before
	err := m.forward(ctx, inputs, visit)
	if err != nil {
		for i, in := range inputs {
			in.Sequence.len = before[i]
		}
	}
	return err
}

func (m *Model) check(inputs []Input) error {
	for _, in := range inputs {
		s := in.Sequence
		if s.len+len(in.Tokens) > s.cap {
			return fmt.Errorf("%d positions are taken and %d more do not fit into %d: %w", s.len, len(in.Tokens), s.cap, ErrContextFull)
		}
		for _, t := range in.Tokens {
			if t < 0 || t >= m.Config.VocabSize {
				return fmt.Errorf("token %d is not in the vocabulary of %d", t, m.Config.VocabSize)
			}
		}
	}
	return nil
}

// place names a row of a chunk by the input and the token it came from.
type place struct{ input, token int }

// lists are Forward's own. They are kept from call to call, so that a token needs no
// new memory.
type lists struct {
	before []int // the lengths of the sequences
	rows   []Row
	places []place
	wanted []int // rows whose logits are
}

// forward cuts the inputs into chunks of chunkRows positions.
func (m *Model) forward(ctx context.Context, inputs []Input, visit func(input, token int, logits []float32) error) error {
	rows, places := m.lists.rows[:0], m.lists.places[:0]
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		err := m.chunk(ctx, inputs, rows, places, visit)
		clear(rows) // they hold on to the keys and values of texts
		rows, places = rows[:0], places[:0]
		m.lists.rows, m.lists.places = rows, places
		return err
	}
	for i, in := range inputs {
		for j, t := range in.Tokens {
			rows = append(rows, Row{Token: t, Pos: in.Sequence.len, KV: in.Sequence.kv})
			places = append(places, place{i, j})
			in.Sequence.len++
			if len(rows) == chunkRows {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

func (m *Model) chunk(ctx context.Context, inputs []Input, rows []Row, places []place, visit func(input, token int, logits []float32) error) error {
	wanted := m.lists.wanted[:0]
	for r, p := range places {
		in := inputs[p.input]
		if in.Logits == AllLogits || in.Logits == LastLogits && p.token == len(in.Tokens)-1 {
			wanted = append(wanted, r)
		}
	}
	m.lists.wanted = wanted
	if err := m.reserve(len(rows), min(len(wanted), logitsRows)); err != nil {
		return err
	}
	first := len(rows)
	if len(wanted) > 0 {
		first = wanted[0]
	}
	x, from, err := m.hidden(ctx, rows, first)
	if err != nil {
		return err
	}
	for i := range wanted {
		wanted[i] -= from // rows of x
	}
	for len(wanted) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := wanted[:min(len(wanted), logitsRows)]
		wanted = wanted[len(part):]
		all, good, err := m.head(x, part)
		if err != nil {
			return err
		}
		for k, i := range part {
			r := from + i
			logits := all[k*m.Config.VocabSize : (k+1)*m.Config.VocabSize]
			if !good && !finite(logits) {
				return m.nonFinite(rows[r].Pos)
			}
			if err := visit(places[r].input, places[r].token, logits); err != nil {
				return err
			}
		}
	}
	return nil
}

// NonFiniteError says that logits came out as NaN or infinite.
type NonFiniteError struct {
	Position int
	Tensor   string // the first weight that holds one itself, "" if none does
	Index    int    // where in Tensor
}

func (e *NonFiniteError) Error() string {
	if e.Tensor == "" {
		return fmt.Sprintf("the logits of position %d are not finite, though every weight is: the model's numbers overflow", e.Position)
	}
	return fmt.Sprintf("the weights are damaged: %s holds a NaN or an infinite number at index %d", e.Tensor, e.Index)
}

func (m *Model) nonFinite(pos int) error {
	e := &NonFiniteError{Position: pos}
	if name, index, ok := m.weights.FindNonFinite(); ok {
		e.Tensor, e.Index = name, index
	}
	return e
}

// finite reports whether no number is NaN or infinite.
func finite(x []float32) bool {
	for _, v := range x {
		if v*0 != 0 {
			return false
		}
	}
	return true
}
