package generic

import "github.com/gptctl/gptctl/internal/tensor"

// Peak runs n rounds of independent multiply-adds and returns how many
// floating-point operations that was.
func Peak(n int) int {
	var a [16]float32
	x, y := float32(0.999), float32(0.001)
	for range n {
		for i := range a {
			a[i] = float32(a[i]*x) + y
		}
	}
	if tree(&a) < 0 { // keeps the loop alive
		return 0
	}
	return n * len(a) * 2
}

// Read touches every float32 of b and returns something that depends on it.
func Read(b []byte) float32 {
	v, _ := tensor.View[uint16](b[:len(b)&^1])
	var s0, s1 uint16
	for len(v) >= 64 {
		s0 ^= v[0]
		s1 ^= v[32]
		v = v[64:]
	}
	return float32(s0 ^ s1)
}
