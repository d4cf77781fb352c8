//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// func accumulate8F32(y, x *float32, w *byte, stride uintptr, n int)
//
// y[c] += Σ x[k]·w[k][c] for eight rows k, c < n.
// Z0-Z7 x[0..7], Z8-Z9 sums, Z10-Z25 elements of W.
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
	VBROADCASTSS 0(SI), Z0; \
	VBROADCASTSS 4(SI), Z1; \
	VBROADCASTSS 8(SI), Z2; \
	VBROADCASTSS 12(SI), Z3; \
	VBROADCASTSS 16(SI), Z4; \
	VBROADCASTSS 20(SI), Z5; \
	VBROADCASTSS 24(SI), Z6; \
	VBROADCASTSS 28(SI), Z7

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
	ADDQ $BYTES, R8; \
	ADDQ $BYTES, R9; \
	ADDQ $BYTES, R10; \
	ADDQ $BYTES, R11

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

// Decode: one row of x times rows of W that stream by.

TEXT ·accumulate8F32(SB), NOSPLIT, $0-40
	BROADCAST8

f32loop:
	CMPQ CX, $16
	JLT  f32tail
	PREFETCH8
	VMOVUPS (DI), Z8
	ROWS8(LOADF32, 0, Z8)
	VMOVUPS Z8, (DI)
	ADDQ $64, DI
	ADVANCE(64)
	SUBQ $16, CX
	JMP  f32loop

f32tail:
	TESTQ CX, CX
	JZ    f32done
	MASK16(AX)
	VMOVUPS.Z (DI), K1, Z8
	ROWS8(LOADF32K, 0, Z8)
	VMOVUPS Z8, K1, (DI)

f32done:
	VZEROUPPER
	RET

// func accumulate8F16(y, x *float32, w *byte, stride uintptr, n int)
// Registers as in accumulate8F32; 32 columns are one cache line.
TEXT ·accumulate8F16(SB), NOSPLIT, $0-40
	BROADCAST8

f16loop:
	CMPQ CX, $32
	JLT  f16half
	PREFETCH8
	VMOVUPS (DI), Z8
	VMOVUPS 64(DI), Z9
	ROWS8(LOADF16, 0, Z8)
	ROWS8(LOADF16, 32, Z9)
	VMOVUPS Z8, (DI)
	VMOVUPS Z9, 64(DI)
	ADDQ $128, DI
	ADVANCE(64)
	SUBQ $32, CX
	JMP  f16loop

f16half:
	CMPQ CX, $16
	JLT  f16tail
	VMOVUPS (DI), Z8
	ROWS8(LOADF16, 0, Z8)
	VMOVUPS Z8, (DI)
	ADDQ $64, DI
	ADVANCE(32)
	SUBQ $16, CX

f16tail:
	TESTQ CX, CX
	JZ    f16done
	MASK16(AX)
	VMOVUPS.Z (DI), K1, Z8
	ROWS8(LOADF16K, 0, Z8)
	VMOVUPS Z8, K1, (DI)

f16done:
	VZEROUPPER
	RET

// func accumulate8BF16(y, x *float32, w *byte, stride uintptr, n int)
// Registers as in accumulate8F32; 32 columns are one cache line.
TEXT ·accumulate8BF16(SB), NOSPLIT, $0-40
	BROADCAST8

bf16loop:
	CMPQ CX, $32
	JLT  bf16half
	PREFETCH8
	VMOVUPS (DI), Z8
	VMOVUPS 64(DI), Z9
	ROWS8(LOADBF16, 0, Z8)
	ROWS8(LOADBF16, 32, Z9)
	VMOVUPS Z8, (DI)
	VMOVUPS Z9, 64(DI)
	ADDQ $128, DI
	ADVANCE(64)
	SUBQ $32, CX
	JMP  bf16loop

bf16half:
	CMPQ CX, $16
	JLT  bf16tail
	VMOVUPS (DI), Z8
	ROWS8(LOADBF16, 0, Z8)
	VMOVUPS Z8, (DI)
	ADDQ $64, DI
	ADVANCE(32)
	SUBQ $16, CX

bf16tail:
	TESTQ CX, CX
	JZ    bf16done
	MASK16(AX)
	VMOVUPS.Z (DI), K1, Z8
	ROWS8(LOADBF16K, 0, Z8)
	VMOVUPS Z8, K1, (DI)

bf16done:
	VZEROUPPER
	RET

TEXT ·packRowF32(SB), NOSPLIT, $0-40
	PACKROW(LOADF32, LOADF32K, 64)

TEXT ·packRowF16(SB), NOSPLIT, $0-40
	PACKROW(LOADF16, LOADF16K, 32)

TEXT ·packRowBF16(SB), NOSPLIT, $0-40
	PACKROW(LOADBF16, LOADBF16K, 32)
