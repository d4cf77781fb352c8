//go:build !noasm

#include "textflag.h"
#include "macros_arm64.h"

// func q8dotN(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)
// func q4dotN(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)
// func q8longN(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)
// func q4longN(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w *byte, blocks int)
//
// y += N quantised rows of x (generic.Block: float32 scale, int32 offset, 32 codes)
// by one panel of a weight (generic.PanelBlock), at least one block. Those named
// dot need the instruction SDOT, those named long do without.
//
// R0 y, R1 ldy, R3 weights, R15 their scales, R4 to R7 rows of x, R2 blocks left;
// R8 walks over the codes of a row of x, R9 over y.
#define QARGS \
	MOVD y+0(FP), R0; \
	MOVD ldy+8(FP), R1; \
	MOVD x+16(FP), R4; \
	MOVD ldx+24(FP), R8; \
	MOVD w+32(FP), R3; \
	MOVD blocks+40(FP), R2; \
	ADD R8, R4, R5; \
	ADD R8, R5, R6; \
	ADD R8, R6, R7

// The scales of 16 outputs in V0-V3.
#define SCALES \
	LD2(15, 0); \
	FCVTL2(1, 3); \
	FCVTL(1, 2); \
	FCVTL2(0, 1); \
	FCVTL(0, 0)

// y += products A B C D · (scale of the weight · scale of x) for the row of x at
// RX; goes on to the next row of y. Spoils V4-V12.
#define FINISH(X, A, B, C, D) \
	LD1R(X, 12); \
	SCVTF(A, A); \
	SCVTF(B, B); \
	SCVTF(C, C); \
	SCVTF(D, D); \
	FMUL(12, 0, 4); \
	FMUL(12, 1, 5); \
	FMUL(12, 2, 6); \
	FMUL(12, 3, 7); \
	LD4(9, 8); \
	FMLA(4, A, 8); \
	FMLA(5, B, 9); \
	FMLA(6, C, 10); \
	FMLA(7, D, 11); \
	ST4X(1, 9, 8)

#define FINISH1 \
	MOVD R0, R9; \
	SCALES; \
	FINISH(4, 16, 17, 18, 19)
#define FINISH2 \
	FINISH1; \
	FINISH(5, 20, 21, 22, 23)
#define FINISH4 \
	FINISH2; \
	FINISH(6, 24, 25, 26, 27); \
	FINISH(7, 28, 29, 30, 31)

#define NEXT1 ADD $40, R4
#define NEXT2 NEXT1; ADD $40, R5
#define NEXT4 NEXT2; ADD $40, R6; ADD $40, R7

// With SDOT. V16-V31 are products of codes, four registers to a row; V8-V15
// codes of x, two registers to a row; V0-V7 codes of the weights.
#define CODES(RX, A) \
	ADD $8, RX, R8; \
	LD2(8, A)
#define CODES1 CODES(R4, 8)
#define CODES2 CODES1; CODES(R5, 10)
#define CODES4 CODES2; CODES(R6, 12); CODES(R7, 14)

#define ZERO4(A, B, C, D) \
	ZERO(A); \
	ZERO(B); \
	ZERO(C); \
	ZERO(D)
#define CLEAR1 ZERO4(16, 17, 18, 19)
#define CLEAR2 CLEAR1; ZERO4(20, 21, 22, 23)
#define CLEAR4 CLEAR2; ZERO4(24, 25, 26, 27); ZERO4(28, 29, 30, 31)

// Four inputs of sixteen outputs, W0 to W3: DOT is SDOT by the element of x,
// which is in the row's first (I 0) or second register.
#define DOTS(DOT, X, W0, W1, W2, W3, A, B, C, D) \
	DOT(X, W0, A); \
	DOT(X, W1, B); \
	DOT(X, W2, C); \
	DOT(X, W3, D)
#define DOTS1(DOT, I, W0, W1, W2, W3) DOTS(DOT, (8+I), W0, W1, W2, W3, 16, 17, 18, 19)
#define DOTS2(DOT, I, W0, W1, W2, W3) \
	DOTS1(DOT, I, W0, W1, W2, W3); \
	DOTS(DOT, (10+I), W0, W1, W2, W3, 20, 21, 22, 23)
