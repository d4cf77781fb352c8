//go:build !noasm

#include "textflag.h"

// func q8rowsN(y *float32, ldy uintptr, x *byte, ldx uintptr, w *byte, blocks int)
// func q4rowsN(y *float32, ldy uintptr, x *byte, ldx uintptr, w *byte, blocks int)
//
// y += N quantised rows of x (generic.Block: float32 scale, int32 offset, 32 codes)
// by one panel of a weight (generic.PanelBlock).
// DI y, DX ldy, R10 3·ldy, AX x, R8 ldx, R9 3·ldx, SI weights, CX blocks left.
// Y0-Y7 products of codes (even: outputs 0-7), Y8-Y11 codes of the weights, then
// scales, Y12 and Y13 codes of x, Y15 sixteen ones (Q8_0) or a mask (Q4_0).
#define QARGS \
	MOVQ y+0(FP), DI; \
	MOVQ ldy+8(FP), DX; \
	MOVQ x+16(FP), AX; \
	MOVQ ldx+24(FP), R8; \
	MOVQ w+32(FP), SI; \
	MOVQ blocks+40(FP), CX; \
	LEAQ (R8)(R8*2), R9; \
	LEAQ (DX)(DX*2), R10

// sum += products · (scale of the weight · scale of x)
#define FINISH(M, P, Q, YP, YQ) \
	VBROADCASTSS M, Y12; \
	VMULPS Y12, Y8, Y13; \
	VMULPS Y12, Y9, Y12; \
	VCVTDQ2PS P, P; \
	VCVTDQ2PS Q, Q; \
	VFMADD213PS YP, Y13, P; \
	VFMADD213PS YQ, Y12, Q; \
	VMOVUPS P, YP; \
	VMOVUPS Q, YQ

#define FINISH1 \
	VCVTPH2PS (SI), Y8; \
	VCVTPH2PS 16(SI), Y9; \
	FINISH((AX), Y0, Y1, (DI), 32(DI))
#define FINISH2 \
	FINISH1; \
	FINISH((AX)(R8*1), Y2, Y3, (DI)(DX*1), 32(DI)(DX*1))
#define FINISH4 \
	FINISH2; \
	FINISH((AX)(R8*2), Y4, Y5, (DI)(DX*2), 32(DI)(DX*2)); \
	FINISH((AX)(R9*1), Y6, Y7, (DI)(R10*1), 32(DI)(R10*1))

#define CLEAR1 \
	VPXOR Y0, Y0, Y0; \
	VPXOR Y1, Y1, Y1
#define CLEAR2 \
	CLEAR1; \
	VPXOR Y2, Y2, Y2; \
	VPXOR Y3, Y3, Y3
#define CLEAR4 \
	CLEAR2; \
	VPXOR Y4, Y4, Y4; \
	VPXOR Y5, Y5, Y5; \
	VPXOR Y6, Y6, Y6; \
	VPXOR Y7, Y7, Y7

// Magnitudes of the weights times codes of x that take the weights' signs: at
// most 2·128·127 in sixteen bits.
#define DOT8(M, P, Q) \
	VPBROADCASTD M, Y12; \
	VPSIGNB Y8, Y12, Y13; \
	VPSIGNB Y9, Y12, Y12; \
	VPMADDUBSW Y13, Y10, Y13; \
	VPMADDUBSW Y12, Y11, Y12; \
	VPMADDWD Y13, Y15, Y13; \
	VPMADDWD Y12, Y15, Y12; \
	VPADDD Y13, P, P; \
	VPADDD Y12, Q, Q

#define DOT8R1(O) DOT8(O(AX), Y0, Y1)
#define DOT8R2(O) DOT8R1(O); DOT8(O(AX)(R8*1), Y2, Y3)
#define DOT8R4(O) DOT8R2(O); DOT8(O(AX)(R8*2), Y4, Y5); DOT8(O(AX)(R9*1), Y6, Y7)

#define GROUP8(WO, XO, DOTS) \
	VMOVDQU WO(SI), Y8; \
	VMOVDQU (WO+32)(SI), Y9; \
	VPABSB Y8, Y10; \
	VPABSB Y9, Y11; \
	DOTS(XO)

#define AHEAD 6144

#define Q8ROWS(CLEARS, DOTS, FINISHES) \
	QARGS; \
	VPCMPEQW Y15, Y15, Y15; \
	VPSRLW $15, Y15, Y15; \
