//go:build !noasm

#include "textflag.h"
#include "macros_arm64.h"

// func packTileQ8(dst *byte, tile *float32, ld uintptr)
// func packTileQ4(dst *byte, tile *float32, ld uintptr)
//
// A block of a panel of 32 inputs × 16 outputs, whose rows are ld bytes apart.
// R0 dst, R1 tile, R2 ld, R3 walks over the rows, R6 over those sixteen further
// on, R4 counts. V16-V19 are what to multiply by; V24-V27 the largest magnitude of
// each output, V28-V31 that element (Q4_0), then the scale; V12-V15 are constants.
#define TILEARGS \
	MOVD dst+0(FP), R0; \
	MOVD tile+8(FP), R1; \
	MOVD ld+16(FP), R2; \
	MOVD R1, R3; \
	MOVD $packConst<>(SB), R7; \
	LD1RP(7, 12); \
	LD1RP(7, 13); \
	LD1RP(7, 14); \
	LD1RP(7, 15); \
	LD1RP(7, 11); \
	LD1RP(7, 10); \
	ZERO(24); \
	ZERO(25); \
	ZERO(26); \
	ZERO(27); \
	ZERO(28); \
	ZERO(29); \
	ZERO(30); \
	ZERO(31); \
	MOVD $32, R4

DATA packConst<>+0(SB)/4, $0x3f800000 // V12 1
DATA packConst<>+4(SB)/4, $0x7f800000 // V13 infinity
DATA packConst<>+8(SB)/4, $0x42fe0000 // V14 127
DATA packConst<>+12(SB)/4, $0xc1000000 // V15 -8
DATA packConst<>+16(SB)/4, $0x41080000 // V11 8.5
DATA packConst<>+20(SB)/4, $15 // V10
GLOBL packConst<>(SB), RODATA|NOPTR, $24

#define LARGEST(X, A) \
	FABS(X, X); \
	FMAX(X, A, A)

// The first of those of the largest magnitude; a NaN comes in at the end.
#define EXTREME(X, A, E) \
	FACGT(E, X, 4); \
	BIT(4, X, E); \
	LARGEST(X, A)
#define ANYNAN(A, E) \
	FCMEQ(A, A, 4); \
	BIF(4, A, E)

// 1/scale, or 0 where that is too large; a NaN may become 0, since the codes of
// both are the same.
#define INVERSE(S, I) \
	FDIV(S, 12, I); \
	FACGT(I, 13, 4); \
	AND(4, I, I)

#define SCALES \
	INVERSE(28, 16); \
	INVERSE(29, 17); \
	INVERSE(30, 18); \
	INVERSE(31, 19); \
	FCVTN(28, 0); \
	FCVTN2(29, 0); \
	FCVTN(30, 1); \
	FCVTN2(31, 1); \
	ST2P(0, 0)

// Sixteen codes of a row in the bytes of B.
#define BYTES(B) \
	SQXTNH(0, 4); \
	SQXTNH2(1, 4); \
	SQXTNH(2, 5); \
	SQXTNH2(3, 5); \
	SQXTNB(4, B); \
	SQXTNB2(5, B)

#define CODES8(B) \
	LD4X(2, 3, 0); \
	FMUL(16, 0, 0); \
	FMUL(17, 1, 1); \
	FMUL(18, 2, 2); \
	FMUL(19, 3, 3); \
	FCVTAS(0, 0); \
	FCVTAS(1, 1); \
	FCVTAS(2, 2); \
	FCVTAS(3, 3); \
	BYTES(B)

TEXT ·packTileQ8(SB), NOSPLIT, $0-24
	TILEARGS

largest:
	LD4X(2, 3, 0)
	LARGEST(0, 24)
	LARGEST(1, 25)
	LARGEST(2, 26)
	LARGEST(3, 27)
	SUBS $1, R4
	BNE largest
	FDIV(14, 24, 28)
	FDIV(14, 25, 29)
	FDIV(14, 26, 30)
	FDIV(14, 27, 31)
	SCALES
	MOVD R1, R3
	MOVD $8, R4

codes:
	CODES8(20)
	CODES8(21)
	CODES8(22)
	CODES8(23)
	ST4BP(0, 20)
	SUBS $1, R4
	BNE codes
	RET

// A product that is NaN counts as zero.
#define CODE4(I, X) \
	FMUL(I, X, X); \
	FCMEQ(X, X, 4); \
	AND(4, X, X); \
	FADD(11, X, X); \
	FCVTZS(X, X); \
	SMINS4(10, X, X)
#define CODES4(N, B) \
	LD4X(2, N, 0); \
	CODE4(16, 0); \
	CODE4(17, 1); \
	CODE4(18, 2); \
	CODE4(19, 3); \
	BYTES(B)
#define BOTH4(B) \
	CODES4(3, B); \
	CODES4(6, 6); \
	SHLB4(6, 6); \
	ORR(6, B, B)

TEXT ·packTileQ4(SB), NOSPLIT, $0-24
	TILEARGS

largest:
	LD4X(2, 3, 0)
	EXTREME(0, 24, 28)
	EXTREME(1, 25, 29)
	EXTREME(2, 26, 30)
	EXTREME(3, 27, 31)
	SUBS $1, R4
	BNE largest
	ANYNAN(24, 28)
	ANYNAN(25, 29)
	ANYNAN(26, 30)
	ANYNAN(27, 31)
	FDIV(15, 28, 28)
	FDIV(15, 29, 29)
	FDIV(15, 30, 30)
	FDIV(15, 31, 31)
	SCALES
	MOVD R1, R3
	ADD R2<<4, R1, R6
	MOVD $4, R4

codes:
	BOTH4(20)
	BOTH4(21)
	BOTH4(22)
	BOTH4(23)
	ST4BP(0, 20)
	SUBS $1, R4
	BNE codes
	RET
