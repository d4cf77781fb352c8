//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "exp_amd64.h"
#include "attentioncodes_amd64.h"

// Attention of one row to keys and values in codes, 64 numbers, two blocks, to a head: what
// codeScores, scaleMax, expSum, codeValues64 and scale make of it, with the same bits. Each of
// three steps is done for some heads before the next one: what waits for what is long in a
// head, and so the heads' instructions wait together.

// The arguments, at AX.
#define OUT    0(AX)
#define SCORES 8(AX)
#define LDS    16(AX)
#define QUERY  24(AX)
#define KEYS   32(AX)
#define VALUES 40(AX)
#define STEPK  48(AX)
#define STEPV  56(AX)
#define N      64(AX)
#define HEADS  72(AX)
#define AHEADK 80(AX)
#define AHEADV 88(AX)
#define TURNV  96(AX)
#define FACTOR 104(AX)

// Half a panel of 32 keys or values is 17 lines, from O bytes after P on; those that are read
// D later are asked for: the hardware alone is too slow where the memory of a head begins, and
// where instructions that wait for memory fill the core (on Zen 5 it reads 30 to 35 GB/s
// instead of 26 to 29; 42 if it does nothing else).
#define ASK(O, P, D) \
	PREFETCHT0 (O+0)(P)(D*1); \
	PREFETCHT0 (O+64)(P)(D*1); \
	PREFETCHT0 (O+128)(P)(D*1); \
	PREFETCHT0 (O+192)(P)(D*1); \
	PREFETCHT0 (O+256)(P)(D*1); \
	PREFETCHT0 (O+320)(P)(D*1); \
	PREFETCHT0 (O+384)(P)(D*1); \
	PREFETCHT0 (O+448)(P)(D*1); \
	PREFETCHT0 (O+512)(P)(D*1); \
	PREFETCHT0 (O+576)(P)(D*1); \
	PREFETCHT0 (O+640)(P)(D*1); \
	PREFETCHT0 (O+704)(P)(D*1); \
	PREFETCHT0 (O+768)(P)(D*1); \
	PREFETCHT0 (O+832)(P)(D*1); \
	PREFETCHT0 (O+896)(P)(D*1); \
	PREFETCHT0 (O+960)(P)(D*1); \
	PREFETCHT0 (O+1024)(P)(D*1)

// Values are read after the weights: their first lines come while these are computed.
#define ASKVALUES \
	PREFETCHT0 (BX); \
	PREFETCHT0 64(BX); \
	PREFETCHT0 128(BX); \
	PREFETCHT0 192(BX); \
	PREFETCHT0 256(BX); \
	PREFETCHT0 320(BX); \
	PREFETCHT0 384(BX); \
	PREFETCHT0 448(BX); \
	PREFETCHT0 512(BX); \
	PREFETCHT0 576(BX); \
	ADDQ $640, BX

// Four codes of 16 keys at O(R) times four of the query in Q.
#define DOT(O, R, Q, ACC) \
	VPXORD (O)(R), Z31, Z24; \
	VPDPBUSD Q, Z24, ACC
#define DOTS8(O, R, QA, QB, QC, QD, QE, QF, QG, QH, ACC) \
	DOT(O+32, R, QA, ACC); \
	DOT(O+96, R, QB, ACC); \
	DOT(O+160, R, QC, ACC); \
	DOT(O+224, R, QD, ACC); \
	DOT(O+288, R, QE, ACC); \
	DOT(O+352, R, QF, ACC); \
	DOT(O+416, R, QG, ACC); \
	DOT(O+480, R, QH, ACC)

// SUM = scale · the scores of the 16 keys at R.
#define SCORES16(R, ACC0, ACC1, SUM) \
	VMOVDQA64 Z16, ACC0; \
	VMOVDQA64 Z17, ACC1; \
	DOTS8(0, R, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, ACC0); \
	DOTS8(544, R, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, ACC1); \
	VCVTPH2PS (R), Z25; \
	VMULPS Z18, Z25, Z25; \
	VCVTDQ2PS ACC0, ACC0; \
	ZERO(SUM); \
	VFMADD231PS Z25, ACC0, SUM; \
	VCVTPH2PS 544(R), Z25; \
	VMULPS Z19, Z25, Z25; \
	VCVTDQ2PS ACC1, ACC1; \
	VFMADD231PS Z25, ACC1, SUM; \
	VMULPS SUM, Z28, SUM

