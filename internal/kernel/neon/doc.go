// Package neon is the arithmetic of package generic in the vector instructions
// that every 64-bit ARM processor has. Package generic documents the functions;
// sums have the same order as in packages avx2 and avx512, bit for bit. On
// other processors it is empty.
package neon
