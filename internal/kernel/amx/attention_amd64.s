//go:build !noasm

#include "textflag.h"
#include "forms_amd64.h"
#include "gate_amd64.h"

DATA negative<>+0(SB)/4, $0xff800000 // -Inf
GLOBL negative<>(SB), RODATA|NOPTR, $4
DATA naturals<>+0(SB)/4, $0x3f317218 // ln 2
GLOBL naturals<>(SB), RODATA|NOPTR, $4

// func cross(c *float32, a *byte, b *byte, stride uintptr, steps, panels int)
//
// As multiply, but a is 32 rows and stays; CX counts steps, R13 panels of b.
TEXT ·cross(SB), NOSPLIT, $0-48
	MOVQ c+0(FP), R11
	MOVQ b+16(FP), BX
	MOVQ panels+40(FP), R13
	MOVQ $64, DX
	MOVQ $128, R12
	LEAQ tileConfig<>(SB), AX
	LDTILECFG

panel:
	TILEZERO0
	TILEZERO1
	TILEZERO2
	TILEZERO3
	MOVQ a+8(FP), SI
	MOVQ BX, DI
	MOVQ steps+32(FP), CX

crossstep:
	LOADA0
	LOADB0
	LOADB1
	LOADA1
	BF16C0
	BF16C1
	BF16C2
	BF16C3
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ CX
	JNZ  crossstep
	STOREC0
	STOREC1
	STOREC2
	STOREC3
	ADDQ $4096, R11
	ADDQ stride+24(FP), BX
	DECQ R13
	JNZ  panel
	TILERELEASE
	RET

// P = 2^(P·Z12 - Z13); spoils T and U.
#define WEIGHT(P, T, U) \
	VFMSUB213PS Z13, Z12, P; \
	POWER(P, T, U, P)

// As PyTorch's attention has it on processors, of the same operations (Malossi et al. 2015,
// "Fast exponential computation on SIMD architectures"): P = exp(P·Z12 - Z13), off by 1.1e-4
// at most, elsewhere than POWER. Training rounds to the same bfloat16 then.
DATA torchConst<>+0(SB)/4, $0x3fb8aa3b  // log₂e
DATA torchConst<>+4(SB)/4, $0xbda235d5  // of r³, 0 ≤ r < 1: by how much 1+r is above 2^r
DATA torchConst<>+8(SB)/4, $0xbe65b8f5  // r²
DATA torchConst<>+12(SB)/4, $0x3e9b69f0 // r
DATA torchConst<>+16(SB)/4, $0x38e077a1 // 1
DATA torchConst<>+20(SB)/4, $0x4b000000 // 2²³
DATA torchConst<>+24(SB)/4, $0x4e7e0000 // 127·2²³
DATA torchConst<>+28(SB)/4, $0x22       // NaN stays
GLOBL torchConst<>(SB), RODATA|NOPTR, $32

#define TORCHCONST \
	VBROADCASTSS torchConst<>+0(SB), Z16; \
	VBROADCASTSS torchConst<>+4(SB), Z18; \
	VBROADCASTSS torchConst<>+8(SB), Z19; \
	VBROADCASTSS torchConst<>+12(SB), Z20; \
	VBROADCASTSS torchConst<>+16(SB), Z21; \
	VBROADCASTSS torchConst<>+20(SB), Z24; \
	VBROADCASTSS torchConst<>+24(SB), Z25; \
	VPBROADCASTD torchConst<>+28(SB), Z26

#define TORCHWEIGHT(P, T, U) \
	VMULPS Z12, P, P; \
	VSUBPS Z13, P, P; \
	VMULPS Z16, P, P; \
	VMAXPS P, Z17, P; \
	VREDUCEPS $9, P, T; \
	VMOVAPS Z18, U; \
	VFMADD213PS Z19, T, U; \
	VFMADD213PS Z20, T, U; \
	VFMADD213PS Z21, T, U; \
	VSUBPS U, P, U; \
	VFMADD213PS Z25, Z24, U; \
	VCVTPS2DQ U, T; \
	VFIXUPIMMPS $0, Z26, P, T; \
	VMOVAPS T, P

