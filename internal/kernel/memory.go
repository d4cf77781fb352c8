package kernel

import "unsafe"

// alignedFloats allocates n floats at an address that is a multiple of 64.
func alignedFloats(n int) []float32 {
	s := make([]float32, n+15)
	skip := int(-(uintptr(unsafe.Pointer(unsafe.SliceData(s))) / 4) & 15)
	return s[skip:][:n:n]
}

// alignedBytes allocates n bytes at an address that is a multiple of 64.
func alignedBytes(n int) []byte {
	s := make([]byte, n+63)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(s))) & 63)
	return s[skip:][:n:n]
}