loop: \
	CLEARS; \
	PREFETCHT1 AHEAD(SI); \
	PREFETCHT1 (AHEAD+64)(SI); \
	PREFETCHT1 (AHEAD+128)(SI); \
	PREFETCHT1 (AHEAD+192)(SI); \
	PREFETCHT1 (AHEAD+256)(SI); \
	PREFETCHT1 (AHEAD+320)(SI); \
	PREFETCHT1 (AHEAD+384)(SI); \
	PREFETCHT1 (AHEAD+448)(SI); \
	PREFETCHT1 (AHEAD+512)(SI); \
	GROUP8(32, 8, DOTS); \
	GROUP8(96, 12, DOTS); \
	GROUP8(160, 16, DOTS); \
	GROUP8(224, 20, DOTS); \
	GROUP8(288, 24, DOTS); \
	GROUP8(352, 28, DOTS); \
	GROUP8(416, 32, DOTS); \
	GROUP8(480, 36, DOTS); \
	FINISHES; \
	ADDQ $544, SI; \
	ADDQ $40, AX; \
	DECQ CX; \
	JNZ  loop; \
	VZEROUPPER; \
	RET

// Codes of Q4_0 are unsigned: sixteen products of at most 15·127 fit in sixteen bits.
#define DOT4(M, V, W, P, Q) \
	VPBROADCASTD M, Y12; \
	VPMADDUBSW Y12, V, Y13; \
	VPMADDUBSW Y12, W, Y12; \
	VPADDW Y13, P, P; \
	VPADDW Y12, Q, Q

#define DOT4R1(O, V, W) DOT4(O(AX), V, W, Y0, Y1)
#define DOT4R2(O, V, W) DOT4R1(O, V, W); DOT4(O(AX)(R8*1), V, W, Y2, Y3)
#define DOT4R4(O, V, W) DOT4R2(O, V, W); DOT4(O(AX)(R8*2), V, W, Y4, Y5); DOT4(O(AX)(R9*1), V, W, Y6, Y7)

#define GROUP4(WO, LO, HI, DOTS) \
	VMOVDQU WO(SI), Y10; \
	VMOVDQU (WO+32)(SI), Y11; \
	VPAND Y10, Y15, Y8; \
	VPAND Y11, Y15, Y9; \
	VPSRLW $4, Y10, Y10; \
	VPSRLW $4, Y11, Y11; \
	VPAND Y10, Y15, Y10; \
	VPAND Y11, Y15, Y11; \
	DOTS(LO, Y8, Y9); \
	DOTS(HI, Y10, Y11)

// To 32 bits, with the offset; Y14 ones.
#define WIDEN(M, P, Q) \
	VPBROADCASTD 4 M, Y12; \
	VPMADDWD P, Y14, P; \
	VPMADDWD Q, Y14, Q; \
	VPADDD Y12, P, P; \
	VPADDD Y12, Q, Q

#define WIDEN1 WIDEN((AX), Y0, Y1)
#define WIDEN2 WIDEN1; WIDEN((AX)(R8*1), Y2, Y3)
#define WIDEN4 WIDEN2; WIDEN((AX)(R8*2), Y4, Y5); WIDEN((AX)(R9*1), Y6, Y7)

#define Q4ROWS(CLEARS, DOTS, WIDENS, FINISHES) \
	QARGS; \
	VPCMPEQW Y14, Y14, Y14; \
	VPSRLW $15, Y14, Y14; \
	MOVL $0x0f0f0f0f, R11; \
	VMOVD R11, X15; \
	VPBROADCASTD X15, Y15; \
loop: \
	CLEARS; \
	PREFETCHT1 AHEAD(SI); \
	PREFETCHT1 (AHEAD+64)(SI); \
	PREFETCHT1 (AHEAD+128)(SI); \
	PREFETCHT1 (AHEAD+192)(SI); \
	PREFETCHT1 (AHEAD+256)(SI); \
	GROUP4(32, 8, 24, DOTS); \
	GROUP4(96, 12, 28, DOTS); \
	GROUP4(160, 16, 32, DOTS); \
	GROUP4(224, 20, 36, DOTS); \
	WIDENS; \
	FINISHES; \
	ADDQ $288, SI; \
	ADDQ $40, AX; \
	DECQ CX; \
	JNZ  loop; \
	VZEROUPPER; \
	RET

TEXT ·q8rows1(SB), NOSPLIT, $0-48
	Q8ROWS(CLEAR1, DOT8R1, FINISH1)

TEXT ·q8rows2(SB), NOSPLIT, $0-48
	Q8ROWS(CLEAR2, DOT8R2, FINISH2)

TEXT ·q8rows4(SB), NOSPLIT, $0-48
	Q8ROWS(CLEAR4, DOT8R4, FINISH4)

TEXT ·q4rows1(SB), NOSPLIT, $0-48
	Q4ROWS(CLEAR1, DOT4R1, WIDEN1, FINISH1)

