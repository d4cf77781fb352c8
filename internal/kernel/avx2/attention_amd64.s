//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// Attention of one row: keys and values pass once. What lies AHEAD bytes further
// on is prefetched, a cache line at a time, and near the end the beginning of what
// is read next, at R11. R9 is the distance of what is prefetched.
#define AHEAD 8192

// From here on, which is BX, prefetch what is next, and never come back.
#define TURN \
	MOVQ R11, R9; \
	SUBQ BX, R9; \
	MOVQ $0x7fffffffffffffff, R10

// One step of 32 scores: BX a row of the panel, AX the element of the query.
#define SCORESF32(O) \
	VBROADCASTSS O(AX), Y2; \
	PREFETCHT1 (32*O)(BX)(R9*1); \
	PREFETCHT1 (32*O+64)(BX)(R9*1); \
	VFMADD231PS (32*O)(BX), Y2, Y8; \
	VFMADD231PS (32*O+32)(BX), Y2, Y9; \
	VFMADD231PS (32*O+64)(BX), Y2, Y10; \
	VFMADD231PS (32*O+96)(BX), Y2, Y11

#define SCORES16(O, LOAD) \
	VBROADCASTSS O(AX), Y2; \
	PREFETCHT1 (16*O)(BX)(R9*1); \
	LOAD((16*O)(BX), Y0, X0); \
	LOAD((16*O+16)(BX), Y1, X1); \
	LOAD((16*O+32)(BX), Y3, X3); \
	LOAD((16*O+48)(BX), Y4, X4); \
	VFMADD231PS Y0, Y2, Y8; \
	VFMADD231PS Y1, Y2, Y9; \
	VFMADD231PS Y3, Y2, Y10; \
	VFMADD231PS Y4, Y2, Y11

#define SCORESF16(O)  SCORES16(O, LOADF16)
#define SCORESBF16(O) SCORES16(O, LOADBF16)

// DI the scores, BX the keys, DX the panels left; CX the elements left of the
// query at AX. ROWBYTES is a panel's row, STEP one element. R10 is where the last
// panel begins that has all of AHEAD after it.
#define SCORES(ROWBYTES, STEP) \
	MOVQ s+0(FP), DI; \
	MOVQ k+16(FP), BX; \
	MOVQ panels+24(FP), DX; \
	MOVQ dim+32(FP), R10; \
	IMULQ $ROWBYTES, R10; \
	MOVQ DX, R12; \
	DECQ R12; \
	IMULQ R12, R10; \
	LEAQ -AHEAD(BX)(R10*1), R10; \
	MOVQ $AHEAD, R9; \
	MOVQ next+40(FP), R11; \
panel: \
	DECQ DX; \
	JLT  done; \
	CMPQ BX, R10; \
	JLE  within; \
	TURN; \
within: \
	MOVQ q+8(FP), AX; \
	MOVQ dim+32(FP), CX; \
	ZERO(Y8); \
	ZERO(Y9); \
	ZERO(Y10); \
	ZERO(Y11); \
loop4: \
	CMPQ CX, $4; \
	JLT  loop1; \
	STEP(0); \
	STEP(4); \
	STEP(8); \
	STEP(12); \
	ADDQ $16, AX; \
	ADDQ $(4*ROWBYTES), BX; \
	SUBQ $4, CX; \
	JMP  loop4; \
loop1: \
	TESTQ CX, CX; \
	JZ    store; \
	STEP(0); \
	ADDQ $4, AX; \
	ADDQ $ROWBYTES, BX; \
	DECQ CX; \
	JMP  loop1; \
store: \
	VMOVUPS Y8, (DI); \
	VMOVUPS Y9, 32(DI); \
	VMOVUPS Y10, 64(DI); \
	VMOVUPS Y11, 96(DI); \
	ADDQ $128, DI; \
	JMP  panel; \
done: \
	VZEROUPPER; \
	RET

#define VALUESARGS \
	MOVQ out+0(FP), DI; \
	MOVQ p+8(FP), AX; \
	MOVQ v+16(FP), BX; \
	MOVQ stride+24(FP), DX; \
	MOVQ n+32(FP), CX; \
	MOVQ DX, R10; \
	IMULQ CX, R10; \
	LEAQ -AHEAD(BX)(R10*1), R10; \
	MOVQ $AHEAD, R9; \
	MOVQ next+40(FP), R11

// Positions one after another: the probability at AX, the values at BX, which are
// stride DX from the next. BYTES is what eight values take.
#define VALUES64(LOAD, BYTES) \
	VALUESARGS; \
	VMOVUPS (DI), Y8; \
	VMOVUPS 32(DI), Y9; \
	VMOVUPS 64(DI), Y10; \
	VMOVUPS 96(DI), Y11; \
	VMOVUPS 128(DI), Y12; \
	VMOVUPS 160(DI), Y13; \
	VMOVUPS 192(DI), Y14; \
	VMOVUPS 224(DI), Y15; \
loop: \
	DECQ CX; \
	JLT  done; \
	CMPQ BX, R10; \
	JLT  within; \
	TURN; \
