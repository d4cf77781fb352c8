//go:build !noasm

#include "textflag.h"

// func packHalfQ8(scales, codes *byte, tile *float32, ld uintptr) bool
// func packHalfQ4(scales, codes *byte, tile *float32, ld uintptr) bool
//
// Lanes are eight outputs, half of a panel. False, with nothing stored: a number
// is not finite. R8 scales, DI codes, SI tile, DX ld in bytes, CX rows left. Y0 and
// Y1 elements, Y2 the largest magnitude (Y3 with its sign), Y4 what to multiply by,
// Y5-Y9 codes, Y14 infinity, Y15 clears the sign.
#define SPREAD(BITS, Y, X) \
	MOVL $BITS, AX; \
	VMOVD AX, X; \
	VPBROADCASTD X, Y

#define LARGEST(EXTREME) \
	MOVQ scales+0(FP), R8; \
	MOVQ codes+8(FP), DI; \
	MOVQ tile+16(FP), SI; \
	MOVQ ld+24(FP), DX; \
	SPREAD(0x7fffffff, Y15, X15); \
	SPREAD(0x7f800000, Y14, X14); \
	VPXOR Y2, Y2, Y2; \
	VPXOR Y3, Y3, Y3; \
	MOVQ SI, BX; \
	MOVL $32, CX; \
largest: \
	VMOVUPS (BX), Y0; \
	VPAND Y0, Y15, Y1; \
	EXTREME; \
	VPMAXUD Y1, Y2, Y2; \
	ADDQ DX, BX; \
	DECQ CX; \
	JNZ  largest; \
	VPCMPGTD Y2, Y14, Y1; \
	VMOVMSKPS Y1, AX; \
	CMPL AX, $255; \
	JNE  odd

#define EXTREME8

#define EXTREME4 \
	VPCMPGTD Y2, Y1, Y5; \
	VBLENDVPS Y5, Y0, Y3, Y3

// Y4 = 1/Y5, or 0 where that is infinite; Y5 is stored as the scales.
#define SCALES \
	VCVTPS2PH $0, Y5, (R8); \
	SPREAD(0x3f800000, Y4, X4); \
	VDIVPS Y5, Y4, Y4; \
	VPAND Y4, Y15, Y5; \
	VPCMPEQD Y5, Y14, Y5; \
	VPANDN Y4, Y5, Y4

// Four codes of each lane.
#define STORE4 \
	VPSLLD $8, Y6, Y6; \
	VPSLLD $16, Y7, Y7; \
	VPSLLD $24, Y8, Y8; \
	VPOR Y5, Y6, Y6; \
	VPOR Y7, Y8, Y8; \
	VPOR Y6, Y8, Y8; \
	VMOVDQU Y8, (DI); \
	ADDQ $64, DI

// To the nearest, halves away from zero: what is cut off counts if twice it is
// one or more.
#define CODE8(V) \
	VMULPS (SI), Y4, Y0; \
	ADDQ DX, SI; \
	VROUNDPS $0x0b, Y0, Y1; \
	VSUBPS Y1, Y0, Y0; \
	VADDPS Y0, Y0, Y0; \
	VROUNDPS $0x0b, Y0, Y0; \
	VADDPS Y1, Y0, Y0; \
	VCVTTPS2DQ Y0, V; \
	VPAND V, Y13, V

TEXT ·packHalfQ8(SB), NOSPLIT, $0-33
	LARGEST(EXTREME8)
	SPREAD(0x42fe0000, Y5, X5) // 127
	VDIVPS Y5, Y2, Y5
	SCALES
	SPREAD(255, Y13, X13)
	MOVL $8, CX

group:
	CODE8(Y5)
	CODE8(Y6)
	CODE8(Y7)
	CODE8(Y8)
	STORE4
	DECQ CX
	JNZ  group
	MOVB $1, ret+32(FP)
	VZEROUPPER
	RET

odd:
	MOVB $0, ret+32(FP)
	VZEROUPPER
	RET

#define CODE4(P, V) \
	VMULPS (P), Y4, Y0; \
	ADDQ DX, P; \
	VADDPS Y12, Y0, Y0; \
	VCVTTPS2DQ Y0, V; \
	VPMINSD V, Y13, V

// Input 4g+i and, in the high half, 16+4g+i.
#define CODES4(V) \
	CODE4(SI, V); \
	CODE4(BX, Y9); \
	VPSLLD $4, Y9, Y9; \
	VPOR V, Y9, V

TEXT ·packHalfQ4(SB), NOSPLIT, $0-33
	LARGEST(EXTREME4)
	SPREAD(0xc1000000, Y5, X5) // -8
	VDIVPS Y5, Y3, Y5
	SCALES
	SPREAD(15, Y13, X13)
	SPREAD(0x41080000, Y12, X12) // 8.5
	MOVQ DX, BX
	SHLQ $4, BX
	ADDQ SI, BX
	MOVL $4, CX

group:
	CODES4(Y5)
	CODES4(Y6)
	CODES4(Y7)
	CODES4(Y8)
	STORE4
	DECQ CX
	JNZ  group
	MOVB $1, ret+32(FP)
	VZEROUPPER
	RET

odd:
	MOVB $0, ret+32(FP)
	VZEROUPPER
	RET
