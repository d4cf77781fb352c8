//go:build !noasm

#include "textflag.h"
#include "macros_arm64.h"

// Products with an [out][in] weight: sixteen lanes (k mod 16) to an output, in
// four registers. n is a multiple of sixteen; what is left of a row comes, as
// float32 and filled up with zeros to sixteen, in xt and wt (rows 64 bytes
// apart), which are nil if nothing is left.

// Two rows of W against three rows of x, eight lanes at a time. V8-V31 the
// sums (row of x, row of W, quarter), V0-V3 elements of W, V4-V5 of x. R3 and
// R4 walk over W, R5 to R7 over x; R0 y, R1 the distance of its rows; R2
// elements left.
#define HALFX(N, A, B, C, D) \
	LD2P(N, 4); \
	FMLA(4, 0, A); \
	FMLA(5, 1, B); \
	FMLA(4, 2, C); \
	FMLA(5, 3, D)

#define STEP23(P8) \
	P8(3, 0, 1); \
	P8(4, 2, 3); \
	HALFX(5, 8, 9, 12, 13); \
	HALFX(6, 16, 17, 20, 21); \
	HALFX(7, 24, 25, 28, 29); \
	P8(3, 0, 1); \
	P8(4, 2, 3); \
	HALFX(5, 10, 11, 14, 15); \
	HALFX(6, 18, 19, 22, 23); \
	HALFX(7, 26, 27, 30, 31)

#define DOT23(P8) \
	MOVD y+0(FP), R0; \
	MOVD ldy+8(FP), R1; \
	MOVD x+16(FP), R5; \
	MOVD ldx+24(FP), R8; \
	MOVD w+32(FP), R3; \
	MOVD stride+40(FP), R9; \
	MOVD n+48(FP), R2; \
	ADD R8, R5, R6; \
	ADD R8, R6, R7; \
	ADD R9, R3, R4; \
	ZERO(8); \
	ZERO(9); \
	ZERO(10); \
	ZERO(11); \
	ZERO(12); \
	ZERO(13); \
	ZERO(14); \
	ZERO(15); \
	ZERO(16); \
	ZERO(17); \
	ZERO(18); \
	ZERO(19); \
	ZERO(20); \
	ZERO(21); \
	ZERO(22); \
	ZERO(23); \
	ZERO(24); \
	ZERO(25); \
	ZERO(26); \
	ZERO(27); \
	ZERO(28); \
	ZERO(29); \
	ZERO(30); \
	ZERO(31); \
loop: \
	CMP $16, R2; \
	BLT tail; \
	STEP23(P8); \
	SUB $16, R2; \
	B loop; \
tail: \
	MOVD xt+56(FP), R5; \
	MOVD wt+64(FP), R3; \
	CBZ R5, done; \
	ADD $64, R5, R6; \
	ADD $128, R5, R7; \
	ADD $64, R3, R4; \
	STEP23(F32P8); \
done: \
	HSUM(8, 9, 10, 11); \
	HSUM(12, 13, 14, 15); \
	HSUM(16, 17, 18, 19); \
	HSUM(20, 21, 22, 23); \
	HSUM(24, 25, 26, 27); \
	HSUM(28, 29, 30, 31); \
	FMOVS F8, (R0); \
	FMOVS F12, 4(R0); \
	ADD R1, R0; \
	FMOVS F16, (R0); \
	FMOVS F20, 4(R0); \
	ADD R1, R0; \
	FMOVS F24, (R0); \
	FMOVS F28, 4(R0); \
	RET

// Four rows of W against one row of x. V8-V23 the sums, V0-V3 elements of x,
// V24-V31 of W. R3 to R6 walk over W, R7 over x; R1 is the distance of the
// results. AHEAD is how many bytes further on is prefetched.
#define AHEAD 1024

#define ROW16(P16, N, A, B, C, D, E, F, G, H) \
	P16(N, A, B, C, D); \
	FMLA(0, A, E); \
	FMLA(1, B, F); \
	FMLA(2, C, G); \
	FMLA(3, D, H)

#define STEP41(P16) \
	LD4P(7, 0); \
	ROW16(P16, 3, 24, 25, 26, 27, 8, 9, 10, 11); \
	ROW16(P16, 4, 28, 29, 30, 31, 12, 13, 14, 15); \
	ROW16(P16, 5, 24, 25, 26, 27, 16, 17, 18, 19); \
	ROW16(P16, 6, 28, 29, 30, 31, 20, 21, 22, 23)

