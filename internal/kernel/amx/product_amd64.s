//go:build !noasm

#include "go_asm.h"
#include "textflag.h"
#include "forms_amd64.h"
#include "exp_amd64.h"

// X = X / (1 + exp(-z)), z = X·(a + b·X²); spoils T to W. Z12 -a, Z13 -b.
#define GATE(X, T, U, V, W) \
	VMULPS X, X, T; \
	VMINPS T, Z27, T; \
	VFMADD213PS Z12, Z13, T; \
	VMULPS X, T, T; \
	EXP(T, U, V, W); \
	VADDPS Z24, T, T; \
	VDIVPS T, X, X

// FINISH brings one row of the block before, 32 results at R10, to its place R8.
// R12 rows left, R9 the distance of rows of y, R11 what becomes of them: bit 0
// gate, bit 1 bfloat16, bit 2 add. K1 and K2 are the columns.
#define FINISH(SKIP, PLAIN, WIDE, STORE, DONE) \
	TESTQ R12, R12; \
	JZ   SKIP; \
	VMOVUPS (R10), Z6; \
	VMOVUPS 64(R10), Z7; \
	TESTQ $1, R11; \
	JZ   PLAIN; \
	GATE(Z6, Z0, Z1, Z2, Z3); \
	GATE(Z7, Z4, Z5, Z9, Z10); \
PLAIN: \
	MOVQ job_ystride(R15), AX; \
	CLAIM; \
	TESTQ $2, R11; \
	JZ   WIDE; \
	NARROW8; \
	VMOVDQU64 Z8, (R8); \
	JMP  DONE; \
WIDE: \
	CLAIM64; \
	TESTQ $4, R11; \
	JZ   STORE; \
	VMOVUPS.Z (R8), K1, Z0; \
	VMOVUPS.Z 64(R8), K2, Z1; \
	VADDPS Z6, Z0, Z6; \
	VADDPS Z7, Z1, Z7; \
STORE: \
	VMOVUPS Z6, K1, (R8); \
	VMOVUPS Z7, K2, 64(R8); \
DONE: \
	ADDQ R9, R8; \
	ADDQ $128, R10; \
	DECQ R12; \
SKIP:

// AHEAD asks for what is packed next: so many lines of two runs.
#define AHEAD(LINE, DONE) \
	MOVQ job_lines(R15), AX; \
	TESTQ AX, AX; \
	JZ   DONE; \
LINE: \
	PREFETCHT1 (BX); \
	PREFETCHT1 (R14); \
	ADDQ $64, BX; \
	ADDQ $64, R14; \
	DECQ AX; \
	JNZ  LINE; \
DONE:

// func product(j *job)
//
// TMM0-TMM3 hold 32 × 32 results, TMM4 and TMM5 a step of a, TMM6 and TMM7 one
// of b. While they are computed, the block before is finished, two rows to a
// step. Rows of a pass by from the second-level cache, and so do the first steps
// of a long b, past the first-level one, in which the others stay.
//
// R15 the job, SI and DI walk over a and b, DX the distance of a tile's rows, CX
// counts steps, R13 tiles of 16 rows left; BX and R14 what is prefetched. R8-R12
// are of FINISH during the steps, else as in multiply.
TEXT ·product(SB), NOSPLIT, $0-8
	MOVQ j+0(FP), R15
	MOVQ job_tiles(R15), R13
	MOVQ job_next0(R15), BX
	MOVQ job_next1(R15), R14
	MOVQ $64, DX
	MOVQ job_cols(R15), CX
	MOVL $1, AX
	SHLQ CX, AX
	DECQ AX
	KMOVD AX, K1
	KSHIFTRD $16, K1, K2
	EXPCONST
	VBROADCASTSS expConst<>+44(SB), Z27
	VPXORD Z0, Z0, Z0
	VBROADCASTSS job_gateA(R15), Z12
	VBROADCASTSS job_gateB(R15), Z13
	VSUBPS Z12, Z0, Z12
	VSUBPS Z13, Z0, Z13
	LEAQ tileConfig<>(SB), AX
	LDTILECFG
	XORQ R12, R12 // nothing to finish yet

