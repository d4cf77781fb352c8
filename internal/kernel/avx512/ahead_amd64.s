//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "multiply_amd64.h"
#include "bf16_amd64.h"

// PREFETCHW, which the assembler does not know: the line at (R13), and the next
// one, will be written.
#define CLAIMLINES \
	BYTE $0x41; BYTE $0x0f; BYTE $0x0d; BYTE $0x4d; BYTE $0x00; \
	BYTE $0x41; BYTE $0x0f; BYTE $0x0d; BYTE $0x4d; BYTE $0x40

#define ROWBAT(O) \
	VMOVUPS O(SI), Z0; \
	VMOVUPS (O+64)(SI), Z1

// A pair of a, N in Z, times the row of b.
#define PAIR(A, Z, N, LO, HI) \
	VBROADCASTSS A, Z; \
	DPBF16(0, N, LO); \
	DPBF16(1, N, HI)

#define PAIRS12(O) \
	PAIR(O(AX), Z2, 2, 8, 9); \
	PAIR(O(AX)(R8*1), Z3, 3, 10, 11); \
	PAIR(O(AX)(R8*2), Z4, 4, 12, 13); \
	PAIR(O(AX)(R9*1), Z5, 5, 14, 15); \
	PAIR(O(BX), Z2, 2, 16, 17); \
	PAIR(O(BX)(R8*1), Z3, 3, 18, 19); \
	PAIR(O(BX)(R8*2), Z4, 4, 20, 21); \
	PAIR(O(BX)(R9*1), Z5, 5, 22, 23); \
	PAIR(O(DX), Z2, 2, 24, 25); \
	PAIR(O(DX)(R8*1), Z3, 3, 26, 27); \
	PAIR(O(DX)(R8*2), Z4, 4, 28, 29); \
	PAIR(O(DX)(R9*1), Z5, 5, 30, 31)

// Four rows of b, which follow each other.
#define FOUR(STEP) \
	ROWBAT(0); \
	STEP(0); \
	ROWBAT(128); \
	STEP(4); \
	ROWBAT(256); \
	STEP(8); \
	ROWBAT(384); \
	STEP(12); \
	ADDQ $512, SI; \
	ADDQ $16, AX; \
	ADDQ $16, BX; \
	ADDQ $16, DX; \
	SUBQ $4, CX

#define TILE12(X) \
	X(Z8, Z9); \
	X(Z10, Z11); \
	X(Z12, Z13); \
	X(Z14, Z15); \
	X(Z16, Z17); \
	X(Z18, Z19); \
	X(Z20, Z21); \
	X(Z22, Z23); \
	X(Z24, Z25); \
	X(Z26, Z27); \
	X(Z28, Z29); \
	X(Z30, Z31)

#define BIASROW(LO, HI) \
	VADDPS Z0, LO, LO; \
	VADDPS Z1, HI, HI
#define BIASTILE12 TILE12(BIASROW)

#define ADDROW(LO, HI) \
	VADDPS (DI), LO, LO; \
	VADDPS 64(DI), HI, HI; \
	ADDQ   R11, DI
#define ADDTILE12 TILE12(ADDROW)

// multiply12 with rows of b that follow each other. Meanwhile it asks for memory, a
// line or two at a time and all along, so that neither what it loads itself nor what
// comes after it waits: in each round, of four k, for two rows of a (R12, R8 apart)
// and for b (R15, by R10 in a round); now and then, twelve times, for two lines of
// results (R13, R11 apart). DI counts the rounds from one to the next, n. In the end
// sums go where generic.End (R10) says.
#define MULTIPLYAHEAD(STEP) \
	MOVQ c+0(FP), DI; \
	MOVQ ldc+8(FP), R11; \
	MOVQ k+40(FP), CX; \
	CMPB load+48(FP), $0; \
	JEQ  zero; \
	LOADTILE12; \
	JMP  begin; \
zero: \
	ZEROTILE12; \
begin: \
	LEAQ 47(CX), AX; \
	XORL DX, DX; \
	MOVL $48, BX; \
	DIVQ BX; \
	MOVQ AX, n-8(SP); \
	MOVQ a+16(FP), AX; \
	MOVQ lda+24(FP), R8; \
	MOVQ b+32(FP), SI; \
	LEAQ (R8)(R8*2), R9; \
	LEAQ (AX)(R8*4), BX; \
	LEAQ (BX)(R8*4), DX; \
	MOVQ h+56(FP), R10; \
	MOVQ 0(R10), R13; \
	MOVQ 8(R10), R11; \
	MOVQ 16(R10), R12; \
	MOVQ 24(R10), R15; \
	MOVQ 32(R10), R10; \
	MOVL $1, DI; \
	SUBQ $4, CX; \
	JLT  last; \
loop4: \
	DECQ DI; \
	JNE  asked; \
	CLAIMLINES; \
	ADDQ R11, R13; \
	MOVQ n-8(SP), DI; \
asked: \
	PREFETCHT1 (R12); \
	PREFETCHT1 (R12)(R8*1); \
	PREFETCHT1 (R15); \
	ADDQ $16, R12; \
	ADDQ R10, R15; \
	FOUR(STEP); \
	JGE  loop4; \
last: \
	ADDQ $4, CX; \
loop1: \
	TESTQ CX, CX; \
	JZ    store; \
	ROWBAT(0); \
	STEP(0); \
	ADDQ $128, SI; \
	ADDQ $4, AX; \
	ADDQ $4, BX; \
	ADDQ $4, DX; \
	DECQ CX; \
	JMP  loop1; \
store: \
	MOVQ  c+0(FP), DI; \
	MOVQ  ldc+8(FP), R11; \
	MOVQ  h+56(FP), R10; \
	MOVQ  40(R10), R10; \
	TESTQ R10, R10; \
	JZ    stored; \
	MOVQ  0(R10), DI; \
	MOVQ  24(R10), R11; \
	SHLQ  $2, R11; \
	MOVQ  32(R10), AX; \
	TESTQ AX, AX; \
	JZ    biased; \
	VMOVUPS (AX), Z0; \
	VMOVUPS 64(AX), Z1; \
	BIASTILE12; \
biased: \
	CMPB 56(R10), $0; \
	JEQ  stored; \
	ADDTILE12; \
	MOVQ 0(R10), DI; \
stored: \
	STORETILE12; \
	VZEROUPPER; \
	RET

// func multiply12Ahead(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, k int, load bool, h *generic.Ahead)
TEXT ·multiply12Ahead(SB), NOSPLIT, $8-64
	MULTIPLYAHEAD(STEP12)

// func multiply12PairsAhead(c *float32, ldc uintptr, a *uint32, lda uintptr, b *uint32, k int, load bool, h *generic.Ahead)
//
// The same of pairs.
TEXT ·multiply12PairsAhead(SB), NOSPLIT, $8-64
	MULTIPLYAHEAD(PAIRS12)
