//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// func accumulate8F32(y, x *float32, w *byte, stride uintptr, n int)
// func accumulate8F16(y, x *float32, w *byte, stride uintptr, n int)
// func accumulate8BF16(y, x *float32, w *byte, stride uintptr, n int)
//
// y[c] += Σ x[k]·w[k][c] for eight rows k, c < n.
// Y0-Y7 x[0..7], Y8-Y9 sums, Y10-Y11 elements of W.
// DI y, R8 row 0, R9 row 4, R10 and R11 the same eight rows further on (to
// prefetch), BX stride, DX 3·stride, CX columns left.
#define BROADCAST8 \
	MOVQ y+0(FP), DI; \
	MOVQ x+8(FP), SI; \
	MOVQ w+16(FP), R8; \
	MOVQ stride+24(FP), BX; \
	MOVQ n+32(FP), CX; \
	LEAQ (BX)(BX*2), DX; \
	LEAQ (R8)(BX*4), R9; \
	LEAQ (R8)(BX*8), R10; \
	LEAQ (R9)(BX*8), R11; \
	VBROADCASTSS 0(SI), Y0; \
	VBROADCASTSS 4(SI), Y1; \
	VBROADCASTSS 8(SI), Y2; \
	VBROADCASTSS 12(SI), Y3; \
	VBROADCASTSS 16(SI), Y4; \
	VBROADCASTSS 20(SI), Y5; \
	VBROADCASTSS 24(SI), Y6; \
	VBROADCASTSS 28(SI), Y7

// Into the second-level cache: the first has too few requests under way at a
// time to keep memory busy.
#define PREFETCH8 \
	PREFETCHT1 (R10); \
	PREFETCHT1 (R10)(BX*1); \
	PREFETCHT1 (R10)(BX*2); \
	PREFETCHT1 (R10)(DX*1); \
	PREFETCHT1 (R11); \
	PREFETCHT1 (R11)(BX*1); \
	PREFETCHT1 (R11)(BX*2); \
	PREFETCHT1 (R11)(DX*1)

#define ADVANCE(BYTES) \
	ADDQ $(BYTES), R8; \
	ADDQ $(BYTES), R9; \
	ADDQ $(BYTES), R10; \
	ADDQ $(BYTES), R11

// Eight rows at offset O into the sum V.
#define ROWS8(LOAD, O, V, T, TX) \
	LOAD(O(R8), T, TX); \
	VFMADD231PS T, Y0, V; \
	LOAD(O(R8)(BX*1), T, TX); \
	VFMADD231PS T, Y1, V; \
	LOAD(O(R8)(BX*2), T, TX); \
	VFMADD231PS T, Y2, V; \
	LOAD(O(R8)(DX*1), T, TX); \
	VFMADD231PS T, Y3, V; \
	LOAD(O(R9), T, TX); \
	VFMADD231PS T, Y4, V; \
	LOAD(O(R9)(BX*1), T, TX); \
	VFMADD231PS T, Y5, V; \
	LOAD(O(R9)(BX*2), T, TX); \
	VFMADD231PS T, Y6, V; \
	LOAD(O(R9)(DX*1), T, TX); \
	VFMADD231PS T, Y7, V

#define ACCUMULATE8(LOAD, LOADS, SIZE) \
	BROADCAST8; \
loop: \
	CMPQ CX, $16; \
	JLT  half; \
	PREFETCH8; \
	VMOVUPS (DI), Y8; \
	VMOVUPS 32(DI), Y9; \
	ROWS8(LOAD, 0, Y8, Y10, X10); \
	ROWS8(LOAD, (8*SIZE), Y9, Y11, X11); \
	VMOVUPS Y8, (DI); \
	VMOVUPS Y9, 32(DI); \
	ADDQ $64, DI; \
	ADVANCE(16*SIZE); \
	SUBQ $16, CX; \
	JMP  loop; \
half: \
	CMPQ CX, $8; \
	JLT  tail; \
	VMOVUPS (DI), Y8; \
	ROWS8(LOAD, 0, Y8, Y10, X10); \
	VMOVUPS Y8, (DI); \
	ADDQ $32, DI; \
	ADVANCE(8*SIZE); \
	SUBQ $8, CX; \
