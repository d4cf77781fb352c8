// Package amx multiplies matrices with the tiles of Intel's AMX: eight
// registers of 16 rows of 64 bytes, and an instruction that multiplies two of
// them, as bfloat16 or bytes, into a third. Package generic documents the
// arithmetic; sums have the order that Intel's pseudo code of TDPBF16PS gives.
//
// The operating system lends the registers on request, see Available. Tiles
// are configured and released within one assembly function, so that neither a
// change of goroutines nor the garbage collector ever meets them.
package amx
