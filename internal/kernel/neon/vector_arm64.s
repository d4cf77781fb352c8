//go:build !noasm

#include "textflag.h"
#include "macros_arm64.h"

// Functions of one row. R0 and R1 walk over the row, R2 counts the elements
// left.

// The lowest one, two or three lanes from the end, the middle …
DATA masks<>+0(SB)/8, $-1
DATA masks<>+8(SB)/8, $-1
DATA masks<>+16(SB)/8, $0
DATA masks<>+24(SB)/8, $0
GLOBL masks<>(SB), RODATA|NOPTR, $32

// The last R2 (1 to 3) elements: where those of lanes 1 and 2 lie, the last
// one again where there are fewer, in R5 and R6 as distances in bytes.
#define REST \
	SUB $1, R2, R6; \
	CMP $1, R6; \
	CSET GE, R5; \
	LSL $2, R5; \
	LSL $2, R6

// LOADREST loads them to D, with copies in the other lanes; spoils R7.
#define LOADREST(RN, N, D) \
	LD1R(N, D); \
	ADD R5, RN, R7; \
	LDLANE1(7, D); \
	ADD R6, RN, R7; \
	LDLANE2(7, D)

// STOREREST stores them: a copy is stored where it came from.
#define STOREREST(RN, N, D) \
	STLANE0(N, D); \
	ADD R5, RN, R7; \
	STLANE1(7, D); \
	ADD R6, RN, R7; \
	STLANE2(7, D)

// MASKREST makes D a mask of as many lanes as R2 says; spoils R7 and R8.
#define MASKREST(D) \
	MOVD $masks<>+16(SB), R7; \
	LSL $2, R2, R8; \
	SUB R8, R7, R7; \
	LD1(7, D)

// exp(x) = 2ⁿ·e^r, n = round(x·log₂e), r = x - n·ln 2, |r| ≤ ½ ln 2, with
// e^r = 1 + r + r²·q(r), q of degree 4: the numbers of package avx2, in the
// same order. V16 to V27 hold them.
DATA expConst<>+0(SB)/4, $0x3fb8aa3b // V16 log₂e
DATA expConst<>+4(SB)/4, $0xbf317218 // V17 -ln 2, rounded …
DATA expConst<>+8(SB)/4, $0x3102e308 // V18 … and what is left of it
DATA expConst<>+12(SB)/4, $0x3ab6a1da // V19 q₄
DATA expConst<>+16(SB)/4, $0x3c0905f4 // V20 q₃
DATA expConst<>+20(SB)/4, $0x3d2aaa74 // V21 q₂
DATA expConst<>+24(SB)/4, $0x3e2aaa6e // V22 q₁
DATA expConst<>+28(SB)/4, $0x3f000000 // V23 q₀
DATA expConst<>+32(SB)/4, $0x3f800000 // V24 1, and the exponent's offset
DATA expConst<>+36(SB)/4, $0x42b20000 // V25 89: Inf from here on
DATA expConst<>+40(SB)/4, $0xc2d00000 // V26 -104: zero
DATA expConst<>+44(SB)/4, $0x7f7fffff // V27 the largest finite number
GLOBL expConst<>(SB), RODATA|NOPTR, $48

#define EXPCONST \
	MOVD $expConst<>(SB), R7; \
	LD1RP(7, 16); \
	LD1RP(7, 17); \
	LD1RP(7, 18); \
	LD1RP(7, 19); \
	LD1RP(7, 20); \
	LD1RP(7, 21); \
	LD1RP(7, 22); \
	LD1RP(7, 23); \
	LD1RP(7, 24); \
	LD1RP(7, 25); \
	LD1RP(7, 26); \
	LD1RP(7, 27)

