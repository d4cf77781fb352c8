// Package gpt2 is the model: what its configuration means, which tensors it
// consists of, and how a token becomes logits.
//
// The residual stream x [rows][embd] starts as token plus position embedding.
// Each block adds attention over a layer norm of x, then an MLP over another:
//
//	x += AttnOut(attention(QKV(norm(x))))
//	x += Down(activation(Up(norm(x))))
//
// and the logits are the head times the final norm of x (Radford et al. 2019,
// "Language Models are Unsupervised Multitask Learners"; the names follow the
// transformers implementation of it).
//
// The package knows neither files nor a particular device: weights come in as
// tensors, arithmetic is a Device's.
package gpt2

import (
	"context"
	"fmt"

	"github.com/gptctl/gptctl/internal/tensor"
)

// chunkRows bounds the positions that go through the network at once, and with
// it the memory of the activations. logitsRows does so for the logits, whose
// rows are a vocabulary wide.
const (
	chunkRows  = 512
	logitsRows = 32
)

// Model is a GPT-2 on a device. It is not safe for concurrent use: its
// activations are shared by all calls.
type Model struct {
	Config Config

	dev     Device
	weights *Weights
	params  params

	// Activations, grown to the largest call so far.
	rows                   int
	x, norm, qkv, att, mid Buffer // [rows][embd|embd|3·embd|embd|inner]
	headRows               int
	picked, logits         Buffer // [headRows][embd], [headRows][vocab]

	lists lists
}

// params are the weights as the device holds them.
type params struct {
	tokens, positions, head Matrix
	blocks                  []block
	final                   norm
}

type norm struct{ gain, bias Buffer }

type projection struct {
	weight Matrix
	bias   Buffer
}

type block struct {
	attnNorm     norm
	qkv, attnOut projection
	mlpNorm      norm
	up, down     projection
}

// New brings the weights to the device. They must stay valid (mapped) as long
// as the model is used.
func New(dev Device, cfg Config, w *Weights) (*Model, error) {
	m := &Model{Config: cfg, dev: dev, weights: w}
	l := loader{dev: dev}
	p := &m.params
	p.tokens = l.matrix(w.TokenEmbedding, OutIn)
	p.positions = l.table(w.PositionEmbedding)
	p.head = p.tokens
	if !w.Tied {
		p.head = l.matrix(w.Head, OutIn)
	}
	p.final = l.norm(w.FinalNorm)
	for _, b := range w.Blocks {
		p.blocks = append(p.blocks, block{
			attnNorm: l.norm(b.AttnNorm),
			qkv:      l.projection(b.QKV),
			attnOut:  l.projection(b.AttnOut),
			mlpNorm:  l.norm(b.MLPNorm),
			up:       l.projection(b.Up),
			down:     l.projection(b.Down),
		})
	}
	if l.err != nil {
		return nil, fmt.Errorf("load weights on %s: %w", dev.Name(), l.err)
	}
	return m, nil
}

// loader keeps the first error, so that New reads as a list.
type loader struct {
	dev Device
	err error
}

func (l *loader) matrix(t tensor.Tensor, layout Layout) (m Matrix) {
	if l.err == nil {
		m, l.err = l.dev.LoadMatrix(t, layout)
	}
	return m
}

func (l *loader) table(t tensor.Tensor) (m Matrix) {
	if l.err == nil {
		m, l.err = l.dev.LoadTable(t)
	}
	return m
}

func (l *loader) vector(t tensor.Tensor) (b Buffer) {
	if l.err == nil {
		b, l.err = l.dev.LoadVector(t)
	}
	return b
}

func (l *loader) norm(n Norm) norm { return norm{l.vector(n.Gain), l.vector(n.Bias)} }

func (l *loader) projection(p Projection) projection {
	return projection{l.matrix(p.Weight, p.Layout), l.vector(p.Bias)}
}

// TokenBytes returns the memory of the weights that are read to compute one
// token: all matrices with the head, not the embeddings.
func (m *Model) TokenBytes() int64 {
	n := m.params.head.Bytes()
	for _, b := range m.params.blocks {
		n += b.qkv.weight.Bytes() + b.attnOut.weight.Bytes() + b.up.weight.Bytes() + b.down.weight.Bytes()
	}
	return n
}

// readers are the matrices that the activations of these names are multiplied with.
func (p *params) readers() (norm, att, mid []Matrix) {
	for _, b := range p.blocks {
		norm = append(norm, b.qkv.weight, b.up.weight)
		att = append(att, b.attnOut.weight)
		mid = append(mid, b.down.weight)
	}
	return norm, att, mid
}

