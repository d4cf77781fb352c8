package train

import (
	"fmt"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/tensor"
)

const tensorF32 = tensor.F32

// The logits exist for headRows positions at a time: each is a vocabulary wide, and
// there may be a transposed copy of them on the way back. Halves take less, and have
// no copy; the head's weights are read for each part.
const (
	headRows     = 256
	headHalfRows = 1024
)

// kept is what the way back needs of a layer, beside its input.
type kept struct {
	qkv    gpt2.Buffer    // [rows][3·embd]
	lse    gpt2.Buffer    // [rows][heads]
	norms  [2]gpt2.Buffer // [rows][embd]: what the norms give; as act
	att    gpt2.Buffer    // [rows][embd]
	middle gpt2.Buffer    // [rows][embd]: the residual stream between attention and MLP
	up     gpt2.Buffer    // [rows][inner], before the activation
	act    gpt2.Buffer    // [rows][inner], after it; one for all layers if it is computed again
}

// memory holds the activations, for so many rows.
type memory struct {
	free   func() // gives all of it back
	rows   int
	head   int           // headRows, or headHalfRows
	x      []gpt2.Buffer // [layers+1] of [rows][embd]: the inputs of the layers, and the last one's output
	layers []kept
	again  bool        // norms and activations are computed again
	norm   gpt2.Buffer // [rows][embd]

	dx   gpt2.Buffer // [rows][embd]: the gradient of the residual stream
	dy   gpt2.Buffer // [rows][embd]: rounded, dropped
	dh   gpt2.Buffer // [rows][embd]: that of a norm's output
	dqkv gpt2.Buffer // [rows][3·embd]
	dmid gpt2.Buffer // [rows][inner]

	low    gpt2.Buffer // [rows][rank]
	dlow   gpt2.Buffer // [rows][rank]
	bias   gpt2.Buffer // [the widest projection]: the gradient of a bias, to be rounded
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
	*m = memory{x: make([]gpt2.Buffer, c.Layers+1), layers: make([]kept, c.Layers), head: headRows}
	store := tensorF32 // of what the precision rounds
	if _, ok := t.dev.Halves(nil, 0, t.dtype); ok && t.options.LoRA.Rank == 0 {
		store, m.head = t.dtype, headHalfRows
	}
	m.losses = make([]float64, m.head)
	var sizes, numbers []int
	var buffers []*gpt2.Buffer
	var types []tensor.DType
	want := func(b *gpt2.Buffer, n int, d tensor.DType) {
		sizes, buffers = append(sizes, (n*d.Size()+3)/4), append(buffers, b)
		numbers, types = append(numbers, n), append(types, d)
	}
	each := func(d tensor.DType, width int, list ...*gpt2.Buffer) {
		for _, b := range list {
			want(b, rows*width, d)
		}
	}
	widths := make(map[*gpt2.Buffer]int)             // of tiles
	tiles := func(width int, list ...*gpt2.Buffer) { // what only products read where it is stored as halves
		for _, b := range list {
			n := 0
			if store != tensorF32 {
				_, n = t.dev.Tiles(nil, rows, width, store)
			}
			if n == 0 {
				each(store, width, b)
				continue
			}
			widths[b] = width
			want(b, n, store)
		}
	}
	for i := range m.x {
		each(tensorF32, c.Embd, &m.x[i])
	}
	own := m.layers // layers with memory of their own
	if t.options.Checkpointing {
		own = own[:1]
	}
	for i := range own {
		k := &own[i]
		each(store, 3*c.Embd, &k.qkv)
		each(store, c.Embd, &k.att)
		each(tensorF32, c.Embd, &k.middle)
		tiles(c.Inner, &k.up)
		each(tensorF32, c.Heads, &k.lse)
	}
	tiles(c.Embd, &m.norm, &m.dy)
	each(store, c.Embd, &m.dh)
	each(tensorF32, c.Embd, &m.dx)
	tiles(c.Inner, &m.dmid)
	m.again = store == tensorF32 || t.options.Checkpointing
	acts := m.layers // with an activation of their own
	if m.again {
		acts = acts[:1]
	}
	for i := range acts {
		tiles(c.Inner, &acts[i].act)
		if !m.again {
			tiles(c.Embd, &acts[i].norms[0], &acts[i].norms[1])
		}
	}
	tiles(3*c.Embd, &m.dqkv)
	if r := t.options.LoRA.Rank; r > 0 {
		each(tensorF32, r, &m.low, &m.dlow)
	}
	if t.half() {
		want(&m.bias, max(3*c.Embd, c.Inner), tensorF32)
	}
	want(&m.logits, min(rows, m.head)*c.VocabSize, store)

	list, free, err := t.dev.NewWorkspace(sizes)
	if err != nil {
		*m = memory{}
		return fmt.Errorf("allocate activations for %d positions: %w", rows, err)
	}
	m.free = free
	for i, b := range list {
		switch {
		case widths[buffers[i]] > 0:
			b, _ = t.dev.Tiles(b, rows, widths[buffers[i]], store)
		case types[i] != tensorF32:
			b, _ = t.dev.Halves(b, numbers[i], types[i])
		}
		*buffers[i] = b
	}
	for i := range m.layers {
		if t.options.Checkpointing {
			m.layers[i] = m.layers[0]
		}
		if m.again {
			m.layers[i].act, m.layers[i].norms = m.layers[0].act, [2]gpt2.Buffer{m.norm, m.norm}
		}
	}
	for from := 0; from < rows; from += m.head {
		m.chunks = append(m.chunks, t.chunk(m, from, min(m.head, rows-from)))
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
