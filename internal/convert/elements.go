package convert

import (
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

// chunk returns the bytes of rows from … to-1. They are valid until the next
// call, or lie in the source. from is a multiple of rowStep.
func (t *target) chunk(r *room, from, to int) []byte {
	_, width := t.rows()
	lo, hi := from*width, to*width
	source := t.from
	if t.transpose {
		t.transposed(grow(&r.floats, hi-lo), r, from, to)
	} else {
		part := source.Data[source.DType.Bytes(lo):source.DType.Bytes(hi)]
		if t.dtype == source.DType {
			return part
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

func (t *target) encode(r *room, values []float32) []byte {
	if t.dtype == tensor.F32 {
		return tensor.Bytes(values)
	}
	out := grow(&r.bytes, t.dtype.Bytes(len(values)))
	tensor.FromFloat32(out, t.dtype, values)
	return out
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