within: \
	VBROADCASTSS (AX), Y2; \
	PREFETCHT1 (BX)(R9*1); \
	PREFETCHT1 (2*BYTES)(BX)(R9*1); \
	PREFETCHT1 (4*BYTES)(BX)(R9*1); \
	PREFETCHT1 (6*BYTES)(BX)(R9*1); \
	LOAD(0(BX), Y0, X0); \
	LOAD(BYTES(BX), Y1, X1); \
	LOAD((2*BYTES)(BX), Y3, X3); \
	LOAD((3*BYTES)(BX), Y4, X4); \
	VFMADD231PS Y0, Y2, Y8; \
	VFMADD231PS Y1, Y2, Y9; \
	VFMADD231PS Y3, Y2, Y10; \
	VFMADD231PS Y4, Y2, Y11; \
	LOAD((4*BYTES)(BX), Y0, X0); \
	LOAD((5*BYTES)(BX), Y1, X1); \
	LOAD((6*BYTES)(BX), Y3, X3); \
	LOAD((7*BYTES)(BX), Y4, X4); \
	VFMADD231PS Y0, Y2, Y12; \
	VFMADD231PS Y1, Y2, Y13; \
	VFMADD231PS Y3, Y2, Y14; \
	VFMADD231PS Y4, Y2, Y15; \
	ADDQ $4, AX; \
	ADDQ DX, BX; \
	JMP  loop; \
done: \
	VMOVUPS Y8, (DI); \
	VMOVUPS Y9, 32(DI); \
	VMOVUPS Y10, 64(DI); \
	VMOVUPS Y11, 96(DI); \
	VMOVUPS Y12, 128(DI); \
	VMOVUPS Y13, 160(DI); \
	VMOVUPS Y14, 192(DI); \
	VMOVUPS Y15, 224(DI); \
	VZEROUPPER; \
	RET

#define VALUES16(LOAD, BYTES) \
	VALUESARGS; \
	VMOVUPS (DI), Y8; \
	VMOVUPS 32(DI), Y9; \
loop: \
	DECQ CX; \
	JLT  done; \
	CMPQ BX, R10; \
	JLT  within; \
	TURN; \
within: \
	VBROADCASTSS (AX), Y2; \
	PREFETCHT1 (BX)(R9*1); \
	LOAD(0(BX), Y0, X0); \
	LOAD(BYTES(BX), Y1, X1); \
	VFMADD231PS Y0, Y2, Y8; \
	VFMADD231PS Y1, Y2, Y9; \
	ADDQ $4, AX; \
	ADDQ DX, BX; \
	JMP  loop; \
done: \
	VMOVUPS Y8, (DI); \
	VMOVUPS Y9, 32(DI); \
	VZEROUPPER; \
	RET

#define WIDEN(LOAD) \
	MOVQ dst+0(FP), DI; \
	MOVQ src+8(FP), SI; \
	MOVQ n+16(FP), CX; \
loop: \
	SUBQ $8, CX; \
	JLT  done; \
	LOAD((SI), Y0, X0); \
	VMOVUPS Y0, (DI); \
	ADDQ $16, SI; \
	ADDQ $32, DI; \
	JMP  loop; \
done: \
	VZEROUPPER; \
	RET

// func scoresF32(s, q *float32, k *byte, panels, dim int, next *byte)
TEXT ·scoresF32(SB), NOSPLIT, $0-48
	SCORES(128, SCORESF32)

// func scoresF16(s, q *float32, k *byte, panels, dim int, next *byte)
TEXT ·scoresF16(SB), NOSPLIT, $0-48
	SCORES(64, SCORESF16)

// func scoresBF16(s, q *float32, k *byte, panels, dim int, next *byte)
TEXT ·scoresBF16(SB), NOSPLIT, $0-48
	SCORES(64, SCORESBF16)

// func values64F32(out, p *float32, v *byte, stride uintptr, n int, next *byte)
TEXT ·values64F32(SB), NOSPLIT, $0-48
	VALUES64(LOADF32, 32)

// func values64F16(out, p *float32, v *byte, stride uintptr, n int, next *byte)
TEXT ·values64F16(SB), NOSPLIT, $0-48
	VALUES64(LOADF16, 16)

// func values64BF16(out, p *float32, v *byte, stride uintptr, n int, next *byte)
TEXT ·values64BF16(SB), NOSPLIT, $0-48
	VALUES64(LOADBF16, 16)

// func values16F32(out, p *float32, v *byte, stride uintptr, n int, next *byte)
TEXT ·values16F32(SB), NOSPLIT, $0-48
	VALUES16(LOADF32, 32)

// func values16F16(out, p *float32, v *byte, stride uintptr, n int, next *byte)
TEXT ·values16F16(SB), NOSPLIT, $0-48
	VALUES16(LOADF16, 16)

// func values16BF16(out, p *float32, v *byte, stride uintptr, n int, next *byte)
TEXT ·values16BF16(SB), NOSPLIT, $0-48
	VALUES16(LOADBF16, 16)

// func narrowF16(dst *byte, src *float32, n int)
// n is a multiple of 8.
TEXT ·narrowF16(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	SUBQ $8, CX
	JLT  done
	VMOVUPS (SI), Y0
	VCVTPS2PH $0, Y0, (DI)
	ADDQ $32, SI
	ADDQ $16, DI
	JMP  loop

done:
	VZEROUPPER
	RET

// func widenF16(dst *float32, src *byte, n int)
// n is a multiple of 8, here and below.
TEXT ·widenF16(SB), NOSPLIT, $0-24
	WIDEN(LOADF16)

// func widenBF16(dst *float32, src *byte, n int)
TEXT ·widenBF16(SB), NOSPLIT, $0-24
	WIDEN(LOADBF16)
