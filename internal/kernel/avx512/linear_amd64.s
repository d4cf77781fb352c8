//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "bf16_amd64.h"

// One row of x times rows of W that stream by, eight at a time:
// y[c] += Σ x[k]·w[k][c], c < n.
//
// Z0-Z7 x[0..7] (in pairs: Z0-Z3), Z8 and Z9 sums, Z10-Z17 elements of W. DI y,
// R8 row 0, R9 row 4, R10 and R11 the same rows `ahead` bytes further on, to be
// prefetched; BX stride, DX 3·stride, CX columns left.
#define STREAMARGS \
	MOVQ y+0(FP), DI; \
	MOVQ x+8(FP), SI; \
	MOVQ w+16(FP), R8; \
	MOVQ stride+24(FP), BX; \
	MOVQ n+32(FP), CX; \
	MOVQ ahead+40(FP), R10; \
	LEAQ (BX)(BX*2), DX; \
	LEAQ (R8)(BX*4), R9; \
	LEAQ (R9)(R10*1), R11; \
	ADDQ R8, R10; \
	VBROADCASTSS 0(SI), Z0; \
	VBROADCASTSS 4(SI), Z1; \
	VBROADCASTSS 8(SI), Z2; \
	VBROADCASTSS 12(SI), Z3

#define STREAMARGSF \
	STREAMARGS; \
	VBROADCASTSS 16(SI), Z4; \
	VBROADCASTSS 20(SI), Z5; \
	VBROADCASTSS 24(SI), Z6; \
	VBROADCASTSS 28(SI), Z7

#define STREAMARGSP \
	STREAMARGS; \
	VMOVDQU64 ·mix+0(SB), Z4; \
	VMOVDQU64 ·mix+64(SB), Z5

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

// Eight rows at offset O, with loader LOAD, into the sum Z.
#define ROWS8(LOAD, O, Z) \
	LOAD(O(R8), Z10); \
	LOAD(O(R8)(BX*1), Z11); \
	LOAD(O(R8)(BX*2), Z12); \
	LOAD(O(R8)(DX*1), Z13); \
	LOAD(O(R9), Z14); \
	LOAD(O(R9)(BX*1), Z15); \
	LOAD(O(R9)(BX*2), Z16); \
	LOAD(O(R9)(DX*1), Z17); \
	VFMADD231PS Z10, Z0, Z; \
	VFMADD231PS Z11, Z1, Z; \
	VFMADD231PS Z12, Z2, Z; \
	VFMADD231PS Z13, Z3, Z; \
	VFMADD231PS Z14, Z4, Z; \
	VFMADD231PS Z15, Z5, Z; \
	VFMADD231PS Z16, Z6, Z; \
	VFMADD231PS Z17, Z7, Z

// 32 columns of two rows, mixed and multiplied by the pair X of x.
#define ROWS2(X, M0, M1) \
	VMOVDQU16.Z M0, K1, Z10; \
	VMOVDQU16.Z M1, K1, Z11; \
	VMOVDQA64 Z4, Z12; \
	VPERMI2W Z11, Z10, Z12; \
	VMOVDQA64 Z5, Z13; \
	VPERMI2W Z11, Z10, Z13; \
	DPBF16(12, X, 8); \
	DPBF16(13, X, 9)

#define SUMS(LOADK, LOADK2, BYTES) \
	ROWS8(LOADK, 0, Z8); \
	ROWS8(LOADK2, BYTES, Z9)

#define SUMSPAIRS(LOADK, LOADK2, BYTES) \
	ROWS2(0, (R8), (R8)(BX*1)); \
	ROWS2(1, (R8)(BX*2), (R8)(DX*1)); \
	ROWS2(2, (R9), (R9)(BX*1)); \
	ROWS2(3, (R9)(BX*2), (R9)(DX*1))

#define NEXTLINE \
	PREFETCH8; \
	ADDQ $64, R10; \
	ADDQ $64, R11

// 32 columns are two cache lines of float32, one of the short types.
#define LINES2 \
	NEXTLINE; \
	NEXTLINE
#define LINES1 NEXTLINE

// K1 (of 32, or of the lower 16) and K2 are the columns of the last step, K3 as
// K1 for y: masked stores, which are slow, come only there.
#define STREAM(ENTER, LINES, SUM, LOAD, LOADK, LOADK2, BYTES) \
	ENTER; \
	MOVQ $-1, AX; \
	KMOVD AX, K1; \
	SUBQ $32, CX; \
	JLT  tail; \