// X = exp(X); spoils S, T and U. The clamps let NaN pass. 2ⁿ is multiplied in
// two halves: its exponent may lie outside a float32's.
#define EXP(X, S, T, U) \
	FMIN(25, X, X); \
	FMAX(26, X, X); \
	FMUL(16, X, S); \
	FRINTN(S, S); \
	FMLA(17, S, X); \
	FMLA(18, S, X); \
	MOV(20, T); \
	FMLA(X, 19, T); \
	MOV(21, U); \
	FMLA(X, T, U); \
	MOV(22, T); \
	FMLA(X, U, T); \
	MOV(23, U); \
	FMLA(X, T, U); \
	FMUL(X, X, T); \
	FMLA(T, U, X); \
	FADD(24, X, X); \
	FCVTNS(S, S); \
	SSHR1(S, T); \
	SUBS4(T, S, S); \
	SHL23(S, S); \
	SHL23(T, T); \
	ADDS4(24, S, S); \
	ADDS4(24, T, T); \
	FMUL(S, X, X); \
	FMUL(T, X, X)

// Z = x / (1 + exp(-z)), z = x·(a + b·x²), of X; spoils S, T and U. V28 is -a,
// V29 -b. x² stops at the largest finite number, since 0·Inf is NaN.
#define GATE(X, Z, S, T, U) \
	FMUL(X, X, S); \
	FMIN(27, S, S); \
	MOV(28, Z); \
	FMLA(S, 29, Z); \
	FMUL(X, Z, Z); \
	EXP(Z, S, T, U); \
	FADD(24, Z, Z); \
	FDIV(Z, X, Z)

// func add(y, x *float32, n int)
TEXT ·add(SB), NOSPLIT, $0-24
	MOVD y+0(FP), R0
	MOVD x+8(FP), R1
	MOVD n+16(FP), R2

loop16:
	CMP $16, R2
	BLT loop4
	LD4(0, 0)
	LD4P(1, 4)
	FADD(4, 0, 0)
	FADD(5, 1, 1)
	FADD(6, 2, 2)
	FADD(7, 3, 3)
	ST4P(0, 0)
	SUB $16, R2
	B loop16

loop4:
	CMP $4, R2
	BLT rest
	LD1(0, 0)
	LD1P(1, 4)
	FADD(4, 0, 0)
	ST1P(0, 0)
	SUB $4, R2
	B loop4

rest:
	CBZ R2, done
	REST
	LOADREST(R0, 0, 0)
	LOADREST(R1, 1, 4)
	FADD(4, 0, 0)
	STOREREST(R0, 0, 0)

done:
	RET

// func scale(y *float32, a float32, n int)
TEXT ·scale(SB), NOSPLIT, $0-24
	MOVD y+0(FP), R0
	MOVD $a+8(FP), R1
	LD1R(1, 16)
	MOVD n+16(FP), R2

loop16:
	CMP $16, R2
	BLT loop4
	LD4(0, 0)
	FMUL(16, 0, 0)
	FMUL(16, 1, 1)
	FMUL(16, 2, 2)
	FMUL(16, 3, 3)
	ST4P(0, 0)
	SUB $16, R2
	B loop16

loop4:
	CMP $4, R2
	BLT rest
	LD1(0, 0)
	FMUL(16, 0, 0)
	ST1P(0, 0)
	SUB $4, R2
	B loop4

rest:
	CBZ R2, done
	REST
	LOADREST(R0, 0, 0)
	FMUL(16, 0, 0)
	STOREREST(R0, 0, 0)

done:
	RET

// func normalize(y, x, gain, bias *float32, mean, rstd float32, n int)
// R3 gain, R4 bias, V16 the mean, V17 rstd.
#define NORMALIZE(X, G, B) \
	FSUB(16, X, X); \
	FMUL(17, X, X); \
	FMLA(X, G, B)

TEXT ·normalize(SB), NOSPLIT, $0-48
	MOVD y+0(FP), R0
	MOVD x+8(FP), R1
	MOVD gain+16(FP), R3
	MOVD bias+24(FP), R4
	MOVD $mean+32(FP), R7
	LD1RP(7, 16)
	LD1R(7, 17)
	MOVD n+40(FP), R2

