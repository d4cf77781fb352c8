//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "quantized_amd64.h"

// Products of six rows of x with two panels of a quantised weight that lie in the
// first-level cache, as in quantized_amd64.s: a group of four codes of x is loaded once for
// both panels, so that not loads count but the byte products, two a cycle, which twelve
// sums do not wait for.
//
// func q8six(y *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks int, load bool, ahead *byte)
// func q4six(…)
//
// DI y, of which the second panel's results follow the first's; load: the sums so far are
// there. SI and DX the panels, CX blocks left, AX and BX rows 0 and 3 of x, R8 ldx; R12 and
// R13 the rows after these, R14 memory, that are asked for. Z0-Z5 products of codes of the
// first panel, Z6-Z11 of the second; Z12-Z17 and Z18-Z23 their sums. Z24-Z27 codes and
// scales of the panels, Z28 and Z29 those of x, Z31 what makes codes unsigned or masks them.

// F of each row.
#define ROWS(F, G) \
	F(G, (AX), Z0, Z6); \
	F(G, (AX)(R8*1), Z1, Z7); \
	F(G, (AX)(R8*2), Z2, Z8); \
	F(G, (BX), Z3, Z9); \
	F(G, (BX)(R8*1), Z4, Z10); \
	F(G, (BX)(R8*2), Z5, Z11)

#define FINISHES \
	SCALES(SI, DX); \
	FINISH((AX), Z0, Z6, Z12, Z18); \
	FINISH((AX)(R8*1), Z1, Z7, Z13, Z19); \
	FINISH((AX)(R8*2), Z2, Z8, Z14, Z20); \
	FINISH((BX), Z3, Z9, Z15, Z21); \
	FINISH((BX)(R8*1), Z4, Z10, Z16, Z22); \
	FINISH((BX)(R8*2), Z5, Z11, Z17, Z23)

#define Q8GROUP(G, ASK) \
	CODES(G, SI, DX); \
	ROWS(DOT, G); \
	ASK

#define Q4GROUP(G, ASK0, ASK1) \
	LOWCODES(G, SI, DX); \
	ROWS(DOT, G); \
	ASK0; \
	HIGHCODES; \
	ROWS(DOTHIGH, G); \
	ASK1

#define BEGIN(MOVE) \
	MOVQ y+0(FP), DI; \
	MOVQ ldy+8(FP), R9; \
	MOVQ x+16(FP), AX; \
	MOVQ ldx+24(FP), R8; \
	MOVQ w0+32(FP), SI; \
	MOVQ w1+40(FP), DX; \
	MOVQ blocks+48(FP), CX; \
	MOVQ ahead+64(FP), R14; \
	LEAQ (R8)(R8*2), R10; \
	LEAQ (AX)(R10*1), BX; \
	LEAQ (BX)(R10*1), R12; \
	LEAQ (R12)(R10*1), R13; \
	MOVL $MOVE, R10; \
	VPBROADCASTD R10, Z31; \
	LEAQ (R9)(R9*2), R10; \
	LEAQ (DI)(R10*1), R11; \
	CMPB load+56(FP), $0; \
	JEQ  zero; \
	VMOVUPS (DI), Z12; \
	VMOVUPS 64(DI), Z18; \
	VMOVUPS (DI)(R9*1), Z13; \
	VMOVUPS 64(DI)(R9*1), Z19; \
	VMOVUPS (DI)(R9*2), Z14; \
	VMOVUPS 64(DI)(R9*2), Z20; \
	VMOVUPS (R11), Z15; \
	VMOVUPS 64(R11), Z21; \
	VMOVUPS (R11)(R9*1), Z16; \
	VMOVUPS 64(R11)(R9*1), Z22; \
	VMOVUPS (R11)(R9*2), Z17; \
	VMOVUPS 64(R11)(R9*2), Z23; \
	JMP  loop; \
zero: \
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

#define ON(BYTES) \
	ADDQ $BYTES, SI; \
	ADDQ $BYTES, DX; \
	ADDQ $40, AX; \
	ADDQ $40, BX; \
	ADDQ $40, R12; \
	ADDQ $40, R13; \
	ADDQ $64, R14; \
	DECQ CX; \
	JNZ  loop

#define END \
	VMOVUPS Z12, (DI); \
	VMOVUPS Z18, 64(DI); \
	VMOVUPS Z13, (DI)(R9*1); \
	VMOVUPS Z19, 64(DI)(R9*1); \
	VMOVUPS Z14, (DI)(R9*2); \
	VMOVUPS Z20, 64(DI)(R9*2); \
	VMOVUPS Z15, (R11); \
	VMOVUPS Z21, 64(R11); \
	VMOVUPS Z16, (R11)(R9*1); \
	VMOVUPS Z22, 64(R11)(R9*1); \
	VMOVUPS Z17, (R11)(R9*2); \
	VMOVUPS Z23, 64(R11)(R9*2); \
	VZEROUPPER; \
	RET

#define ASK0 PREFETCHT0 (R12)
#define ASK1 PREFETCHT0 (R12)(R8*1)
#define ASK2 PREFETCHT0 (R12)(R8*2)
#define ASK3 PREFETCHT0 (R13)
#define ASK4 PREFETCHT0 (R13)(R8*1)
#define ASK5 PREFETCHT0 (R13)(R8*2)
#define ASK6 PREFETCHT1 (R14)
#define NOASK

TEXT ·q8six(SB), NOSPLIT, $0-72
	BEGIN(0x80808080)
loop:
	ROWS(START, 0)
	Q8GROUP(0, ASK0)
	Q8GROUP(1, ASK1)
	Q8GROUP(2, ASK2)
	Q8GROUP(3, ASK3)
	Q8GROUP(4, ASK4)
	Q8GROUP(5, ASK5)
	Q8GROUP(6, ASK6)
	Q8GROUP(7, NOASK)
	FINISHES
	ON(544)
	END

TEXT ·q4six(SB), NOSPLIT, $0-72
	BEGIN(0x0f0f0f0f)
loop:
	ROWS(START, 0)
	Q4GROUP(0, ASK0, ASK1)
	Q4GROUP(1, ASK2, ASK3)
	Q4GROUP(2, ASK4, ASK5)
	Q4GROUP(3, ASK6, NOASK)
	FINISHES
	ON(288)
	END
