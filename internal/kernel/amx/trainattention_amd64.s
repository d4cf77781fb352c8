//go:build !noasm

#include "textflag.h"
#include "forms_amd64.h"
#include "gate_amd64.h"

// 2^r, 0 ≤ r < 1, to 1e-7: to what probabilities are rounded depends on the sums.
DATA exactConst<>+0(SB)/4, $0x3af61905 // of r⁵
DATA exactConst<>+4(SB)/4, $0x3c134806
DATA exactConst<>+8(SB)/4, $0x3d64aa23
DATA exactConst<>+12(SB)/4, $0x3e75ead4
DATA exactConst<>+16(SB)/4, $0x3f31727b
DATA exactConst<>+20(SB)/4, $0x3f7fffff // 1
GLOBL exactConst<>(SB), RODATA|NOPTR, $24

// P = 2^(P·Z12 + OFF), none below 2^-126; spoils T and U. NaN passes.
#define PROBABLE(P, OFF, T, U) \
	VFMADD213PS OFF, Z12, P; \
	VMAXPS P, Z17, P; \
	VREDUCEPS $9, P, T; \
	VMOVAPS Z18, U; \
	VFMADD213PS Z19, T, U; \
	VFMADD213PS Z20, T, U; \
	VFMADD213PS Z21, T, U; \
	VFMADD213PS Z26, T, U; \
	VFMADD213PS Z27, T, U; \
	VSCALEFPS P, U, P

// func slopeTiles(dp, ds *byte, s, back, lse, delta, keep *float32, panels, diagonal int, scale float32)
//
// Rows of 32: R8 dp and R9 ds, R10 s, R11 back, SI keep, if not nil; R12 lse and R13 delta of
// a panel's queries. DX panels left, BX rows left of one; AX the queries that a row is
// seen by, which are CX fewer in the next row. Z12 scale·log₂e, Z25 -log₂e;
// Z14 and Z15 -lse·log₂e, Z10 and Z11 delta.
TEXT ·slopeTiles(SB), NOSPLIT, $0-76
	MOVQ dp+0(FP), R8
	MOVQ ds+8(FP), R9
	MOVQ s+16(FP), R10
	MOVQ back+24(FP), R11
	MOVQ lse+32(FP), R12
	MOVQ delta+40(FP), R13
	MOVQ keep+48(FP), SI
	MOVQ panels+56(FP), DX
	MOVQ diagonal+64(FP), CX
	GATECONST(scale+72(FP), scale+72(FP))
	VPXORD Z15, Z15, Z15
	VSUBPS Z12, Z15, Z12
	VBROADCASTSS exactConst<>+0(SB), Z18
	VBROADCASTSS exactConst<>+4(SB), Z19
	VBROADCASTSS exactConst<>+8(SB), Z20
	VBROADCASTSS exactConst<>+12(SB), Z21
	VBROADCASTSS exactConst<>+16(SB), Z26
	VBROADCASTSS exactConst<>+20(SB), Z27
	VBROADCASTSS gateConst<>+32(SB), Z25

panel:
	VMULPS (R12), Z25, Z14
	VMULPS 64(R12), Z25, Z15
	VMOVUPS (R13), Z10
	VMOVUPS 64(R13), Z11
	MOVL $-1, AX
	MOVQ $32, BX

row:
	KMOVD AX, K1
	KSHIFTRD $16, K1, K2
	VMOVUPS (R10), Z6
	VMOVUPS 64(R10), Z7
	VMOVUPS (R11), Z4
	VMOVUPS 64(R11), Z5
	PROBABLE(Z6, Z14, Z0, Z1)
	PROBABLE(Z7, Z15, Z2, Z3)
	VMOVAPS.Z Z6, K1, Z6
	VMOVAPS.Z Z7, K2, Z7
	TESTQ SI, SI
	JNZ  dropped
	VSUBPS Z10, Z4, Z4
	VSUBPS Z11, Z5, Z5
	VMULPS Z6, Z4, Z4
	VMULPS Z7, Z5, Z5

