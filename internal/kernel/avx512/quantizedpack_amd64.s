//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// func packTileQ8(dst *byte, tile *float32, ld uintptr) bool
// func packTileQ4(dst *byte, tile *float32, ld uintptr) bool
//
// Lanes are outputs. False, with nothing stored: a number is not finite.
// DI dst, SI tile, DX ld in bytes, CX rows left. Z0 and Z1 elements, Z2 the largest
// magnitude (Z3 with its sign), Z4 what to multiply by, Z5-Z9 codes, Z31 clears
// the sign.
#define LARGEST(EXTREME) \
	MOVQ dst+0(FP), DI; \
	MOVQ tile+8(FP), SI; \
	MOVQ ld+16(FP), DX; \
	MOVL $0x7fffffff, AX; \
	VPBROADCASTD AX, Z31; \
	MOVL $0x7f800000, AX; \
	VPBROADCASTD AX, Z30; \
	ZERO(Z2); \
	ZERO(Z3); \
	MOVQ SI, BX; \
	MOVL $32, CX; \
largest: \
	VMOVUPS (BX), Z0; \
	VPANDD Z0, Z31, Z1; \
	EXTREME; \
	ADDQ DX, BX; \
	DECQ CX; \
	JNZ  largest; \
	VPCMPUD $5, Z30, Z2, K1; \
	KORTESTW K1, K1; \
	JNE  odd

#define EXTREME8 VPMAXUD Z1, Z2, Z2

#define EXTREME4 \
	VPCMPUD $6, Z2, Z1, K1; \
	VMOVDQA32 Z0, K1, Z3; \
	VPMAXUD Z1, Z2, Z2

// Z4 = 1/Z5, or 0 where that is infinite; Z5 is stored as the scales.
#define SCALES \
	VCVTPS2PH $0, Z5, (DI); \
	MOVL $0x3f800000, AX; \
	VPBROADCASTD AX, Z4; \
	VDIVPS Z5, Z4, Z4; \
	VPANDD Z4, Z31, Z5; \
	VPCMPUD $1, Z30, Z5, K1; \
	VMOVDQA32.Z Z4, K1, Z4

// To the nearest, halves away from zero: what is cut off counts if twice it is
// one or more.
#define CODE8(V) \
	VMULPS (SI), Z4, Z0; \
	ADDQ DX, SI; \
	VRNDSCALEPS $0x0b, Z0, Z1; \
	VSUBPS Z1, Z0, Z0; \
	VADDPS Z0, Z0, Z0; \
	VRNDSCALEPS $0x0b, Z0, Z0; \
	VADDPS Z1, Z0, Z0; \
	VCVTTPS2DQ Z0, V; \
	VPANDD V, Z29, V

TEXT ·packTileQ8(SB), NOSPLIT, $0-25
	LARGEST(EXTREME8)
	MOVL $0x42fe0000, AX
	VPBROADCASTD AX, Z5
	VDIVPS Z5, Z2, Z5
	SCALES
	MOVL $255, AX
	VPBROADCASTD AX, Z29
	MOVL $8, CX

group:
	CODE8(Z5)
	CODE8(Z6)
	CODE8(Z7)
	CODE8(Z8)
	VPSLLD $8, Z6, Z6
	VPSLLD $16, Z7, Z7
	VPSLLD $24, Z8, Z8
	VPORD Z5, Z6, Z6
	VPORD Z7, Z8, Z8
	VPORD Z6, Z8, Z8
	VMOVDQU32 Z8, 32(DI)
	ADDQ $64, DI
	DECQ CX
	JNZ  group
	MOVB $1, ret+24(FP)
	VZEROUPPER
	RET

odd:
	MOVB $0, ret+24(FP)
	VZEROUPPER
	RET

#define CODE4(P, V) \
	VMULPS (P), Z4, Z0; \
	ADDQ DX, P; \
	VADDPS Z28, Z0, Z0; \
	VCVTTPS2DQ Z0, V; \
	VPMINSD V, Z29, V

// Input 4g+i and, in the high half, 16+4g+i.
#define CODES4(V) \
	CODE4(SI, V); \
	CODE4(BX, Z9); \
	VPSLLD $4, Z9, Z9; \
	VPORD V, Z9, V

TEXT ·packTileQ4(SB), NOSPLIT, $0-25
	LARGEST(EXTREME4)
	MOVL $0xc1000000, AX // -8
	VPBROADCASTD AX, Z5
	VDIVPS Z5, Z3, Z5
	SCALES
	MOVL $15, AX
	VPBROADCASTD AX, Z29
	MOVL $0x41080000, AX // 8.5
	VPBROADCASTD AX, Z28
	MOVQ DX, BX
	SHLQ $4, BX
	ADDQ SI, BX
	MOVL $4, CX

group:
	CODES4(Z5)
	CODES4(Z6)
	CODES4(Z7)
	CODES4(Z8)
	VPSLLD $8, Z6, Z6
	VPSLLD $16, Z7, Z7
	VPSLLD $24, Z8, Z8
	VPORD Z5, Z6, Z6
	VPORD Z7, Z8, Z8
	VPORD Z6, Z8, Z8
	VMOVDQU32 Z8, 32(DI)
	ADDQ $64, DI
	DECQ CX
	JNZ  group
	MOVB $1, ret+24(FP)
	VZEROUPPER
	RET

odd:
	MOVB $0, ret+24(FP)
	VZEROUPPER
	RET
