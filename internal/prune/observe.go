package prune

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/tensor"
)

// observer is a device that shows what passes through it, and keeps each matrix
// that it has brought to itself: models made of the same blocks share them.
type observer struct {
	gpt2.Device
	matrices map[*byte]gpt2.Matrix

	layer int  // whose activations come next
	after bool // the activations of the layer were seen

	// neurons sees the activations y [rows][inner] of a layer's MLP, stream the
	// residual stream x [rows][embd] before a layer, or behind the last. Both may
	// be nil.
	neurons func(layer int, y gpt2.Buffer, rows, inner int)
	stream  func(layer int, x gpt2.Buffer, rows int)
}

func newObserver(d gpt2.Device) *observer {
	return &observer{Device: d, matrices: map[*byte]gpt2.Matrix{}}
}

// LoadMatrix implements gpt2.Device.
func (o *observer) LoadMatrix(t tensor.Tensor, layout gpt2.Layout) (gpt2.Matrix, error) {
	key := unsafe.SliceData(t.Data)
	if m, ok := o.matrices[key]; ok {
		return m, nil
	}
	m, err := o.Device.LoadMatrix(t, layout)
	if err == nil {
		o.matrices[key] = m
	}
	return m, err
}

// Embed implements gpt2.Device: a forward pass begins.
func (o *observer) Embed(x gpt2.Buffer, tokens, positions gpt2.Matrix, rows []gpt2.Row) {
	o.Device.Embed(x, tokens, positions, rows)
	o.layer, o.after = 0, false
	if o.stream != nil {
		o.stream(0, x, len(rows))
	}
}

// Linear implements gpt2.Device. The product with an activation is a layer's
// first of the MLP, the next one that is added to the stream its last.
func (o *observer) Linear(y, x gpt2.Buffer, rows int, w gpt2.Matrix, e gpt2.Epilogue) {
	o.Device.Linear(y, x, rows, w, e)
	switch {
	case e.Activation != gpt2.NoActivation:
		o.after = true
		if o.neurons != nil {
			_, inner := w.Dims()
			o.neurons(o.layer, y, rows, inner)
		}
	case e.Add && o.after:
		o.after = false
		o.layer++
		if o.stream != nil {
			o.stream(o.layer, y, rows)
		}
	}
}
