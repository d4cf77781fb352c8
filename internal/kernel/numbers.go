package kernel

import (
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Numbers are an operand of training in memory: float32, or bfloat16 where BF16 is
// not nil. What is stored as bfloat16 is rounded as it is written.
type Numbers struct {
	F32  []float32
	BF16 []uint16

	// Tiles says that BF16 is [⌈rows/32⌉][width/32][32][32], as a matrix unit takes it: no
	// product need bring its rows into form. The width is a multiple of 32. What lies in
	// rows beyond the last is nobody's. Products, AddRows and the gradients of
	// TrainAttentionGradOf take it; others need that its numbers lie in order, or do not mind.
	Tiles bool
}

// Floats are numbers in float32.
func Floats(v []float32) Numbers { return Numbers{F32: v} }

// StoresBF16 says whether operands may be bfloat16 in memory: where a matrix unit
// multiplies them.
func (c *CPU) StoresBF16() bool { return c.ops.tiles != nil }

func (n Numbers) len() int {
	if n.BF16 != nil {
		return len(n.BF16)
	}
	return len(n.F32)
}

// holds says whether n has so many rows and columns.
func (n Numbers) holds(rows, cols int) bool {
	if n.Tiles {
		return cols%generic.TileStep == 0 && len(n.BF16) >= roundUp(rows, generic.TileStep)*cols
	}
	return n.len() >= rows*cols
}

func (n Numbers) dtype() tensor.DType {
	if n.BF16 != nil {
		return tensor.BF16
	}
	return tensor.F32
}

func (n Numbers) bytes() []byte {
	if n.BF16 != nil {
		return tensor.Bytes(n.BF16)
	}
	return tensor.Bytes(n.F32)
}

func (n Numbers) part(from, to int) Numbers {
	if n.BF16 != nil {
		return Numbers{BF16: n.BF16[from:to]}
	}
	return Numbers{F32: n.F32[from:to]}
}

// read returns numbers as float32: where they lie, or in memory.
func (o *ops) read32(n Numbers, memory []float32) []float32 {
	if n.BF16 == nil {
		return n.F32
	}
	memory = memory[:len(n.BF16)]
	o.widened(memory, n.BF16)
	return memory
}

// load copies n to v.
func (o *ops) load(v []float32, n Numbers) {
	switch {
	case n.BF16 != nil:
		o.widened(v, n.BF16)
	case len(v) > 0 && &v[0] != &n.F32[0]:
		copy(v, n.F32)
	}
}

func (o *ops) widened(dst []float32, src []uint16) {
	if o.widen == nil {
		tensor.ToFloat32(dst, tensor.BF16, tensor.Bytes(src))
	} else {
		o.widen(tensor.BF16, dst, tensor.Bytes(src))
	}
}

// place is where float32 may be written that store puts into n.
func (n Numbers) place(memory []float32) []float32 {
	if n.BF16 == nil {
		return n.F32
	}
	return memory[:len(n.BF16)]
}

// store rounds v to n, if it does not lie there.
func (o *ops) store(n Numbers, v []float32) {
	if n.BF16 != nil && len(v) > 0 {
		o.tiles.finish(tensor.BF16, true, false, false, tensor.Bytes(n.BF16), 0, v, 0, 1, len(v))
	}
}
