//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// Products with an [out][in] weight: sixteen lanes (k mod 16) to an output, in
// two registers. n is a multiple of sixteen; what is left of a row comes, as
// float32 and filled up with zeros to sixteen, in xt and wt (rows 64 bytes
// apart), which are nil if nothing is left.

// Two rows of W against three rows of x. Y4-Y15 the sums (row of x, row of W,
// half), Y0-Y1 elements of W, Y2 of x. AX walks over W, BX its stride; SI over
// x, R8 its stride; DI y, R10 its stride; CX elements left.
#define HALF23(LOADW, OX, OW, A, B, C, D, E, F) \
	LOADW(OW(AX), Y0, X0); \
	LOADW(OW(AX)(BX*1), Y1, X1); \
	VMOVUPS OX(SI), Y2; \
	VFMADD231PS Y0, Y2, A; \
	VFMADD231PS Y1, Y2, B; \
	VMOVUPS OX(SI)(R8*1), Y3; \
	VFMADD231PS Y0, Y3, C; \
	VFMADD231PS Y1, Y3, D; \
	VMOVUPS OX(SI)(R8*2), Y2; \
	VFMADD231PS Y0, Y2, E; \
	VFMADD231PS Y1, Y2, F

#define STEP23(LOADW, SIZE) \
	HALF23(LOADW, 0, 0, Y4, Y6, Y8, Y10, Y12, Y14); \
	HALF23(LOADW, 32, (8*SIZE), Y5, Y7, Y9, Y11, Y13, Y15)

#define DOT23(LOADW, SIZE) \
	MOVQ y+0(FP), DI; \
	MOVQ ldy+8(FP), R10; \
	MOVQ x+16(FP), SI; \
	MOVQ ldx+24(FP), R8; \
	MOVQ w+32(FP), AX; \
	MOVQ stride+40(FP), BX; \
	MOVQ n+48(FP), CX; \
	ZERO(Y4); \
	ZERO(Y5); \
	ZERO(Y6); \
	ZERO(Y7); \
	ZERO(Y8); \
	ZERO(Y9); \
	ZERO(Y10); \
	ZERO(Y11); \
	ZERO(Y12); \
	ZERO(Y13); \
	ZERO(Y14); \
	ZERO(Y15); \
loop: \
	CMPQ CX, $16; \
	JLT  tail; \
	STEP23(LOADW, SIZE); \
	ADDQ $(16*SIZE), AX; \
	ADDQ $64, SI; \
	SUBQ $16, CX; \
	JMP  loop; \
tail: \
	MOVQ xt+56(FP), SI; \
	MOVQ wt+64(FP), AX; \
	TESTQ SI, SI; \
	JZ   done; \
	MOVQ $64, R8; \
	MOVQ $64, BX; \
	STEP23(LOADF32, 4); \
done: \
	HSUM(Y4, X4, Y5, X5); \
	HSUM(Y6, X6, Y7, X7); \
	VMOVSS X4, 0(DI); \
	VMOVSS X6, 4(DI); \
	HSUM(Y8, X8, Y9, X9); \
	HSUM(Y10, X10, Y11, X11); \
	VMOVSS X8, 0(DI)(R10*1); \
	VMOVSS X10, 4(DI)(R10*1); \
	HSUM(Y12, X12, Y13, X13); \
	HSUM(Y14, X14, Y15, X15); \
	VMOVSS X12, 0(DI)(R10*2); \
	VMOVSS X14, 4(DI)(R10*2); \
	VZEROUPPER; \
	RET

// Four rows of W against one row of x. Y8-Y15 the sums, Y0 and Y1 elements of
// x, Y2-Y3 of W. DX is 3·BX, R8 the distance of the results, R9 3·R8.
// AHEAD is how many bytes further on is prefetched.
#define AHEAD 1024

#define HALF41(LOADW, OW, V, A, B, C, D) \
	LOADW(OW(AX), Y2, X2); \
	VFMADD231PS Y2, V, A; \
	LOADW(OW(AX)(BX*1), Y3, X3); \
	VFMADD231PS Y3, V, B; \
	LOADW(OW(AX)(BX*2), Y2, X2); \
	VFMADD231PS Y2, V, C; \
	LOADW(OW(AX)(DX*1), Y3, X3); \
	VFMADD231PS Y3, V, D

#define STEP41(LOADW, SIZE) \
	VMOVUPS (SI), Y0; \
	VMOVUPS 32(SI), Y1; \
	HALF41(LOADW, 0, Y0, Y8, Y10, Y12, Y14); \
	HALF41(LOADW, (8*SIZE), Y1, Y9, Y11, Y13, Y15)

#define DOT41(LOADW, SIZE) \
	MOVQ y+0(FP), DI; \
	MOVQ ldy+8(FP), R8; \
	MOVQ x+16(FP), SI; \
	MOVQ w+24(FP), AX; \
	MOVQ stride+32(FP), BX; \
	MOVQ n+40(FP), CX; \
	LEAQ (BX)(BX*2), DX; \
	LEAQ (R8)(R8*2), R9; \
	ZERO(Y8); \
	ZERO(Y9); \
	ZERO(Y10); \
	ZERO(Y11); \
	ZERO(Y12); \
	ZERO(Y13); \
	ZERO(Y14); \
	ZERO(Y15); \