loop16:
	CMP $16, R2
	BLT loop4
	LD4P(1, 0)
	LD4P(3, 4)
	LD4P(4, 20)
	NORMALIZE(0, 4, 20)
	NORMALIZE(1, 5, 21)
	NORMALIZE(2, 6, 22)
	NORMALIZE(3, 7, 23)
	ST4P(0, 20)
	SUB $16, R2
	B loop16

loop4:
	CMP $4, R2
	BLT rest
	LD1P(1, 0)
	LD1P(3, 4)
	LD1P(4, 20)
	NORMALIZE(0, 4, 20)
	ST1P(0, 20)
	SUB $4, R2
	B loop4

rest:
	CBZ R2, done
	REST
	LOADREST(R1, 1, 0)
	LOADREST(R3, 3, 4)
	LOADREST(R4, 4, 20)
	NORMALIZE(0, 4, 20)
	STOREREST(R0, 0, 20)

done:
	RET

// func gate(x *float32, a, b float32, n int)
TEXT ·gate(SB), NOSPLIT, $0-24
	MOVD x+0(FP), R0
	MOVD $a+8(FP), R7
	LD1RP(7, 28)
	LD1R(7, 29)
	FNEG(28, 28)
	FNEG(29, 29)
	MOVD n+16(FP), R2
	EXPCONST

loop8:
	CMP $8, R2
	BLT loop4
	LD2(0, 0)
	GATE(0, 2, 4, 5, 6)
	GATE(1, 3, 8, 9, 10)
	ST2P(0, 2)
	SUB $8, R2
	B loop8

loop4:
	CMP $4, R2
	BLT rest
	LD1(0, 0)
	GATE(0, 2, 4, 5, 6)
	ST1P(0, 2)
	SUB $4, R2
	B loop4

rest:
	CBZ R2, done
	REST
	LOADREST(R0, 0, 0)
	GATE(0, 2, 4, 5, 6)
	STOREREST(R0, 0, 2)

done:
	RET

// Sums in sixteen lanes, V12 to V15. SIXTEENLANES goes over a row: STEP16 is
// done with sixteen elements, STEP4 with four for the lanes of one register,
// STEPREST with the last one to three.
#define SIXTEENLANES(STEP16, STEP4, STEPREST) \
	ZERO(12); \
	ZERO(13); \
	ZERO(14); \
	ZERO(15); \
loop16: \
	CMP $16, R2; \
	BLT lanes0; \
	STEP16; \
	SUB $16, R2; \
	B loop16; \
lanes0: \
	CMP $4, R2; \
	BLT rest0; \
	STEP4(12); \
	SUB $4, R2; \
	CMP $4, R2; \
	BLT rest1; \
	STEP4(13); \
	SUB $4, R2; \
	CMP $4, R2; \
	BLT rest2; \
	STEP4(14); \
	SUB $4, R2; \
	CBZ R2, done; \
	STEPREST(15); \
	B done; \
rest0: \
	CBZ R2, done; \
	STEPREST(12); \
	B done; \
rest1: \
	CBZ R2, done; \
	STEPREST(13); \
	B done; \
rest2: \
	CBZ R2, done; \
	STEPREST(14); \
done: \
	HSUM(12, 13, 14, 15)

// func sum(x *float32, n int) float32
#define SUM16 \
	LD4P(0, 0); \
	FADD(0, 12, 12); \
	FADD(1, 13, 13); \
	FADD(2, 14, 14); \
	FADD(3, 15, 15)
#define SUM4(LANES) \
	LD1P(0, 0); \
	FADD(0, LANES, LANES)
#define SUMREST(LANES) \
	REST; \
	LOADREST(R0, 0, 0); \
	MASKREST(1); \
	AND(1, 0, 0); \
	FADD(0, LANES, LANES)