block:
	// All of the block before is finished here.
	MOVQ job_start(R15), R8
	MOVQ job_ld(R15), R9
	LOADC0
	LOADC1
	CMPQ R13, $2
	JLT  loaded
	MOVQ R9, R10
	SHLQ $4, R10
	ADDQ R8, R10
	LOADC2
	LOADC3
loaded:
	SHLQ $5, R9
	ADDQ R9, R8
	MOVQ R8, job_start(R15)

	// What is to be finished of the block before.
	MOVQ job_rows(R15), R12
	MOVQ job_y(R15), R8
	MOVQ job_ldy(R15), R9
	MOVQ job_from(R15), R10
	MOVQ job_what(R15), R11
	MOVQ job_a(R15), SI
	MOVQ job_b(R15), DI
	MOVQ job_passing(R15), CX
	CMPQ R13, $2
	JLT  one
	TESTQ CX, CX
	JZ   twostay

twopass:
	LOADA0T
	LOADB0T
	LOADB1T
	LOADA1T
	BF16C0
	BF16C1
	BF16C2
	BF16C3
	AHEAD(ahead0, aheaddone0)
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ CX
	JNZ  twopass

twostay:
	MOVQ job_staying(R15), CX
twostep:
	LOADA0T
	LOADB0
	LOADB1
	LOADA1T
	BF16C0
	BF16C1
	BF16C2
	BF16C3
	AHEAD(ahead1, aheaddone1)
	FINISH(skip0, plain0, wide0, store0, done0)
	FINISH(skip1, plain1, wide1, store1, done1)
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ CX
	JNZ  twostep
	JMP  rest

one:
	TESTQ CX, CX
	JZ   onestay

onepass:
	LOADA0T
	LOADB0T
	LOADB1T
	BF16C0
	BF16C1
	AHEAD(ahead2, aheaddone2)
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ CX
	JNZ  onepass

onestay:
	MOVQ job_staying(R15), CX
onestep:
	LOADA0T
	LOADB0
	LOADB1
	BF16C0
	BF16C1
	AHEAD(ahead3, aheaddone3)
	FINISH(skip2, plain2, wide2, store2, done2)
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ CX
	JNZ  onestep

rest:
	FINISH(skip3, plain3, wide3, store3, done3)
	TESTQ R12, R12
	JNZ  rest

	// The results go to c, or by turns to the two blocks of a scratch, to be
	// finished during the next block.
	MOVQ job_c(R15), R11
	MOVQ $128, R12
	STOREC0
	STOREC1
	MOVQ job_astride(R15), AX
	ADDQ AX, job_a(R15)
	CMPQ R13, $2
	JLT  stored
	STOREC2
	STOREC3
stored:
	CMPQ job_what(R15), $0
	JLT  partial
	MOVQ job_from(R15), AX
	MOVQ AX, job_c(R15)
	MOVQ R11, job_from(R15)

	// R8 is where the next row of y goes; in tiles the next block has its own place.
	MOVQ job_nexty(R15), AX
	MOVQ AX, job_y(R15)
	ADDQ job_ystride(R15), AX
	MOVQ AX, job_nexty(R15)
	MOVQ job_left(R15), AX
	MOVQ AX, CX
	CMPQ AX, $32
	JLE  fewer
	MOVQ $32, AX
fewer:
	MOVQ AX, job_rows(R15)
	SUBQ AX, CX
	MOVQ CX, job_left(R15)
	JMP  next

partial:
	ADDQ $4096, R11
	MOVQ R11, job_c(R15)

next:
	SUBQ $2, R13
	JG   block

	// The last block.
	MOVQ job_rows(R15), R12
	MOVQ job_y(R15), R8
	MOVQ job_ldy(R15), R9
	MOVQ job_from(R15), R10
	MOVQ job_what(R15), R11
last:
	FINISH(skip4, plain4, wide4, store4, done4)
	TESTQ R12, R12
	JNZ  last
	TILERELEASE
	VZEROUPPER
	RET