#define DOTS4(DOT, I, W0, W1, W2, W3) \
	DOTS2(DOT, I, W0, W1, W2, W3); \
	DOTS(DOT, (12+I), W0, W1, W2, W3, 24, 25, 26, 27); \
	DOTS(DOT, (14+I), W0, W1, W2, W3, 28, 29, 30, 31)

#define GROUPS2(FIRST, SECOND, I, ROWS) \
	LD4P(3, 0); \
	LD4P(3, 4); \
	ROWS(FIRST, I, 0, 1, 2, 3); \
	ROWS(SECOND, I, 4, 5, 6, 7)

#define AHEAD 2048

#define PREFETCH256(O) \
	PRFM (AHEAD+O)(R3), PLDL1STRM; \
	PRFM (AHEAD+O+64)(R3), PLDL1STRM; \
	PRFM (AHEAD+O+128)(R3), PLDL1STRM; \
	PRFM (AHEAD+O+192)(R3), PLDL1STRM

#define Q8DOT(CODESN, CLEARN, DOTSN, FINISHN, NEXTN) \
	QARGS; \
loop: \
	PREFETCH256(0); \
	PREFETCH256(256); \
	CODESN; \
	CLEARN; \
	MOVD R3, R15; \
	ADD $32, R3; \
	GROUPS2(SDOT0, SDOT1, 0, DOTSN); \
	GROUPS2(SDOT2, SDOT3, 0, DOTSN); \
	GROUPS2(SDOT0, SDOT1, 1, DOTSN); \
	GROUPS2(SDOT2, SDOT3, 1, DOTSN); \
	FINISHN; \
	NEXTN; \
	SUBS $1, R2; \
	BNE loop; \
	RET

// Codes of Q4_0 are not moved to be signed: the row's offset makes up for it.
#define OFFSET(RX, A, B, C, D) \
	ADD $4, RX, R8; \
	LD1R(8, A); \
	MOV(A, B); \
	MOV(A, C); \
	MOV(A, D)
#define OFFSET1 OFFSET(R4, 16, 17, 18, 19)
#define OFFSET2 OFFSET1; OFFSET(R5, 20, 21, 22, 23)
#define OFFSET4 OFFSET2; OFFSET(R6, 24, 25, 26, 27); OFFSET(R7, 28, 29, 30, 31)

// Eight outputs at a time: V0 and V1 come from memory and keep the high halves,
// V2 and V3 get the low ones; V4 is the mask.
#define HALVES \
	LD2P(3, 0); \
	AND(4, 0, 2); \
	AND(4, 1, 3); \
	NIBBLE(0, 0); \
	NIBBLE(1, 1)

#define DOTS8(DOT, X, W0, W1, A, B) \
	DOT(X, W0, A); \
	DOT(X, W1, B)
#define NIBBLES1(DOT, A, B) \
	DOTS8(DOT, 8, 2, 3, A, B); \
	DOTS8(DOT, 9, 0, 1, A, B)
#define NIBBLES2(DOT, A, B) \
	NIBBLES1(DOT, A, B); \
	DOTS8(DOT, 10, 2, 3, (A+4), (B+4)); \
	DOTS8(DOT, 11, 0, 1, (A+4), (B+4))
#define NIBBLES4(DOT, A, B) \
	NIBBLES2(DOT, A, B); \
	DOTS8(DOT, 12, 2, 3, (A+8), (B+8)); \
	DOTS8(DOT, 13, 0, 1, (A+8), (B+8)); \
	DOTS8(DOT, 14, 2, 3, (A+12), (B+12)); \
	DOTS8(DOT, 15, 0, 1, (A+12), (B+12))

#define GROUP4(DOT, ROWS) \
	HALVES; \
	ROWS(DOT, 16, 17); \
	HALVES; \
	ROWS(DOT, 18, 19)

#define Q4DOT(CODESN, OFFSETN, NIBBLESN, FINISHN, NEXTN) \
	QARGS; \
loop: \
	PREFETCH256(0); \
	CODESN; \
	OFFSETN; \
	LOWMASK(4); \
	MOVD R3, R15; \
	ADD $32, R3; \
	GROUP4(SDOT0, NIBBLESN); \
	GROUP4(SDOT1, NIBBLESN); \
	GROUP4(SDOT2, NIBBLESN); \
	GROUP4(SDOT3, NIBBLESN); \
	FINISHN; \
	NEXTN; \
	SUBS $1, R2; \
	BNE loop; \
	RET

