package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
)

// ToFloat32 converts little-endian elements of type d (F32, F16, BF16, Q8_0 or
// Q4_0) to float32. It fills dst; src holds at least len(dst) elements.
func ToFloat32(dst []float32, d DType, src []byte) {
	switch d {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = F16ToFloat32(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = BF16ToFloat32(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case Q8_0:
		dequantizeQ8(dst, src)
	case Q4_0:
		dequantizeQ4(dst, src)
	default:
		panic(fmt.Sprintf("tensor: convert from %v", d))
	}
}

// FromFloat32 converts to little-endian elements of type d (F32, F16, BF16, Q8_0
// or Q4_0). Floats round to nearest even. dst holds at least len(src) elements.
func FromFloat32(dst []byte, d DType, src []float32) {
	switch d {
	case F32:
		for i, v := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
	case F16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], Float32ToF16(v))
		}
	case BF16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], Float32ToBF16(v))
		}
	case Q8_0:
		quantizeQ8(dst, src)
	case Q4_0:
		quantizeQ4(dst, src)
	default:
		panic(fmt.Sprintf("tensor: convert to %v", d))
	}
}

// BF16ToFloat32 is exact: a bfloat16 is the upper half of a float32.
func BF16ToFloat32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// Float32ToBF16 rounds to nearest even; a NaN stays a (quiet) NaN.
func Float32ToBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// F16ToFloat32 is exact (IEEE 754 binary16, subnormals, Inf and NaN included).
func F16ToFloat32(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h>>10) & 0x1f
	frac := uint32(h & 0x3ff)
	switch exp {
	case 0: // zero or subnormal: frac · 2⁻²⁴
		f := float32(frac) * (1.0 / (1 << 24))
		return math.Float32frombits(sign | math.Float32bits(f))
	case 31:
		if frac != 0 {
			frac |= 0x200 // quiet, as the hardware's conversion does
		}
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// Float32ToF16 rounds to nearest even; what is too large becomes Inf.
func Float32ToF16(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00 | uint16(b>>13&0x3ff)
	case b >= 0x47800000: // 2¹⁶ and more
		return sign | 0x7c00
	case b < 0x38800000: // below 2⁻¹⁴: a subnormal, counted in units of 2⁻²⁴
		// Adding 0.5 puts the unit 2⁻²⁴ at the last place of the fraction,
		// so that the addition itself rounds to nearest even.
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-0x3f000000)
	}
	b += 0xfff + b>>13&1
	return sign | uint16((b-0x38000000)>>13)
}
