//go:build !noasm

#include "textflag.h"
#include "forms_amd64.h"

DATA normOne<>+0(SB)/8, $0x3ff0000000000000 // 1
GLOBL normOne<>(SB), RODATA|NOPTR, $8

// The sum of the lanes of Z, by the tree that package generic has, over X15, the
// width, in X.
#define REDUCE(Z, Y, X) \
	VEXTRACTF64X4 $1, Z, Y9; \
	VADDPS Y9, Y, Y; \
	VEXTRACTF128 $1, Y, X9; \
	VADDPS X9, X, X; \
	VPERMILPS $0x4e, X, X9; \
	VADDPS X9, X, X; \
	VPERMILPS $0x55, X, X9; \
	VADDSS X9, X, X; \
	VDIVSS X15, X, X

#define MEAN(Z, Y, X, M) \
	REDUCE(Z, Y, X); \
	VBROADCASTSS X, M; \
	VPXORD Z, Z, Z

// R = 1/√(variance+epsilon), in float64 until it is rounded.
#define SLOPE(Z, Y, X, R) \
	REDUCE(Z, Y, X); \
	VADDSS X14, X, X; \
	VCVTSS2SD X, X, X; \
	VSQRTSD X, X, X; \
	VDIVSD X, X13, X; \
	VCVTSD2SS X, X, X; \
	VBROADCASTSS X, R

#define SUM(AT, Z) \
	VADDPS (AT)(SI), Z, Z; \
	VADDPS (AT+64)(SI), Z, Z

#define SQUARES(AT, M, Z) \
	VMOVUPS (AT)(SI), Z8; \
	VMOVUPS (AT+64)(SI), Z9; \
	PREFETCHT1 (AT)(SI)(R10*1); \
	PREFETCHT1 (AT+64)(SI)(R10*1); \
	VSUBPS M, Z8, Z8; \
	VSUBPS M, Z9, Z9; \
	VFMADD231PS Z8, Z8, Z; \
	VFMADD231PS Z9, Z9, Z

#define NORM(AT, M, R) \
	VMOVUPS (AT)(SI), Z6; \
	VMOVUPS (AT+64)(SI), Z7; \
	VSUBPS M, Z6, Z6; \
	VSUBPS M, Z7, Z7; \
	VMULPS R, Z6, Z6; \
	VMULPS R, Z7, Z7; \
	VFMADD213PS Z12, Z10, Z6; \
	VFMADD213PS Z5, Z11, Z7; \
	NARROW8; \
	VMOVDQU64 Z8, (AT/2)(DI)

// func normRows(dst *byte, x, gain, bias *float32, blocks int, width, epsilon float32, ahead uintptr)
//
// Eight rows of 32 × 32 blocks that follow each other become rows of tiles. SI walks
// over x, DI over dst, CX counts blocks. Z16-Z23 are the means, Z24-Z31 the slopes.
TEXT ·normRows(SB), NOSPLIT, $0-56
	MOVQ x+8(FP), SI
	MOVQ blocks+32(FP), CX
	MOVSS width+40(FP), X15
	MOVSS epsilon+44(FP), X14
	MOVSD normOne<>(SB), X13
	MOVQ ahead+48(FP), R10
	VPXORD Z0, Z0, Z0
	VPXORD Z1, Z1, Z1
	VPXORD Z2, Z2, Z2
	VPXORD Z3, Z3, Z3
	VPXORD Z4, Z4, Z4
	VPXORD Z5, Z5, Z5
	VPXORD Z6, Z6, Z6
	VPXORD Z7, Z7, Z7

sums:
	SUM(0, Z0)
	SUM(128, Z1)
	SUM(256, Z2)
	SUM(384, Z3)
	SUM(512, Z4)
	SUM(640, Z5)
	SUM(768, Z6)
	SUM(896, Z7)
	ADDQ $4096, SI
	DECQ CX
	JNZ  sums
	MEAN(Z0, Y0, X0, Z16)
	MEAN(Z1, Y1, X1, Z17)
	MEAN(Z2, Y2, X2, Z18)
	MEAN(Z3, Y3, X3, Z19)
	MEAN(Z4, Y4, X4, Z20)
	MEAN(Z5, Y5, X5, Z21)
	MEAN(Z6, Y6, X6, Z22)
	MEAN(Z7, Y7, X7, Z23)
	MOVQ x+8(FP), SI
	MOVQ blocks+32(FP), CX

squares:
	SQUARES(0, Z16, Z0)
	SQUARES(128, Z17, Z1)
	SQUARES(256, Z18, Z2)
	SQUARES(384, Z19, Z3)
	SQUARES(512, Z20, Z4)
	SQUARES(640, Z21, Z5)
	SQUARES(768, Z22, Z6)
	SQUARES(896, Z23, Z7)
	ADDQ $4096, SI
	DECQ CX
	JNZ  squares
	SLOPE(Z0, Y0, X0, Z24)
	SLOPE(Z1, Y1, X1, Z25)
	SLOPE(Z2, Y2, X2, Z26)
	SLOPE(Z3, Y3, X3, Z27)
	SLOPE(Z4, Y4, X4, Z28)
	SLOPE(Z5, Y5, X5, Z29)
	SLOPE(Z6, Y6, X6, Z30)
	SLOPE(Z7, Y7, X7, Z31)
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ gain+16(FP), R8
	MOVQ bias+24(FP), R9
	MOVQ blocks+32(FP), CX

norm:
	VMOVUPS (R8), Z10
	VMOVUPS 64(R8), Z11
	VMOVUPS (R9), Z12
	VMOVUPS 64(R9), Z5
	NORM(0, Z16, Z24)
	NORM(128, Z17, Z25)
	NORM(256, Z18, Z26)
	NORM(384, Z19, Z27)
	NORM(512, Z20, Z28)
	NORM(640, Z21, Z29)
	NORM(768, Z22, Z30)
	NORM(896, Z23, Z31)
	ADDQ $128, R8
	ADDQ $128, R9
	ADDQ $4096, SI
	ADDQ $2048, DI
	DECQ CX
	JNZ  norm
	VZEROUPPER
	RET