// Device returns where the model is.
func (m *Model) Device() Device { return m.dev }

// reserve makes the activations large enough for a call.
func (m *Model) reserve(rows, headRows int) error {
	if rows <= m.rows && headRows <= m.headRows {
		return nil
	}
	return m.grow(rows, headRows)
}

func (m *Model) grow(rows, headRows int) (err error) {
	alloc := func(b *Buffer, n int) {
		if err == nil {
			*b, err = m.dev.NewBuffer(n)
		}
	}
	residual, qkv := alloc, alloc
	operand := func(b *Buffer, n int, _ []Matrix, _ Buffer) { alloc(b, n) }
	if o, ok := m.dev.(Operands); ok {
		with := func(f func(int) (Buffer, error)) func(*Buffer, int) {
			return func(b *Buffer, n int) {
				if err == nil {
					*b, err = f(n)
				}
			}
		}
		residual, qkv = with(o.NewResidual), with(o.NewQKV)
		operand = func(b *Buffer, n int, readers []Matrix, beside Buffer) {
			with(func(n int) (Buffer, error) { return o.NewOperand(n, readers, beside) })(b, n)
		}
	}
	if rows > m.rows {
		embd := m.Config.Embd
		norm, att, mid := m.params.readers()
		residual(&m.x, rows*embd)
		operand(&m.norm, rows*embd, norm, nil)
		qkv(&m.qkv, rows*3*embd)
		operand(&m.att, rows*embd, att, m.norm)
		operand(&m.mid, rows*m.Config.Inner, mid, m.qkv)
		m.rows = rows
	}
	if headRows > m.headRows {
		alloc(&m.picked, headRows*m.Config.Embd)
		alloc(&m.logits, headRows*m.Config.VocabSize)
		m.headRows = headRows
	}
	if err != nil {
		m.rows, m.headRows = 0, 0
		return fmt.Errorf("allocate activations for %d positions: %w", rows, err)
	}
	return nil
}

// hidden runs the rows through all blocks. It returns the residual stream, and the row
// that this begins with: first, the first whose logits are wanted, or one before it. Of
// the rows before that the last block only needs the keys and values.
func (m *Model) hidden(ctx context.Context, rows []Row, first int) (x Buffer, from int, err error) {
	d, c, n := m.dev, m.Config, len(rows)
	eps := float32(c.LayerNormEpsilon)
	x = m.x
	d.Embed(x, m.params.tokens, m.params.positions, rows)
	for i, b := range m.params.blocks {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		d.Norm(m.norm, x, b.attnNorm.gain, b.attnNorm.bias, n, c.Embd, eps)
		d.Linear(m.qkv, m.norm, n, b.qkv.weight, Epilogue{Bias: b.qkv.bias})
		d.Attention(m.att, m.qkv, i, rows, c.AttentionScale(i))
		att := m.att
		if t, ok := d.(Tailed); ok && i == len(m.params.blocks)-1 && first > 0 {
			if from = t.TailFrom(n, first); from == n {
				return x, n, nil
			}
			x, att = t.Tail(x, n, c.Embd, from), t.Tail(att, n, c.Embd, from)
			n -= from
		}
		d.Linear(x, att, n, b.attnOut.weight, Epilogue{Bias: b.attnOut.bias, Add: true})

		d.Norm(m.norm, x, b.mlpNorm.gain, b.mlpNorm.bias, n, c.Embd, eps)
		d.Linear(m.mid, m.norm, n, b.up.weight, Epilogue{Bias: b.up.bias, Activation: c.Activation})
		d.Linear(x, m.mid, n, b.down.weight, Epilogue{Bias: b.down.bias, Add: true})
	}
	return x, from, nil
}

// head returns the logits [len(indices)][vocab] of the named rows of the residual
// stream, valid until the next call, and whether all of them are finite.
func (m *Model) head(x Buffer, indices []int) (logits []float32, finite bool, err error) {
	c, n := m.Config, len(indices)
	m.dev.Gather(m.picked, x, indices, c.Embd)
	m.dev.Norm(m.picked, m.picked, m.params.final.gain, m.params.final.bias, n, c.Embd, float32(c.LayerNormEpsilon))
	m.dev.Linear(m.logits, m.picked, n, m.params.head, Epilogue{})
	finite = m.dev.Finite(m.logits, n*c.VocabSize)
	logits, err = m.dev.Read(m.logits, n*c.VocabSize)
	return logits, finite, err
}
