//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// func adamW(p, m, v, d *float32, n int, k *[8]float32)
// n is a multiple of 16.
TEXT ·adamW(SB), NOSPLIT, $0-48
	MOVQ p+0(FP), DI
	MOVQ m+8(FP), SI
	MOVQ v+16(FP), R8
	MOVQ d+24(FP), R9
	MOVQ n+32(FP), CX
	MOVQ k+40(FP), R10
	VBROADCASTSS 0(R10), Z16
	VBROADCASTSS 4(R10), Z17
	VBROADCASTSS 8(R10), Z18
	VBROADCASTSS 12(R10), Z19
	VBROADCASTSS 16(R10), Z20
	VBROADCASTSS 20(R10), Z21
	VBROADCASTSS 24(R10), Z22
	VBROADCASTSS 28(R10), Z23

loop:
	VMULPS  (R9), Z16, Z0
	VMOVUPS (SI), Z1
	VSUBPS  Z1, Z0, Z2
	VMULPS  Z2, Z17, Z2
	VADDPS  Z2, Z1, Z1
	VMOVUPS Z1, (SI)
	VMULPS  Z0, Z0, Z0
	VMULPS  Z0, Z19, Z0
	VMULPS  (R8), Z18, Z3
	VADDPS  Z0, Z3, Z3
	VMOVUPS Z3, (R8)
	VSQRTPS Z3, Z3
	VDIVPS  Z20, Z3, Z3
	VADDPS  Z21, Z3, Z3
	VDIVPS  Z3, Z1, Z1
	VMULPS  Z1, Z23, Z1
	VMULPS  (DI), Z22, Z4
	VSUBPS  Z1, Z4, Z4
	VMOVUPS Z4, (DI)
	ADDQ    $64, DI
	ADDQ    $64, SI
	ADDQ    $64, R8
	ADDQ    $64, R9
	SUBQ    $16, CX
	JNZ     loop
	VZEROUPPER
	RET

// func dropout(x *float32, n int, state, limit uint64, keep float32)
//
// n is a multiple of 16. Z0 and Z1 the states of eight numbers each, Z16 what
// two groups of eight add, Z17 and Z18 the multipliers, Z19 the limit, Z20 keep.
#define MIX(S, A, B) \
	VPSRLQ  $30, S, B; \
	VPXORQ  B, S, A; \
	VPMULLQ Z17, A, A; \
	VPSRLQ  $27, A, B; \
	VPXORQ  B, A, A; \
	VPMULLQ Z18, A, A; \
	VPSRLQ  $31, A, B; \
	VPXORQ  B, A, A; \
	VPSRLQ  $32, A, A

TEXT ·dropout(SB), NOSPLIT, $0-36
	MOVQ x+0(FP), DI
	MOVQ n+8(FP), CX
	VPBROADCASTQ limit+24(FP), Z19
	VBROADCASTSS keep+32(FP), Z20
	MOVQ $0xbf58476d1ce4e5b9, AX
	VPBROADCASTQ AX, Z17
	MOVQ $0x94d049bb133111eb, AX
	VPBROADCASTQ AX, Z18
	MOVQ $0x9e3779b97f4a7c15, AX
	VPBROADCASTQ AX, Z2
	VPMULLQ ·eight<>(SB), Z2, Z0
	VPBROADCASTQ state+16(FP), Z1
	VPADDQ  Z1, Z0, Z0
	VPSLLQ  $3, Z2, Z16
	VPADDQ  Z16, Z0, Z1
	VPSLLQ  $1, Z16, Z16

loop:
	MIX(Z0, Z4, Z5)
	MIX(Z1, Z6, Z7)
	VPCMPUQ  $5, Z19, Z4, K1 // not less
	VPCMPUQ  $5, Z19, Z6, K2
	KUNPCKBW K1, K2, K1
	VMULPS.Z (DI), Z20, K1, Z8
	VMOVUPS  Z8, (DI)
	VPADDQ   Z16, Z0, Z0
	VPADDQ   Z16, Z1, Z1
	ADDQ     $64, DI
	SUBQ     $16, CX
	JNZ      loop
	VZEROUPPER
	RET

DATA ·eight<>+0(SB)/8, $0
DATA ·eight<>+8(SB)/8, $1
DATA ·eight<>+16(SB)/8, $2
DATA ·eight<>+24(SB)/8, $3
DATA ·eight<>+32(SB)/8, $4
DATA ·eight<>+40(SB)/8, $5
DATA ·eight<>+48(SB)/8, $6
DATA ·eight<>+56(SB)/8, $7
GLOBL ·eight<>(SB), RODATA|NOPTR, $64

// func gateArguments(e, x *float32, n int, k *[6]float32)
//
// Z16 a, Z17 b, Z18 the largest square, Z19 the signs' bits. K1 the elements.
TEXT ·gateArguments(SB), NOSPLIT, $0-32
	MOVQ e+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ k+24(FP), R10
	VBROADCASTSS 0(R10), Z16
	VBROADCASTSS 4(R10), Z17
	VBROADCASTSS 12(R10), Z18
	MOVL $0x80000000, AX
	VPBROADCASTD AX, Z19
	KXNORW K1, K1, K1

next:
	CMPQ CX, $16
	JGE  full
	TESTQ CX, CX
	JZ   done
	MASK16(AX)
	MOVQ $16, CX

full:
	VMOVUPS.Z (SI), K1, Z0
	VMULPS Z0, Z0, Z1
	VMINPS Z1, Z18, Z1 // of a NaN the NaN
	VMULPS Z1, Z17, Z1
	VADDPS Z1, Z16, Z1
	VMULPS Z1, Z0, Z1
	VPORD  Z19, Z1, Z1
	VMOVUPS Z1, K1, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	SUBQ $16, CX
	JMP  next

done:
	VZEROUPPER
	RET

// func gateSlopes(d, x, e *float32, n int, k *[6]float32)
//
// As above; Z17 3b, Z20 1, Z21 the square from which the sigmoid is 0 or 1.
TEXT ·gateSlopes(SB), NOSPLIT, $0-40
	MOVQ d+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ e+16(FP), DX
	MOVQ n+24(FP), CX
	MOVQ k+32(FP), R10
	VBROADCASTSS 0(R10), Z16
	VBROADCASTSS 8(R10), Z17
	VBROADCASTSS 12(R10), Z18
	VBROADCASTSS 16(R10), Z20
	VBROADCASTSS 20(R10), Z21
	VPXORD Z22, Z22, Z22
	KXNORW K1, K1, K1

next:
	CMPQ CX, $16
	JGE  full
	TESTQ CX, CX
	JZ   done
	MASK16(AX)
	MOVQ $16, CX

full:
	VMOVUPS.Z (SI), K1, Z0
	VMOVUPS.Z (DX), K1, Z1
	VMULPS Z0, Z0, Z2
	VMINPS Z2, Z18, Z2
	VADDPS Z1, Z20, Z3
	VDIVPS Z3, Z20, Z3 // q
	VMULPS Z1, Z3, Z4 // e·q
	VCMPPS $17, Z22, Z0, K2 // x < 0
	VBLENDMPS Z4, Z3, K2, Z5 // sigmoid
	VBLENDMPS Z3, Z4, K2, Z6 // 1 - sigmoid
	VMULPS Z2, Z17, Z7
	VADDPS Z7, Z16, Z7
	VMULPS Z7, Z6, Z6
	VMULPS Z5, Z0, Z7
	VMULPS Z6, Z7, Z7
	VADDPS Z7, Z5, Z7
	VCMPPS $30, Z21, Z2, K2 // beyond it
	VMOVAPS Z5, K2, Z7
	VMULPS.Z (DI), Z7, K1, Z7
	VMOVUPS Z7, K1, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	ADDQ $64, DX
	SUBQ $16, CX
	JMP  next

done:
	VZEROUPPER
	RET