// The largest of the lanes of Z13 and Z14, or their sum, in all lanes of Z13.
#define EVERY(OP) \
	OP Z14, Z13, Z13; \
	VSHUFF32X4 $0x4e, Z13, Z13, Z0; \
	OP Z0, Z13, Z13; \
	VSHUFF32X4 $0xb1, Z13, Z13, Z0; \
	OP Z0, Z13, Z13; \
	VPERMILPS $0x4e, Z13, Z0; \
	OP Z0, Z13, Z13; \
	VPERMILPS $0xb1, Z13, Z0; \
	OP Z0, Z13, Z13

// Rows of scores, 32 to a panel, 4096 bytes apart, of which the first so many count:
// exp(scale·s - largest) as bfloat16, 64 bytes to a step; zeros behind. R8 dst, R9 s,
// R10 by, R11 lens, R13 rows left; DI and SI walk over the panels, BX scores left, DX
// panels left. Z12 the factor, Z13 and Z14 the largest, in units of Z9, Z10 and Z11 sums;
// CX most, if wanted.
#define SOFTMAX(CONST, WEIGH) \
	MOVQ dst+0(FP), R8; \
	MOVQ s+8(FP), R9; \
	MOVQ by+16(FP), R10; \
	MOVQ lens+32(FP), R11; \
	MOVQ rows+40(FP), R13; \
	GATECONST(scale+56(FP), scale+56(FP)); \
	CONST; \
	VBROADCASTSS negative<>(SB), Z15; \
row: \
	MOVQ R9, SI; \
	MOVQ (R11), BX; \
	VMOVAPS Z15, Z13; \
	VMOVAPS Z15, Z14; \
	VPXORD Z10, Z10, Z10; \
	VPXORD Z11, Z11, Z11; \
largest: \
	CMPQ BX, $32; \
	JLT  largesttail; \
	VMULPS (SI), Z12, Z0; \
	VMULPS 64(SI), Z12, Z1; \
	VMAXPS Z13, Z0, Z13; \
	VMAXPS Z14, Z1, Z14; \
	ADDQ $4096, SI; \
	SUBQ $32, BX; \
	JMP  largest; \
largesttail: \
	MASK32(BX, AX, K1); \
	KSHIFTRD $16, K1, K2; \
	TESTQ BX, BX; \
	JZ   reduce; \
	VMULPS (SI), Z12, Z0; \
	VMULPS 64(SI), Z12, Z1; \
	VMAXPS Z13, Z0, K1, Z13; \
	VMAXPS Z14, Z1, K2, Z14; \
reduce: \
	EVERY(VMAXPS); \
	MOVQ most+24(FP), CX; \
	TESTQ CX, CX; \
	JZ   known; \
	VMULSS X9, X13, X0; \
	VMOVSS X0, (CX); \
	ADDQ $4, CX; \
	MOVQ CX, most+24(FP); \
known: \
	MOVQ R8, DI; \
	MOVQ R9, SI; \
	MOVQ panels+48(FP), DX; \
	MOVQ (R11), BX; \
weigh: \
	CMPQ BX, $32; \
	JLT  weightail; \
	VMOVUPS (SI), Z6; \
	VMOVUPS 64(SI), Z7; \
	WEIGH(Z6, Z0, Z1); \
	WEIGH(Z7, Z2, Z3); \
	VADDPS Z6, Z10, Z10; \
	VADDPS Z7, Z11, Z11; \
	NARROW8; \
	VMOVDQU64 Z8, (DI); \
	ADDQ $4096, SI; \
	ADDQ $2048, DI; \
	SUBQ $32, BX; \
	DECQ DX; \
	JMP  weigh; \