TEXT ·q8dot1(SB), NOSPLIT, $0-48
	Q8DOT(CODES1, CLEAR1, DOTS1, FINISH1, NEXT1)

TEXT ·q8dot2(SB), NOSPLIT, $0-48
	Q8DOT(CODES2, CLEAR2, DOTS2, FINISH2, NEXT2)

TEXT ·q8dot4(SB), NOSPLIT, $0-48
	Q8DOT(CODES4, CLEAR4, DOTS4, FINISH4, NEXT4)

TEXT ·q4dot1(SB), NOSPLIT, $0-48
	Q4DOT(CODES1, OFFSET1, NIBBLES1, FINISH1, NEXT1)

TEXT ·q4dot2(SB), NOSPLIT, $0-48
	Q4DOT(CODES2, OFFSET2, NIBBLES2, FINISH2, NEXT2)

TEXT ·q4dot4(SB), NOSPLIT, $0-48
	Q4DOT(CODES4, OFFSET4, NIBBLES4, FINISH4, NEXT4)

// Without SDOT: four codes of x in all four quarters of V12 to V15, products
// of bytes in sixteen bits. V16-V23 sum up the first row, two registers to four
// outputs, V24-V31 the second; V8 and V9 are products, V0-V7 weights.
#define QUARTERS1(A, B) \
	LD1RP(10, A); \
	LD1RP(10, B)
#define QUARTERS2(A, B) \
	QUARTERS1(A, B); \
	LD1RP(11, (A+2)); \
	LD1RP(11, (B+2))

#define WALK1 ADD $8, R4, R10
#define WALK2 WALK1; ADD $8, R5, R11

// Two products of at most 128·127 fit in sixteen bits.
#define LONG8(X0, X1, W0, W1, A, B) \
	SMULL(X0, W0, 8); \
	SMULL2(X0, W0, 9); \
	SMLAL(X1, W1, 8); \
	SMLAL2(X1, W1, 9); \
	SADALP(8, A); \
	SADALP(9, B)
#define LONG8R1 \
	QUARTERS1(12, 13); \
	LONG8(12, 13, 0, 4, 16, 17); \
	LONG8(12, 13, 1, 5, 18, 19); \
	LONG8(12, 13, 2, 6, 20, 21); \
	LONG8(12, 13, 3, 7, 22, 23)
#define LONG8R2 \
	QUARTERS2(12, 13); \
	LONG8(12, 13, 0, 4, 16, 17); \
	LONG8(12, 13, 1, 5, 18, 19); \
	LONG8(12, 13, 2, 6, 20, 21); \
	LONG8(12, 13, 3, 7, 22, 23); \
	LONG8(14, 15, 0, 4, 24, 25); \
	LONG8(14, 15, 1, 5, 26, 27); \
	LONG8(14, 15, 2, 6, 28, 29); \
	LONG8(14, 15, 3, 7, 30, 31)

#define LONGGROUPS2(ROWS) \
	LD4P(3, 0); \
	LD4P(3, 4); \
	ROWS

// Neighbours added: the products of sixteen outputs are in V16-V19 and V20-V23.
#define NARROW1(ADDP) \
	ADDP(17, 16, 16); \
	ADDP(19, 18, 17); \
	ADDP(21, 20, 18); \
	ADDP(23, 22, 19)
#define NARROW2(ADDP) \
	NARROW1(ADDP); \
	ADDP(25, 24, 20); \
	ADDP(27, 26, 21); \
	ADDP(29, 28, 22); \
	ADDP(31, 30, 23)

#define LONGCLEAR1 CLEAR2
#define LONGCLEAR2 CLEAR4

#define Q8LONG(CLEARN, WALKN, LONGN, NARROWN, FINISHN, NEXTN) \
	QARGS; \
loop: \
	PREFETCH256(0); \
	PREFETCH256(256); \
	CLEARN; \
	WALKN; \
	MOVD R3, R15; \
	ADD $32, R3; \
	LONGGROUPS2(LONGN); \
	LONGGROUPS2(LONGN); \
	LONGGROUPS2(LONGN); \
	LONGGROUPS2(LONGN); \
	NARROWN(ADDPS4); \
	FINISHN; \
	NEXTN; \
	SUBS $1, R2; \
	BNE loop; \
	RET

