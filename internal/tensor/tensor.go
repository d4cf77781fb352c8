// Package tensor describes numbers in memory: element types, shapes, and the
// conversions between the types.
//
// A Tensor owns nothing. Its bytes usually lie in a memory-mapped model file
// and stay valid only as long as that mapping.
package tensor

import (
	"fmt"
	"strings"
	"unsafe"
)

// DType is the type of a tensor's elements: those of the safetensors format, and
// two of GGUF's that are quantised in blocks. The engine computes with F32, F16,
// BF16, Q8_0 and Q4_0 weights.
type DType uint8

// The element types of the safetensors format that are whole bytes wide.
const (
	Invalid DType = iota
	F32
	F16
	BF16
	F64
	I64
	I32
	I16
	I8
	U64
	U32
	U16
	U8
	Bool
	F8E4M3
	F8E5M2

	// Blocks of 32 neighbours in a row, see QuantBlock.
	Q8_0
	Q4_0
)

var dtypes = [...]struct {
	name string
	size int
}{
	Invalid: {"invalid", 0}, F32: {"F32", 4}, F16: {"F16", 2}, BF16: {"BF16", 2}, F64: {"F64", 8},
	I64: {"I64", 8}, I32: {"I32", 4}, I16: {"I16", 2}, I8: {"I8", 1},
	U64: {"U64", 8}, U32: {"U32", 4}, U16: {"U16", 2}, U8: {"U8", 1}, Bool: {"BOOL", 1},
	F8E4M3: {"F8_E4M3", 1}, F8E5M2: {"F8_E5M2", 1},
	Q8_0: {"Q8_0", 0}, Q4_0: {"Q4_0", 0},
}

// ParseDType returns the type that safetensors writes as name ("F32", "BF16" …).
func ParseDType(name string) (DType, error) {
	for d := F32; d < Q8_0; d++ {
		if dtypes[d].name == name {
			return d, nil
		}
	}
	return Invalid, fmt.Errorf("unknown dtype %q", name)
}

// String returns the name that safetensors uses.
func (d DType) String() string {
	if int(d) >= len(dtypes) {
		d = Invalid
	}
	return dtypes[d].name
}

// Size returns the bytes of one element, 0 for a quantised type.
func (d DType) Size() int {
	if int(d) >= len(dtypes) {
		return 0
	}
	return dtypes[d].size
}

// Bytes returns the bytes that n elements take one after another; n is a
// multiple of QuantBlock if d is quantised.
func (d DType) Bytes(n int) int {
	switch d {
	case Q8_0:
		return n / QuantBlock * q8Bytes
	case Q4_0:
		return n / QuantBlock * q4Bytes
	}
	return n * d.Size()
}

// IsFloat reports whether an element of the type is a float of its own that the
// engine can compute with.
func (d DType) IsFloat() bool { return d == F32 || d == F16 || d == BF16 }

// IsQuantized reports whether elements come in blocks with a common scale.
func (d DType) IsQuantized() bool { return d == Q8_0 || d == Q4_0 }

// Tensor is a dense row-major array. len(Data) is DType.Bytes(Len()), little-endian.
type Tensor struct {
	DType DType
	Shape []int
	Data  []byte
}

// Len returns the number of elements; a tensor without dimensions has one.
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// ShapeString writes the shape as "[50257 768]".
func (t Tensor) ShapeString() string {
	return "[" + strings.Trim(fmt.Sprint(t.Shape), "[]") + "]"
}

// Float32s returns the elements as float32: a view of Data where that is
// possible (F32, aligned), else a converted copy. It reports which of the two
// it is. Integers cannot be asked for.
func (t Tensor) Float32s() (values []float32, view bool) {
	if t.DType == F32 {
		if v, ok := View[float32](t.Data); ok {
			return v, true
		}
	}
	values = make([]float32, t.Len())
	ToFloat32(values, t.DType, t.Data)
	return values, false
}

// View reinterprets bytes as elements of E without a copy. It refuses
// misaligned data, which Go's pointer rules forbid.
func View[E float32 | uint16 | int8](b []byte) ([]E, bool) {
	var e E
	size := int(unsafe.Sizeof(e))
	if len(b) == 0 {
		return nil, true
	}
	p := unsafe.Pointer(unsafe.SliceData(b))
	if uintptr(p)%unsafe.Alignof(e) != 0 || len(b)%size != 0 {
		return nil, false
	}
	return unsafe.Slice((*E)(p), len(b)/size), true
}

// Bytes is the inverse of View: the memory of v as little-endian bytes.
func Bytes[E float32 | uint16 | int8](v []E) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(v[0])))
}
