//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "quantized_amd64.h"

// Products of a few rows of x with two panels of a quantised weight, as in
// quantized_amd64.s. A group of four codes of x is loaded once for both panels: with one
// panel eight rows would wait for loads (VPDPBUSD of memory is one as well), here it is the
// byte products that count, two a cycle. Half of the rows are multiplied first, then the
// others, by what the first-level cache has by then of the panels.
//
// func q8fewN(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows int, sums *float32, bias0, bias1 *float32, add bool)
// func q4fewN(…)
//
// N rows are computed, of which rows are stored. SI and DI the panels, CX blocks left, AX,
// BX and R10 rows 0, 3 and 6 of x, R8 ldx. Z0-Z3 products of codes of the first panel,
// Z4-Z7 of the second; Z8-Z15 and Z16-Z23 their sums. Z24-Z27 codes and scales of the
// panels, Z28 those of x, Z31 what makes codes unsigned or masks them.

// How far ahead each panel is asked for, past the second-level cache (see stream_amd64.s; into
// all of them: Q4_0 3 to 6 % slower). Two threads on two complexes of a Zen 5 want 6 to
// 8 KB (4 KB: eight rows take a tenth longer), on one, which share its way to memory, 3 to
// 4 KB (8 KB: 5 % longer).
#define AHEAD 6144
#define ASK(O) \
	PREFETCHNTA (O)(SI); \
	PREFETCHNTA (O)(DI)
#define NOASK(O)

// F of each row that a half has.
#define ROWS01(F, G) F(G, (AX), Z0, Z4); F(G, (AX)(R8*1), Z1, Z5)
#define ROWS012(F, G) ROWS01(F, G); F(G, (AX)(R8*2), Z2, Z6)
#define ROWS0123(F, G) ROWS012(F, G); F(G, (BX), Z3, Z7)
#define ROWS345(F, G) F(G, (BX), Z0, Z4); F(G, (BX)(R8*1), Z1, Z5); F(G, (BX)(R8*2), Z2, Z6)
#define ROWS4567(F, G) F(G, (BX)(R8*1), Z0, Z4); F(G, (BX)(R8*2), Z1, Z5); F(G, (R10), Z2, Z6); F(G, (R10)(R8*1), Z3, Z7)

#define FINISH01 FINISH((AX), Z0, Z4, Z8, Z16); FINISH((AX)(R8*1), Z1, Z5, Z9, Z17)
#define FINISH012 FINISH01; FINISH((AX)(R8*2), Z2, Z6, Z10, Z18)
#define FINISH0123 FINISH012; FINISH((BX), Z3, Z7, Z11, Z19)
#define FINISH345 \
	FINISH((BX), Z0, Z4, Z11, Z19); \
	FINISH((BX)(R8*1), Z1, Z5, Z12, Z20); \
	FINISH((BX)(R8*2), Z2, Z6, Z13, Z21)
#define FINISH4567 \
	FINISH((BX)(R8*1), Z0, Z4, Z12, Z20); \
	FINISH((BX)(R8*2), Z1, Z5, Z13, Z21); \
	FINISH((R10), Z2, Z6, Z14, Z22); \
	FINISH((R10)(R8*1), Z3, Z7, Z15, Z23)

#define Q8GROUP(ROWS, G, ASKS) \
	CODES(G, SI, DI); \
	ROWS(DOT, G); \
	ASKS((AHEAD+64*G))
#define Q8HALF(ROWS, FINISHES, ASKS) \
	ROWS(START, 0); \
	Q8GROUP(ROWS, 0, ASKS); \
	Q8GROUP(ROWS, 1, ASKS); \
	Q8GROUP(ROWS, 2, ASKS); \
	Q8GROUP(ROWS, 3, ASKS); \
	Q8GROUP(ROWS, 4, ASKS); \
	Q8GROUP(ROWS, 5, ASKS); \
	Q8GROUP(ROWS, 6, ASKS); \
	Q8GROUP(ROWS, 7, ASKS); \
	ASKS((AHEAD+512)); \
	SCALES(SI, DI); \
	FINISHES

#define Q4GROUP(ROWS, G, ASKS) \
	LOWCODES(G, SI, DI); \
	ROWS(DOT, G); \
	HIGHCODES; \
	ROWS(DOTHIGH, G); \
	ASKS((AHEAD+64*G))
#define Q4HALF(ROWS, FINISHES, ASKS) \
	ROWS(START, 0); \
	Q4GROUP(ROWS, 0, ASKS); \
	Q4GROUP(ROWS, 1, ASKS); \
	Q4GROUP(ROWS, 2, ASKS); \
	Q4GROUP(ROWS, 3, ASKS); \
	ASKS((AHEAD+256)); \
	SCALES(SI, DI); \
	FINISHES

#define ZEROSUMS \
	ZERO(Z8); \
	ZERO(Z9); \
	ZERO(Z10); \
	ZERO(Z11); \
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

// PREFETCHW 60(SI) and 60(DI), the lines of y that are written: other members may have
// them. (Where two are, the first one was the second of the panel before.)
#define CLAIM \
	BYTE $0x0f; BYTE $0x0d; BYTE $0x4e; BYTE $0x3c; \
	BYTE $0x0f; BYTE $0x0d; BYTE $0x4f; BYTE $0x3c

#define BEGIN(MOVE) \
	MOVQ y0+0(FP), SI; \
	MOVQ y1+8(FP), DI; \
	MOVQ rows+64(FP), CX; \
