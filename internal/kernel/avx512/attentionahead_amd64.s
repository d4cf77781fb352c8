//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// Attention of one row as in attention_amd64.s, with the same bits, for cores that read
// faster what is asked for in two streams: the keys and the values of what comes next. As
// many lines are asked for as are read, two of each with four lines; R10 times at R9 and
// at R11.
#define ASK \
	PREFETCHT1 (R9); \
	PREFETCHT1 64(R9); \
	PREFETCHT1 (R11); \
	PREFETCHT1 64(R11); \
	ADDQ $128, R9; \
	ADDQ $128, R11
#define ASKTWICE ASK; ASK

// One element: BX a row of the panel, AX the element of the query.
#define ONEF32(O) \
	VBROADCASTSS O(AX), Z2; \
	VFMADD231PS (32*O)(BX), Z2, Z8; \
	VFMADD231PS (32*O+64)(BX), Z2, Z9
#define ONE16(O, LOAD) \
	VBROADCASTSS O(AX), Z2; \
	LOAD((16*O)(BX), Z0); \
	LOAD((16*O+32)(BX), Z1); \
	VFMADD231PS Z0, Z2, Z8; \
	VFMADD231PS Z1, Z2, Z9
#define ONEF16(O)  ONE16(O, LOADF16)
#define ONEBF16(O) ONE16(O, LOADBF16)

// The same of two panels, whose sums do not wait for each other; the second is at SI.
#define TWOF32(O) \
	VBROADCASTSS O(AX), Z2; \
	VFMADD231PS (32*O)(BX), Z2, Z8; \
	VFMADD231PS (32*O+64)(BX), Z2, Z9; \
	VFMADD231PS (32*O)(SI), Z2, Z10; \
	VFMADD231PS (32*O+64)(SI), Z2, Z11
#define TWO16(O, LOAD) \
	VBROADCASTSS O(AX), Z2; \
	LOAD((16*O)(BX), Z0); \
	LOAD((16*O+32)(BX), Z1); \
	LOAD((16*O)(SI), Z3); \
	LOAD((16*O+32)(SI), Z4); \
	VFMADD231PS Z0, Z2, Z8; \
	VFMADD231PS Z1, Z2, Z9; \
	VFMADD231PS Z3, Z2, Z10; \
	VFMADD231PS Z4, Z2, Z11
#define TWOF16(O)  TWO16(O, LOADF16)
#define TWOBF16(O) TWO16(O, LOADBF16)

// DI the scores, BX the keys, DX the panels left; CX the elements left of the query at
// AX, a multiple of four. R12 is a panel's size.
#define SCORES(ROWBYTES, ONE, TWO, ASK) \
	MOVQ s+0(FP), DI; \
	MOVQ k+16(FP), BX; \
	MOVQ panels+24(FP), DX; \
	MOVQ dim+32(FP), R12; \
	IMULQ $ROWBYTES, R12; \
	MOVQ nextk+40(FP), R9; \
	MOVQ nextv+48(FP), R11; \
	MOVQ asks+56(FP), R10; \
pair: \
	CMPQ DX, $2; \
	JLT  single; \
	MOVQ q+8(FP), AX; \
	MOVQ dim+32(FP), CX; \
	LEAQ (BX)(R12*1), SI; \
	ZERO(Z8); \
	ZERO(Z9); \
	ZERO(Z10); \
	ZERO(Z11); \
both: \
	SUBQ $2, R10; \
	JLT  two; \
	ASK; \
	TWO(0); \
	TWO(4); \
	ASK; \
	TWO(8); \
	TWO(12); \
	JMP  nextboth; \
two: \
	TWO(0); \
	TWO(4); \
	TWO(8); \
	TWO(12); \
nextboth: \
	ADDQ $16, AX; \
	ADDQ $(4*ROWBYTES), BX; \
	ADDQ $(4*ROWBYTES), SI; \
	SUBQ $4, CX; \
	JNZ  both; \
	STORE64; \
	ADDQ $256, DI; \
	MOVQ SI, BX; \
	SUBQ $2, DX; \
	JMP  pair; \
single: \
	TESTQ DX, DX; \
	JZ   done; \
	MOVQ q+8(FP), AX; \
	MOVQ dim+32(FP), CX; \
	ZERO(Z8); \
	ZERO(Z9); \
loop4: \
	SUBQ $1, R10; \
	JLT  one; \
	ASK; \
one: \
	ONE(0); \
	ONE(4); \
	ONE(8); \
	ONE(12); \
	ADDQ $16, AX; \
	ADDQ $(4*ROWBYTES), BX; \
	SUBQ $4, CX; \
	JNZ  loop4; \
	VMOVUPS Z8, (DI); \
	VMOVUPS Z9, 64(DI); \
done: \
	VZEROUPPER; \
	RET

// A position: its probability O(AX), its 64 values at R.
#define ADDF32(O, R) \
	VBROADCASTSS O(AX), Z2; \
	VFMADD231PS (R), Z2, Z8; \
	VFMADD231PS 64(R), Z2, Z9; \
	VFMADD231PS 128(R), Z2, Z10; \
	VFMADD231PS 192(R), Z2, Z11
#define ADD16(O, R, LOAD) \
	VBROADCASTSS O(AX), Z2; \
	LOAD(0(R), Z0); \
	LOAD(32(R), Z1); \
	LOAD(64(R), Z3); \
	LOAD(96(R), Z4); \
	VFMADD231PS Z0, Z2, Z8; \
	VFMADD231PS Z1, Z2, Z9; \
	VFMADD231PS Z3, Z2, Z10; \
	VFMADD231PS Z4, Z2, Z11
#define ADDF16(O, R)  ADD16(O, R, LOADF16)
#define ADDBF16(O, R) ADD16(O, R, LOADBF16)

// Positions are stride DX apart; CX counts them.
#define VALUES64(ADD, ASK) \
	MOVQ out+0(FP), DI; \
	MOVQ p+8(FP), AX; \
	MOVQ v+16(FP), BX; \
	MOVQ stride+24(FP), DX; \
	MOVQ nextk+40(FP), R9; \
	MOVQ nextv+48(FP), R11; \
	MOVQ asks+56(FP), R10; \
	MOVQ n+32(FP), CX; \
	LOAD64; \
loop2: \
	SUBQ $2, CX; \
	JLT  last; \
	LEAQ (BX)(DX*1), SI; \
	SUBQ $1, R10; \
	JLT  add; \
	ASK; \
add: \
	ADD(0, BX); \
	ADD(4, SI); \
	ADDQ $8, AX; \
	LEAQ (SI)(DX*1), BX; \
	JMP  loop2; \
last: \
	CMPQ CX, $-1; \
	JNE  done; \
	ADD(0, BX); \
done: \
	STORE64; \
	VZEROUPPER; \
	RET

// func scoresAheadF32(s, q *float32, k *byte, panels, dim int, nextk, nextv *byte, asks int)
TEXT ·scoresAheadF32(SB), NOSPLIT, $0-64
	SCORES(128, ONEF32, TWOF32, ASKTWICE)

// func scoresAheadF16(s, q *float32, k *byte, panels, dim int, nextk, nextv *byte, asks int)
TEXT ·scoresAheadF16(SB), NOSPLIT, $0-64
	SCORES(64, ONEF16, TWOF16, ASK)

// func scoresAheadBF16(s, q *float32, k *byte, panels, dim int, nextk, nextv *byte, asks int)
TEXT ·scoresAheadBF16(SB), NOSPLIT, $0-64
	SCORES(64, ONEBF16, TWOBF16, ASK)

// func valuesAheadF32(out, p *float32, v *byte, stride uintptr, n int, nextk, nextv *byte, asks int)
TEXT ·valuesAheadF32(SB), NOSPLIT, $0-64
	VALUES64(ADDF32, ASKTWICE)

// func valuesAheadF16(out, p *float32, v *byte, stride uintptr, n int, nextk, nextv *byte, asks int)
TEXT ·valuesAheadF16(SB), NOSPLIT, $0-64
	VALUES64(ADDF16, ASK)

// func valuesAheadBF16(out, p *float32, v *byte, stride uintptr, n int, nextk, nextv *byte, asks int)
TEXT ·valuesAheadBF16(SB), NOSPLIT, $0-64
	VALUES64(ADDBF16, ASK)
