//go:build !noasm

#include "go_asm.h"
#include "textflag.h"
#include "forms_amd64.h"

// A row of the block before, 32 results at R10, goes to its place R8. AX is the
// distance to that of the next block, R12 rows left, R9 the distance of rows; K1
// and K2 are the columns.
#define RESULT(SKIP, STORE) \
	TESTQ R12, R12; \
	JZ   SKIP; \
	VMOVUPS (R10), Z6; \
	VMOVUPS 64(R10), Z7; \
	STORE; \
	ADDQ R9, R8; \
	ADDQ $128, R10; \
	DECQ R12; \
SKIP:

#define FLOATS \
	CLAIM; \
	CLAIM64; \
	VMOVUPS Z6, K1, (R8); \
	VMOVUPS Z7, K2, 64(R8)

#define SUMS \
	CLAIM; \
	CLAIM64; \
	VMOVUPS.Z (R8), K1, Z0; \
	VMOVUPS.Z 64(R8), K2, Z1; \
	VADDPS Z6, Z0, Z6; \
	VADDPS Z7, Z1, Z7; \
	VMOVUPS Z6, K1, (R8); \
	VMOVUPS Z7, K2, 64(R8)

// Past the caches: whole lines.
#define PAST \
	VMOVNTPS Z6, (R8); \
	VMOVNTPS Z7, 64(R8)

#define HALVES \
	CLAIM; \
	NARROW8; \
	VMOVDQU16 Z8, K1, (R8)

// Rounded to bfloat16, as float32.
#define ROUNDED \
	CLAIM; \
	CLAIM64; \
	NARROW8; \
	VEXTRACTI64X4 $1, Z8, Y7; \
	VPMOVZXWD Y8, Z6; \
	VPMOVZXWD Y7, Z7; \
	VPSLLD $16, Z6, Z6; \
	VPSLLD $16, Z7, Z7; \
	VMOVUPS Z6, K1, (R8); \
	VMOVUPS Z7, K2, 64(R8)

// NEXT asks for what is multiplied next: so many lines of two runs.
#define NEXT(LINE, DONE) \
	MOVQ rowJob_lines(R15), AX; \
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

// 32 rows of a times panels of b. TMM0-TMM3 hold 32 × 32 results, TMM4 and TMM5 a
// step of a, TMM6 and TMM7 one of b. While they are computed, the block before is
// stored, two rows to a step. Panels of b pass by from the second-level cache, and
// so do the first steps of a long a, past the first-level one, in which the others
// stay.
//
// R15 the job, SI and DI walk over a and b, DX the distance of a tile's rows, CX
// counts steps, R13 panels; BX and R14 what is prefetched. R8-R12 are of RESULT
// during the steps.
#define ROWS(STORE) \
	MOVQ j+0(FP), R15; \
	MOVQ rowJob_panels(R15), R13; \
	MOVQ rowJob_next0(R15), BX; \
	MOVQ rowJob_next1(R15), R14; \
	MOVQ $64, DX; \
	KXNORD K1, K1, K1; \
	KXNORD K2, K2, K2; \
	LEAQ tileConfig<>(SB), AX; \
	LDTILECFG; \
	XORQ R12, R12; \
block: \
	MOVQ rowJob_start(R15), R8; \
	MOVQ rowJob_ld(R15), R9; \
	MOVQ R9, R10; \
	SHLQ $4, R10; \
	ADDQ R8, R10; \
	LOADC0; \
	LOADC1; \
	LOADC2; \
	LOADC3; \
	ADDQ rowJob_follows(R15), R8; \
	MOVQ R8, rowJob_start(R15); \
	MOVQ rowJob_stored(R15), R12; \
	MOVQ rowJob_y(R15), R8; \
	MOVQ rowJob_ldy(R15), R9; \
	MOVQ rowJob_from(R15), R10; \
	MOVQ rowJob_a(R15), SI; \
	MOVQ rowJob_b(R15), DI; \
	MOVQ rowJob_passing(R15), CX; \
	TESTQ CX, CX; \
	JZ   stay; \
pass: \
	LOADA0T; \
	LOADB0T; \
	LOADB1T; \
	LOADA1T; \
	BF16C0; \
	BF16C1; \
	BF16C2; \
	BF16C3; \
	NEXT(line0, asked0); \
	ADDQ $2048, SI; \
	ADDQ $2048, DI; \
	DECQ CX; \
	JNZ  pass; \
stay: \
	MOVQ rowJob_staying(R15), CX; \
step: \
	LOADA0; \
	LOADB0T; \
	LOADB1T; \
	LOADA1; \
	BF16C0; \
	BF16C1; \
	BF16C2; \
	BF16C3; \
	NEXT(line1, asked1); \
	MOVQ rowJob_width(R15), AX; \
	RESULT(skip0, STORE); \
	RESULT(skip1, STORE); \
	ADDQ $2048, SI; \
	ADDQ $2048, DI; \
	DECQ CX; \
	JNZ  step; \
	MOVQ rowJob_width(R15), AX; \
rest: \
	RESULT(skip2, STORE); \
	TESTQ R12, R12; \
	JNZ  rest; \
	MOVQ rowJob_bstride(R15), CX; \
	ADDQ CX, rowJob_b(R15); \
	MOVQ rowJob_c(R15), R11; \
	MOVQ $128, R12; \
	STOREC0; \
	STOREC1; \
	STOREC2; \
	STOREC3; \
	CMPQ rowJob_rows(R15), $0; \
	JEQ  sums; \
	MOVQ rowJob_from(R15), CX; \
	MOVQ CX, rowJob_c(R15); \
	MOVQ R11, rowJob_from(R15); \
	MOVQ rowJob_nexty(R15), CX; \
	MOVQ CX, rowJob_y(R15); \
	ADDQ AX, CX; \
	MOVQ CX, rowJob_nexty(R15); \
	MOVQ rowJob_rows(R15), CX; \
	MOVQ CX, rowJob_stored(R15); \
	DECQ R13; \
	JNZ  block; \
	JMP  last; \
sums: \
	ADDQ $4096, R11; \
	MOVQ R11, rowJob_c(R15); \
	DECQ R13; \
	JNZ  block; \
last: \
	TILERELEASE; \
	MOVQ rowJob_cols(R15), CX; \
	MOVL $1, R12; \
	SHLQ CX, R12; \
	DECQ R12; \
	KMOVD R12, K1; \
	KSHIFTRD $16, K1, K2; \
	XORQ AX, AX; \
	MOVQ rowJob_stored(R15), R12; \
	MOVQ rowJob_y(R15), R8; \
	MOVQ rowJob_ldy(R15), R9; \
	MOVQ rowJob_from(R15), R10; \
end: \
	RESULT(skip3, STORE); \
	TESTQ R12, R12; \
	JNZ  end; \
	SFENCE; \
	VZEROUPPER; \
	RET

// func rowsToFloats(j *rowJob)
TEXT ·rowsToFloats(SB), NOSPLIT, $0-8
	ROWS(FLOATS)

// func rowsToSums(j *rowJob)
TEXT ·rowsToSums(SB), NOSPLIT, $0-8
	ROWS(SUMS)

// func rowsPast(j *rowJob)
TEXT ·rowsPast(SB), NOSPLIT, $0-8
	ROWS(PAST)

// func rowsToHalves(j *rowJob)
TEXT ·rowsToHalves(SB), NOSPLIT, $0-8
	ROWS(HALVES)

// func rowsRounded(j *rowJob)
TEXT ·rowsRounded(SB), NOSPLIT, $0-8
	ROWS(ROUNDED)
