//go:build !noasm

#include "textflag.h"
#include "forms_amd64.h"
#include "exp_amd64.h"

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

// func softmax(dst *byte, s *float32, panels, n int, scale float32) (sum float32)
//
// One row of scores, 32 to a panel, 4096 bytes apart, of which the first n count:
// exp(scale·s - largest) as bfloat16, 64 bytes to a step; zeros from n on. DI dst,
// SI s, BX scores left, DX panels left. Z12 the factor, Z13 the largest, Z10 and
// Z11 sums.
TEXT ·softmax(SB), NOSPLIT, $0-44
	MOVQ s+8(FP), SI
	MOVQ n+24(FP), BX
	VBROADCASTSS scale+32(FP), Z12
	EXPCONST
	VBROADCASTSS expConst<>+48(SB), Z13
	VMOVAPS Z13, Z14
	VPXORD Z10, Z10, Z10
	VPXORD Z11, Z11, Z11
	KXNORD K0, K0, K1
	KXNORD K0, K0, K2

largest:
	CMPQ BX, $32
	JLT  largesttail
	VMULPS (SI), Z12, Z0
	VMULPS 64(SI), Z12, Z1
	VMAXPS Z13, Z0, Z13
	VMAXPS Z14, Z1, Z14
	ADDQ $4096, SI
	SUBQ $32, BX
	JMP  largest

largesttail:
	MASK32(BX, AX, K1)
	KSHIFTRD $16, K1, K2
	TESTQ BX, BX
	JZ   reduce
	VMULPS (SI), Z12, Z0
	VMULPS 64(SI), Z12, Z1
	VMAXPS Z13, Z0, K1, Z13
	VMAXPS Z14, Z1, K2, Z14

reduce:
	VMAXPS Z14, Z13, Z13
	VSHUFF32X4 $0x4e, Z13, Z13, Z0
	VMAXPS Z0, Z13, Z13
	VSHUFF32X4 $0xb1, Z13, Z13, Z0
	VMAXPS Z0, Z13, Z13
	VPERMILPS $0x4e, Z13, Z0
	VMAXPS Z0, Z13, Z13
	VPERMILPS $0xb1, Z13, Z0
	VMAXPS Z0, Z13, Z13
	MOVQ dst+0(FP), DI
	MOVQ s+8(FP), SI
	MOVQ panels+16(FP), DX
	MOVQ n+24(FP), BX

weigh:
	CMPQ BX, $32
	JLT  weightail
	VMULPS (SI), Z12, Z6
	VMULPS 64(SI), Z12, Z7
	VSUBPS Z13, Z6, Z6
	VSUBPS Z13, Z7, Z7
	EXP(Z6, Z0, Z1, Z2)
	EXP(Z7, Z3, Z4, Z5)
	VADDPS Z6, Z10, Z10
	VADDPS Z7, Z11, Z11
	NARROW8
	VMOVDQU64 Z8, (DI)
	ADDQ $4096, SI
	ADDQ $2048, DI
	SUBQ $32, BX
	DECQ DX
	JMP  weigh

weightail:
	TESTQ BX, BX
	JZ   zeros
	VMULPS.Z (SI), Z12, K1, Z6
	VMULPS.Z 64(SI), Z12, K2, Z7
	VSUBPS Z13, Z6, Z6
	VSUBPS Z13, Z7, Z7
	EXP(Z6, Z0, Z1, Z2)
	EXP(Z7, Z3, Z4, Z5)
	VMOVAPS.Z Z6, K1, Z6
	VMOVAPS.Z Z7, K2, Z7
	VADDPS Z6, Z10, Z10
	VADDPS Z7, Z11, Z11
	NARROW8
	VMOVDQU64 Z8, (DI)
	ADDQ $2048, DI
	DECQ DX

zeros:
	VPXORD Z8, Z8, Z8
zero:
	DECQ DX
	JLT  sum
	VMOVDQU64 Z8, (DI)
	ADDQ $2048, DI
	JMP  zero

sum:
	VADDPS Z11, Z10, Z8
	VEXTRACTF64X4 $1, Z8, Y9
	VADDPS Y9, Y8, Y8
	VEXTRACTF128 $1, Y8, X9
	VADDPS X9, X8, X8
	VPERMILPS $0x4e, X8, X9
	VADDPS X9, X8, X8
	VPERMILPS $0x55, X8, X9
	VADDSS X9, X8, X8
	VMOVSS X8, sum+40(FP)
	VZEROUPPER
	RET

// func scaleStore(dst *float32, ld uintptr, c *float32, a *float32, rows, cols int)
// func scaleNarrow(dst *byte, c *float32, a *float32, rows int)
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

TEXT ·scaleNarrow(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ c+8(FP), SI
	MOVQ a+16(FP), R8
	MOVQ rows+24(FP), BX

narrow:
	VBROADCASTSS (R8), Z2
	VMULPS (SI), Z2, Z6
	VMULPS 64(SI), Z2, Z7
	NARROW8
	VMOVDQU64 Z8, (DI)
	ADDQ $128, SI
	ADDQ $64, DI
	ADDQ $4, R8
	DECQ BX
	JNZ  narrow
	VZEROUPPER
	RET
