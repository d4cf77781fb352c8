//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "bf16_amd64.h"
#include "tile_amd64.h"

// Products of bf16 pairs.

// Tiles of packed pairs, one after another from SI.
#define ROWPANEL \
	VMOVUPS (SI), Z0; \
	VMOVUPS 64(SI), Z1; \
	ADDQ $128, SI

#define MULTIPLYPAIRS(ROWS, STEP) \
	MOVQ a+16(FP), AX; \
	MOVQ lda+24(FP), R8; \
	MOVQ b+32(FP), SI; \
	MOVQ k+40(FP), CX; \
	MOVQ c+0(FP), DI; \
	MOVQ ldc+8(FP), R11; \
	LEAQ (R8)(R8*2), R9; \
	LEAQ (AX)(R8*4), BX; \
	LEAQ (BX)(R8*4), DX; \
	CMPB load+48(FP), $0; \
	JEQ  zero; \
	ROWS(LOADC); \
	MOVQ c+0(FP), DI; \
	JMP  loop4; \
zero: \
	ROWS(ZEROC); \
loop4: \
	CMPQ CX, $4; \
	JLT  loop1; \
	ROWPANEL; \
	STEP(DP, 0); \
	ROWPANEL; \
	STEP(DP, 4); \
	ROWPANEL; \
	STEP(DP, 8); \
	ROWPANEL; \
	STEP(DP, 12); \
	ADDQ $16, AX; \
	ADDQ $16, BX; \
	ADDQ $16, DX; \
	SUBQ $4, CX; \
	JMP  loop4; \
loop1: \
	TESTQ CX, CX; \
	JZ    store; \
	ROWPANEL; \
	STEP(DP, 0); \
	ADDQ $4, AX; \
	ADDQ $4, BX; \
	ADDQ $4, DX; \
	DECQ CX; \
	JMP  loop1; \
store: \
	ROWS(STOREC); \
	VZEROUPPER; \
	RET

// func multiply12Pairs(c *float32, ldc uintptr, a *uint32, lda uintptr, b *uint32, k int, load bool)
TEXT ·multiply12Pairs(SB), NOSPLIT, $0-49
	MULTIPLYPAIRS(ROW12, STEP12)

// func multiply8Pairs(c *float32, ldc uintptr, a *uint32, lda uintptr, b *uint32, k int, load bool)
TEXT ·multiply8Pairs(SB), NOSPLIT, $0-49
	MULTIPLYPAIRS(ROW8, STEP8)

// func multiply4Pairs(c *float32, ldc uintptr, a *uint32, lda uintptr, b *uint32, k int, load bool)
TEXT ·multiply4Pairs(SB), NOSPLIT, $0-49
	MULTIPLYPAIRS(ROW4, STEP4)

// func multiply1Pairs(c *float32, ldc uintptr, a *uint32, lda uintptr, b *uint32, k int, load bool)
TEXT ·multiply1Pairs(SB), NOSPLIT, $0-49
	MULTIPLYPAIRS(ROW1, STEP1)

// func packPairs(dst *uint32, w *byte, stride uintptr, rows, cols int, panel uintptr)
//
// Mixes two rows of W, stride bytes apart (rows 2), or one with zeros (rows 1)
// to cols pairs in panels of 32 that are so many bytes apart.
// DI dst, SI w, R8 the second row, CX columns left, K1 the columns.
TEXT ·packPairs(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ stride+16(FP), R8
	ADDQ SI, R8
	MOVQ rows+24(FP), AX
	MOVQ cols+32(FP), CX
	MOVQ panel+40(FP), BX
	VMOVDQU64 ·mix+0(SB), Z4
	VMOVDQU64 ·mix+64(SB), Z5
	ZERO(Z7)
	MOVQ $-1, DX
	KMOVD DX, K1

loop:
	TESTQ CX, CX
	JLE  done
	CMPQ CX, $32
	JGE  mask
	BZHIQ CX, DX, DX
	KMOVD DX, K1

mask:
	VMOVDQU16.Z (SI), K1, Z6
	CMPQ AX, $2
	JLT  mixed
	VMOVDQU16.Z (R8), K1, Z7

mixed:
	MIX
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	ADDQ $64, SI
	ADDQ $64, R8
	ADDQ BX, DI
	SUBQ $32, CX
	JMP  loop

done:
	VZEROUPPER
	RET

// func roundPairs(dst *uint32, src *float32, n int)
//
// n elements rounded to bf16; an odd one is paired with zero.
TEXT ·roundPairs(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	CMPQ CX, $32
	JLT  tail
	VMOVUPS (SI), Z0
	VMOVUPS 64(SI), Z1
	CVT2BF16(0, 1, 2)
	VMOVUPS Z2, (DI)
	ADDQ $128, SI
	ADDQ $64, DI
	SUBQ $32, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MOVQ $-1, DX
	BZHIQ CX, DX, DX
	KMOVW DX, K1
	SHRL $16, DX
	KMOVW DX, K2
	VMOVUPS.Z (SI), K1, Z0
	VMOVUPS.Z 64(SI), K2, Z1
	CVT2BF16(0, 1, 2)
	INCQ CX
	SHRQ $1, CX
	MASK16(DX)
	CMPQ CX, $16
	JLT  store
	KXNORW K1, K1, K1

store:
	VMOVDQU32 Z2, K1, (DI)

done:
	VZEROUPPER
	RET

// func peakPairs(n int)
// Sixteen independent sums Z0-Z15, n rounds of one product each.
TEXT ·peakPairs(SB), NOSPLIT, $0-8
	MOVQ n+0(FP), CX
	ZERO(Z0)
	ZERO(Z1)
	ZERO(Z2)
	ZERO(Z3)
	ZERO(Z4)
	ZERO(Z5)
	ZERO(Z6)
	ZERO(Z7)
	ZERO(Z8)
	ZERO(Z9)
	ZERO(Z10)
	ZERO(Z11)
	ZERO(Z12)
	ZERO(Z13)
	ZERO(Z14)
	ZERO(Z15)
	ZERO(Z16)
	ZERO(Z17)

loop:
	DPBF16(16, 17, 0)
	DPBF16(16, 17, 1)
	DPBF16(16, 17, 2)
	DPBF16(16, 17, 3)
	DPBF16(16, 17, 4)
	DPBF16(16, 17, 5)
	DPBF16(16, 17, 6)
	DPBF16(16, 17, 7)
	DPBF16(16, 17, 8)
	DPBF16(16, 17, 9)
	DPBF16(16, 17, 10)
	DPBF16(16, 17, 11)
	DPBF16(16, 17, 12)
	DPBF16(16, 17, 13)
	DPBF16(16, 17, 14)
	DPBF16(16, 17, 15)
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET
