package kernel

import "unsafe"

// alignedFloats allocates n floats at an address that is a multiple of 64.
func alignedFloats(n int) []float32 {
	s := make([]float32, n+15)
	skip := int(-(uintptr(unsafe.Pointer(unsafe.SliceData(s))) / 4) & 15)
	return s[skip:][:n:n]
}

// alignedPairs allocates n pairs of bf16 at an address that is a multiple of 64.
func alignedPairs(n int) []uint32 {
	if n == 0 {
		return nil
	}
	b := alignedBytes(4 * n)
	return unsafe.Slice((*uint32)(unsafe.Pointer(&b[0])), n)
}

// pairBytes returns the memory of v.
func pairBytes(v []uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

// pairsOf returns memory, which pairBytes is the inverse of.
func pairsOf(b []byte) []uint32 {
	if uintptr(unsafe.Pointer(unsafe.SliceData(b)))%4 != 0 {
		panic("kernel: pairs at an address that is no multiple of 4")
	}
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}

// alignedBytes allocates n bytes at an address that is a multiple of 64.
func alignedBytes(n int) []byte {
	s := make([]byte, n+63)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(s))) & 63)
	return s[skip:][:n:n]
}

// pairFloats is the memory of v, to be moved as float32.
func pairFloats(v []uint32) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(v))), len(v))
}