TEXT ·q4rows2(SB), NOSPLIT, $0-48
	Q4ROWS(CLEAR2, DOT4R2, WIDEN2, FINISH2)

TEXT ·q4rows4(SB), NOSPLIT, $0-48
	Q4ROWS(CLEAR4, DOT4R4, WIDEN4, FINISH4)

// func quantize(dst *byte, x *float32, blocks int, move int32)
//
// DI dst, SI x, CX blocks left. Y0-Y3 x, then codes. DX move, Y13 the order of
// packed codes, Y14 clears the sign, X15 127. R8 2⁻¹²⁰, R9 infinity, R10 NaN.
//
// The comparisons are of the bits: NaN is above infinity.
TEXT ·quantize(SB), NOSPLIT, $0-28
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ blocks+16(FP), CX
	MOVL move+24(FP), DX
	VMOVDQU order<>(SB), Y13
	VPCMPEQD Y14, Y14, Y14
	VPSRLD $1, Y14, Y14
	MOVL $0x42fe0000, AX
	VMOVD AX, X15
	MOVL $0x03800000, R8
	MOVL $0x7f800000, R9
	MOVL $0x7fc00000, R10

loop:
	VMOVUPS (SI), Y0
	VMOVUPS 32(SI), Y1
	VMOVUPS 64(SI), Y2
	VMOVUPS 96(SI), Y3
	VPAND Y0, Y14, Y4
	VPAND Y1, Y14, Y5
	VPAND Y2, Y14, Y6
	VPAND Y3, Y14, Y7
	VPMAXUD Y4, Y5, Y4
	VPMAXUD Y6, Y7, Y6
	VPMAXUD Y4, Y6, Y4
	VEXTRACTI128 $1, Y4, X5
	VPMAXUD X4, X5, X4
	VPSHUFD $0x4e, X4, X5
	VPMAXUD X4, X5, X4
	VPSHUFD $0xb1, X4, X5
	VPMAXUD X4, X5, X4
	VMOVD X4, AX
	XORL R11, R11
	CMPL AX, R9
	JCC  odd
	CMPL AX, R8
	JCS  zero
	VDIVSS X15, X4, X5 // m/127
	VDIVSS X4, X15, X6 // 127/m
	VBROADCASTSS X6, Y6
	VMULPS Y0, Y6, Y0
	VMULPS Y1, Y6, Y1
	VMULPS Y2, Y6, Y2
	VMULPS Y3, Y6, Y3
	VCVTPS2DQ Y0, Y0
	VCVTPS2DQ Y1, Y1
	VCVTPS2DQ Y2, Y2
	VCVTPS2DQ Y3, Y3
	VPADDD Y0, Y1, Y7
	VPADDD Y2, Y3, Y8
	VPADDD Y7, Y8, Y7
	VPACKSSDW Y1, Y0, Y0
	VPACKSSDW Y3, Y2, Y2
	VPACKSSWB Y2, Y0, Y0
	VPERMD Y0, Y13, Y0
	VMOVSS X5, (DI)
	VMOVDQU Y0, 8(DI)
	VEXTRACTI128 $1, Y7, X8
	VPADDD X7, X8, X7
	VPSHUFD $0x4e, X7, X8
	VPADDD X7, X8, X7
	VPSHUFD $0xb1, X7, X8
	VPADDD X7, X8, X7
	VMOVD X7, AX
	IMULL DX, AX
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
	VPXOR Y0, Y0, Y0
	VMOVDQU Y0, 8(DI)
	JMP next

DATA order<>+0(SB)/8, $0x0000000400000000
DATA order<>+8(SB)/8, $0x0000000500000001
DATA order<>+16(SB)/8, $0x0000000600000002
DATA order<>+24(SB)/8, $0x0000000700000003
GLOBL order<>(SB), RODATA|NOPTR, $32

// func peakInt8(n int)
// Seven independent sums, n rounds of one multiply-add each; Y14 and Y15 zero.
#define ADD8(T, SUM) \
	VPMADDUBSW Y14, Y15, T; \
	VPMADDWD T, Y15, T; \
	VPADDD T, SUM, SUM

TEXT ·peakInt8(SB), NOSPLIT, $0-8
	MOVQ n+0(FP), CX
	VPXOR Y14, Y14, Y14
	VPXOR Y15, Y15, Y15

loop:
	ADD8(Y7, Y0)
	ADD8(Y8, Y1)
	ADD8(Y9, Y2)
	ADD8(Y10, Y3)
	ADD8(Y11, Y4)
	ADD8(Y12, Y5)
	ADD8(Y13, Y6)
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET
