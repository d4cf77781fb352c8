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

// H = a half and the curve at |X|, or less it below zero; spoils T, U and P. The
// constants are those of CURVECONST.
#define CURVE(X, H, T, U, P) \
	VPANDD Z30, X, T; \
	VMINPS T, Z27, T; \
	VMOVAPS Z28, U; \
	VFMADD231PS Z26, T, U; \
	VSUBPS Z28, U, P; \
	VFMSUB213PS P, Z26, T; \
	VMOVDQA64 U, H; \
	VPERMI2PS Z17, Z16, H; \
	TERM(Z18, Z19, H, T, U, P); \
	TERM(Z20, Z21, H, T, U, P); \
	TERM(Z22, Z23, H, T, U, P); \
	VPERMI2PS Z25, Z24, U; \
	VFMADD213PS U, T, H; \
	VPTERNLOGD $0x78, Z29, X, H; \
	VADDPS Z31, H, H

// The next term, of piece U.
#define TERM(LO, HI, H, T, U, P) \
	VMOVDQA64 U, P; \
	VPERMI2PS HI, LO, P; \
	VFMADD213PS P, T, H

// The result as bfloat16, and what the activation makes of that, at R11 from there.
#define GATED(STORE) \
	NARROW8; \
	STORE((R8)); \
	WIDEN(Z8, Y8, Z6, Z7, Y9); \
	CURVE(Z6, Z0, Z1, Z2, Z3); \
	CURVE(Z7, Z4, Z5, Z9, Z10); \
	VMULPS Z0, Z6, Z6; \
	VMULPS Z4, Z7, Z7; \
	NARROW8; \
	STORE((R8)(R11*1))

#define STOREHALF(AT) VMOVDQU16 Z8, K1, AT
#define STOREPAST(AT) VMOVNTDQ Z8, AT

#define GATES \
	CLAIM; \
	GATED(STOREHALF)

#define GATESPAST GATED(STOREPAST)

// The result, rounded to bfloat16, times the derivative at what lies R11 from its place.
#define SLOPES \
	CLAIM; \
	NARROW8; \
	WIDEN(Z8, Y8, Z6, Z7, Y9); \
	VMOVDQU16.Z (R8)(R11*1), K1, Z8; \
	PREFETCHT0 64(R8)(R11*1); \
	WIDEN(Z8, Y8, Z0, Z9, Y10); \
	CURVE(Z0, Z1, Z2, Z3, Z4); \
	CURVE(Z9, Z5, Z10, Z12, Z13); \
	VMULPS Z1, Z6, Z6; \
	VMULPS Z5, Z7, Z7; \
	NARROW8; \
	VMOVDQU16 Z8, K1, (R8)

// X is rounded to bfloat16, ties away from zero, of which products of float32 have few. NaN
// stays.
#define UPHALF(X) \
	VPADDD Z11, X, X; \
	VPANDD Z14, X, X

// The result, rounded to bfloat16, times σ, the curve, at what lies R11 from its place; and
// what goes back through σ's argument, linear and cubic: each rounded, as is the sum of the
// last two.
#define PARTS \
	CLAIM; \
	NARROW8; \
	WIDEN(Z8, Y8, Z6, Z7, Y9); \
	VPMOVZXWD.Z (R8)(R11*1), K1, Z0; \
	VPMOVZXWD.Z 32(R8)(R11*1), K2, Z9; \
	PREFETCHT0 64(R8)(R11*1); \
	VPSLLD $16, Z0, Z0; \
	VPSLLD $16, Z9, Z9; \
	CURVE(Z0, Z1, Z2, Z3, Z4); \
	CURVE(Z9, Z5, Z10, Z12, Z13); \
	VMULPS Z1, Z6, Z4; \
	VMULPS Z5, Z7, Z10; \
	VFNMADD231PS Z1, Z1, Z1; \
	VFNMADD231PS Z5, Z5, Z5; \
	VMULPS Z0, Z6, Z6; \
	VMULPS Z9, Z7, Z7; \
	VMULPS.BCST rowJob_linear(R15), Z1, Z1; \
	VMULPS.BCST rowJob_linear(R15), Z5, Z5; \
	VMULPS Z0, Z0, Z2; \
	VMULPS Z9, Z9, Z3; \
	VMULPS Z1, Z6, Z6; \
	VMULPS Z5, Z7, Z7; \
	VMULPS.BCST rowJob_cubic(R15), Z2, Z2; \
	VMULPS.BCST rowJob_cubic(R15), Z3, Z3; \
	VMULPS Z6, Z2, Z2; \
	VMULPS Z7, Z3, Z3; \
	UPHALF(Z6); \
	UPHALF(Z7); \
	UPHALF(Z2); \
	UPHALF(Z3); \
	UPHALF(Z4); \
	UPHALF(Z10); \
	VADDPS Z2, Z6, Z6; \
	VADDPS Z3, Z7, Z7; \
	NARROW8; \
	WIDEN(Z8, Y8, Z6, Z7, Y9); \
	VADDPS Z4, Z6, Z6; \
	VADDPS Z10, Z7, Z7; \
	NARROW8; \
	VMOVDQU16 Z8, K1, (R8)

