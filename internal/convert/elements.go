package convert

import (
	"encoding/binary"
	"fmt"

	"github.com/gptctl/gptctl/internal/tensor"
)

const (
	// chunkElements is about how many elements are converted at a time: small
	// enough for the cache, large enough that a write is worth its call.
	chunkElements = 256 << 10
	// rowStep is what the rows of a transposed chunk come in: a block of
	// quantised elements, which becomes a column.
	rowStep = tensor.QuantBlock
	// tileColumns is how many rows of the source are transposed at a time: a
	// cache line of what they become.
	tileColumns = 16
)

// rows is how a tensor is cut into chunks: rows of so many elements each.
func (t *target) rows() (rows, width int) {
	if len(t.shape) == 2 {
		return t.shape[0], t.shape[1]
	}
	n := tensor.Tensor{Shape: t.shape}.Len()
	return 1, n
}

// chunkRows is how many rows a chunk has.
func (t *target) chunkRows() int {
	_, width := t.rows()
	return max(rowStep, chunkElements/max(width, 1)/rowStep*rowStep)
}

// room is the memory of one worker.
type room struct {
	bytes  []byte
	floats []float32
	tile   []float32
}

func grow[E any](s *[]E, n int) []E {
	if cap(*s) < n {
		*s = make([]E, n)
	}
	return (*s)[:n]
}

// RangeError says that a tensor has no form in a type: a number of it is too large,
// or is none.
type RangeError struct {
	Tensor  string // by Hugging Face's name
	DType   tensor.DType
	Damaged bool // it is infinite or no number in the model already
}

func (e *RangeError) Error() string {
	if e.Damaged {
		return fmt.Sprintf("the weights are damaged: %s holds a NaN or an infinite number", e.Tensor)
	}
	return fmt.Sprintf("%s holds a number that is too large for %v", e.Tensor, e.DType)
}

// chunk returns the bytes of rows from … to-1. They are valid until the next
// call, or lie in the source. from is a multiple of rowStep.
func (t *target) chunk(r *room, from, to int) ([]byte, error) {
	_, width := t.rows()
	lo, hi := from*width, to*width
	source := t.from
	if t.transpose {
		t.transposed(grow(&r.floats, hi-lo), r, from, to)
	} else {
		part := source.Data[source.DType.Bytes(lo):source.DType.Bytes(hi)]
		if t.dtype == source.DType {
			return part, nil
		}
		values, ok := []float32(nil), false
		if source.DType == tensor.F32 {
			values, ok = tensor.View[float32](part)
		}
		if !ok {
			values = grow(&r.floats, hi-lo)
			tensor.ToFloat32(values, source.DType, part)
		}
		return t.encode(r, values)
	}
	return t.encode(r, r.floats[:hi-lo])
}

// encode returns the values in the tensor's type. Damage is copied, but not made.
func (t *target) encode(r *room, values []float32) ([]byte, error) {
	if t.dtype == tensor.F32 {
		return tensor.Bytes(values), nil
	}
	out := grow(&r.bytes, t.dtype.Bytes(len(values)))
	tensor.FromFloat32(out, t.dtype, values)
	if t.dtype == t.from.DType || finite(t.dtype, out) {
		return out, nil
	}
	return nil, &RangeError{t.name, t.dtype, !finite(tensor.F32, tensor.Bytes(values))}
}

// finite reports whether all numbers are; of blocks, their scales.
func finite(d tensor.DType, data []byte) bool {
	size, at, mask := 2, 0, uint16(0x7c00) // where the exponent lies, and its bits
	switch d {
	case tensor.F32:
		size, at, mask = 4, 2, 0x7f80
	case tensor.BF16:
		mask = 0x7f80
	case tensor.Q8_0, tensor.Q4_0:
		size = d.Bytes(tensor.QuantBlock)
	}
	for ; at+2 <= len(data); at += size {
		if binary.LittleEndian.Uint16(data[at:])&mask == mask {
			return false
		}
	}
	return true
}

// transposed writes rows from … to-1 of the target, which are columns of the
// source. Every type goes through float32, which holds each value of the others
// and gives it back.
func (t *target) transposed(dst []float32, r *room, from, to int) {
	rows, width := t.rows()
	n := to - from
	d := t.from.DType
	tile := grow(&r.tile, tileColumns*n)
	for c := 0; c < width; c += tileColumns {
		columns := min(tileColumns, width-c)
		for k := range columns {
			at := (c+k)*rows + from
			tensor.ToFloat32(tile[k*n:(k+1)*n], d, t.from.Data[d.Bytes(at):d.Bytes(at+n)])
		}
		for i := range n {
			line := dst[i*width+c : i*width+c+columns]
			for k := range line {
				line[k] = tile[k*n+i]
			}
		}
	}
}