TEXT ·sum(SB), NOSPLIT, $0-20
	MOVD x+0(FP), R0
	MOVD n+8(FP), R2
	SIXTEENLANES(SUM16, SUM4, SUMREST)
	FMOVS F12, ret+16(FP)
	RET

// func sumSquares(x *float32, mean float32, n int) float32
// V16 the mean.
#define SQUARE(X, LANES) \
	FSUB(16, X, X); \
	FMLA(X, X, LANES)
#define SQUARE16 \
	LD4P(0, 0); \
	SQUARE(0, 12); \
	SQUARE(1, 13); \
	SQUARE(2, 14); \
	SQUARE(3, 15)
#define SQUARE4(LANES) \
	LD1P(0, 0); \
	SQUARE(0, LANES)
#define SQUAREREST(LANES) \
	REST; \
	LOADREST(R0, 0, 0); \
	MASKREST(1); \
	FSUB(16, 0, 0); \
	AND(1, 0, 0); \
	FMLA(0, 0, LANES)

TEXT ·sumSquares(SB), NOSPLIT, $0-28
	MOVD x+0(FP), R0
	MOVD $mean+8(FP), R7
	LD1R(7, 16)
	MOVD n+16(FP), R2
	SIXTEENLANES(SQUARE16, SQUARE4, SQUAREREST)
	FMOVS F12, ret+24(FP)
	RET

// func expSum(s *float32, m float32, n int) float32
// V28 the largest.
#define EXPSUM16 \
	LD4(0, 0); \
	FSUB(28, 0, 0); \
	FSUB(28, 1, 1); \
	FSUB(28, 2, 2); \
	FSUB(28, 3, 3); \
	EXP(0, 4, 5, 6); \
	EXP(1, 8, 9, 10); \
	EXP(2, 4, 5, 6); \
	EXP(3, 8, 9, 10); \
	ST4P(0, 0); \
	FADD(0, 12, 12); \
	FADD(1, 13, 13); \
	FADD(2, 14, 14); \
	FADD(3, 15, 15)
#define EXPSUM4(LANES) \
	LD1(0, 0); \
	FSUB(28, 0, 0); \
	EXP(0, 4, 5, 6); \
	ST1P(0, 0); \
	FADD(0, LANES, LANES)
#define EXPSUMREST(LANES) \
	REST; \
	LOADREST(R0, 0, 0); \
	FSUB(28, 0, 0); \
	EXP(0, 4, 5, 6); \
	STOREREST(R0, 0, 0); \
	MASKREST(1); \
	AND(1, 0, 0); \
	FADD(0, LANES, LANES)

TEXT ·expSum(SB), NOSPLIT, $0-28
	MOVD s+0(FP), R0
	MOVD $m+8(FP), R7
	LD1R(7, 28)
	MOVD n+16(FP), R2
	EXPCONST
	SIXTEENLANES(EXPSUM16, EXPSUM4, EXPSUMREST)
	FMOVS F12, ret+24(FP)
	RET

// func scaleMax(s *float32, a float32, n int) float32
// V16 the factor, V12 to V15 the largest so far, NaN aside.
DATA minusInf<>+0(SB)/4, $0xff800000
GLOBL minusInf<>(SB), RODATA|NOPTR, $4

TEXT ·scaleMax(SB), NOSPLIT, $0-28
	MOVD s+0(FP), R0
	MOVD $a+8(FP), R7
	LD1R(7, 16)
	MOVD n+16(FP), R2
	MOVD $minusInf<>(SB), R7
	LD1R(7, 12)
	MOV(12, 13)
	MOV(12, 14)
	MOV(12, 15)

loop16:
	CMP $16, R2
	BLT loop4
	LD4(0, 0)
	FMUL(16, 0, 0)
	FMUL(16, 1, 1)
	FMUL(16, 2, 2)
	FMUL(16, 3, 3)
	ST4P(0, 0)
	FMAXNM(0, 12, 12)
	FMAXNM(1, 13, 13)
	FMAXNM(2, 14, 14)
	FMAXNM(3, 15, 15)
	SUB $16, R2
	B loop16

