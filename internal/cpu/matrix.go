package cpu

import (
	"fmt"
	"slices"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

// matrix is a weight to multiply by (a quantised one is packed then), or a table
// to look rows up in (as the file has it).
type matrix struct {
	kernel.Weight
	packed bool
	own    bool // it is a copy in the device's memory
}

func (m *matrix) Dims() (in, out int) { return m.In, m.Out }

func (m *matrix) Bytes() int64 { return int64(len(m.Data)) }

// row converts row i of an [out][in] matrix.
func (m *matrix) row(c *kernel.CPU, dst []float32, i int) {
	if m.packed {
		m.PackedRow(dst, i)
		return
	}
	if m.Tiles {
		m.TileRow(dst, i)
		return
	}
	n := m.DType.Bytes(m.In)
	c.Widen(dst, m.DType, m.Data[i*n:(i+1)*n])
}

// LoadTable implements gpt2.Device.
func (d *Device) LoadTable(t tensor.Tensor) (gpt2.Matrix, error) {
	if d.options.Detach {
		src := t.Data
		t.Data = append(d.alloc(len(src))[:0], src...)
		d.copied(src)
	}
	return view(t, gpt2.OutIn)
}

// LoadMatrix implements gpt2.Device. Without Options.DType matrices of float32 stay where
// they lie; asked for by name they are laid out in panels, as all of 16 bits are, which
// takes tenths of a second and is a quarter faster from then on. With Options.Later that
// waits. Where there is a matrix unit those of 16 bits are laid out in tiles; F16 is
// rounded to BF16 where that is multiplied faster, see kernel.Traits. Quantised ones are
// packed, whatever they were. A matrix that cannot be quantised, since its inputs are not
// whole blocks, keeps its type.
func (d *Device) LoadMatrix(t tensor.Tensor, layout gpt2.Layout) (gpt2.Matrix, error) {
	m, err := view(t, layout)
	if err != nil {
		return nil, err
	}
	if d.options.Stop != nil {
		if err := d.options.Stop(); err != nil {
			return nil, err
		}
	}
	if d.options.Needed != nil {
		d.options.Needed(t.Data)
	}
	want := d.options.DType
	if want == tensor.Invalid || want.IsQuantized() && m.In%tensor.QuantBlock != 0 {
		want = t.DType
	}
	want = d.cpu.Traits().Held(want)
	switch {
	case want.IsQuantized():
		err = d.pack(m, want)
	case d.cpu.InTiles(want):
		d.packTiles(m)
	case d.options.Later && want == t.DType:
		if want.Bytes(m.In*m.Out) >= panelsFrom && (!m.OutMajor || want == tensor.F32) {
			d.later = append(d.later, m)
		}
	case (want != tensor.F32 || d.options.DType == tensor.F32) && !m.OutMajor && want.Bytes(m.In*m.Out) >= panelsFrom:
		d.panels(m, want)
	case want == t.DType && !d.options.Copy:
	default:
		d.convert(m, want, convertPart)
	}
	d.link(m)
	return m, err
}

// link says that matrices are multiplied by in the order in which they are loaded, and
// then from the beginning: with a tied head that is so.
func (d *Device) link(m *matrix) {
	d.loaded = append(d.loaded, m)
	d.loaded[max(0, len(d.loaded)-2)].Next, m.Next = &m.Weight, &d.loaded[0].Weight
}

// panelsFrom is the size from which a matrix is worth panels: a smaller one is
// read from a cache, in any order.
const panelsFrom = 1 << 20

// convertPart is about how many numbers are converted at a time, so that little
// of a mapped file has to be in memory.
const convertPart = 4 << 20

// widePart is the same where they become float32 in between.
const widePart = 512 << 10

// part is how many numbers are converted at a time.
func (d *Device) part(from, to tensor.DType) int {
	if from.IsQuantized() && from != to {
		return widePart
	}
	return convertPart
}

// widen makes a part of a quantised weight float32, in memory that the next one
// overwrites.
func (d *Device) widen(part *kernel.Weight) {
	n := 4 * part.In * part.Out
	d.wide = slices.Grow(d.wide[:0], n)[:n]
	d.cpu.Convert(d.wide, tensor.F32, part.Data, part.DType)
	part.DType, part.Data = tensor.F32, d.wide
}

// convert makes m a copy of itself as floats of a type, so many numbers at a time.
func (d *Device) convert(m *matrix, want tensor.DType, numbers int) {
	have, src, n := m.DType, m.Data, m.In*m.Out
	m.DType, m.Data, m.own = want, d.alloc(want.Bytes(n)), true
	for from := 0; from < n; from += numbers {
		to := min(from+numbers, n)
		part := src[have.Bytes(from):have.Bytes(to)]
		d.cpu.Convert(m.Data[want.Bytes(from):want.Bytes(to)], want, part, have)
		d.copied(part)
	}
}

// panels makes m a copy of itself in panels, so many numbers at a time: all of it is
// written to from the first part on, but what is read goes back soon.
func (d *Device) panels(m *matrix, want tensor.DType) {
	src := m.Weight
	var pack func(from, to int)
	m.own = true
	if m.DType = want; want == tensor.BF16 && d.cpu.Traits().Pairs {
		m.Data, m.Pairs = d.alloc(kernel.PairBytes(m.In, m.Out)), true
		pack = func(from, to int) { d.cpu.PackPairs(m.Data, &src, from, to) }
	} else {
		m.Data, m.Panels = d.alloc(kernel.PanelBytes(want, m.In, m.Out)), true
		pack = func(from, to int) { d.cpu.PackPanels(m.Data, &src, want, from, to) }
	}
	step := max(2, takePart/m.Out/2*2)
	for from := 0; from < m.In; from += step {
		to := min(from+step, m.In)
		pack(from, to)
		d.copied(src.Data[src.DType.Bytes(from*m.Out):src.DType.Bytes(to*m.Out)])
	}
}

// packTiles makes m a copy of itself in tiles. Rows of [out][in] are packed some at a
// time.
func (d *Device) packTiles(m *matrix) {
	src := m.Weight
	m.own = true
	m.Weight = kernel.Weight{In: src.In, Out: src.Out, DType: tensor.BF16, Data: d.alloc(kernel.TileBytes(src.Out, src.In)), Tiles: true}
	if !src.OutMajor {
		d.cpu.PackTiles(m.Data, &src)
		d.copied(src.Data)
		return
	}
	const step = 32
	rows := max(1, d.part(src.DType, tensor.BF16)/max(1, src.In)/step) * step
	for from := 0; from < src.Out; from += rows {
		part := src
		part.Out = min(rows, src.Out-from)
		part.Data = src.Data[src.DType.Bytes(from*src.In):][:src.DType.Bytes(part.Out*src.In)]
		read := part.Data
		if part.DType.IsQuantized() {
			d.widen(&part)
		}
		d.cpu.PackTiles(m.Data[kernel.TileBytes(from, src.In):], &part)
		d.copied(read)
	}
}

// pack makes m a packed copy of itself. Rows of [out][in] are packed some panels
// at a time.
func (d *Device) pack(m *matrix, want tensor.DType) error {
	src := *m
	m.DType, m.Data, m.packed, m.own = want, d.alloc(kernel.PackedBytes(want, m.In, m.Out)), true, true
	step := m.Out
	if m.OutMajor {
		step = max(1, d.part(src.DType, want)/m.In/kernel.PanelOuts) * kernel.PanelOuts
	}
	for from := 0; from < m.Out; from += step {
		part := src.Weight
		part.Out = min(step, m.Out-from)
		if m.OutMajor {
			row := src.DType.Bytes(m.In)
			part.Data = src.Data[from*row:][:part.Out*row]
		}
		dst := m.Data[kernel.PackedBytes(want, m.In, from):][:kernel.PackedBytes(want, m.In, part.Out)]
		if err := d.packPart(dst, want, part); err != nil {
			return err
		}
		d.copied(part.Data)
	}
	m.OutMajor = false
	return nil
}

func (d *Device) packPart(dst []byte, want tensor.DType, part kernel.Weight) error {
	if part.DType == want {
		return d.cpu.PackBlocks(dst, want, part.In, part.Out, part.Data)
	}
	if part.DType.IsQuantized() { // from one quantised type to the other
		d.widen(&part)
	}
	return d.cpu.PackWeight(dst, &part, want)
}

func (d *Device) copied(data []byte) {
	if d.options.Copied != nil {
		d.options.Copied(data)
	}
}

func view(t tensor.Tensor, layout gpt2.Layout) (*matrix, error) {
	if len(t.Shape) != 2 || !t.DType.IsFloat() && !t.DType.IsQuantized() {
		return nil, fmt.Errorf("cannot multiply by a %v tensor of shape %s", t.DType, t.ShapeString())
	}
	w := kernel.Weight{In: t.Shape[0], Out: t.Shape[1], DType: t.DType, Data: t.Data}
	if layout == gpt2.OutIn {
		w.In, w.Out, w.OutMajor = w.Out, w.In, true
	}
	if t.DType.IsQuantized() && (!w.OutMajor || w.In%tensor.QuantBlock != 0) {
		return nil, fmt.Errorf("cannot multiply by a %v tensor of shape %s: its blocks are not along the inputs", t.DType, t.ShapeString())
	}
	return &matrix{Weight: w}, nil
}
