package train

import (
	"fmt"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/tensor"
)

const tensorF32 = tensor.F32

// headRows is for how many positions logits exist at a time: each is a
// vocabulary wide, and there is a transposed copy of them on the way back.
const headRows = 256

// kept is what the way back needs of a layer, beside its input.
type kept struct {
	qkv    gpt2.Buffer // [rows][3·embd]
	lse    gpt2.Buffer // [rows][heads]
	att    gpt2.Buffer // [rows][embd]
	middle gpt2.Buffer // [rows][embd]: the residual stream between attention and MLP
	up     gpt2.Buffer // [rows][inner], before the activation
}

// memory holds the activations, for so many rows.
type memory struct {
	rows   int
	x      []gpt2.Buffer // [layers+1] of [rows][embd]: the inputs of the layers, and the last one's output
	layers []kept
	norm   gpt2.Buffer // [rows][embd]
	act    gpt2.Buffer // [rows][inner]

	dx   gpt2.Buffer // [rows][embd]: the gradient of the residual stream
	dy   gpt2.Buffer // [rows][embd]: rounded, dropped
	dh   gpt2.Buffer // [rows][embd]: that of a norm's output
	dqkv gpt2.Buffer // [rows][3·embd]
	dmid gpt2.Buffer // [rows][inner]

	low    gpt2.Buffer // [rows][rank]
	dlow   gpt2.Buffer // [rows][rank]
	bias   gpt2.Buffer // [the widest projection]: the gradient of a bias in float16
	logits gpt2.Buffer // [headRows][vocab]
	losses []float64
}

// reserve makes the activations large enough for so many rows.
func (t *Trainer) reserve(rows int) (err error) {
	m, c := &t.memory, t.cfg
	if rows <= m.rows {
		return nil
	}
	*m = memory{} // the old ones are garbage before the new ones are made
	alloc := func(width int) (b gpt2.Buffer) {
		if err == nil {
			b, err = t.dev.NewBuffer(rows * width)
		}
		return b
	}
	for range c.Layers + 1 {
		m.x = append(m.x, alloc(c.Embd))
	}
	var k kept
	for i := range c.Layers {
		if i == 0 || !t.options.Checkpointing {
			k = kept{qkv: alloc(3 * c.Embd), lse: alloc(c.Heads), att: alloc(c.Embd), middle: alloc(c.Embd), up: alloc(c.Inner)}
		}
		m.layers = append(m.layers, k)
	}
	m.norm, m.act = alloc(c.Embd), alloc(c.Inner)
	m.dx, m.dy, m.dh, m.dqkv, m.dmid = alloc(c.Embd), alloc(c.Embd), alloc(c.Embd), alloc(3*c.Embd), alloc(c.Inner)
	if r := t.options.LoRA.Rank; r > 0 {
		m.low, m.dlow = alloc(r), alloc(r)
	}
	if err == nil && t.options.Precision == FP16 {
		m.bias, err = t.dev.NewBuffer(max(3*c.Embd, c.Inner))
	}
	if err == nil {
		m.logits, err = t.dev.NewBuffer(min(rows, headRows) * c.VocabSize)
	}
	m.losses = make([]float64, headRows)
	if err != nil {
		*m = memory{}
		return fmt.Errorf("allocate activations for %d positions: %w", rows, err)
	}
	m.rows = rows
	return nil
}

func (t *Trainer) half() bool { return t.options.Precision != FP32 }

// round brings n numbers to the precision.
func (t *Trainer) round(x gpt2.Buffer, n int) {
	if t.half() {
		t.dev.Round(x, n, t.dtype)
	}
}