claim: \
	CLAIM; \
	ADDQ ldy+16(FP), SI; \
	ADDQ ldy+16(FP), DI; \
	DECQ CX; \
	JNZ  claim; \
	MOVQ x+24(FP), AX; \
	MOVQ ldx+32(FP), R8; \
	LEAQ (R8)(R8*2), R9; \
	LEAQ (AX)(R9*1), BX; \
	LEAQ (BX)(R9*1), R10; \
	MOVQ w0+40(FP), SI; \
	MOVQ w1+48(FP), DI; \
	MOVQ blocks+56(FP), CX; \
	MOVL $MOVE, R9; \
	VPBROADCASTD R9, Z31; \
	ZEROSUMS

#define ON(BYTES) \
	ADDQ $BYTES, SI; \
	ADDQ $BYTES, DI; \
	ADDQ $40, AX; \
	ADDQ $40, BX; \
	ADDQ $40, R10; \
	DECQ CX; \
	JNZ  loop

#define ADDBIAS(S0, S1) \
	VADDPS Z0, S0, S0; \
	VADDPS Z1, S1, S1

#define ADDY(S0, S1) \
	VADDPS (SI), S0, S0; \
	VADDPS (DI), S1, S1
#define NOADD(S0, S1)

#define PUTROW(S0, S1, ADD) \
	ADD(S0, S1); \
	VADDPS S0, Z2, Z2; \
	VADDPS S1, Z3, Z3; \
	VMOVUPS S0, (SI); \
	VMOVUPS S1, (DI); \
	ADDQ R9, SI; \
	ADDQ R9, DI; \
	DECQ CX; \
	JZ   done
#define PUTROWS(ADD) \
	PUTROW(Z8, Z16, ADD); \
	PUTROW(Z9, Z17, ADD); \
	PUTROW(Z10, Z18, ADD); \
	PUTROW(Z11, Z19, ADD); \
	PUTROW(Z12, Z20, ADD); \
	PUTROW(Z13, Z21, ADD); \
	PUTROW(Z14, Z22, ADD); \
	PUTROW(Z15, Z23, ADD)

// The sums and the bias go to y, or are added to it. All that goes there is added up in
// sums, which are finite if it is, or nearly so: they may be too large.
#define END \
	MOVQ bias0+80(FP), AX; \
	MOVQ bias1+88(FP), BX; \
	TESTQ AX, AX; \
	JZ   biased; \
	VMOVUPS (AX), Z0; \
	VMOVUPS (BX), Z1; \
	ADDBIAS(Z8, Z16); \
	ADDBIAS(Z9, Z17); \
	ADDBIAS(Z10, Z18); \
	ADDBIAS(Z11, Z19); \
	ADDBIAS(Z12, Z20); \
	ADDBIAS(Z13, Z21); \
	ADDBIAS(Z14, Z22); \
	ADDBIAS(Z15, Z23); \
biased: \
	MOVQ y0+0(FP), SI; \
	MOVQ y1+8(FP), DI; \
	MOVQ ldy+16(FP), R9; \
	MOVQ rows+64(FP), CX; \
	MOVQ sums+72(FP), DX; \
	VMOVUPS (DX), Z2; \
	ZERO(Z3); \
	CMPB add+96(FP), $0; \
	JEQ  put; \
	PUTROWS(ADDY); \
put: \
	PUTROWS(NOADD); \
done: \
	VADDPS Z3, Z2, Z2; \
	VMOVUPS Z2, (DX); \
	VZEROUPPER; \
	RET

TEXT ·q8few2(SB), NOSPLIT, $0-97
	BEGIN(0x80808080)
loop:
	Q8HALF(ROWS01, FINISH01, ASK)
	ON(544)
	END

TEXT ·q8few4(SB), NOSPLIT, $0-97
	BEGIN(0x80808080)
loop:
	Q8HALF(ROWS0123, FINISH0123, ASK)
	ON(544)
	END

TEXT ·q8few6(SB), NOSPLIT, $0-97
	BEGIN(0x80808080)
loop:
	Q8HALF(ROWS012, FINISH012, ASK)
	Q8HALF(ROWS345, FINISH345, NOASK)
	ON(544)
	END

TEXT ·q8few8(SB), NOSPLIT, $0-97
	BEGIN(0x80808080)
loop:
	Q8HALF(ROWS0123, FINISH0123, ASK)
	Q8HALF(ROWS4567, FINISH4567, NOASK)
	ON(544)
	END

TEXT ·q4few2(SB), NOSPLIT, $0-97
	BEGIN(0x0f0f0f0f)
loop:
	Q4HALF(ROWS01, FINISH01, ASK)
	ON(288)
	END

TEXT ·q4few4(SB), NOSPLIT, $0-97
	BEGIN(0x0f0f0f0f)
loop:
	Q4HALF(ROWS0123, FINISH0123, ASK)
	ON(288)
	END

TEXT ·q4few6(SB), NOSPLIT, $0-97
	BEGIN(0x0f0f0f0f)
loop:
	Q4HALF(ROWS012, FINISH012, ASK)
	Q4HALF(ROWS345, FINISH345, NOASK)
	ON(288)
	END

TEXT ·q4few8(SB), NOSPLIT, $0-97
	BEGIN(0x0f0f0f0f)
loop:
	Q4HALF(ROWS0123, FINISH0123, ASK)
	Q4HALF(ROWS4567, FINISH4567, NOASK)
	ON(288)
	END
