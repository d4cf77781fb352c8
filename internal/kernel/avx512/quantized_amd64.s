//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// Products of quantised rows of x (generic.Block: float32 scale, int32 offset, 32
// codes) with panels of a weight (generic.PanelBlock).
//
// func q8rowsN(y *float32, ldy uintptr, x *byte, ldx uintptr, w *byte, blocks int)
//
// N rows by one panel. DI y, DX ldy, CX blocks left, SI weights. AX, BX and R10
// rows 0, 3 and 6 of x, R8 ldx. Z0-Z7 products of codes, Z8-Z15 sums, Z16 scales
// of the weights, Z17-Z24 codes, Z25 a scale, Z31 what makes codes unsigned or masks them.
#define QARGS \
	MOVQ y+0(FP), DI; \
	MOVQ ldy+8(FP), DX; \
	MOVQ x+16(FP), AX; \
	MOVQ ldx+24(FP), R8; \
	MOVQ w+32(FP), SI; \
	MOVQ blocks+40(FP), CX; \
	LEAQ (R8)(R8*2), R9; \
	LEAQ (AX)(R9*1), BX; \
	LEAQ (BX)(R9*1), R10

#define NEXTX \
	ADDQ $40, AX; \
	ADDQ $40, BX; \
	ADDQ $40, R10

#define ZERO1 ZERO(Z8)
#define ZERO2 ZERO1; ZERO(Z9)
#define ZERO3 ZERO2; ZERO(Z10)
#define ZERO4 ZERO3; ZERO(Z11)
#define ZERO5 ZERO4; ZERO(Z12)
#define ZERO6 ZERO5; ZERO(Z13)
#define ZERO7 ZERO6; ZERO(Z14)
#define ZERO8 ZERO7; ZERO(Z15)

// Products start from the offset.
#define START(M, ACC) VPBROADCASTD 4 M, ACC
#define START1 START((AX), Z0)
#define START2 START1; START((AX)(R8*1), Z1)
#define START3 START2; START((AX)(R8*2), Z2)
#define START4 START3; START((BX), Z3)
#define START5 START4; START((BX)(R8*1), Z4)
#define START6 START5; START((BX)(R8*2), Z5)
#define START7 START6; START((R10), Z6)
#define START8 START7; START((R10)(R8*1), Z7)

// Four codes at offset O of each row times those of register W.
#define DOTS1(O, W) VPDPBUSD.BCST O(AX), W, Z0
#define DOTS2(O, W) DOTS1(O, W); VPDPBUSD.BCST O(AX)(R8*1), W, Z1
#define DOTS3(O, W) DOTS2(O, W); VPDPBUSD.BCST O(AX)(R8*2), W, Z2
#define DOTS4(O, W) DOTS3(O, W); VPDPBUSD.BCST O(BX), W, Z3
#define DOTS5(O, W) DOTS4(O, W); VPDPBUSD.BCST O(BX)(R8*1), W, Z4
#define DOTS6(O, W) DOTS5(O, W); VPDPBUSD.BCST O(BX)(R8*2), W, Z5
#define DOTS7(O, W) DOTS6(O, W); VPDPBUSD.BCST O(R10), W, Z6
#define DOTS8(O, W) DOTS7(O, W); VPDPBUSD.BCST O(R10)(R8*1), W, Z7

// sum += products · (scale of the weight · scale of x)
#define FINISH(M, ACC, SUM) \
	VMULPS.BCST M, Z16, Z25; \
	VCVTDQ2PS ACC, ACC; \
	VFMADD231PS Z25, ACC, SUM
#define FINISH1 FINISH((AX), Z0, Z8)
#define FINISH2 FINISH1; FINISH((AX)(R8*1), Z1, Z9)
#define FINISH3 FINISH2; FINISH((AX)(R8*2), Z2, Z10)
#define FINISH4 FINISH3; FINISH((BX), Z3, Z11)
#define FINISH5 FINISH4; FINISH((BX)(R8*1), Z4, Z12)
#define FINISH6 FINISH5; FINISH((BX)(R8*2), Z5, Z13)
#define FINISH7 FINISH6; FINISH((R10), Z6, Z14)
#define FINISH8 FINISH7; FINISH((R10)(R8*1), Z7, Z15)

