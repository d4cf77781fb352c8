//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "bf16_amd64.h"

// One row of x times two panels of W, which lie apart: two streams are read
// faster than one. Nothing is prefetched, the hardware keeps pace.
//
// Z8, Z9 are the sums of the first panel and Z10, Z11 of the second; Z0-Z3 a row
// (in pairs: two rows) of each, Z6 and Z7 in pairs the rows as they lie, Z4 and Z5
// how they mix; Z2 an element of x. SI and DI walk over the panels, AX over x; CX
// counts rows of W.

#define STREAMARGS \
	MOVQ c0+0(FP), R8; \
	MOVQ c1+8(FP), R9; \
	MOVQ x+16(FP), AX; \
	MOVQ w0+24(FP), SI; \
	MOVQ w1+32(FP), DI; \
	MOVQ k+40(FP), CX; \
	VMOVUPS (R8), Z8; \
	VMOVUPS 64(R8), Z9; \
	VMOVUPS (R9), Z10; \
	VMOVUPS 64(R9), Z11

#define STREAMSTORE \
	VMOVUPS Z8, (R8); \
	VMOVUPS Z9, 64(R8); \
	VMOVUPS Z10, (R9); \
	VMOVUPS Z11, 64(R9); \
	VZEROUPPER; \
	RET

#define ONEF32(K) \
	VBROADCASTSS (4*K)(AX), Z12; \
	VFMADD231PS (128*K)(SI), Z12, Z8; \
	VFMADD231PS (128*K+64)(SI), Z12, Z9; \
	VFMADD231PS (128*K)(DI), Z12, Z10; \
	VFMADD231PS (128*K+64)(DI), Z12, Z11

#define ONE16(LOAD, K) \
	VBROADCASTSS (4*K)(AX), Z12; \
	LOAD((64*K)(SI), Z0); \
	LOAD((64*K+32)(SI), Z1); \
	LOAD((64*K)(DI), Z2); \
	LOAD((64*K+32)(DI), Z3); \
	VFMADD231PS Z0, Z12, Z8; \
	VFMADD231PS Z1, Z12, Z9; \
	VFMADD231PS Z2, Z12, Z10; \
	VFMADD231PS Z3, Z12, Z11
#define ONEF16(K) ONE16(LOADF16, K)
#define ONEBF16(K) ONE16(LOADBF16, K)

#define STREAM(ONE, BYTES) \
	STREAMARGS; \
loop: \
	CMPQ CX, $4; \
	JLT  tail; \
	ONE(0); \
	ONE(1); \
	ONE(2); \
	ONE(3); \
	ADDQ $16, AX; \
	ADDQ $(4*BYTES), SI; \
	ADDQ $(4*BYTES), DI; \
	SUBQ $4, CX; \
	JMP  loop; \
tail: \
	TESTQ CX, CX; \
	JZ   done; \
	ONE(0); \
	ADDQ $4, AX; \
	ADDQ $BYTES, SI; \
	ADDQ $BYTES, DI; \
	DECQ CX; \
	JMP  tail; \
done: \
	STREAMSTORE

// func stream2F32(c0, c1, x *float32, w0, w1 *byte, k int)
TEXT ·stream2F32(SB), NOSPLIT, $0-48
	STREAM(ONEF32, 128)

// func stream2F16(c0, c1, x *float32, w0, w1 *byte, k int)
TEXT ·stream2F16(SB), NOSPLIT, $0-48
	STREAM(ONEF16, 64)

// func stream2BF16(c0, c1, x *float32, w0, w1 *byte, k int)
TEXT ·stream2BF16(SB), NOSPLIT, $0-48
	STREAM(ONEBF16, 64)

#define MIXSUM(P, L, H) \
	VMOVDQA64 Z4, Z0; \
	VPERMI2W Z7, Z6, Z0; \
	VMOVDQA64 Z5, Z1; \
	VPERMI2W Z7, Z6, Z1; \
	DPBF16(0, 12, L); \
	DPBF16(1, 12, H)

#define ONEPAIR(K) \
	VBROADCASTSS (4*K)(AX), Z12; \
	VMOVDQU64 (128*K)(SI), Z6; \
	VMOVDQU64 (128*K+64)(SI), Z7; \
	MIXSUM(0, 8, 9); \
	VMOVDQU64 (128*K)(DI), Z6; \
	VMOVDQU64 (128*K+64)(DI), Z7; \
	MIXSUM(0, 10, 11)

// func stream2Pairs(c0, c1 *float32, x *uint32, w0, w1 *byte, k int)
TEXT ·stream2Pairs(SB), NOSPLIT, $0-48
	STREAMARGS
	VMOVDQU64 ·mix+0(SB), Z4
	VMOVDQU64 ·mix+64(SB), Z5

loop:
	CMPQ CX, $4
	JLT  tail
	ONEPAIR(0)
	ONEPAIR(1)
	ADDQ $8, AX
	ADDQ $256, SI
	ADDQ $256, DI
	SUBQ $4, CX
	JMP  loop

tail:
	CMPQ CX, $1
	JLT  done
	JEQ  alone
	ONEPAIR(0)
	ADDQ $4, AX
	ADDQ $128, SI
	ADDQ $128, DI
	SUBQ $2, CX
	JMP  tail

alone:
	VBROADCASTSS (AX), Z12
	ZERO(Z7)
	VMOVDQU64 (SI), Z6
	MIXSUM(0, 8, 9)
	VMOVDQU64 (DI), Z6
	MIXSUM(0, 10, 11)

done:
	STREAMSTORE