// Q4_0: sixteen products of at most 15·127 fit in sixteen bits. V12 and V14 are
// codes of x for the low halves, V13 and V15 for the high ones, sixteen on.
#define LONG4(X0, X1, W0, W1, A, B) \
	SMLAL(X0, W0, A); \
	SMLAL2(X0, W0, B); \
	SMLAL(X1, W1, A); \
	SMLAL2(X1, W1, B)
#define LOHI1 \
	LD1R(10, 12); \
	ADD $16, R10, R8; \
	LD1R(8, 13); \
	ADD $4, R10
#define LOHI2 \
	LOHI1; \
	LD1R(11, 14); \
	ADD $16, R11, R8; \
	LD1R(8, 15); \
	ADD $4, R11
#define LONG4R1(A) \
	LONG4(12, 13, 2, 0, A, (A+1)); \
	LONG4(12, 13, 3, 1, (A+2), (A+3))
#define LONG4R2(A) \
	LONG4R1(A); \
	LONG4(14, 15, 2, 0, (A+8), (A+9)); \
	LONG4(14, 15, 3, 1, (A+10), (A+11))
#define LONGGROUP4(LOHIN, ROWS) \
	LOHIN; \
	HALVES; \
	ROWS(16); \
	HALVES; \
	ROWS(20)

// To 32 bits, with the offset.
#define WIDEN(RX, A, B, C, D) \
	ADD $4, RX, R8; \
	LD1R(8, 8); \
	SADDLP(A, A); \
	SADDLP(B, B); \
	SADDLP(C, C); \
	SADDLP(D, D); \
	ADDS4(8, A, A); \
	ADDS4(8, B, B); \
	ADDS4(8, C, C); \
	ADDS4(8, D, D)
#define WIDEN1 WIDEN(R4, 16, 17, 18, 19)
#define WIDEN2 WIDEN1; WIDEN(R5, 20, 21, 22, 23)

#define Q4LONG(CLEARN, WALKN, LOHIN, LONGN, NARROWN, WIDENN, FINISHN, NEXTN) \
	QARGS; \
loop: \
	PREFETCH256(0); \
	CLEARN; \
	WALKN; \
	LOWMASK(4); \
	MOVD R3, R15; \
	ADD $32, R3; \
	LONGGROUP4(LOHIN, LONGN); \
	LONGGROUP4(LOHIN, LONGN); \
	LONGGROUP4(LOHIN, LONGN); \
	LONGGROUP4(LOHIN, LONGN); \
	NARROWN(ADDPH8); \
	WIDENN; \
	FINISHN; \
	NEXTN; \
	SUBS $1, R2; \
	BNE loop; \
	RET

TEXT ·q8long1(SB), NOSPLIT, $0-48
	Q8LONG(LONGCLEAR1, WALK1, LONG8R1, NARROW1, FINISH1, NEXT1)

TEXT ·q8long2(SB), NOSPLIT, $0-48
	Q8LONG(LONGCLEAR2, WALK2, LONG8R2, NARROW2, FINISH2, NEXT2)

TEXT ·q4long1(SB), NOSPLIT, $0-48
	Q4LONG(LONGCLEAR1, WALK1, LOHI1, LONG4R1, NARROW1, WIDEN1, FINISH1, NEXT1)

TEXT ·q4long2(SB), NOSPLIT, $0-48
	Q4LONG(LONGCLEAR2, WALK2, LOHI2, LONG4R2, NARROW2, WIDEN2, FINISH2, NEXT2)

// func quantize(dst *generic.Block, x *float32, blocks int, move int32)
//
// R0 dst, R1 x, R2 blocks left, R3 move, R4 2⁻¹²⁰, R5 infinity, R6 NaN, F16 127.
// V0-V7 x, then codes. The comparisons are of the bits: NaN is above infinity.
TEXT ·quantize(SB), NOSPLIT, $0-28
	MOVD dst+0(FP), R0
	MOVD x+8(FP), R1
	MOVD blocks+16(FP), R2
	MOVW move+24(FP), R3
	MOVW $0x03800000, R4
	MOVW $0x7f800000, R5
	MOVW $0x7fc00000, R6
	MOVW $0x42fe0000, R7
	FMOVS R7, F16

