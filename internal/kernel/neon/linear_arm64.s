//go:build !noasm

#include "textflag.h"
#include "macros_arm64.h"

// func accumulate8F32(y, x *float32, w *byte, stride uintptr, n int)
// func accumulate8F16(y, x *float32, w *byte, stride uintptr, n int)
// func accumulate8BF16(y, x *float32, w *byte, stride uintptr, n int)
//
// y[c] += Σ x[k]·w[k][c] for eight rows k, c < n.
// V0-V1 x[0..7], V8-V15 sums, V16-V31 elements of W.
// R0 y, R3-R10 the rows, R11 eight strides (to prefetch as much further on),
// R2 columns left.
#define ROWS \
	ADD R11, R3, R4; \
	ADD R11, R4, R5; \
	ADD R11, R5, R6; \
	ADD R11, R6, R7; \
	ADD R11, R7, R8; \
	ADD R11, R8, R9; \
	ADD R11, R9, R10; \
	LSL $3, R11

// The first cache line of each of eight rows, eight rows further on, and the
// second one, which thirty-two float32 need.
#define PREFETCH8 \
	ADD R3, R11, R12; \
	PRFM (R12), PLDL2STRM; \
	ADD R4, R11, R13; \
	PRFM (R13), PLDL2STRM; \
	ADD R5, R11, R12; \
	PRFM (R12), PLDL2STRM; \
	ADD R6, R11, R13; \
	PRFM (R13), PLDL2STRM; \
	ADD R7, R11, R12; \
	PRFM (R12), PLDL2STRM; \
	ADD R8, R11, R13; \
	PRFM (R13), PLDL2STRM; \
	ADD R9, R11, R12; \
	PRFM (R12), PLDL2STRM; \
	ADD R10, R11, R13; \
	PRFM (R13), PLDL2STRM

#define PREFETCH16 \
	PREFETCH8; \
	ADD R3, R11, R12; \
	PRFM 64(R12), PLDL2STRM; \
	ADD R4, R11, R13; \
	PRFM 64(R13), PLDL2STRM; \
	ADD R5, R11, R12; \
	PRFM 64(R12), PLDL2STRM; \
	ADD R6, R11, R13; \
	PRFM 64(R13), PLDL2STRM; \
	ADD R7, R11, R12; \
	PRFM 64(R12), PLDL2STRM; \
	ADD R8, R11, R13; \
	PRFM 64(R13), PLDL2STRM; \
	ADD R9, R11, R12; \
	PRFM 64(R12), PLDL2STRM; \
	ADD R10, R11, R13; \
	PRFM 64(R13), PLDL2STRM

#define ROW4(P4, N, W, F, X) \
	P4(N, W); \
	F(X, W, 8)

#define ACCUMULATE8(PREFETCH, P16, P4, P1) \
	MOVD y+0(FP), R0; \
	MOVD x+8(FP), R1; \
	MOVD w+16(FP), R3; \
	MOVD stride+24(FP), R11; \
	MOVD n+32(FP), R2; \
	LD2(1, 0); \
	ROWS; \
loop32: \
	CMP $32, R2; \
	BLT loop4; \
	PREFETCH; \
	LD4P(0, 8); \
	LD4(0, 12); \
	SUB $64, R0; \
	ROW32(P16, 3, FMLA0, 0); \
	ROW32B(P16, 4, FMLA1, 0); \
	ROW32(P16, 5, FMLA2, 0); \
	ROW32B(P16, 6, FMLA3, 0); \
	ROW32(P16, 7, FMLA0, 1); \
	ROW32B(P16, 8, FMLA1, 1); \
	ROW32(P16, 9, FMLA2, 1); \
	ROW32B(P16, 10, FMLA3, 1); \
	ST4P(0, 8); \
	ST4P(0, 12); \
	SUB $32, R2; \
	B loop32; \
loop4: \
	CMP $4, R2; \
	BLT loop1; \
	LD1(0, 8); \
	ROW4(P4, 3, 16, FMLA0, 0); \
	ROW4(P4, 4, 17, FMLA1, 0); \
	ROW4(P4, 5, 18, FMLA2, 0); \
	ROW4(P4, 6, 19, FMLA3, 0); \
	ROW4(P4, 7, 20, FMLA0, 1); \
	ROW4(P4, 8, 21, FMLA1, 1); \
	ROW4(P4, 9, 22, FMLA2, 1); \
	ROW4(P4, 10, 23, FMLA3, 1); \
	ST1P(0, 8); \
	SUB $4, R2; \
	B loop4; \
