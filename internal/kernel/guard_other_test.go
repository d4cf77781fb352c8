//go:build !linux && !darwin

package kernel

import "testing"

func guarded(_ testing.TB, n int) []byte { return make([]byte, n) }

func guardedFloats(_ testing.TB, v []float32) []float32 { return append([]float32(nil), v...) }