loop: \
	LINES; \
	VMOVUPS (DI), Z8; \
	VMOVUPS 64(DI), Z9; \
	SUM(LOAD, LOAD, BYTES); \
	VMOVUPS Z8, (DI); \
	VMOVUPS Z9, 64(DI); \
	ADDQ $128, DI; \
	ADDQ $(2*BYTES), R8; \
	ADDQ $(2*BYTES), R9; \
	SUBQ $32, CX; \
	JGE  loop; \
tail: \
	ADDQ $32, CX; \
	JZ   done; \
	BZHIQ CX, AX, AX; \
	KMOVD AX, K1; \
	KMOVW AX, K3; \
	SHRQ $16, AX; \
	KMOVW AX, K2; \
	VMOVUPS.Z (DI), K3, Z8; \
	VMOVUPS.Z 64(DI), K2, Z9; \
	SUM(LOADK, LOADK2, BYTES); \
	VMOVUPS Z8, K3, (DI); \
	VMOVUPS Z9, K2, 64(DI); \
done: \
	VZEROUPPER; \
	RET

// func packRowF32(dst *float32, src *byte, n int, panel, ahead uintptr)
// func packRowF16(dst *float32, src *byte, n int, panel, ahead uintptr)
// func packRowBF16(dst *float32, src *byte, n int, panel, ahead uintptr)
//
// Spreads one row of n elements over panels of 32 columns that lie panel
// bytes apart; the last one is filled up with zeros. Prefetches ahead bytes
// further on. DI dst, SI src, CX elements left, BX panel, DX ahead.
#define PACKROW(LOAD, LOADK, BYTES) \
	MOVQ dst+0(FP), DI; \
	MOVQ src+8(FP), SI; \
	MOVQ n+16(FP), CX; \
	MOVQ panel+24(FP), BX; \
	MOVQ ahead+32(FP), DX; \
loop: \
	CMPQ CX, $32; \
	JLT  tail; \
	PREFETCHT1 (SI)(DX*1); \
	PREFETCHT1 BYTES(SI)(DX*1); \
	LOAD((SI), Z0); \
	LOAD(BYTES(SI), Z1); \
	VMOVUPS Z0, (DI); \
	VMOVUPS Z1, 64(DI); \
	ADDQ BX, DI; \
	ADDQ $(2*BYTES), SI; \
	SUBQ $32, CX; \
	JMP  loop; \
tail: \
	TESTQ CX, CX; \
	JZ    done; \
	VPXORD Z1, Z1, Z1; \
	CMPQ CX, $16; \
	JLT  low; \
	LOAD((SI), Z0); \
	SUBQ $16, CX; \
	MASK16(AX); \
	LOADK(BYTES(SI), Z1); \
	JMP  store; \
low: \
	MASK16(AX); \
	LOADK((SI), Z0); \
store: \
	VMOVUPS Z0, (DI); \
	VMOVUPS Z1, 64(DI); \
done: \
	VZEROUPPER; \
	RET

TEXT ·packRowF32(SB), NOSPLIT, $0-40
	PACKROW(LOADF32, LOADF32K, 64)

TEXT ·packRowF16(SB), NOSPLIT, $0-40
	PACKROW(LOADF16, LOADF16K, 32)

TEXT ·packRowBF16(SB), NOSPLIT, $0-40
	PACKROW(LOADBF16, LOADBF16K, 32)

// func stream8F32(y *float32, x unsafe.Pointer, w *byte, stride uintptr, n int, ahead uintptr)
TEXT ·stream8F32(SB), NOSPLIT, $0-48
	STREAM(STREAMARGSF, LINES2, SUMS, LOADF32, LOADF32K, LOADF32K2, 64)

// func stream8F16(y *float32, x unsafe.Pointer, w *byte, stride uintptr, n int, ahead uintptr)
TEXT ·stream8F16(SB), NOSPLIT, $0-48
	STREAM(STREAMARGSF, LINES1, SUMS, LOADF16, LOADF16K, LOADF16K2, 32)

// func stream8BF16(y *float32, x unsafe.Pointer, w *byte, stride uintptr, n int, ahead uintptr)
TEXT ·stream8BF16(SB), NOSPLIT, $0-48
	STREAM(STREAMARGSF, LINES1, SUMS, LOADBF16, LOADBF16K, LOADBF16K2, 32)

// func stream8Pairs(y *float32, x unsafe.Pointer, w *byte, stride uintptr, n int, ahead uintptr)
TEXT ·stream8Pairs(SB), NOSPLIT, $0-48
	STREAM(STREAMARGSP, LINES1, SUMSPAIRS, LOADBF16, LOADBF16K, LOADBF16K2, 32)