tail: \
	TESTQ CX, CX; \
	JZ    done; \
	VMOVSS (DI), X8; \
	LOADS((R8), X10); \
	VFMADD231SS X10, X0, X8; \
	LOADS((R8)(BX*1), X10); \
	VFMADD231SS X10, X1, X8; \
	LOADS((R8)(BX*2), X10); \
	VFMADD231SS X10, X2, X8; \
	LOADS((R8)(DX*1), X10); \
	VFMADD231SS X10, X3, X8; \
	LOADS((R9), X10); \
	VFMADD231SS X10, X4, X8; \
	LOADS((R9)(BX*1), X10); \
	VFMADD231SS X10, X5, X8; \
	LOADS((R9)(BX*2), X10); \
	VFMADD231SS X10, X6, X8; \
	LOADS((R9)(DX*1), X10); \
	VFMADD231SS X10, X7, X8; \
	VMOVSS X8, (DI); \
	ADDQ $4, DI; \
	ADVANCE(SIZE); \
	DECQ CX; \
	JMP  tail; \
done: \
	VZEROUPPER; \
	RET

// func accumulateRowsF32(y *float32, ldy uintptr, x *float32, ldx uintptr, rows int, w *byte, stride uintptr, n int)
// func accumulateRowsF16(y *float32, ldy uintptr, x *float32, ldx uintptr, rows int, w *byte, stride uintptr, n int)
// func accumulateRowsBF16(y *float32, ldy uintptr, x *float32, ldx uintptr, rows int, w *byte, stride uintptr, n int)
//
// As accumulate8 for several rows of x and y, at least one; n is a multiple of
// eight. Y0-Y7 eight columns of eight rows of W, Y8 the sums of one row, Y10-Y11
// elements of x. R8-R11, BX, DX, CX as above; DI y, SI x; R12, R13 and AX walk
// over y, x and the rows left.
#define ROWX(O, V, W) \
	VBROADCASTSS O(R13), V; \
	VFMADD231PS W, V, Y8

#define ACCUMULATEROWS(LOAD, SIZE) \
	MOVQ y+0(FP), DI; \
	MOVQ x+16(FP), SI; \
	MOVQ w+40(FP), R8; \
	MOVQ stride+48(FP), BX; \
	MOVQ n+56(FP), CX; \
	LEAQ (BX)(BX*2), DX; \
	LEAQ (R8)(BX*4), R9; \
	LEAQ (R8)(BX*8), R10; \
	LEAQ (R9)(BX*8), R11; \
columns: \
	TESTQ CX, CX; \
	JZ   done; \
	PREFETCH8; \
	LOAD(0(R8), Y0, X0); \
	LOAD(0(R8)(BX*1), Y1, X1); \
	LOAD(0(R8)(BX*2), Y2, X2); \
	LOAD(0(R8)(DX*1), Y3, X3); \
	LOAD(0(R9), Y4, X4); \
	LOAD(0(R9)(BX*1), Y5, X5); \
	LOAD(0(R9)(BX*2), Y6, X6); \
	LOAD(0(R9)(DX*1), Y7, X7); \
	ADVANCE(8*SIZE); \
	MOVQ DI, R12; \
	MOVQ SI, R13; \
	MOVQ rows+32(FP), AX; \
row: \
	VMOVUPS (R12), Y8; \
	ROWX(0, Y10, Y0); \
	ROWX(4, Y11, Y1); \
	ROWX(8, Y10, Y2); \
	ROWX(12, Y11, Y3); \
	ROWX(16, Y10, Y4); \
	ROWX(20, Y11, Y5); \
	ROWX(24, Y10, Y6); \
	ROWX(28, Y11, Y7); \
	VMOVUPS Y8, (R12); \
	ADDQ ldy+8(FP), R12; \
	ADDQ ldx+24(FP), R13; \
	DECQ AX; \
	JNZ  row; \
	ADDQ $32, DI; \
	SUBQ $8, CX; \
	JMP  columns; \
done: \
	VZEROUPPER; \
	RET

