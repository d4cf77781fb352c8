//go:build !noasm

#include "go_asm.h"
#include "textflag.h"
#include "forms_amd64.h"
#include "exp_amd64.h"

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

// Z4 and Z5 sum up the squares.
#define SQUARES \
	VFMADD231PS Z6, Z6, K1, Z4; \
	VFMADD231PS Z7, Z7, K2, Z5

#define FLOATS \
	SQUARES; \
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
	SQUARES; \
	VMOVNTPS Z6, (R8); \
	VMOVNTPS Z7, 64(R8)

#define HALVES \
	CLAIM; \
	NARROW8; \
	VMOVDQU16 Z8, K1, (R8)

#define HALVESPAST \
	NARROW8; \
	VMOVNTDQ Z8, (R8)

// The 32 bfloat16 of H as float32 in LO and HI; spoils the upper half's register T.
#define WIDEN(H, HY, LO, HI, T) \
	VEXTRACTI64X4 $1, H, T; \
	VPMOVZXWD HY, LO; \
	VPMOVZXWD T, HI; \
	VPSLLD $16, LO, LO; \
	VPSLLD $16, HI, HI

// X = X / (1 + exp(-z)), z = X·(a + b·X²), as package avx512 computes it; spoils T to
// W. Z12 -a, Z13 -b.
#define GATE(X, T, U, V, W) \
	VMULPS X, X, T; \
	VMINPS T, Z27, T; \
	VFMADD213PS Z12, Z13, T; \
	VMULPS X, T, T; \
	EXP(T, U, V, W); \
	VADDPS Z24, T, T; \
	VDIVPS T, X, X

// The result as bfloat16, and what the activation makes of that, at R11 from there.
#define GATED(STORE) \
	NARROW8; \
	STORE((R8)); \
	WIDEN(Z8, Y8, Z6, Z7, Y9); \
	GATE(Z6, Z0, Z1, Z2, Z3); \
	GATE(Z7, Z4, Z5, Z9, Z10); \
	NARROW8; \
	STORE((R8)(R11*1))

#define STOREHALF(AT) VMOVDQU16 Z8, K1, AT
#define STOREPAST(AT) VMOVNTDQ Z8, AT

#define GATES \
	CLAIM; \
	GATED(STOREHALF)

#define GATESPAST GATED(STOREPAST)

// DY is multiplied by the derivative of the gate at X, as package avx512 computes it;
// spoils T to Y. Z12 a, Z13 b, Z14 3b, Z28 to Z31 see SLOPECONST.
#define SLOPE(DY, X, T, U, V, W, Y) \
	VMULPS X, X, T; \
	VMINPS T, Z28, T; \
	VMULPS T, Z13, U; \
	VADDPS U, Z12, U; \
	VMULPS U, X, U; \
	VPORD  Z31, U, U; \
	EXP(U, V, W, Y); \
	VADDPS U, Z24, V; \
	VDIVPS V, Z24, V; \
	VMULPS U, V, U; \
	VCMPPS $1, Z30, X, K3; \
	VBLENDMPS U, V, K3, W; \
	VBLENDMPS V, U, K3, Y; \
	VMULPS T, Z14, V; \
	VADDPS V, Z12, V; \
	VMULPS V, Y, V; \
	VMULPS W, X, Y; \
	VMULPS V, Y, V; \
	VADDPS V, W, V; \
	VCMPPS $14, Z29, T, K3; \
	VMOVAPS W, K3, V; \
	VMULPS DY, V, DY

// The result, rounded to bfloat16, times the derivative at what lies R11 from its place.
#define SLOPES \
	CLAIM; \
	NARROW8; \
	WIDEN(Z8, Y8, Z6, Z7, Y9); \
	VMOVDQU16.Z (R8)(R11*1), K1, Z8; \
	PREFETCHT0 64(R8)(R11*1); \
	WIDEN(Z8, Y8, Z0, Z9, Y10); \
	SLOPE(Z6, Z0, Z1, Z2, Z3, Z4, Z5); \
	SLOPE(Z7, Z9, Z1, Z2, Z3, Z4, Z5); \
	NARROW8; \
	VMOVDQU16 Z8, K1, (R8)

#define NOCONST

#define NOSUMS \
	VPXORD Z4, Z4, Z4; \
	VPXORD Z5, Z5, Z5

#define GATECONST \
	EXPCONST; \
	VBROADCASTSS expConst<>+44(SB), Z27; \
	VPXORD Z0, Z0, Z0; \
	VBROADCASTSS rowJob_gateA(R15), Z12; \
	VBROADCASTSS rowJob_gateB(R15), Z13; \
	VSUBPS Z12, Z0, Z12; \
	VSUBPS Z13, Z0, Z13

DATA slopeConst<>+0(SB)/4, $0x5368d4a5 // 1e12: x² above that is that
DATA slopeConst<>+4(SB)/4, $0x49742400 // 1e6: above that the slope is the sigmoid
DATA slopeConst<>+8(SB)/4, $0x80000000
GLOBL slopeConst<>(SB), RODATA|NOPTR, $12