#define DOT41(P16) \
	MOVD y+0(FP), R0; \
	MOVD ldy+8(FP), R1; \
	MOVD x+16(FP), R7; \
	MOVD w+24(FP), R3; \
	MOVD stride+32(FP), R9; \
	MOVD n+40(FP), R2; \
	ADD R9, R3, R4; \
	ADD R9, R4, R5; \
	ADD R9, R5, R6; \
	ZERO(8); \
	ZERO(9); \
	ZERO(10); \
	ZERO(11); \
	ZERO(12); \
	ZERO(13); \
	ZERO(14); \
	ZERO(15); \
	ZERO(16); \
	ZERO(17); \
	ZERO(18); \
	ZERO(19); \
	ZERO(20); \
	ZERO(21); \
	ZERO(22); \
	ZERO(23); \
loop: \
	CMP $16, R2; \
	BLT tail; \
	PRFM AHEAD(R3), PLDL1STRM; \
	PRFM AHEAD(R4), PLDL1STRM; \
	PRFM AHEAD(R5), PLDL1STRM; \
	PRFM AHEAD(R6), PLDL1STRM; \
	STEP41(P16); \
	SUB $16, R2; \
	B loop; \
tail: \
	MOVD xt+48(FP), R7; \
	MOVD wt+56(FP), R3; \
	CBZ R7, done; \
	ADD $64, R3, R4; \
	ADD $128, R3, R5; \
	ADD $192, R3, R6; \
	STEP41(F32P16); \
done: \
	HSUM(8, 9, 10, 11); \
	HSUM(12, 13, 14, 15); \
	HSUM(16, 17, 18, 19); \
	HSUM(20, 21, 22, 23); \
	FMOVS F8, (R0); \
	ADD R1, R0; \
	FMOVS F12, (R0); \
	ADD R1, R0; \
	FMOVS F16, (R0); \
	ADD R1, R0; \
	FMOVS F20, (R0); \
	RET

// One row of W against one row of x.
#define STEP11(P16) \
	LD4P(7, 0); \
	ROW16(P16, 3, 24, 25, 26, 27, 8, 9, 10, 11)

#define DOT11(P16) \
	MOVD y+0(FP), R0; \
	MOVD x+8(FP), R7; \
	MOVD w+16(FP), R3; \
	MOVD n+24(FP), R2; \
	ZERO(8); \
	ZERO(9); \
	ZERO(10); \
	ZERO(11); \
loop: \
	CMP $16, R2; \
	BLT tail; \
	STEP11(P16); \
	SUB $16, R2; \
	B loop; \
tail: \
	MOVD xt+32(FP), R7; \
	MOVD wt+40(FP), R3; \
	CBZ R7, done; \
	STEP11(F32P16); \
done: \
	HSUM(8, 9, 10, 11); \
	FMOVS F8, (R0); \
	RET

// func dot23F32(y *float32, ldy uintptr, x *float32, ldx uintptr, w *byte, stride uintptr, n int, xt, wt *float32)
TEXT ·dot23F32(SB), NOSPLIT, $0-72
	DOT23(F32P8)

// func dot23F16(y *float32, ldy uintptr, x *float32, ldx uintptr, w *byte, stride uintptr, n int, xt, wt *float32)
TEXT ·dot23F16(SB), NOSPLIT, $0-72
	DOT23(F16P8)

// func dot23BF16(y *float32, ldy uintptr, x *float32, ldx uintptr, w *byte, stride uintptr, n int, xt, wt *float32)
TEXT ·dot23BF16(SB), NOSPLIT, $0-72
	DOT23(BF16P8)

// func dot41F32(y *float32, ldy uintptr, x *float32, w *byte, stride uintptr, n int, xt, wt *float32)
TEXT ·dot41F32(SB), NOSPLIT, $0-64
	DOT41(F32P16)

// func dot41F16(y *float32, ldy uintptr, x *float32, w *byte, stride uintptr, n int, xt, wt *float32)
TEXT ·dot41F16(SB), NOSPLIT, $0-64
	DOT41(F16P16)

// func dot41BF16(y *float32, ldy uintptr, x *float32, w *byte, stride uintptr, n int, xt, wt *float32)
TEXT ·dot41BF16(SB), NOSPLIT, $0-64
	DOT41(BF16P16)

// func dot11F32(y, x *float32, w *byte, n int, xt, wt *float32)
TEXT ·dot11F32(SB), NOSPLIT, $0-48
	DOT11(F32P16)

// func dot11F16(y, x *float32, w *byte, n int, xt, wt *float32)
TEXT ·dot11F16(SB), NOSPLIT, $0-48
	DOT11(F16P16)

// func dot11BF16(y, x *float32, w *byte, n int, xt, wt *float32)
TEXT ·dot11BF16(SB), NOSPLIT, $0-48
	DOT11(BF16P16)