#define STORE(SUM) \
	VMOVUPS SUM, (DI); \
	ADDQ DX, DI
#define STORE1 STORE(Z8)
#define STORE2 STORE1; STORE(Z9)
#define STORE3 STORE2; STORE(Z10)
#define STORE4 STORE3; STORE(Z11)
#define STORE5 STORE4; STORE(Z12)
#define STORE6 STORE5; STORE(Z13)
#define STORE7 STORE6; STORE(Z14)
#define STORE8 STORE7; STORE(Z15)

// Weights stream by; what lies AHEAD bytes further on is asked for.
#define AHEAD 6144

#define Q8ROWS(ZEROS, STARTS, DOTS, FINISHES, STORES) \
	QARGS; \
	MOVL $0x80808080, R11; \
	VPBROADCASTD R11, Z31; \
	ZEROS; \
loop: \
	STARTS; \
	VCVTPH2PS (SI), Z16; \
	VPXORD 32(SI), Z31, Z17; \
	VPXORD 96(SI), Z31, Z18; \
	VPXORD 160(SI), Z31, Z19; \
	VPXORD 224(SI), Z31, Z20; \
	DOTS(8, Z17); \
	DOTS(12, Z18); \
	DOTS(16, Z19); \
	DOTS(20, Z20); \
	VPXORD 288(SI), Z31, Z21; \
	VPXORD 352(SI), Z31, Z22; \
	VPXORD 416(SI), Z31, Z23; \
	VPXORD 480(SI), Z31, Z24; \
	PREFETCHT1 AHEAD(SI); \
	PREFETCHT1 (AHEAD+64)(SI); \
	PREFETCHT1 (AHEAD+128)(SI); \
	PREFETCHT1 (AHEAD+192)(SI); \
	PREFETCHT1 (AHEAD+256)(SI); \
	PREFETCHT1 (AHEAD+320)(SI); \
	PREFETCHT1 (AHEAD+384)(SI); \
	PREFETCHT1 (AHEAD+448)(SI); \
	PREFETCHT1 (AHEAD+512)(SI); \
	DOTS(24, Z21); \
	DOTS(28, Z22); \
	DOTS(32, Z23); \
	DOTS(36, Z24); \
	FINISHES; \
	ADDQ $544, SI; \
	NEXTX; \
	DECQ CX; \
	JNZ  loop; \
	STORES; \
	VZEROUPPER; \
	RET

// The low half of a byte and, in register HI, the high one.
#define NIBBLES(O, LO, HI) \
	VMOVDQU32 O(SI), HI; \
	VPANDD HI, Z31, LO; \
	VPSRLW $4, HI, HI; \
	VPANDD HI, Z31, HI

#define Q4ROWS(ZEROS, STARTS, DOTS, FINISHES, STORES) \
	QARGS; \
	MOVL $0x0f0f0f0f, R11; \
	VPBROADCASTD R11, Z31; \
	ZEROS; \
loop: \
	STARTS; \
	VCVTPH2PS (SI), Z16; \
	NIBBLES(32, Z17, Z18); \
	NIBBLES(96, Z19, Z20); \
	NIBBLES(160, Z21, Z22); \
	NIBBLES(224, Z23, Z24); \
	DOTS(8, Z17); \
	DOTS(24, Z18); \
	DOTS(12, Z19); \
	DOTS(28, Z20); \
	PREFETCHT1 AHEAD(SI); \
	PREFETCHT1 (AHEAD+64)(SI); \
	PREFETCHT1 (AHEAD+128)(SI); \
	PREFETCHT1 (AHEAD+192)(SI); \
	PREFETCHT1 (AHEAD+256)(SI); \
	DOTS(16, Z21); \
	DOTS(32, Z22); \
	DOTS(20, Z23); \
	DOTS(36, Z24); \
	FINISHES; \
	ADDQ $288, SI; \
	NEXTX; \
	DECQ CX; \
	JNZ  loop; \
	STORES; \
	VZEROUPPER; \
	RET