loop4:
	CMP $4, R2
	BLT rest
	LD1(0, 0)
	FMUL(16, 0, 0)
	ST1P(0, 0)
	FMAXNM(0, 12, 12)
	SUB $4, R2
	B loop4

rest:
	CBZ R2, done
	REST
	LOADREST(R0, 0, 0)
	FMUL(16, 0, 0)
	STOREREST(R0, 0, 0)
	FMAXNM(0, 12, 12) // the copies do no harm

done:
	FMAXNM(13, 12, 12)
	FMAXNM(15, 14, 14)
	FMAXNM(14, 12, 12)
	FMAXNMV(12, 12)
	FMOVS F12, ret+24(FP)
	RET

// func peak(n int)
// Twenty-four independent sums V8-V31, n rounds of one multiply-add each.
TEXT ·peak(SB), NOSPLIT, $0-8
	MOVD n+0(FP), R2
	ZERO(0)
	ZERO(1)
	ZERO(8)
	ZERO(9)
	ZERO(10)
	ZERO(11)
	ZERO(12)
	ZERO(13)
	ZERO(14)
	ZERO(15)
	ZERO(16)
	ZERO(17)
	ZERO(18)
	ZERO(19)
	ZERO(20)
	ZERO(21)
	ZERO(22)
	ZERO(23)
	ZERO(24)
	ZERO(25)
	ZERO(26)
	ZERO(27)
	ZERO(28)
	ZERO(29)
	ZERO(30)
	ZERO(31)

loop:
	FMLA(0, 1, 8)
	FMLA(0, 1, 9)
	FMLA(0, 1, 10)
	FMLA(0, 1, 11)
	FMLA(0, 1, 12)
	FMLA(0, 1, 13)
	FMLA(0, 1, 14)
	FMLA(0, 1, 15)
	FMLA(0, 1, 16)
	FMLA(0, 1, 17)
	FMLA(0, 1, 18)
	FMLA(0, 1, 19)
	FMLA(0, 1, 20)
	FMLA(0, 1, 21)
	FMLA(0, 1, 22)
	FMLA(0, 1, 23)
	FMLA(0, 1, 24)
	FMLA(0, 1, 25)
	FMLA(0, 1, 26)
	FMLA(0, 1, 27)
	FMLA(0, 1, 28)
	FMLA(0, 1, 29)
	FMLA(0, 1, 30)
	FMLA(0, 1, 31)
	SUBS $1, R2
	BNE loop
	RET

// func read(p *byte, n int) float32
//
// n is a multiple of 512. Four quarters of the memory are read side by side,
// which keeps more requests under way than one stream does. R3 to R6 walk over
// the quarters, R2 counts the bytes left of one.
#define READ64(RN, N, A, B, C, D) \
	PRFM 1024(RN), PLDL1KEEP; \
	LD4P(N, A); \
	ORR(A, 16, 16); \
	ORR(B, 17, 17); \
	ORR(C, 18, 18); \
	ORR(D, 19, 19)

TEXT ·read(SB), NOSPLIT, $0-20
	MOVD p+0(FP), R3
	MOVD n+8(FP), R2
	LSR $2, R2
	ADD R2, R3, R4
	ADD R2, R4, R5
	ADD R2, R5, R6
	ZERO(16)
	ZERO(17)
	ZERO(18)
	ZERO(19)

loop:
	CMP $64, R2
	BLT done
	READ64(R3, 3, 0, 1, 2, 3)
	READ64(R4, 4, 4, 5, 6, 7)
	READ64(R5, 5, 8, 9, 10, 11)
	READ64(R6, 6, 12, 13, 14, 15)
	SUB $64, R2
	B loop

done:
	ORR(17, 16, 16)
	ORR(19, 18, 18)
	ORR(18, 16, 16)
	FMOVS F16, ret+16(FP)
	RET