// K1 and K2 are the lowest R12 of 32; CX is spoiled.
#define TAILMASKS \
	MOVL $-1, CX; \
	BZHIL R12, CX, CX; \
	KMOVW CX, K1; \
	SHRL $16, CX; \
	KMOVW CX, K2

// func codeHeads(a *heads)
//
// most is the largest score of each head, then the inverse of the sum of its weights.
TEXT ·codeHeads(SB), NOSPLIT, $64-8
	MOVQ a+0(FP), AX

// Scores: R13 heads left, R10 the head's keys, SI and BX two panels of 16 of them, DI where
// scores go, R11 those of the head, R8 the query, R9 how far ahead is asked for, R15 a panel of
// the head's values, whose scales are asked for, since the weights need them, R12 positions
// left. Z0-Z15 are the query's codes, Z16-Z19 the offsets and scales of its blocks, Z28 the
// factor, Z29 the largest scores, DX where the largest one goes.
	MOVQ AHEADK, R9
	MOVQ HEADS, R13
	MOVQ KEYS, R10
	MOVQ SCORES, R11
	MOVQ QUERY, R8
	MOVQ VALUES, R15
	LEAQ most-64(SP), DX
	VBROADCASTSS FACTOR, Z28
	MOVL $0x80808080, CX
	VPBROADCASTD CX, Z31
	MOVL $0xff800000, CX
	VPBROADCASTD CX, Z30

query:
	MOVQ R10, SI
	MOVQ R11, DI
	MOVQ N, R12
	VMOVDQA64 Z30, Z29
	VPBROADCASTD 8(R8), Z0
	VPBROADCASTD 12(R8), Z1
	VPBROADCASTD 16(R8), Z2
	VPBROADCASTD 20(R8), Z3
	VPBROADCASTD 24(R8), Z4
	VPBROADCASTD 28(R8), Z5
	VPBROADCASTD 32(R8), Z6
	VPBROADCASTD 36(R8), Z7
	VPBROADCASTD 48(R8), Z8
	VPBROADCASTD 52(R8), Z9
	VPBROADCASTD 56(R8), Z10
	VPBROADCASTD 60(R8), Z11
	VPBROADCASTD 64(R8), Z12
	VPBROADCASTD 68(R8), Z13
	VPBROADCASTD 72(R8), Z14
	VPBROADCASTD 76(R8), Z15
	VPBROADCASTD 4(R8), Z16
	VPBROADCASTD 44(R8), Z17
	VBROADCASTSS (R8), Z18
	VBROADCASTSS 40(R8), Z19
	ADDQ $80, R8
	ADDQ STEPK, R10
	ADDQ LDS, R11
	KXNORW K2, K2, K2

pair:
	ASK(0, SI, R9)
	PREFETCHT0 (R15)
	PREFETCHT0 64(R15)
	ADDQ $2176, R15
	CMPQ R12, $16
	JLE  single
	LEAQ 1088(SI), BX
	CMPQ R12, $32
	JGE  whole
	TAILMASKS

whole:
	SCORES16(SI, Z20, Z21, Z26)
	ASK(1088, SI, R9)
	SCORES16(BX, Z22, Z23, Z27)
	VMOVUPS Z26, (DI)
	VMOVUPS Z27, 64(DI)
	VMAXPS Z29, Z26, Z29
	VMAXPS Z29, Z27, K2, Z29
	ADDQ $128, DI
	ADDQ $2176, SI
	SUBQ $32, R12
	JGT  pair
	JMP  largest

single:
	TAILMASKS
	SCORES16(SI, Z20, Z21, Z26)
	VMOVUPS Z26, (DI)
	VMAXPS Z29, Z26, K1, Z29