loop1: \
	CBZ R2, done; \
	LD1R(0, 8); \
	ROW4(P1, 3, 16, FMLA0, 0); \
	ROW4(P1, 4, 17, FMLA1, 0); \
	ROW4(P1, 5, 18, FMLA2, 0); \
	ROW4(P1, 6, 19, FMLA3, 0); \
	ROW4(P1, 7, 20, FMLA0, 1); \
	ROW4(P1, 8, 21, FMLA1, 1); \
	ROW4(P1, 9, 22, FMLA2, 1); \
	ROW4(P1, 10, 23, FMLA3, 1); \
	STLANE0(0, 8); \
	ADD $4, R0; \
	SUB $1, R2; \
	B loop1; \
done: \
	RET

// func accumulateRowsF32(y *float32, ldy uintptr, x *float32, ldx uintptr, rows int, w *byte, stride uintptr, n int)
// func accumulateRowsF16(y *float32, ldy uintptr, x *float32, ldx uintptr, rows int, w *byte, stride uintptr, n int)
// func accumulateRowsBF16(y *float32, ldy uintptr, x *float32, ldx uintptr, rows int, w *byte, stride uintptr, n int)
//
// As accumulate8 for several rows of x and y, at least one; n is a multiple of
// eight. V16-V31 eight columns of eight rows of W; V8-V15 the sums of four rows
// of y, V0-V7 of x. R3-R11 and R2 as above; R0 y, R1 x, R14 and R15 the distances of their
// rows; R19, R20, R21 walk over y, x and the rows left, R12 and R13 over y again.
#define COLUMNS8(F, X, LO, HI, A, B) \
	F(X, LO, A); \
	F(X, HI, B)

#define ROWX(XA, XB, A, B) \
	COLUMNS8(FMLA0, XA, 16, 17, A, B); \
	COLUMNS8(FMLA1, XA, 18, 19, A, B); \
	COLUMNS8(FMLA2, XA, 20, 21, A, B); \
	COLUMNS8(FMLA3, XA, 22, 23, A, B); \
	COLUMNS8(FMLA0, XB, 24, 25, A, B); \
	COLUMNS8(FMLA1, XB, 26, 27, A, B); \
	COLUMNS8(FMLA2, XB, 28, 29, A, B); \
	COLUMNS8(FMLA3, XB, 30, 31, A, B)

#define COLUMNS4(F, XA, XB, XC, XD, LO, HI) \
	F(XA, LO, 8); \
	F(XA, HI, 9); \
	F(XB, LO, 10); \
	F(XB, HI, 11); \
	F(XC, LO, 12); \
	F(XC, HI, 13); \
	F(XD, LO, 14); \
	F(XD, HI, 15)

#define ACCUMULATEROWS(P8) \
	MOVD y+0(FP), R0; \
	MOVD ldy+8(FP), R14; \
	MOVD x+16(FP), R1; \
	MOVD ldx+24(FP), R15; \
	MOVD w+40(FP), R3; \
	MOVD stride+48(FP), R11; \
	MOVD n+56(FP), R2; \
	ROWS; \
columns: \
	CBZ R2, done; \
	PREFETCH8; \
	P8(3, 16, 17); \
	P8(4, 18, 19); \
	P8(5, 20, 21); \
	P8(6, 22, 23); \
	P8(7, 24, 25); \
	P8(8, 26, 27); \
	P8(9, 28, 29); \
	P8(10, 30, 31); \
	MOVD R0, R19; \
	MOVD R1, R20; \
	MOVD rows+32(FP), R21; \
four: \
	CMP $4, R21; \
	BLT one; \
	MOVD R19, R12; \
	LD2X(14, 12, 8); \
	LD2X(14, 12, 10); \
	LD2X(14, 12, 12); \
	LD2X(14, 12, 14); \
	LD2X(15, 20, 0); \
	LD2X(15, 20, 2); \
	LD2X(15, 20, 4); \
	LD2X(15, 20, 6); \
	COLUMNS4(FMLA0, 0, 2, 4, 6, 16, 17); \
	COLUMNS4(FMLA1, 0, 2, 4, 6, 18, 19); \
	COLUMNS4(FMLA2, 0, 2, 4, 6, 20, 21); \
	COLUMNS4(FMLA3, 0, 2, 4, 6, 22, 23); \
	COLUMNS4(FMLA0, 1, 3, 5, 7, 24, 25); \
	COLUMNS4(FMLA1, 1, 3, 5, 7, 26, 27); \
	COLUMNS4(FMLA2, 1, 3, 5, 7, 28, 29); \
	COLUMNS4(FMLA3, 1, 3, 5, 7, 30, 31); \
	ST2X(14, 19, 8); \
	ST2X(14, 19, 10); \
	ST2X(14, 19, 12); \
	ST2X(14, 19, 14); \
	SUB $4, R21; \
	B four; \
