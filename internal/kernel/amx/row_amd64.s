//go:build !noasm

#include "textflag.h"

// One row times panels of tiles without a matrix unit: vectors read memory faster, in four
// streams faster than in two.

// A line of a tile is two inputs of 16 outputs. E and O are the sums of even and of odd
// inputs, each from zero in a step, as a matrix unit has them. Two lines of a stream are
// read after another, which the hardware fetches together, and ask right before for two
// of the first-level cache and two further away of the second. The distances are measured
// (Intel; asked for once, 1,792 ahead, a line of each stream in turn: 3 % slower).
#define ROWNEAR 640
#define ROWFAR 1536
#define LINE(R, AT, X0, X1, E, O) \
	VPSLLD $16, (AT)(R), Z1; \
	VPANDD (AT)(R), Z31, Z0; \
	VFMADD231PS Z1, X0, E; \
	VFMADD231PS Z0, X1, O
#define ASK(R, AT) \
	PREFETCHT0 (ROWNEAR+AT)(R); \
	PREFETCHT1 (ROWFAR+AT)(R)
#define LINES(R, AT, E, O) \
	ASK(R, AT); \
	ASK(R, AT+64); \
	LINE(R, AT, Z2, Z3, E, O); \
	LINE(R, AT+64, Z4, Z5, E, O)

// X is a pair of inputs.
#define X(I, X0, X1) \
	VPBROADCASTD (4*(I))(AX), X1; \
	VPSLLD $16, X1, X0; \
	VPANDD X1, Z31, X1

// PAIRS2 are two pairs of inputs of 16 outputs of each panel.
#define PAIRS2(I, AT) \
	X(I, Z2, Z3); \
	X(I+1, Z4, Z5); \
	LINES(SI, AT+64*(I), Z8, Z12); \
	LINES(DI, AT+64*(I), Z9, Z13); \
	LINES(BX, AT+64*(I), Z10, Z14); \
	LINES(DX, AT+64*(I), Z11, Z15)
#define PAIRS4(I, AT) PAIRS2(I, AT); PAIRS2(I+2, AT)

#define CLEAR(Z) VPXORD Z, Z, Z
#define SUM(E, O, Y) \
	VADDPS O, E, E; \
	VADDPS E, Y, Y

// TILE is a step of one tile of each panel.
#define TILE(AT, Y0, Y1, Y2, Y3) \
	CLEAR(Z8); \
	CLEAR(Z9); \
	CLEAR(Z10); \
	CLEAR(Z11); \
	CLEAR(Z12); \
	CLEAR(Z13); \
	CLEAR(Z14); \
	CLEAR(Z15); \
	PAIRS4(0, AT); \
	PAIRS4(4, AT); \
	PAIRS4(8, AT); \
	PAIRS4(12, AT); \
	SUM(Z8, Z12, Y0); \
	SUM(Z9, Z13, Y1); \
	SUM(Z10, Z14, Y2); \
	SUM(Z11, Z15, Y3)

// ZEROSUBNORMAL makes numbers that are not normal zero, as to a matrix unit; what was is
// at 0(SP).
#define ZEROSUBNORMAL(R) \
	STMXCSR 0(SP); \
	MOVL 0(SP), R; \
	ORL  $0x8040, R; \
	MOVL R, 4(SP); \
	LDMXCSR 4(SP)

#define UPPER(R) \
	MOVL $0xffff0000, R; \
	VPBROADCASTD R, Z31

// func streamRow(y *float32, ld uintptr, x, w0, w1, w2, w3 *byte, steps, panels int)
//
// AX walks over x, SI, DI, BX and DX over the runs, R8-R11 are where their sums are,
// Z16-Z23, CX counts steps and R13 panels.
TEXT ·streamRow(SB), NOSPLIT, $8-72
	MOVQ y+0(FP), R8
	MOVQ ld+8(FP), R12
	LEAQ (R8)(R12*1), R9
	LEAQ (R9)(R12*1), R10
	LEAQ (R10)(R12*1), R11
	MOVQ w0+24(FP), SI
	MOVQ w1+32(FP), DI
	MOVQ w2+40(FP), BX
	MOVQ w3+48(FP), DX
	MOVQ panels+64(FP), R13
	ZEROSUBNORMAL(AX)
	UPPER(AX)

panel:
	MOVQ x+16(FP), AX
	MOVQ steps+56(FP), CX
	VMOVUPS (R8), Z16
	VMOVUPS (R9), Z17
	VMOVUPS (R10), Z18
	VMOVUPS (R11), Z19
	VMOVUPS 64(R8), Z20
	VMOVUPS 64(R9), Z21
	VMOVUPS 64(R10), Z22
	VMOVUPS 64(R11), Z23

step:
	TILE(0, Z16, Z17, Z18, Z19)
	TILE(1024, Z20, Z21, Z22, Z23)
	ADDQ $64, AX
	ADDQ $2048, SI
	ADDQ $2048, DI
	ADDQ $2048, BX
	ADDQ $2048, DX
	DECQ CX
	JNZ  step

	VMOVUPS Z16, (R8)
	VMOVUPS Z17, (R9)
	VMOVUPS Z18, (R10)
	VMOVUPS Z19, (R11)
	VMOVUPS Z20, 64(R8)
	VMOVUPS Z21, 64(R9)
	VMOVUPS Z22, 64(R10)
	VMOVUPS Z23, 64(R11)
	ADDQ $128, R8
	ADDQ $128, R9
	ADDQ $128, R10
	ADDQ $128, R11
	DECQ R13
	JNZ  panel
	LDMXCSR 0(SP)
	VZEROUPPER
	RET

// A pair of inputs of one panel.
#define ONEPAIR(I, AT) \
	X(I, Z2, Z3); \
	ASK(SI, AT+64*(I)); \
	LINE(SI, AT+64*(I), Z2, Z3, Z8, Z12)
#define ONEPAIRS4(I, AT) ONEPAIR(I, AT); ONEPAIR(I+1, AT); ONEPAIR(I+2, AT); ONEPAIR(I+3, AT)

#define ONETILE(AT, Y) \
	CLEAR(Z8); \
	CLEAR(Z12); \
	ONEPAIRS4(0, AT); \
	ONEPAIRS4(4, AT); \
	ONEPAIRS4(8, AT); \
	ONEPAIRS4(12, AT); \
	SUM(Z8, Z12, Y)

// func streamRowAlone(y *float32, x, w *byte, steps int)
TEXT ·streamRowAlone(SB), NOSPLIT, $8-32
	MOVQ y+0(FP), R8
	MOVQ x+8(FP), AX
	MOVQ w+16(FP), SI
	MOVQ steps+24(FP), CX
	ZEROSUBNORMAL(DX)
	UPPER(DX)
	VMOVUPS (R8), Z16
	VMOVUPS 64(R8), Z20

step:
	ONETILE(0, Z16)
	ONETILE(1024, Z20)
	ADDQ $64, AX
	ADDQ $2048, SI
	DECQ CX
	JNZ  step

	VMOVUPS Z16, (R8)
	VMOVUPS Z20, 64(R8)
	LDMXCSR 0(SP)
	VZEROUPPER
	RET
