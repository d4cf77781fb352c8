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
	free   func() // gives all of it back
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
	chunks []chunk
}

// chunk is what belongs to some positions: of norm, and of dh.
type chunk struct{ norm, dh gpt2.Buffer }

// reserve makes the activations large enough for so many rows.
func (t *Trainer) reserve(rows int) error {
	m, c := &t.memory, t.cfg
	if rows <= m.rows {
		return nil
	}
	if m.free != nil {
		m.free() // before there are two of them
	}
	*m = memory{x: make([]gpt2.Buffer, c.Layers+1), layers: make([]kept, c.Layers), losses: make([]float64, headRows)}
	var sizes []int
	var buffers []*gpt2.Buffer
	want := func(b *gpt2.Buffer, n int) { sizes, buffers = append(sizes, n), append(buffers, b) }
	each := func(width int, list ...*gpt2.Buffer) {
		for _, b := range list {
			want(b, rows*width)
		}
	}
	for i := range m.x {
		each(c.Embd, &m.x[i])
	}
	own := m.layers // layers with memory of their own
	if t.options.Checkpointing {
		own = own[:1]
	}
	for i := range own {
		k := &own[i]
		each(3*c.Embd, &k.qkv)
		each(c.Embd, &k.att, &k.middle)
		each(c.Inner, &k.up)
		each(c.Heads, &k.lse)
	}
	each(c.Embd, &m.norm, &m.dx, &m.dy, &m.dh)
	each(c.Inner, &m.act, &m.dmid)
	each(3*c.Embd, &m.dqkv)
	if r := t.options.LoRA.Rank; r > 0 {
		each(r, &m.low, &m.dlow)
	}
	if t.options.Precision == FP16 {
		want(&m.bias, max(3*c.Embd, c.Inner))
	}
	want(&m.logits, min(rows, headRows)*c.VocabSize)

	list, free, err := t.dev.NewWorkspace(sizes)
	if err != nil {
		*m = memory{}
		return fmt.Errorf("allocate activations for %d positions: %w", rows, err)
	}
	for i, b := range list {
		*buffers[i] = b
	}
	m.free = free
	for i := range m.layers {
		if t.options.Checkpointing {
			m.layers[i] = m.layers[0]
		}
	}
	for from := 0; from < rows; from += headRows {
		m.chunks = append(m.chunks, t.chunk(m, from, min(headRows, rows-from)))
	}
	m.rows = rows
	return nil
}

// chunk is that of n positions.
func (t *Trainer) chunk(m *memory, from, n int) chunk {
	embd := t.cfg.Embd
	return chunk{t.dev.Part(m.norm, from*embd, n*embd), t.dev.Part(m.dh, from*embd, n*embd)}
}

func (t *Trainer) half() bool { return t.options.Precision != FP32 }

// round brings n numbers to the precision.
func (t *Trainer) round(x gpt2.Buffer, n int) {
	if t.half() {
		t.dev.Round(x, n, t.dtype)
	}
}