// func q8tile(y *float32, ldy uintptr, x *byte, ldx uintptr, w *byte, blocks int, panel uintptr)
// func q4tile(y *float32, ldy uintptr, x *byte, ldx uintptr, w *byte, blocks int, panel uintptr)
//
// Six rows by two panels that lie panel bytes apart; the second is at R12.
// Z0-Z11 products (even: first panel), Z12-Z23 sums, Z24-Z27 codes of the weights,
// Z28 and Z29 codes of x, then scales, Z30 scales and a mask.
#define TARGS \
	QARGS; \
	MOVQ panel+48(FP), R12; \
	ADDQ SI, R12; \
	ZERO(Z12); \
	ZERO(Z13); \
	ZERO(Z14); \
	ZERO(Z15); \
	ZERO(Z16); \
	ZERO(Z17); \
	ZERO(Z18); \
	ZERO(Z19); \
	ZERO(Z20); \
	ZERO(Z21); \
	ZERO(Z22); \
	ZERO(Z23)

#define TSTART(M, P, Q) \
	VPBROADCASTD 4 M, P; \
	VMOVDQA32 P, Q

#define TSTARTS \
	TSTART((AX), Z0, Z1); \
	TSTART((AX)(R8*1), Z2, Z3); \
	TSTART((AX)(R8*2), Z4, Z5); \
	TSTART((BX), Z6, Z7); \
	TSTART((BX)(R8*1), Z8, Z9); \
	TSTART((BX)(R8*2), Z10, Z11)

#define TROW(M, X, V, W, P, Q) \
	VPBROADCASTD M, X; \
	VPDPBUSD X, V, P; \
	VPDPBUSD X, W, Q

#define TDOTS(O, V, W) \
	TROW(O(AX), Z28, V, W, Z0, Z1); \
	TROW(O(AX)(R8*1), Z29, V, W, Z2, Z3); \
	TROW(O(AX)(R8*2), Z28, V, W, Z4, Z5); \
	TROW(O(BX), Z29, V, W, Z6, Z7); \
	TROW(O(BX)(R8*1), Z28, V, W, Z8, Z9); \
	TROW(O(BX)(R8*2), Z29, V, W, Z10, Z11)

#define T8(WO, XO) \
	VPXORD WO(SI), Z31, Z24; \
	VPXORD WO(R12), Z31, Z25; \
	TDOTS(XO, Z24, Z25)

#define TFINISH(M, P, Q, S, T) \
	VMULPS.BCST M, Z24, Z28; \
	VMULPS.BCST M, Z25, Z29; \
	VCVTDQ2PS P, P; \
	VCVTDQ2PS Q, Q; \
	VFMADD231PS Z28, P, S; \
	VFMADD231PS Z29, Q, T

#define TFINISHES \
	VCVTPH2PS (SI), Z24; \
	VCVTPH2PS (R12), Z25; \
	TFINISH((AX), Z0, Z1, Z12, Z13); \
	TFINISH((AX)(R8*1), Z2, Z3, Z14, Z15); \
	TFINISH((AX)(R8*2), Z4, Z5, Z16, Z17); \
	TFINISH((BX), Z6, Z7, Z18, Z19); \
	TFINISH((BX)(R8*1), Z8, Z9, Z20, Z21); \
	TFINISH((BX)(R8*2), Z10, Z11, Z22, Z23)

#define TSTORE(S, T) \
	VMOVUPS S, (DI); \
	VMOVUPS T, 64(DI); \
	ADDQ DX, DI

#define TSTORES \
	TSTORE(Z12, Z13); \
	TSTORE(Z14, Z15); \
	TSTORE(Z16, Z17); \
	TSTORE(Z18, Z19); \
	TSTORE(Z20, Z21); \
	TSTORE(Z22, Z23)

#define T4(WO, LO, HI) \
	VMOVDQU32 WO(SI), Z26; \
	VMOVDQU32 WO(R12), Z27; \
	VPANDD Z26, Z31, Z24; \
	VPANDD Z27, Z31, Z25; \
	VPSRLW $4, Z26, Z26; \
	VPSRLW $4, Z27, Z27; \
	VPANDD Z26, Z31, Z26; \
	VPANDD Z27, Z31, Z27; \
	TDOTS(LO, Z24, Z25); \
	TDOTS(HI, Z26, Z27)

