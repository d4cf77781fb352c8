package tensor

import (
	"encoding/binary"
	"math"
)

// QuantBlock is how many neighbours in a row share a scale in Q8_0 and Q4_0.
//
// The formats are those of the GGUF specification. A block of Q8_0 is a float16
// scale and 32 signed bytes q: a value is scale·q. A block of Q4_0 is a float16
// scale and 16 bytes, of which byte j holds elements j (low four bits) and j+16
// (high): a value is scale·(q-8).
const QuantBlock = 32

const (
	q8Bytes = 2 + QuantBlock
	q4Bytes = 2 + QuantBlock/2
)

func dequantizeQ8(dst []float32, src []byte) {
	for len(dst) > 0 {
		scale := F16ToFloat32(binary.LittleEndian.Uint16(src))
		for i, q := range src[2:q8Bytes] {
			dst[i] = scale * float32(int8(q))
		}
		dst, src = dst[QuantBlock:], src[q8Bytes:]
	}
}

func dequantizeQ4(dst []float32, src []byte) {
	for len(dst) > 0 {
		scale := F16ToFloat32(binary.LittleEndian.Uint16(src))
		for i, q := range src[2:q4Bytes] {
			dst[i] = scale * float32(int(q&15)-8)
			dst[i+QuantBlock/2] = scale * float32(int(q>>4)-8)
		}
		dst, src = dst[QuantBlock:], src[q4Bytes:]
	}
}

// Q8Scale returns the scale of a block whose largest magnitude is amax, and what
// to multiply by before rounding.
func Q8Scale(amax float32) (scale, inverse float32) {
	scale = amax / 127
	return scale, inverseOf(scale)
}

// inverseOf is 0 where 1/scale is too large for a float32.
func inverseOf(scale float32) float32 {
	if inverse := 1 / scale; !math.IsInf(float64(inverse), 0) {
		return inverse
	}
	return 0
}

// quantizeQ8 rounds halves away from zero, as GGUF's reference does. A NaN or an
// infinity makes the scale one.
func quantizeQ8(dst []byte, src []float32) {
	for len(src) > 0 {
		var amax float32
		for _, v := range src[:QuantBlock] {
			amax = max(amax, float32(math.Abs(float64(v))))
		}
		scale, inverse := Q8Scale(amax)
		binary.LittleEndian.PutUint16(dst, Float32ToF16(scale))
		for i, v := range src[:QuantBlock] {
			dst[2+i] = q8Code(float32(v * inverse))
		}
		dst, src = dst[q8Bytes:], src[QuantBlock:]
	}
}

func q8Code(v float32) byte {
	if v != v {
		return 0
	}
	return byte(int8(math.Round(float64(v))))
}

// quantizeQ4 gives the element of the largest magnitude the code -8, exactly. A
// NaN or an infinity makes the scale one.
func quantizeQ4(dst []byte, src []float32) {
	for len(src) > 0 {
		var amax, extreme float32
		for _, v := range src[:QuantBlock] {
			if a := float32(math.Abs(float64(v))); a > amax || a != a {
				amax, extreme = a, v
			}
		}
		scale := extreme / -8
		inverse := inverseOf(scale)
		binary.LittleEndian.PutUint16(dst, Float32ToF16(scale))
		const half = QuantBlock / 2
		for i := range half { // the conversions forbid the compiler to fuse
			dst[2+i] = q4Code(float32(src[i]*inverse)) | q4Code(float32(src[i+half]*inverse))<<4
		}
		dst, src = dst[q4Bytes:], src[QuantBlock:]
	}
}

func q4Code(v float32) byte {
	if v != v {
		return 8
	}
	return byte(min(15, int8(v+8.5)))
}
