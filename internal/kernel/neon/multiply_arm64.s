//go:build !noasm

#include "textflag.h"
#include "macros_arm64.h"

// Tiles of MR rows × 16 columns: c[i][j] (+)= Σ a[i][k]·b[k][j].
//
// V8-V31 hold the tile, four registers to a row; V0-V5 four elements of each
// row of a, V6 and V7 half a row of b. R3 to R8 are rows of a; R9 walks over b
// by R10; R2 counts k. R0 is c, R1 the distance of its rows.

#define ARGS \
	MOVD c+0(FP), R0; \
	MOVD ldc+8(FP), R1; \
	MOVD a+16(FP), R3; \
	MOVD lda+24(FP), R11; \
	MOVD b+32(FP), R9; \
	MOVD ldb+40(FP), R10; \
	MOVD k+48(FP), R2; \
	MOVBU load+56(FP), R12; \
	ADD R11, R3, R4; \
	ADD R11, R4, R5; \
	ADD R11, R5, R6; \
	ADD R11, R6, R7; \
	ADD R11, R7, R8

#define ZEROROW(A, B, C, D) \
	ZERO(A); \
	ZERO(B); \
	ZERO(C); \
	ZERO(D)

// Half a row of tile: F is FMLA by the element of a.
#define HALF(F, A, LO, HI) \
	F(A, 6, LO); \
	F(A, 7, HI)

#define STEP6(F) \
	FLDPQ (R9), (F6, F7); \
	HALF(F, 0, 8, 9); \
	HALF(F, 1, 12, 13); \
	HALF(F, 2, 16, 17); \
	HALF(F, 3, 20, 21); \
	HALF(F, 4, 24, 25); \
	HALF(F, 5, 28, 29); \
	FLDPQ 32(R9), (F6, F7); \
	ADD R10, R9; \
	HALF(F, 0, 10, 11); \
	HALF(F, 1, 14, 15); \
	HALF(F, 2, 18, 19); \
	HALF(F, 3, 22, 23); \
	HALF(F, 4, 26, 27); \
	HALF(F, 5, 30, 31)

// With fewer rows there is room for a whole row of b, V4-V7 or V20-V23.
#define ROW(F, A, A0, B0, C0, D0, E0, F0, G0, H0) \
	F(A, A0, E0); \
	F(A, B0, F0); \
	F(A, C0, G0); \
	F(A, D0, H0)

#define STEP3(F) \
	LD4X(10, 9, 20); \
	ROW(F, 0, 20, 21, 22, 23, 8, 9, 10, 11); \
	ROW(F, 1, 20, 21, 22, 23, 12, 13, 14, 15); \
	ROW(F, 2, 20, 21, 22, 23, 16, 17, 18, 19)

// One row of a: b may come from memory, so that R13, 32 rows further on, is
// prefetched.
#define STEP1(F, A, B, C, D) \
	PRFM (R13), PLDL1KEEP; \
	ADD R10, R13; \
	LD4X(10, 9, A); \
	ROW(F, 0, A, B, C, D, 8, 9, 10, 11)

// func multiply6(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)
TEXT ·multiply6(SB), NOSPLIT, $0-57
	ARGS
	CBZ R12, zero
	LD4X(1, 0, 8)
	LD4X(1, 0, 12)
	LD4X(1, 0, 16)
	LD4X(1, 0, 20)
	LD4X(1, 0, 24)
	LD4X(1, 0, 28)
	MOVD c+0(FP), R0
	B loop4

zero:
	ZEROROW(8, 9, 10, 11)
	ZEROROW(12, 13, 14, 15)
	ZEROROW(16, 17, 18, 19)
	ZEROROW(20, 21, 22, 23)
	ZEROROW(24, 25, 26, 27)
	ZEROROW(28, 29, 30, 31)

loop4:
	CMP $4, R2
	BLT loop1
	LD1P(3, 0)
	LD1P(4, 1)
	LD1P(5, 2)
	LD1P(6, 3)
	LD1P(7, 4)
	LD1P(8, 5)
	STEP6(FMLA0)
	STEP6(FMLA1)
	STEP6(FMLA2)
	STEP6(FMLA3)
	SUB $4, R2
	B loop4

