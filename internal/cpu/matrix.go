package cpu

import (
	"fmt"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

type matrix struct{ kernel.Weight }

func (m *matrix) Dims() (in, out int) { return m.In, m.Out }

func (m *matrix) Bytes() int64 { return int64(len(m.Data)) }

// row converts row i of an [out][in] matrix.
func (m *matrix) row(dst []float32, i int) {
	n := m.DType.Bytes(m.In)
	tensor.ToFloat32(dst, m.DType, m.Data[i*n:(i+1)*n])
}

// LoadTable implements gpt2.Device. The rows stay where they lie.
func (d *Device) LoadTable(t tensor.Tensor) (gpt2.Matrix, error) { return view(t, gpt2.OutIn) }

// LoadMatrix implements gpt2.Device. A matrix of Options.DType stays where it
// lies; another is converted.
func (d *Device) LoadMatrix(t tensor.Tensor, layout gpt2.Layout) (gpt2.Matrix, error) {
	m, err := view(t, layout)
	if err != nil {
		return nil, err
	}
	want := d.options.DType
	if want == tensor.Invalid {
		want = t.DType
	}
	if want != t.DType || d.options.Copy {
		data := d.alloc(want.Bytes(t.Len()))
		// In parts, so that little of a mapped file has to be there at a time.
		for from, n := 0, t.Len(); from < n; from += convertPart {
			to := min(from+convertPart, n)
			part := t.Data[t.DType.Bytes(from):t.DType.Bytes(to)]
			d.cpu.Convert(data[want.Bytes(from):want.Bytes(to)], want, part, t.DType)
			if d.options.Copied != nil {
				d.options.Copied(part)
			}
		}
		m.DType, m.Data = want, data
	}
	return m, nil
}

// convertPart is how many numbers are converted at a time.
const convertPart = 4 << 20

func view(t tensor.Tensor, layout gpt2.Layout) (*matrix, error) {
	if len(t.Shape) != 2 || !t.DType.IsFloat() {
		return nil, fmt.Errorf("cannot multiply by a %v tensor of shape %s", t.DType, t.ShapeString())
	}
	w := kernel.Weight{In: t.Shape[0], Out: t.Shape[1], DType: t.DType, Data: t.Data}
	if layout == gpt2.OutIn {
		w.In, w.Out, w.OutMajor = w.Out, w.In, true
	}
	return &matrix{w}, nil
}
