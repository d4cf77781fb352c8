// Package avx512 is the arithmetic of package generic in AVX-512 assembly (F,
// BW, DQ and VL). Package generic documents the functions; sums have the same
// order, with fused multiply-adds. On other processors it is empty.
package avx512
