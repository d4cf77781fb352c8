//go:build !noasm

#include "textflag.h"
#include "macros_arm64.h"

// Attention of one row: keys and values pass once. What lies AHEAD bytes further
// on is prefetched, a cache line at a time.
#define AHEAD 4096

#define LINE128 \
	PRFM AHEAD(R3), PLDL1STRM; \
	PRFM (AHEAD+64)(R3), PLDL1STRM
#define LINE64 PRFM AHEAD(R3), PLDL1STRM

// Scores of 32 positions in V8-V15, one step for each element of the query, four
// of which are in V0. R0 the scores, R3 the keys, R4 the panels left; R2 the
// elements left of the query at R1. LINES prefetches a panel's row.
#define SCORES(LINES, P16) \
	MOVD s+0(FP), R0; \
	MOVD k+16(FP), R3; \
	MOVD panels+24(FP), R4; \
panel: \
	CBZ R4, done; \
	SUB $1, R4; \
	MOVD q+8(FP), R1; \
	MOVD dim+32(FP), R2; \
	ZERO(8); \
	ZERO(9); \
	ZERO(10); \
	ZERO(11); \
	ZERO(12); \
	ZERO(13); \
	ZERO(14); \
	ZERO(15); \
loop4: \
	CMP $4, R2; \
	BLT loop1; \
	LD1P(1, 0); \
	LINES; \
	ROW32(P16, 3, FMLA0, 0); \
	LINES; \
	ROW32B(P16, 3, FMLA1, 0); \
	LINES; \
	ROW32(P16, 3, FMLA2, 0); \
	LINES; \
	ROW32B(P16, 3, FMLA3, 0); \
	SUB $4, R2; \
	B loop4; \
loop1: \
	CBZ R2, store; \
	LD1RP(1, 0); \
	ROW32(P16, 3, FMLA0, 0); \
	SUB $1, R2; \
	B loop1; \
store: \
	ST4P(0, 8); \
	ST4P(0, 12); \
	B panel; \
done: \
	RET

#define VALUESARGS \
	MOVD out+0(FP), R0; \
	MOVD p+8(FP), R1; \
	MOVD v+16(FP), R5; \
	MOVD stride+24(FP), R4; \
	MOVD n+32(FP), R2

// Sixteen values at R3 times the element of V0.
#define COLUMNS16(P16, F, W0, W1, W2, W3, A, B, C, D) \
	P16(3, W0, W1, W2, W3); \
	F(0, W0, A); \
	F(0, W1, B); \
	F(0, W2, C); \
	F(0, W3, D)

// One position: the values at R5, which are stride R4 from the next.
#define POSITION64(LINES, P16, F) \
	MOVD R5, R3; \
	ADD R4, R5; \
	LINES; \
	COLUMNS16(P16, F, 24, 25, 26, 27, 8, 9, 10, 11); \
	COLUMNS16(P16, F, 28, 29, 30, 31, 12, 13, 14, 15); \
	LINES; \
	COLUMNS16(P16, F, 24, 25, 26, 27, 16, 17, 18, 19); \
	COLUMNS16(P16, F, 28, 29, 30, 31, 20, 21, 22, 23)

// Four positions' probabilities at R1; V8-V23 the sums of 64 columns.
#define VALUES64(LINES, P16) \
	VALUESARGS; \
	MOVD R0, R6; \
	LD4P(6, 8); \
	LD4P(6, 12); \
	LD4P(6, 16); \
	LD4P(6, 20); \
loop4: \
	CMP $4, R2; \
	BLT loop1; \
	LD1P(1, 0); \
	POSITION64(LINES, P16, FMLA0); \
	POSITION64(LINES, P16, FMLA1); \
	POSITION64(LINES, P16, FMLA2); \
	POSITION64(LINES, P16, FMLA3); \
	SUB $4, R2; \
	B loop4; \
loop1: \
	CBZ R2, done; \
	LD1RP(1, 0); \
	POSITION64(LINES, P16, FMLA0); \
	SUB $1, R2; \
	B loop1; \
done: \
	ST4P(0, 8); \
	ST4P(0, 12); \
	ST4P(0, 16); \
	ST4P(0, 20); \
	RET

#define VALUES16(P16) \
	VALUESARGS; \
	LD4(0, 8); \
loop: \
	CBZ R2, done; \
	LD1RP(1, 0); \
	MOVD R5, R3; \
	ADD R4, R5; \
	PRFM AHEAD(R3), PLDL1STRM; \
	COLUMNS16(P16, FMLA, 24, 25, 26, 27, 8, 9, 10, 11); \
	SUB $1, R2; \
	B loop; \
done: \
	ST4(0, 8); \
	RET

#define WIDEN(P8) \
	MOVD dst+0(FP), R0; \
	MOVD src+8(FP), R3; \
	MOVD n+16(FP), R2; \
loop: \
	CMP $8, R2; \
	BLT done; \
	P8(3, 0, 1); \
	ST2P(0, 0); \
	SUB $8, R2; \
	B loop; \
done: \
	RET

// func narrowF16(dst *byte, src *float32, n int)
// n is a multiple of 8.
TEXT ·narrowF16(SB), NOSPLIT, $0-24
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD n+16(FP), R2

loop:
	CMP $8, R2
	BLT done
	LD2P(1, 0)
	FCVTN(0, 2)
	FCVTN2(1, 2)
	ST1P(0, 2)
	SUB $8, R2
	B loop

done:
	RET

// func scoresF32(s, q *float32, k *byte, panels, dim int)
TEXT ·scoresF32(SB), NOSPLIT, $0-40
	SCORES(LINE128, F32P16)

// func scoresF16(s, q *float32, k *byte, panels, dim int)
TEXT ·scoresF16(SB), NOSPLIT, $0-40
	SCORES(LINE64, F16P16)

// func scoresBF16(s, q *float32, k *byte, panels, dim int)
TEXT ·scoresBF16(SB), NOSPLIT, $0-40
	SCORES(LINE64, BF16P16)

// func values64F32(out, p *float32, v *byte, stride uintptr, n int)
TEXT ·values64F32(SB), NOSPLIT, $0-40
	VALUES64(LINE128, F32P16)

// func values64F16(out, p *float32, v *byte, stride uintptr, n int)
TEXT ·values64F16(SB), NOSPLIT, $0-40
	VALUES64(LINE64, F16P16)

// func values64BF16(out, p *float32, v *byte, stride uintptr, n int)
TEXT ·values64BF16(SB), NOSPLIT, $0-40
	VALUES64(LINE64, BF16P16)

// func values16F32(out, p *float32, v *byte, stride uintptr, n int)
TEXT ·values16F32(SB), NOSPLIT, $0-40
	VALUES16(F32P16)

// func values16F16(out, p *float32, v *byte, stride uintptr, n int)
TEXT ·values16F16(SB), NOSPLIT, $0-40
	VALUES16(F16P16)

// func values16BF16(out, p *float32, v *byte, stride uintptr, n int)
TEXT ·values16BF16(SB), NOSPLIT, $0-40
	VALUES16(BF16P16)

// func widenF16(dst *float32, src *byte, n int)
TEXT ·widenF16(SB), NOSPLIT, $0-24
	WIDEN(F16P8)

// func widenBF16(dst *float32, src *byte, n int)
TEXT ·widenBF16(SB), NOSPLIT, $0-24
	WIDEN(BF16P8)