loop: \
	CMPQ CX, $16; \
	JLT  tail; \
	PREFETCHT0 AHEAD(AX); \
	PREFETCHT0 AHEAD(AX)(BX*1); \
	PREFETCHT0 AHEAD(AX)(BX*2); \
	PREFETCHT0 AHEAD(AX)(DX*1); \
	STEP41(LOADW, SIZE); \
	ADDQ $(16*SIZE), AX; \
	ADDQ $64, SI; \
	SUBQ $16, CX; \
	JMP  loop; \
tail: \
	MOVQ xt+48(FP), SI; \
	MOVQ wt+56(FP), AX; \
	TESTQ SI, SI; \
	JZ   done; \
	MOVQ $64, BX; \
	MOVQ $192, DX; \
	STEP41(LOADF32, 4); \
done: \
	HSUM(Y8, X8, Y9, X9); \
	HSUM(Y10, X10, Y11, X11); \
	HSUM(Y12, X12, Y13, X13); \
	HSUM(Y14, X14, Y15, X15); \
	VMOVSS X8, 0(DI); \
	VMOVSS X10, 0(DI)(R8*1); \
	VMOVSS X12, 0(DI)(R8*2); \
	VMOVSS X14, 0(DI)(R9*1); \
	VZEROUPPER; \
	RET

// One row of W against one row of x.
#define STEP11(LOADW, SIZE) \
	VMOVUPS (SI), Y0; \
	VMOVUPS 32(SI), Y1; \
	LOADW((AX), Y2, X2); \
	VFMADD231PS Y2, Y0, Y8; \
	LOADW((8*SIZE)(AX), Y3, X3); \
	VFMADD231PS Y3, Y1, Y9

#define DOT11(LOADW, SIZE) \
	MOVQ y+0(FP), DI; \
	MOVQ x+8(FP), SI; \
	MOVQ w+16(FP), AX; \
	MOVQ n+24(FP), CX; \
	ZERO(Y8); \
	ZERO(Y9); \
loop: \
	CMPQ CX, $16; \
	JLT  tail; \
	STEP11(LOADW, SIZE); \
	ADDQ $(16*SIZE), AX; \
	ADDQ $64, SI; \
	SUBQ $16, CX; \
	JMP  loop; \
tail: \
	MOVQ xt+32(FP), SI; \
	MOVQ wt+40(FP), AX; \
	TESTQ SI, SI; \
	JZ   done; \
	STEP11(LOADF32, 4); \
done: \
	HSUM(Y8, X8, Y9, X9); \
	VMOVSS X8, (DI); \
	VZEROUPPER; \
	RET

// func dot23F32(y *float32, ldy uintptr, x *float32, ldx uintptr, w *byte, stride uintptr, n int, xt, wt *float32)
TEXT ·dot23F32(SB), NOSPLIT, $0-72
	DOT23(LOADF32, 4)

// func dot23F16(y *float32, ldy uintptr, x *float32, ldx uintptr, w *byte, stride uintptr, n int, xt, wt *float32)
TEXT ·dot23F16(SB), NOSPLIT, $0-72
	DOT23(LOADF16, 2)

// func dot23BF16(y *float32, ldy uintptr, x *float32, ldx uintptr, w *byte, stride uintptr, n int, xt, wt *float32)
TEXT ·dot23BF16(SB), NOSPLIT, $0-72
	DOT23(LOADBF16, 2)

// func dot41F32(y *float32, ldy uintptr, x *float32, w *byte, stride uintptr, n int, xt, wt *float32)
TEXT ·dot41F32(SB), NOSPLIT, $0-64
	DOT41(LOADF32, 4)

// func dot41F16(y *float32, ldy uintptr, x *float32, w *byte, stride uintptr, n int, xt, wt *float32)
TEXT ·dot41F16(SB), NOSPLIT, $0-64
	DOT41(LOADF16, 2)

// func dot41BF16(y *float32, ldy uintptr, x *float32, w *byte, stride uintptr, n int, xt, wt *float32)
TEXT ·dot41BF16(SB), NOSPLIT, $0-64
	DOT41(LOADBF16, 2)

// func dot11F32(y, x *float32, w *byte, n int, xt, wt *float32)
TEXT ·dot11F32(SB), NOSPLIT, $0-48
	DOT11(LOADF32, 4)

// func dot11F16(y, x *float32, w *byte, n int, xt, wt *float32)
TEXT ·dot11F16(SB), NOSPLIT, $0-48
	DOT11(LOADF16, 2)

// func dot11BF16(y, x *float32, w *byte, n int, xt, wt *float32)
TEXT ·dot11BF16(SB), NOSPLIT, $0-48
	DOT11(LOADBF16, 2)