#define SLOPECONST \
	EXPCONST; \
	VBROADCASTSS rowJob_gateA(R15), Z12; \
	VBROADCASTSS rowJob_gateB(R15), Z13; \
	VBROADCASTSS rowJob_gate3B(R15), Z14; \
	VBROADCASTSS slopeConst<>+0(SB), Z28; \
	VBROADCASTSS slopeConst<>+4(SB), Z29; \
	VPXORD Z30, Z30, Z30; \
	VPBROADCASTD slopeConst<>+8(SB), Z31

// Rounded to bfloat16, as float32.
#define ROUNDED \
	CLAIM; \
	CLAIM64; \
	NARROW8; \
	WIDEN(Z8, Y8, Z6, Z7, Y9); \
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

// AWAKE adds zeros: where a loop has no arithmetic of 512 bits but that of tiles, some
// processors store tiles much more slowly (measured: steps of 32, a fifth).
#define AWAKE VADDPS Z15, Z15, Z15

// 32 rows of a times panels of b. TMM0-TMM3 hold 32 × 32 results, TMM4 and TMM5 a
// step of a, TMM6 and TMM7 one of b. While they are computed, the block before is
// stored, a row or two to a step. Panels of b pass by from the second-level cache, and
// so do the first steps of a long a, past the first-level one, in which the others
// stay.
//
// CONST is what STORE needs, which may be a result's own way to what lies R11 bytes
// from its place.
//
// R15 the job, SI and DI walk over a and b, DX the distance of a tile's rows, CX
// counts steps, R13 panels; BX and R14 what is prefetched. R8-R12 are of RESULT
// during the steps.
#define ROWS(CONST, STORE) \
	MOVQ j+0(FP), R15; \
	MOVQ rowJob_panels(R15), R13; \
	MOVQ rowJob_next0(R15), BX; \
	MOVQ rowJob_next1(R15), R14; \
	MOVQ $64, DX; \
	KXNORD K1, K1, K1; \
	KXNORD K2, K2, K2; \
	CONST; \
	VPXORD Z15, Z15, Z15; \
	LEAQ tileConfig<>(SB), AX; \
	LDTILECFG; \
	XORQ R12, R12; \
block: \
	MOVQ rowJob_start(R15), R8; \
	TESTQ R8, R8; \
	JZ   zero; \
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
	JMP  begun; \
zero: \
	TILEZERO0; \
	TILEZERO1; \
	TILEZERO2; \
	TILEZERO3; \
begun: \
	MOVQ rowJob_stored(R15), R12; \
	MOVQ rowJob_y(R15), R8; \
	MOVQ rowJob_ldy(R15), R9; \
	MOVQ rowJob_from(R15), R10; \
	MOVQ rowJob_other(R15), R11; \
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
	AWAKE; \
	NEXT(line0, asked0); \
	MOVQ rowJob_width(R15), AX; \
	RESULT(skip4, STORE); \
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
	AWAKE; \
	NEXT(line1, asked1); \
	MOVQ rowJob_width(R15), AX; \
	RESULT(skip0, STORE); \
	CMPQ R12, CX; \
	JLT  enough; \
	RESULT(skip1, STORE); \
enough: \
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
	MOVQ rowJob_other(R15), R11; \
end: \
	RESULT(skip3, STORE); \
	TESTQ R12, R12; \
	JNZ  end; \
	VMOVUPS Z4, rowJob_squares(R15); \
	VMOVUPS Z5, rowJob_squares+64(R15); \
	SFENCE; \
	VZEROUPPER; \
	RET

// func rowsToFloats(j *rowJob)
TEXT ·rowsToFloats(SB), NOSPLIT, $0-8
	ROWS(NOSUMS, FLOATS)

// func rowsToSums(j *rowJob)
TEXT ·rowsToSums(SB), NOSPLIT, $0-8
	ROWS(NOCONST, SUMS)

// func rowsPast(j *rowJob)
TEXT ·rowsPast(SB), NOSPLIT, $0-8
	ROWS(NOSUMS, PAST)

// func rowsToHalves(j *rowJob)
TEXT ·rowsToHalves(SB), NOSPLIT, $0-8
	ROWS(NOCONST, HALVES)

// func rowsRounded(j *rowJob)
TEXT ·rowsRounded(SB), NOSPLIT, $0-8
	ROWS(NOCONST, ROUNDED)

// func rowsHalvesPast(j *rowJob)
TEXT ·rowsHalvesPast(SB), NOSPLIT, $0-8
	ROWS(NOCONST, HALVESPAST)

// func rowsGated(j *rowJob)
TEXT ·rowsGated(SB), NOSPLIT, $0-8
	ROWS(GATECONST, GATES)

// func rowsGatedPast(j *rowJob)
TEXT ·rowsGatedPast(SB), NOSPLIT, $0-8
	ROWS(GATECONST, GATESPAST)

// func rowsSloped(j *rowJob)
TEXT ·rowsSloped(SB), NOSPLIT, $0-8
	ROWS(SLOPECONST, SLOPES)