largest:
	VEXTRACTF64X4 $1, Z29, Y20
	VMAXPS Y20, Y29, Y29
	VEXTRACTF32X4 $1, Y29, X20
	VMAXPS X20, X29, X29
	VPERMILPS $0x4e, X29, X20
	VMAXPS X20, X29, X29
	VPERMILPS $0xb1, X29, X20
	VMAXPS X20, X29, X29
	VMOVSS X29, (DX)
	ADDQ $4, DX
	ADDQ TURNV, R15
	DECQ R13
	JNZ  query

// Weights, which take the place of the scores, 32 at a time: codes, 64 bytes later the steps
// of both blocks. R13 heads left, R11 the head's scores, DI 32 of them, R10 the head's values,
// R8 a panel, which begins with scales, BX lines of them that are asked for, R12 positions left,
// DX where Z6, the largest score, is and the inverse of the sum in Z8 goes.
	MOVQ HEADS, R13
	MOVQ SCORES, R11
	MOVQ VALUES, R10
	LEAQ most-64(SP), DX
	EXPCONST
	CONSTANTS

weights:
	MOVQ R11, DI
	MOVQ R10, R8
	MOVQ R10, BX
	MOVQ N, R12
	VBROADCASTSS (DX), Z6
	ZERO(Z8)
	KXNORW K1, K1, K1
	KXNORW K2, K2, K2

weigh:
	CMPQ R12, $32
	JGE  exp
	TAILMASKS

exp:
	VMOVUPS.Z (DI), K1, Z0
	VSUBPS Z6, Z0, Z0
	EXP
	VMOVAPS.Z Z0, K1, Z4
	VADDPS Z4, Z8, Z8
	VMOVUPS.Z 64(DI), K2, Z0
	VSUBPS Z6, Z0, Z0
	EXP
	VMOVAPS.Z Z0, K2, Z5
	VADDPS Z5, Z8, Z8
	WEIGHTS(64)
	ASKVALUES
	VMOVDQU64 Z0, (DI)
	VMOVSS X2, 64(DI)
	VMOVSS X3, 68(DI)
	ADDQ $128, DI
	ADDQ $2176, R8
	SUBQ $32, R12
	JGT  weigh
	HSUM
	VDIVSS X8, X24, X8
	VMOVSS X8, (DX)
	ADDQ $4, DX
	ADDQ STEPV, R10
	ADDQ LDS, R11
	DECQ R13
	JNZ  weights

// Values: R13 heads left, R10 the head's values, BX codes of them, R11 its weights, CX those
// of 32, R9 how far ahead is asked for, R12 positions left, Z8-Z11 the results, DI where they
// go, DX where their factor is.
	MOVQ HEADS, R13
	MOVQ SCORES, R11
	MOVQ VALUES, R10
	MOVQ OUT, DI
	MOVQ AHEADV, R9
	LEAQ most-64(SP), DX

values:
	MOVQ R11, CX
	LEAQ 128(R10), BX
	MOVQ N, R12
	ADDQ STEPV, R10
	ADDQ LDS, R11
	ZERO(Z8)
	ZERO(Z9)
	ZERO(Z10)
	ZERO(Z11)

panel:
	ZERO(Z12)
	ZERO(Z13)
	ZERO(Z14)
	ZERO(Z15)
	ASK(-128, BX, R9)
	VBROADCASTSS 64(CX), Z2
	VBROADCASTSS 68(CX), Z3
	FOUR64(0, 0)
	FOUR64(16, 256)
	FOUR64(32, 512)
	FOUR64(48, 768)
	ASK(960, BX, R9)
	FOUR64(4, 1024)
	FOUR64(20, 1280)
	FOUR64(36, 1536)
	FOUR64(52, 1792)
	PLUS(Z2, Z12, Z8)
	PLUS(Z2, Z13, Z9)
	PLUS(Z3, Z14, Z10)
	PLUS(Z3, Z15, Z11)
	ADDQ $128, CX
	ADDQ $2176, BX
	SUBQ $32, R12
	JGT  panel
	VBROADCASTSS (DX), Z0
	ADDQ $4, DX
	VMULPS Z8, Z0, Z8
	VMULPS Z9, Z0, Z9
	VMULPS Z10, Z0, Z10
	VMULPS Z11, Z0, Z11
	STORE64
	ADDQ $256, DI
	DECQ R13
	JNZ  values
	VZEROUPPER
	RET