#define PARTSCONST \
	CURVECONST; \
	VPBROADCASTD curveConst<>+16(SB), Z11; \
	VPBROADCASTD curveConst<>+20(SB), Z14

#define NOCONST

#define NOSUMS \
	VPXORD Z4, Z4, Z4; \
	VPXORD Z5, Z5, Z5

// The curve's scale and most, and its terms by 16 pieces; what rounds to a whole number,
// which is then in the lowest bits; the sign, the rest, a half.
#define CURVECONST \
	MOVQ rowJob_curve(R15), AX; \
	VBROADCASTSS curve_scale(AX), Z26; \
	VBROADCASTSS curve_most(AX), Z27; \
	VMOVUPS curve_terms+0(AX), Z16; \
	VMOVUPS curve_terms+64(AX), Z17; \
	VMOVUPS curve_terms+128(AX), Z18; \
	VMOVUPS curve_terms+192(AX), Z19; \
	VMOVUPS curve_terms+256(AX), Z20; \
	VMOVUPS curve_terms+320(AX), Z21; \
	VMOVUPS curve_terms+384(AX), Z22; \
	VMOVUPS curve_terms+448(AX), Z23; \
	VMOVUPS curve_terms+512(AX), Z24; \
	VMOVUPS curve_terms+576(AX), Z25; \
	VBROADCASTSS curveConst<>+0(SB), Z28; \
	VPBROADCASTD curveConst<>+4(SB), Z29; \
	VPBROADCASTD curveConst<>+8(SB), Z30; \
	VBROADCASTSS curveConst<>+12(SB), Z31

DATA curveConst<>+0(SB)/4, $0x4b400000 // 1.5·2²³
DATA curveConst<>+4(SB)/4, $0x80000000
DATA curveConst<>+8(SB)/4, $0x7fffffff
DATA curveConst<>+12(SB)/4, $0x3f000000
DATA curveConst<>+16(SB)/4, $0x00008000
DATA curveConst<>+20(SB)/4, $0xffff0000
GLOBL curveConst<>(SB), RODATA|NOPTR, $24

// Rounded to bfloat16, as float32; past the caches; added.
#define ROUND \
	NARROW8; \
	WIDEN(Z8, Y8, Z6, Z7, Y9)

#define ROUNDED \
	ROUND; \
	FLOATS

#define ROUNDEDPAST \
	ROUND; \
	PAST

#define ROUNDEDSUMS \
	ROUND; \
	SUMS

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
// stored, a row or two to a step: two to every other one, if that will do. Panels of b pass by from the second-level cache, and
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
	MOVQ CX, AX; \
	SHRQ $1, AX; \
	JCC  even; \
	ADDQ CX, AX; \
	CMPQ R12, AX; \
	JLT  enough; \
even: \
	CMPQ R12, CX; \
	JLT  enough; \
	MOVQ rowJob_width(R15), AX; \
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
	ROWS(NOSUMS, ROUNDED)

// func rowsRoundedPast(j *rowJob)
TEXT ·rowsRoundedPast(SB), NOSPLIT, $0-8
	ROWS(NOSUMS, ROUNDEDPAST)

// func rowsRoundedSums(j *rowJob)
TEXT ·rowsRoundedSums(SB), NOSPLIT, $0-8
	ROWS(NOCONST, ROUNDEDSUMS)

// func rowsHalvesPast(j *rowJob)
TEXT ·rowsHalvesPast(SB), NOSPLIT, $0-8
	ROWS(NOCONST, HALVESPAST)

// func rowsGated(j *rowJob)
TEXT ·rowsGated(SB), NOSPLIT, $0-8
	ROWS(CURVECONST, GATES)

// func rowsGatedPast(j *rowJob)
TEXT ·rowsGatedPast(SB), NOSPLIT, $0-8
	ROWS(CURVECONST, GATESPAST)

// func rowsSloped(j *rowJob)
TEXT ·rowsSloped(SB), NOSPLIT, $0-8
	ROWS(CURVECONST, SLOPES)

// func rowsParted(j *rowJob)
TEXT ·rowsParted(SB), NOSPLIT, $0-8
	ROWS(PARTSCONST, PARTS)