one: \
	CBZ R21, next; \
	LD2(19, 8); \
	LD2X(15, 20, 0); \
	ROWX(0, 1, 8, 9); \
	ST2X(14, 19, 8); \
	SUB $1, R21; \
	B one; \
next: \
	ADD $32, R0; \
	SUB $8, R2; \
	B columns; \
done: \
	RET

// func accumulate1F32(y *float32, x float32, w *byte, n int)
// func accumulate1F16(y *float32, x float32, w *byte, n int)
// func accumulate1BF16(y *float32, x float32, w *byte, n int)
//
// y[c] += x·w[c], c < n. R0 y, R3 w, R2 columns left, V0 x.
#define ACCUMULATE1(P16, P4, P1) \
	MOVD y+0(FP), R0; \
	MOVD $x+8(FP), R1; \
	LD1R(1, 0); \
	MOVD w+16(FP), R3; \
	MOVD n+24(FP), R2; \
loop16: \
	CMP $16, R2; \
	BLT loop4; \
	LD4(0, 8); \
	P16(3, 16, 17, 18, 19); \
	FMLA(0, 16, 8); \
	FMLA(0, 17, 9); \
	FMLA(0, 18, 10); \
	FMLA(0, 19, 11); \
	ST4P(0, 8); \
	SUB $16, R2; \
	B loop16; \
loop4: \
	CMP $4, R2; \
	BLT loop1; \
	LD1(0, 8); \
	ROW4(P4, 3, 16, FMLA, 0); \
	ST1P(0, 8); \
	SUB $4, R2; \
	B loop4; \
loop1: \
	CBZ R2, done; \
	LD1R(0, 8); \
	ROW4(P1, 3, 16, FMLA, 0); \
	STLANE0(0, 8); \
	ADD $4, R0; \
	SUB $1, R2; \
	B loop1; \
done: \
	RET

// func packRowF32(dst *float32, src *byte, n int, panel, ahead uintptr)
// func packRowF16(dst *float32, src *byte, n int, panel, ahead uintptr)
// func packRowBF16(dst *float32, src *byte, n int, panel, ahead uintptr)
//
// Spreads one row of n elements, a multiple of sixteen, over panels of 16
// columns that lie panel bytes apart. Prefetches ahead bytes further on.
// R0 dst, R3 src, R2 elements left, R4 panel, R5 what is prefetched.
#define PACKROW(P16, SIZE) \
	MOVD dst+0(FP), R0; \
	MOVD src+8(FP), R3; \
	MOVD n+16(FP), R2; \
	MOVD panel+24(FP), R4; \
	MOVD ahead+32(FP), R5; \
	ADD R3, R5; \
loop: \
	CMP $16, R2; \
	BLT done; \
	PRFM (R5), PLDL2STRM; \
	ADD $(16*SIZE), R5; \
	P16(3, 0, 1, 2, 3); \
	ST4X(4, 0, 0); \
	SUB $16, R2; \
	B loop; \
done: \
	RET

TEXT ·accumulate8F32(SB), NOSPLIT, $0-40
	ACCUMULATE8(PREFETCH16, F32P16, F32P4, F32P1)

TEXT ·accumulate8F16(SB), NOSPLIT, $0-40
	ACCUMULATE8(PREFETCH8, F16P16, F16P4, F16P1)

TEXT ·accumulate8BF16(SB), NOSPLIT, $0-40
	ACCUMULATE8(PREFETCH8, BF16P16, BF16P4, BF16P1)

TEXT ·accumulate1F32(SB), NOSPLIT, $0-32
	ACCUMULATE1(F32P16, F32P4, F32P1)

TEXT ·accumulate1F16(SB), NOSPLIT, $0-32
	ACCUMULATE1(F16P16, F16P4, F16P1)

TEXT ·accumulate1BF16(SB), NOSPLIT, $0-32
	ACCUMULATE1(BF16P16, BF16P4, BF16P1)

TEXT ·packRowF32(SB), NOSPLIT, $0-40
	PACKROW(F32P16, 4)

TEXT ·packRowF16(SB), NOSPLIT, $0-40
	PACKROW(F16P16, 2)

TEXT ·packRowBF16(SB), NOSPLIT, $0-40
	PACKROW(BF16P16, 2)

TEXT ·accumulateRowsF32(SB), NOSPLIT, $0-64
	ACCUMULATEROWS(F32P8)

TEXT ·accumulateRowsF16(SB), NOSPLIT, $0-64
	ACCUMULATEROWS(F16P8)

TEXT ·accumulateRowsBF16(SB), NOSPLIT, $0-64
	ACCUMULATEROWS(BF16P8)