TEXT ·q8rows1(SB), NOSPLIT, $0-48
	Q8ROWS(ZERO1, START1, DOTS1, FINISH1, STORE1)

TEXT ·q8rows2(SB), NOSPLIT, $0-48
	Q8ROWS(ZERO2, START2, DOTS2, FINISH2, STORE2)

TEXT ·q8rows3(SB), NOSPLIT, $0-48
	Q8ROWS(ZERO3, START3, DOTS3, FINISH3, STORE3)

TEXT ·q8rows4(SB), NOSPLIT, $0-48
	Q8ROWS(ZERO4, START4, DOTS4, FINISH4, STORE4)

TEXT ·q8rows5(SB), NOSPLIT, $0-48
	Q8ROWS(ZERO5, START5, DOTS5, FINISH5, STORE5)

TEXT ·q8rows6(SB), NOSPLIT, $0-48
	Q8ROWS(ZERO6, START6, DOTS6, FINISH6, STORE6)

TEXT ·q8rows7(SB), NOSPLIT, $0-48
	Q8ROWS(ZERO7, START7, DOTS7, FINISH7, STORE7)

TEXT ·q8rows8(SB), NOSPLIT, $0-48
	Q8ROWS(ZERO8, START8, DOTS8, FINISH8, STORE8)

TEXT ·q4rows1(SB), NOSPLIT, $0-48
	Q4ROWS(ZERO1, START1, DOTS1, FINISH1, STORE1)

TEXT ·q4rows2(SB), NOSPLIT, $0-48
	Q4ROWS(ZERO2, START2, DOTS2, FINISH2, STORE2)

TEXT ·q4rows3(SB), NOSPLIT, $0-48
	Q4ROWS(ZERO3, START3, DOTS3, FINISH3, STORE3)

TEXT ·q4rows4(SB), NOSPLIT, $0-48
	Q4ROWS(ZERO4, START4, DOTS4, FINISH4, STORE4)

TEXT ·q4rows5(SB), NOSPLIT, $0-48
	Q4ROWS(ZERO5, START5, DOTS5, FINISH5, STORE5)

TEXT ·q4rows6(SB), NOSPLIT, $0-48
	Q4ROWS(ZERO6, START6, DOTS6, FINISH6, STORE6)

TEXT ·q4rows7(SB), NOSPLIT, $0-48
	Q4ROWS(ZERO7, START7, DOTS7, FINISH7, STORE7)

TEXT ·q4rows8(SB), NOSPLIT, $0-48
	Q4ROWS(ZERO8, START8, DOTS8, FINISH8, STORE8)

TEXT ·q8tile(SB), NOSPLIT, $0-56
	TARGS
	MOVL $0x80808080, R11
	VPBROADCASTD R11, Z31

loop:
	TSTARTS
	T8(32, 8)
	T8(96, 12)
	T8(160, 16)
	T8(224, 20)
	T8(288, 24)
	T8(352, 28)
	T8(416, 32)
	T8(480, 36)
	TFINISHES
	ADDQ $544, SI
	ADDQ $544, R12
	ADDQ $40, AX
	ADDQ $40, BX
	DECQ CX
	JNZ  loop
	TSTORES
	VZEROUPPER
	RET

TEXT ·q4tile(SB), NOSPLIT, $0-56
	TARGS
	MOVL $0x0f0f0f0f, R11
	VPBROADCASTD R11, Z31

loop:
	TSTARTS
	T4(32, 8, 24)
	T4(96, 12, 28)
	T4(160, 16, 32)
	T4(224, 20, 36)
	TFINISHES
	ADDQ $288, SI
	ADDQ $288, R12
	ADDQ $40, AX
	ADDQ $40, BX
	DECQ CX
	JNZ  loop
	TSTORES
	VZEROUPPER
	RET