weightail: \
	TESTQ BX, BX; \
	JZ   zeros; \
	VMOVUPS.Z (SI), K1, Z6; \
	VMOVUPS.Z 64(SI), K2, Z7; \
	WEIGH(Z6, Z0, Z1); \
	WEIGH(Z7, Z2, Z3); \
	VMOVAPS.Z Z6, K1, Z6; \
	VMOVAPS.Z Z7, K2, Z7; \
	VADDPS Z6, Z10, Z10; \
	VADDPS Z7, Z11, Z11; \
	NARROW8; \
	VMOVDQU64 Z8, (DI); \
	ADDQ $2048, DI; \
	DECQ DX; \
zeros: \
	VPXORD Z8, Z8, Z8; \
zero: \
	DECQ DX; \
	JLT  sum; \
	VMOVDQU64 Z8, (DI); \
	ADDQ $2048, DI; \
	JMP  zero; \
sum: \
	VMOVAPS Z10, Z13; \
	VMOVAPS Z11, Z14; \
	EVERY(VADDPS); \
	VDIVSS X13, X22, X13; \
	CMPQ (R11), $0; \
	JNE  some; \
	VPXORD X13, X13, X13; \
some: \
	VMOVSS X13, (R10); \
	ADDQ $64, R8; \
	ADDQ $128, R9; \
	ADDQ $4, R10; \
	ADDQ $8, R11; \
	DECQ R13; \
	JNZ  row; \
	VZEROUPPER; \
	RET

#define TWOS \
	VPXORD Z15, Z15, Z15; \
	VSUBPS Z12, Z15, Z12; \
	VBROADCASTSS naturals<>(SB), Z9

#define NATURAL \
	VBROADCASTSS scale+56(FP), Z12; \
	VMOVAPS Z22, Z9; \
	TORCHCONST

// func softmax(dst *byte, s, by, most *float32, lens *int, rows, panels int, scale float32)
TEXT ·softmax(SB), NOSPLIT, $0-60
	SOFTMAX(TWOS, WEIGHT)

// func torchSoftmax(dst *byte, s, by, most *float32, lens *int, rows, panels int, scale float32)
TEXT ·torchSoftmax(SB), NOSPLIT, $0-60
	SOFTMAX(NATURAL, TORCHWEIGHT)

// func scaleStore(dst *float32, ld uintptr, c *float32, a *float32, rows, cols int)
// func scaleNarrow(dst *byte, ld uintptr, c *float32, a *float32, rows, cols int)
//
// Rows of 32 at SI times a number of R8 each; DI dst, BX rows left. K1 and K2 are
// the columns.
TEXT ·scaleStore(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ ld+8(FP), DX
	MOVQ c+16(FP), SI
	MOVQ a+24(FP), R8
	MOVQ rows+32(FP), BX
	MASK32(cols+40(FP), AX, K1)
	KSHIFTRD $16, K1, K2

floats:
	VBROADCASTSS (R8), Z2
	VMULPS (SI), Z2, Z0
	VMULPS 64(SI), Z2, Z1
	VMOVUPS Z0, K1, (DI)
	VMOVUPS Z1, K2, 64(DI)
	ADDQ $128, SI
	ADDQ DX, DI
	ADDQ $4, R8
	DECQ BX
	JNZ  floats
	VZEROUPPER
	RET

TEXT ·scaleNarrow(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ ld+8(FP), DX
	MOVQ c+16(FP), SI
	MOVQ a+24(FP), R8
	MOVQ rows+32(FP), BX
	MASK32(cols+40(FP), AX, K1)

narrow:
	VBROADCASTSS (R8), Z2
	VMULPS (SI), Z2, Z6
	VMULPS 64(SI), Z2, Z7
	NARROW8
	VMOVDQU16 Z8, K1, (DI)
	ADDQ $128, SI
	ADDQ DX, DI
	ADDQ $4, R8
	DECQ BX
	JNZ  narrow
	VZEROUPPER
	RET