loop:
	LD4P(1, 0)
	LD4P(1, 4)
	FABS(0, 8)
	FABS(1, 9)
	FABS(2, 10)
	FABS(3, 11)
	FABS(4, 12)
	FABS(5, 13)
	FABS(6, 14)
	FABS(7, 15)
	UMAXS4(12, 8, 8)
	UMAXS4(13, 9, 9)
	UMAXS4(14, 10, 10)
	UMAXS4(15, 11, 11)
	UMAXS4(10, 8, 8)
	UMAXS4(11, 9, 9)
	UMAXS4(9, 8, 8)
	UMAXVS4(8, 8)
	FMOVS F8, R7
	CMPW R5, R7
	BHS odd
	CMPW R4, R7
	BLO zero
	FDIVS F16, F8, F17 // m/127
	FDIVS F8, F16, F18 // 127/m
	VDUP V18.S[0], V18.S4
	FMUL(18, 0, 0)
	FMUL(18, 1, 1)
	FMUL(18, 2, 2)
	FMUL(18, 3, 3)
	FMUL(18, 4, 4)
	FMUL(18, 5, 5)
	FMUL(18, 6, 6)
	FMUL(18, 7, 7)
	FCVTNS(0, 0)
	FCVTNS(1, 1)
	FCVTNS(2, 2)
	FCVTNS(3, 3)
	FCVTNS(4, 4)
	FCVTNS(5, 5)
	FCVTNS(6, 6)
	FCVTNS(7, 7)
	ADDS4(4, 0, 8)
	ADDS4(5, 1, 9)
	ADDS4(6, 2, 10)
	ADDS4(7, 3, 11)
	ADDS4(10, 8, 8)
	ADDS4(11, 9, 9)
	ADDS4(9, 8, 8)
	ADDVS4(8, 8)
	FMOVS F8, R7
	MULW R3, R7, R7
	SQXTNH(0, 0)
	SQXTNH2(1, 0)
	SQXTNH(2, 2)
	SQXTNH2(3, 2)
	SQXTNH(4, 4)
	SQXTNH2(5, 4)
	SQXTNH(6, 6)
	SQXTNH2(7, 6)
	SQXTNB(0, 0)
	SQXTNB2(2, 0)
	SQXTNB(4, 1)
	SQXTNB2(6, 1)
	FMOVS F17, (R0)

store:
	MOVW R7, 4(R0)
	ADD $8, R0
	ST2P(0, 0)
	SUBS $1, R2
	BNE loop
	RET

odd:
	MOVW R6, (R0)
	B nothing

zero:
	MOVW ZR, (R0)

nothing:
	ZERO(0)
	ZERO(1)
	MOVW ZR, R7
	B store

// func peakDot(n int)
// func peakLong(n int)
// Twenty-four independent sums V8-V31, n rounds of one multiply-add each.
#define SUMS24(SUM) \
	SUM(8); \
	SUM(9); \
	SUM(10); \
	SUM(11); \
	SUM(12); \
	SUM(13); \
	SUM(14); \
	SUM(15); \
	SUM(16); \
	SUM(17); \
	SUM(18); \
	SUM(19); \
	SUM(20); \
	SUM(21); \
	SUM(22); \
	SUM(23); \
	SUM(24); \
	SUM(25); \
	SUM(26); \
	SUM(27); \
	SUM(28); \
	SUM(29); \
	SUM(30); \
	SUM(31)

#define DOTSUM(A) SDOT(0, 1, A)

TEXT ·peakDot(SB), NOSPLIT, $0-8
	MOVD n+0(FP), R2
	ZERO(0)
	ZERO(1)
	SUMS24(ZERO)

loop:
	SUMS24(DOTSUM)
	SUBS $1, R2
	BNE loop
	RET

// Sixteen products to a sum, by way of V2-V4 in turns.
#define LONGSUM(T, A) \
	SMULL(0, 1, T); \
	SMLAL2(0, 1, T); \
	SADALP(T, A)

TEXT ·peakLong(SB), NOSPLIT, $0-8
	MOVD n+0(FP), R2
	ZERO(0)
	ZERO(1)
	SUMS24(ZERO)

loop:
	LONGSUM(2, 16)
	LONGSUM(3, 17)
	LONGSUM(4, 18)
	LONGSUM(5, 19)
	LONGSUM(6, 20)
	LONGSUM(7, 21)
	LONGSUM(8, 22)
	LONGSUM(9, 23)
	SUBS $1, R2
	BNE loop
	RET
