package gguf

import (
	"fmt"

	"github.com/gptctl/gptctl/internal/tensor"
)

// A Type is the number of a tensor type in a file.
type Type uint32

// The types that can be read and written.
const (
	f32  Type = 0
	f16  Type = 1
	q4_0 Type = 2
	q8_0 Type = 8
	bf16 Type = 30
)

// types are those of ggml.h: how many elements a block has, and its bytes. The
// sizes of types that are not read serve to check where their data lies.
var types = map[Type]struct {
	name         string
	block, bytes uint64
	dtype        tensor.DType // Invalid: cannot be read
}{
	f32: {"F32", 1, 4, tensor.F32}, f16: {"F16", 1, 2, tensor.F16}, bf16: {"BF16", 1, 2, tensor.BF16},
	q8_0: {"Q8_0", 32, 34, tensor.Q8_0}, q4_0: {"Q4_0", 32, 18, tensor.Q4_0},

	3: {"Q4_1", 32, 20, 0}, 6: {"Q5_0", 32, 22, 0}, 7: {"Q5_1", 32, 24, 0}, 9: {"Q8_1", 32, 36, 0},
	10: {"Q2_K", 256, 84, 0}, 11: {"Q3_K", 256, 110, 0}, 12: {"Q4_K", 256, 144, 0}, 13: {"Q5_K", 256, 176, 0},
	q6k: {"Q6_K", q6kBlock, q6kBytes, 0}, 15: {"Q8_K", 256, 292, 0},
	16: {"IQ2_XXS", 256, 66, 0}, 17: {"IQ2_XS", 256, 74, 0}, 18: {"IQ3_XXS", 256, 98, 0}, 19: {"IQ1_S", 256, 50, 0},
	20: {"IQ4_NL", 32, 18, 0}, 21: {"IQ3_S", 256, 110, 0}, 22: {"IQ2_S", 256, 82, 0}, 23: {"IQ4_XS", 256, 136, 0},
	24: {"I8", 1, 1, tensor.I8}, 25: {"I16", 1, 2, tensor.I16}, 26: {"I32", 1, 4, tensor.I32}, 27: {"I64", 1, 8, tensor.I64},
	28: {"F64", 1, 8, tensor.F64}, 29: {"IQ1_M", 256, 56, 0}, 34: {"TQ1_0", 256, 54, 0}, 35: {"TQ2_0", 256, 66, 0},
	39: {"MXFP4", 32, 17, 0}, 40: {"NVFP4", 64, 36, 0}, 41: {"Q1_0", 128, 18, 0},
}

// String returns the name that ggml uses.
func (t Type) String() string {
	if known, ok := types[t]; ok {
		return known.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// typeOf returns the type in which a file holds elements of type d.
func typeOf(d tensor.DType) (Type, bool) {
	for t, known := range types {
		if known.dtype == d && d != tensor.Invalid {
			return t, true
		}
	}
	return 0, false
}

// TypeError says that a tensor is quantised in a way that is not read.
type TypeError struct {
	Tensor string
	Type   Type
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("tensor %s is %v, want F32, F16, BF16, Q8_0 or Q4_0", quote(e.Tensor), e.Type)
}

// ValueType is the type of a metadata value.
type ValueType uint32

// The types of metadata values, with the numbers that files have.
const (
	Uint8 ValueType = iota
	Int8
	Uint16
	Int16
	Uint32
	Int32
	Float32
	Bool
	String
	Array
	Uint64
	Int64
	Float64
)

var valueTypes = [...]struct {
	name string
	size int // 0: varies
}{
	Uint8: {"uint8", 1}, Int8: {"int8", 1}, Uint16: {"uint16", 2}, Int16: {"int16", 2}, Uint32: {"uint32", 4}, Int32: {"int32", 4},
	Float32: {"float32", 4}, Bool: {"bool", 1}, String: {"string", 0}, Array: {"array", 0},
	Uint64: {"uint64", 8}, Int64: {"int64", 8}, Float64: {"float64", 8},
}

// String returns the name of the type.
func (t ValueType) String() string {
	if int64(t) >= int64(len(valueTypes)) {
		return fmt.Sprintf("type %d", uint32(t))
	}
	return valueTypes[t].name
}
