// Package avx2 is the arithmetic of package generic in AVX2 assembly (with FMA
// and F16C). Package generic documents the functions; sums have the same order
// as in package avx512, bit for bit. On other processors it is empty.
package avx2