loop1:
	CBZ R2, store
	LD1RP(3, 0)
	LD1RP(4, 1)
	LD1RP(5, 2)
	LD1RP(6, 3)
	LD1RP(7, 4)
	LD1RP(8, 5)
	STEP6(FMLA0)
	SUB $1, R2
	B loop1

store:
	ST4X(1, 0, 8)
	ST4X(1, 0, 12)
	ST4X(1, 0, 16)
	ST4X(1, 0, 20)
	ST4X(1, 0, 24)
	ST4X(1, 0, 28)
	RET

// func multiply3(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)
TEXT ·multiply3(SB), NOSPLIT, $0-57
	ARGS
	CBZ R12, zero
	LD4X(1, 0, 8)
	LD4X(1, 0, 12)
	LD4X(1, 0, 16)
	MOVD c+0(FP), R0
	B loop4

zero:
	ZEROROW(8, 9, 10, 11)
	ZEROROW(12, 13, 14, 15)
	ZEROROW(16, 17, 18, 19)

loop4:
	CMP $4, R2
	BLT loop1
	LD1P(3, 0)
	LD1P(4, 1)
	LD1P(5, 2)
	STEP3(FMLA0)
	STEP3(FMLA1)
	STEP3(FMLA2)
	STEP3(FMLA3)
	SUB $4, R2
	B loop4

loop1:
	CBZ R2, store
	LD1RP(3, 0)
	LD1RP(4, 1)
	LD1RP(5, 2)
	STEP3(FMLA0)
	SUB $1, R2
	B loop1

store:
	ST4X(1, 0, 8)
	ST4X(1, 0, 12)
	ST4X(1, 0, 16)
	RET

// func multiply1(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)
TEXT ·multiply1(SB), NOSPLIT, $0-57
	ARGS
	ADD R10<<5, R9, R13
	CBZ R12, zero
	LD4(0, 8)
	B loop4

zero:
	ZEROROW(8, 9, 10, 11)

loop4:
	CMP $4, R2
	BLT loop1
	LD1P(3, 0)
	STEP1(FMLA0, 16, 17, 18, 19)
	STEP1(FMLA1, 20, 21, 22, 23)
	STEP1(FMLA2, 24, 25, 26, 27)
	STEP1(FMLA3, 28, 29, 30, 31)
	SUB $4, R2
	B loop4

loop1:
	CBZ R2, store
	LD1RP(3, 0)
	STEP1(FMLA0, 16, 17, 18, 19)
	SUB $1, R2
	B loop1

store:
	ST4(0, 8)
	RET

// func transpose4(dst *float32, src *float32, stride uintptr, n int)
//
// dst[c][r] = src[r][c] for four rows and n columns, a multiple of four. Rows
// of dst are 64 bytes apart (a panel of 16), rows of src stride bytes. R3 to R6
// are the rows of src, R7 64.
TEXT ·transpose4(SB), NOSPLIT, $0-32
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R3
	MOVD stride+16(FP), R1
	MOVD n+24(FP), R2
	ADD R1, R3, R4
	ADD R1, R4, R5
	ADD R1, R5, R6
	MOVD $64, R7

loop:
	CMP $4, R2
	BLT done
	LD1P(3, 0)
	LD1P(4, 1)
	LD1P(5, 2)
	LD1P(6, 3)
	VTRN1 V1.S4, V0.S4, V4.S4
	VTRN2 V1.S4, V0.S4, V5.S4
	VTRN1 V3.S4, V2.S4, V6.S4
	VTRN2 V3.S4, V2.S4, V7.S4
	VTRN1 V6.D2, V4.D2, V0.D2
	VTRN1 V7.D2, V5.D2, V1.D2
	VTRN2 V6.D2, V4.D2, V2.D2
	VTRN2 V7.D2, V5.D2, V3.D2
	ST1X(7, 0, 0)
	ST1X(7, 0, 1)
	ST1X(7, 0, 2)
	ST1X(7, 0, 3)
	SUB $4, R2
	B loop

done:
	RET
