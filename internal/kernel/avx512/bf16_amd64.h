// Instructions of AVX512_BF16, which Go's assembler does not know. Operands
// are numbers of Z registers; the bytes are those of the manual's EVEX form
// for three registers: M is the second source, V the first, D the result.
//
// R, X, B and R' (inverted) are bits 3 and 4 of D and M, vvvv and V' those of V.
#define EVEX(PP, OP, M, V, D) \
	BYTE $0x62; \
	BYTE $(0xf2 ^ (((D>>3)&1)<<7) ^ (((M>>4)&1)<<6) ^ (((M>>3)&1)<<5) ^ (((D>>4)&1)<<4)); \
	BYTE $(0x04 | PP | ((15-(V&15))<<3)); \
	BYTE $(0x48 ^ (((V>>4)&1)<<3)); \
	BYTE $OP; \
	BYTE $(0xc0 | ((D&7)<<3) | (M&7))

// The same with memory for the second source, N vectors after the address in SI or DI (B).
#define INSI 0x86
#define INDI 0x87
#define EVEXM(PP, OP, B, N, V, D) \
	BYTE $0x62; \
	BYTE $(0xf2 ^ (((D>>3)&1)<<7) ^ (((D>>4)&1)<<4)); \
	BYTE $(0x04 | PP | ((15-(V&15))<<3)); \
	BYTE $(0x48 ^ (((V>>4)&1)<<3)); \
	BYTE $OP; \
	BYTE $(B | ((D&7)<<3)); \
	LONG $(64*N)

// VDPBF16PS: D += V·M, per lane of float32 the odd pair of bf16 first.
#define DPBF16(M, V, D) EVEX(2, 0x52, M, V, D)
#define DPBF16AT(B, N, V, D) EVEXM(2, 0x52, B, N, V, D)

// VCVTNE2PS2BF16: D = V (upper half) and M (lower half) rounded to bf16.
#define CVT2BF16(M, V, D) EVEX(3, 0x72, M, V, D)