// func accumulate1F32(y *float32, x float32, w *byte, n int)
// func accumulate1F16(y *float32, x float32, w *byte, n int)
// func accumulate1BF16(y *float32, x float32, w *byte, n int)
//
// y[c] += x·w[c], c < n. DI y, SI w, CX columns left, Y0 x.
#define ACCUMULATE1(LOAD, LOADS, SIZE) \
	MOVQ y+0(FP), DI; \
	VBROADCASTSS x+8(FP), Y0; \
	MOVQ w+16(FP), SI; \
	MOVQ n+24(FP), CX; \
loop: \
	CMPQ CX, $8; \
	JLT  tail; \
	VMOVUPS (DI), Y8; \
	LOAD((SI), Y1, X1); \
	VFMADD231PS Y1, Y0, Y8; \
	VMOVUPS Y8, (DI); \
	ADDQ $32, DI; \
	ADDQ $(8*SIZE), SI; \
	SUBQ $8, CX; \
	JMP  loop; \
tail: \
	TESTQ CX, CX; \
	JZ    done; \
	VMOVSS (DI), X8; \
	LOADS((SI), X1); \
	VFMADD231SS X1, X0, X8; \
	VMOVSS X8, (DI); \
	ADDQ $4, DI; \
	ADDQ $SIZE, SI; \
	DECQ CX; \
	JMP  tail; \
done: \
	VZEROUPPER; \
	RET

// func packRowF32(dst *float32, src *byte, n int, panel, ahead uintptr)
// func packRowF16(dst *float32, src *byte, n int, panel, ahead uintptr)
// func packRowBF16(dst *float32, src *byte, n int, panel, ahead uintptr)
//
// Spreads one row of n elements, a multiple of sixteen, over panels of 16
// columns that lie panel bytes apart. Prefetches ahead bytes further on.
// DI dst, SI src, CX elements left, BX panel, DX ahead.
#define PACKROW(LOAD, SIZE) \
	MOVQ dst+0(FP), DI; \
	MOVQ src+8(FP), SI; \
	MOVQ n+16(FP), CX; \
	MOVQ panel+24(FP), BX; \
	MOVQ ahead+32(FP), DX; \
loop: \
	CMPQ CX, $16; \
	JLT  done; \
	PREFETCHT1 (SI)(DX*1); \
	LOAD((SI), Y0, X0); \
	LOAD((8*SIZE)(SI), Y1, X1); \
	VMOVUPS Y0, (DI); \
	VMOVUPS Y1, 32(DI); \
	ADDQ BX, DI; \
	ADDQ $(16*SIZE), SI; \
	SUBQ $16, CX; \
	JMP  loop; \
done: \
	VZEROUPPER; \
	RET

TEXT ·accumulate8F32(SB), NOSPLIT, $0-40
	ACCUMULATE8(LOADF32, LOADF32S, 4)

TEXT ·accumulate8F16(SB), NOSPLIT, $0-40
	ACCUMULATE8(LOADF16, LOADF16S, 2)

TEXT ·accumulate8BF16(SB), NOSPLIT, $0-40
	ACCUMULATE8(LOADBF16, LOADBF16S, 2)

TEXT ·accumulate1F32(SB), NOSPLIT, $0-32
	ACCUMULATE1(LOADF32, LOADF32S, 4)

TEXT ·accumulate1F16(SB), NOSPLIT, $0-32
	ACCUMULATE1(LOADF16, LOADF16S, 2)

TEXT ·accumulate1BF16(SB), NOSPLIT, $0-32
	ACCUMULATE1(LOADBF16, LOADBF16S, 2)

TEXT ·packRowF32(SB), NOSPLIT, $0-40
	PACKROW(LOADF32, 4)

TEXT ·packRowF16(SB), NOSPLIT, $0-40
	PACKROW(LOADF16, 2)

TEXT ·packRowBF16(SB), NOSPLIT, $0-40
	PACKROW(LOADBF16, 2)

TEXT ·accumulateRowsF32(SB), NOSPLIT, $0-64
	ACCUMULATEROWS(LOADF32, 4)

TEXT ·accumulateRowsF16(SB), NOSPLIT, $0-64
	ACCUMULATEROWS(LOADF16, 2)

TEXT ·accumulateRowsBF16(SB), NOSPLIT, $0-64
	ACCUMULATEROWS(LOADBF16, 2)
