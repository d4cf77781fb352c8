//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "bf16_amd64.h"

// One row of x times two panels of W, which lie apart: two streams are read
// faster than one. Nothing is prefetched, since the hardware keeps pace (AMD); where it
// does not, there are four streams.
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

// Blocks, as in quantized_amd64.s: Z0 and Z1 the products of codes, Z12 and Z13 the
// sums, Z24 and Z25 scales, Z26-Z29 codes, Z31 what makes codes unsigned or masks
// them. Four blocks ahead is prefetched after all.
#define STREAMBLOCKS(CODES, BYTES, AHEADS) \
	MOVQ y0+0(FP), R8; \
	MOVQ y1+8(FP), R9; \
	MOVQ x+16(FP), AX; \
	MOVQ w0+24(FP), SI; \
	MOVQ w1+32(FP), DI; \
	MOVQ blocks+40(FP), CX; \
	ZERO(Z12); \
	ZERO(Z13); \
loop: \
	VPBROADCASTD 4(AX), Z0; \
	VMOVDQA64 Z0, Z1; \
	AHEADS; \
	CODES; \
	VCVTPH2PS (SI), Z24; \
	VCVTPH2PS (DI), Z25; \
	VMULPS.BCST (AX), Z24, Z24; \
	VMULPS.BCST (AX), Z25, Z25; \
	VCVTDQ2PS Z0, Z0; \
	VCVTDQ2PS Z1, Z1; \
	VFMADD231PS Z24, Z0, Z12; \
	VFMADD231PS Z25, Z1, Z13; \
	ADDQ $40, AX; \
	ADDQ $BYTES, SI; \
	ADDQ $BYTES, DI; \
	DECQ CX; \
	JNZ  loop; \
	VMOVUPS Z12, (R8); \
	VMOVUPS Z13, (R9); \
	VZEROUPPER; \
	RET

// Measured on a Zen 5, two of whose third-level caches have nearly all of Q4_0 GPT-2: that is
// best asked for past the second level, from 6 KB away, since what leaves that one takes the
// place of other weights in the third (into the second: one thread, and two on two complexes,
// a tenth slower). Of Q8_0 they have too little for it to matter.
#define AHEAD1(PREFETCH, O) \
	PREFETCH (O)(SI); \
	PREFETCH (O)(DI)
#define AHEAD5(P, O) AHEAD1(P, O); AHEAD1(P, O+64); AHEAD1(P, O+128); AHEAD1(P, O+192); AHEAD1(P, O+256)
#define AHEAD9(P, O) AHEAD5(P, O); AHEAD1(P, O+320); AHEAD1(P, O+384); AHEAD1(P, O+448); AHEAD1(P, O+512)

#define Q8CODES(G) \
	VPXORD (32+64*G)(SI), Z31, Z26; \
	VPXORD (32+64*G)(DI), Z31, Z27; \
	VPDPBUSD.BCST (8+4*G)(AX), Z26, Z0; \
	VPDPBUSD.BCST (8+4*G)(AX), Z27, Z1

#define Q4CODES(G) \
	VMOVDQU32 (32+64*G)(SI), Z27; \
	VMOVDQU32 (32+64*G)(DI), Z29; \
	VPANDD Z27, Z31, Z26; \
	VPANDD Z29, Z31, Z28; \
	VPSRLW $4, Z27, Z27; \
	VPSRLW $4, Z29, Z29; \
	VPANDD Z27, Z31, Z27; \
	VPANDD Z29, Z31, Z29; \
	VPDPBUSD.BCST (8+4*G)(AX), Z26, Z0; \
	VPDPBUSD.BCST (8+4*G)(AX), Z28, Z1; \
	VPDPBUSD.BCST (24+4*G)(AX), Z27, Z0; \
	VPDPBUSD.BCST (24+4*G)(AX), Z29, Z1

#define Q8ALL Q8CODES(0); Q8CODES(1); Q8CODES(2); Q8CODES(3); Q8CODES(4); Q8CODES(5); Q8CODES(6); Q8CODES(7)
#define Q4ALL Q4CODES(0); Q4CODES(1); Q4CODES(2); Q4CODES(3)

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

#define ONEPANEL(K) \
	VBROADCASTSS (4*K)(AX), Z12; \
	DPBF16AT(INSI, (2*K), 12, 8); \
	DPBF16AT(INSI, (2*K+1), 12, 9); \
	DPBF16AT(INDI, (2*K), 12, 10); \
	DPBF16AT(INDI, (2*K+1), 12, 11)

// func stream2Panels(c0, c1 *float32, x *uint32, w0, w1 *byte, k int)
TEXT ·stream2Panels(SB), NOSPLIT, $0-48
	STREAM(ONEPANEL, 128)

// func stream2Q8(y0, y1 *float32, x *generic.Block, w0, w1 *byte, blocks int)
TEXT ·stream2Q8(SB), NOSPLIT, $0-48
	MOVL $0x80808080, R10
	VPBROADCASTD R10, Z31
	STREAMBLOCKS(Q8ALL, 544, AHEAD9(PREFETCHT0, 4096))

// func stream2Q4(y0, y1 *float32, x *generic.Block, w0, w1 *byte, blocks int)
TEXT ·stream2Q4(SB), NOSPLIT, $0-48
	MOVL $0x0f0f0f0f, R10
	VPBROADCASTD R10, Z31
	STREAMBLOCKS(Q4ALL, 288, AHEAD5(PREFETCHNTA, 6144))