// func quantize(dst *byte, x *float32, blocks int, move uint32)
//
// DI dst, SI x, CX blocks left. Z0 and Z1 x, Z2 and Z3 magnitudes, then codes.
// Z26 128 or 8 in every byte (its product with the codes is the offset, negated), Z27
// clears the sign, X28 127. R8 2⁻¹²⁰, R9 infinity, R10 NaN.
//
// The comparisons are of the bits: NaN is above infinity.
TEXT ·quantize(SB), NOSPLIT, $0-28
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ blocks+16(FP), CX
	MOVL move+24(FP), AX
	VPBROADCASTD AX, Y26
	MOVL $0x7fffffff, AX
	VPBROADCASTD AX, Z27
	MOVL $0x42fe0000, AX
	VMOVD AX, X28
	MOVL $0x03800000, R8
	MOVL $0x7f800000, R9
	MOVL $0x7fc00000, R10

loop:
	VMOVUPS (SI), Z0
	VMOVUPS 64(SI), Z1
	VPANDD Z0, Z27, Z2
	VPANDD Z1, Z27, Z3
	VPMAXUD Z2, Z3, Z2
	VEXTRACTI64X4 $1, Z2, Y3
	VPMAXUD Y2, Y3, Y2
	VEXTRACTI128 $1, Y2, X3
	VPMAXUD X2, X3, X2
	VPSHUFD $0x4e, X2, X3
	VPMAXUD X2, X3, X2
	VPSHUFD $0xb1, X2, X3
	VPMAXUD X2, X3, X2
	VMOVD X2, AX
	XORL R11, R11
	CMPL AX, R9
	JCC  odd
	CMPL AX, R8
	JCS  zero
	VDIVSS X28, X2, X4 // m/127
	VDIVSS X2, X28, X5 // 127/m
	VBROADCASTSS X5, Z5
	VMULPS Z0, Z5, Z0
	VMULPS Z1, Z5, Z1
	VCVTPS2DQ Z0, Z0
	VCVTPS2DQ Z1, Z1
	VPMOVDB Z0, X0
	VPMOVDB Z1, X1
	VINSERTI128 $1, X1, Y0, Y0
	VMOVSS X4, (DI)
	VMOVDQU Y0, 8(DI)
	VPXORD Y1, Y1, Y1
	VPDPBUSD Y0, Y26, Y1
	VEXTRACTI128 $1, Y1, X2
	VPADDD X1, X2, X1
	VPSHUFD $0x4e, X1, X2
	VPADDD X1, X2, X1
	VPSHUFD $0xb1, X1, X2
	VPADDD X1, X2, X1
	VMOVD X1, AX
	NEGL AX
	MOVL AX, 4(DI)

next:
	ADDQ $128, SI
	ADDQ $40, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

odd:
	MOVL R10, R11

zero:
	MOVL R11, (DI)
	MOVL $0, 4(DI)
	VPXORD Y0, Y0, Y0
	VMOVDQU Y0, 8(DI)
	JMP next

// func peakInt8(n int)
// Sixteen independent sums Z0-Z15, n rounds of one multiply-add each.
TEXT ·peakInt8(SB), NOSPLIT, $0-8
	MOVQ n+0(FP), CX
	ZERO(Z16)
	ZERO(Z17)

loop:
	VPDPBUSD Z16, Z17, Z0
	VPDPBUSD Z16, Z17, Z1
	VPDPBUSD Z16, Z17, Z2
	VPDPBUSD Z16, Z17, Z3
	VPDPBUSD Z16, Z17, Z4
	VPDPBUSD Z16, Z17, Z5
	VPDPBUSD Z16, Z17, Z6
	VPDPBUSD Z16, Z17, Z7
	VPDPBUSD Z16, Z17, Z8
	VPDPBUSD Z16, Z17, Z9
	VPDPBUSD Z16, Z17, Z10
	VPDPBUSD Z16, Z17, Z11
	VPDPBUSD Z16, Z17, Z12
	VPDPBUSD Z16, Z17, Z13
	VPDPBUSD Z16, Z17, Z14
	VPDPBUSD Z16, Z17, Z15
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET
