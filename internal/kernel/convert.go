package kernel

import (
	"fmt"
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Convert writes the numbers of src, of type from, to dst as type to, with all
// threads. A quantised type takes whole blocks.
func (c *CPU) Convert(dst []byte, to tensor.DType, src []byte, from tensor.DType) {
	n := elements(src, from)
	if n != elements(dst, to) {
		panic(fmt.Sprintf("kernel: convert %d bytes of %v to %d bytes of %v", len(src), from, len(dst), to))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.share(&convertTask{o: c.ops, dst: dst, src: src, to: to, from: from, n: n}, n)
}

func elements(b []byte, d tensor.DType) int {
	return len(b) * tensor.QuantBlock / d.Bytes(tensor.QuantBlock)
}

// floats is tensor.ToFloat32 by the family's instructions, into v or as the numbers
// lie.
func (o *ops) floats(v []float32, d tensor.DType, src []byte) []float32 {
	if d == tensor.F32 {
		if there, ok := tensor.View[float32](src[:4*len(v)]); ok {
			return there
		}
	}
	if (d == tensor.F16 || d == tensor.BF16) && o.widen != nil {
		o.widen(d, v, src)
	} else {
		tensor.ToFloat32(v, d, src)
	}
	return v
}

// putFloats is tensor.FromFloat32 by the family's instructions.
func (o *ops) putFloats(dst []byte, d tensor.DType, src []float32) {
	switch {
	case d == tensor.F32:
		copy(dst, tensor.Bytes(src))
	case (d == tensor.F16 || d == tensor.BF16) && o.narrow != nil:
		o.narrow(d, dst, src)
	default:
		tensor.FromFloat32(dst, d, src)
	}
}

type convertTask struct {
	o        *ops
	dst, src []byte
	to, from tensor.DType
	n        int
	next     atomic.Int64
}

const (
	convertClaim = 1 << 16 // numbers
	convertPiece = 1 << 10 // that stay in the first-level cache in between
)

// Run claims parts until none is left.
func (t *convertTask) Run(int) {
	var piece [convertPiece]float32
	for {
		begin := (int(t.next.Add(1)) - 1) * convertClaim
		if begin >= t.n {
			return
		}
		for i := begin; i < min(begin+convertClaim, t.n); i += convertPiece {
			v := t.o.floats(piece[:min(convertPiece, t.n-i)], t.from, t.src[t.from.Bytes(i):])
			t.o.putFloats(t.dst[t.to.Bytes(i):], t.to, v)
		}
	}
}