rounded:
	NARROW8
	VMOVDQU64 Z8, (R8)
	VMOVAPS.Z Z4, K1, Z6
	VMOVAPS.Z Z5, K2, Z7
	NARROW8
	VMOVDQU64 Z8, (R9)
	SHLL CX, AX
	ADDQ $128, R10
	ADDQ $128, R11
	ADDQ $64, R8
	ADDQ $64, R9
	DECQ BX
	JNZ  row
	ADDQ $128, R12
	ADDQ $128, R13
	XORQ CX, CX // those of the panels after it see all keys
	DECQ DX
	JNZ  panel
	VZEROUPPER
	RET

dropped:
	VMOVUPS (SI), Z2
	VMOVUPS 64(SI), Z3
	VMULPS Z2, Z4, Z4
	VMULPS Z3, Z5, Z5
	VSUBPS Z10, Z4, Z4
	VSUBPS Z11, Z5, Z5
	VMULPS Z6, Z4, Z4
	VMULPS Z7, Z5, Z5
	VMULPS Z2, Z6, Z6
	VMULPS Z3, Z7, Z7
	ADDQ $128, SI
	JMP  rounded

// func keepTile(dst *byte, keep *float32)
TEXT ·keepTile(SB), NOSPLIT, $0-16
	MOVQ dst+0(FP), DI
	MOVQ keep+8(FP), SI
	MOVQ $32, BX
	VPXORD Z2, Z2, Z2

keeprow:
	VMOVUPS (SI), Z0
	VMOVUPS 64(SI), Z1
	VCMPPS $4, Z2, Z0, K1
	VCMPPS $4, Z2, Z1, K2
	KUNPCKWD K1, K2, K1
	VMOVDQU16.Z (DI), K1, Z0
	VMOVDQU64 Z0, (DI)
	ADDQ $128, SI
	ADDQ $64, DI
	DECQ BX
	JNZ  keeprow
	VZEROUPPER
	RET

// The products of bfloat16 of Z0 and Z1 are added to Z2 and Z3: those of even places
// and of odd ones, whose lower halves Z4 masks.
#define PRODUCTS \
	VPSLLD $16, Z0, Z5; \
	VPSLLD $16, Z1, Z6; \
	VFMADD231PS Z6, Z5, Z2; \
	VPANDD Z4, Z0, Z0; \
	VPANDD Z4, Z1, Z1; \
	VFMADD231PS Z1, Z0, Z3

// func halfDots(y *float32, a, b *byte, stride uintptr, rows, n int)
//
// SI and DI walk over rows R8 and R9, BX rows left, DX numbers left of one.
TEXT ·halfDots(SB), NOSPLIT, $0-48
	MOVQ y+0(FP), R10
	MOVQ a+8(FP), R8
	MOVQ b+16(FP), R9
	MOVQ stride+24(FP), R11
	MOVQ rows+32(FP), BX
	MOVQ n+40(FP), DX
	ANDQ $31, DX
	MASK32(DX, AX, K1)
	MOVL $0xffff0000, AX
	VPBROADCASTD AX, Z4

dotrow:
	MOVQ R8, SI
	MOVQ R9, DI
	MOVQ n+40(FP), DX
	VPXORD Z2, Z2, Z2
	VPXORD Z3, Z3, Z3

dot:
	CMPQ DX, $32
	JLT  dottail
	VMOVDQU64 (SI), Z0
	VMOVDQU64 (DI), Z1
	PRODUCTS
	ADDQ $64, SI
	ADDQ $64, DI
	SUBQ $32, DX
	JMP  dot

dottail:
	TESTQ DX, DX
	JZ   dotsum
	VMOVDQU16.Z (SI), K1, Z0
	VMOVDQU16.Z (DI), K1, Z1
	PRODUCTS

dotsum:
	VADDPS Z3, Z2, Z2
	VEXTRACTF64X4 $1, Z2, Y3
	VADDPS Y3, Y2, Y2
	VEXTRACTF128 $1, Y2, X3
	VADDPS X3, X2, X2
	VPERMILPS $0x4e, X2, X3
	VADDPS X3, X2, X2
	VPERMILPS $0x55, X2, X3
	VADDSS X3, X2, X2
	VMOVSS X2, (R10)
	ADDQ $4, R10
	ADDQ R11, R8
	ADDQ R11, R9
	DECQ BX
	JNZ  dotrow
	VZEROUPPER
	RET
