//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "bf16_amd64.h"
#include "tile_amd64.h"

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

// func squares(lanes *[16]float64, x *float32, n int)
// n is a multiple of 16.
TEXT ·squares(SB), NOSPLIT, $0-24
	MOVQ lanes+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX
	VMOVUPD (DI), Z0
	VMOVUPD 64(DI), Z1

loop:
	PREFETCHT0 4096(SI)
	VCVTPS2PD (SI), Z2
	VCVTPS2PD 32(SI), Z3
	VFMADD231PD Z2, Z2, Z0
	VFMADD231PD Z3, Z3, Z1
	ADDQ $64, SI
	SUBQ $16, CX
	JNZ  loop
	VMOVUPD Z0, (DI)
	VMOVUPD Z1, 64(DI)
	VZEROUPPER
	RET

// The loops below take sixteen elements at a time, CX being how many are left,
// and the last ones under the mask K1.
#define BEGIN16 \
	KXNORW K1, K1, K1; \
loop: \
	CMPQ CX, $16; \
	JGE  full; \
	TESTQ CX, CX; \
	JLE  done; \
	MASK16(AX); \
full:

#define END16 \
	SUBQ $16, CX; \
	JMP  loop; \
done: \
	VZEROUPPER; \
	RET

#define BROADCAST(BITS, Z) \
	MOVL $BITS, AX; \
	VPBROADCASTD AX, Z

// func roundF16(x *float32, n int)
TEXT ·roundF16(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), DI
	MOVQ n+8(FP), CX
	BEGIN16
	VMOVUPS.Z (DI), K1, Z0
	VCVTPS2PH $0, Z0, Y0
	VCVTPH2PS Y0, Z0
	VMOVUPS Z0, K1, (DI)
	ADDQ $64, DI
	END16

// func roundBF16(x *float32, n int)
//
// Half of the last place is added, less a bit if it is even, and the rest cut
// off; a NaN becomes quiet. Z16 1, Z17 0x7fff, Z18 the quiet bit, Z19 what is kept.
TEXT ·roundBF16(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), DI
	MOVQ n+8(FP), CX
	BROADCAST(1, Z16)
	BROADCAST(0x7fff, Z17)
	BROADCAST(0x400000, Z18)
	BROADCAST(0xffff0000, Z19)
	BEGIN16
	VMOVUPS.Z (DI), K1, Z0
	VPSRLD $16, Z0, Z1
	VPANDD Z16, Z1, Z1
	VPADDD Z17, Z1, Z1
	VPADDD Z0, Z1, Z1
	VCMPPS $3, Z0, Z0, K2
	VPORD Z18, Z0, K2, Z1
	VPANDD Z19, Z1, Z1
	VMOVUPS Z1, K1, (DI)
	ADDQ $64, DI
	END16

// func packFloats(dst *uint32, low, high *float32, cols int, panel uintptr)
//
// Two rows (high nil: one and zeros) rounded to bf16 and mixed to pairs, in
// panels of 32 that are so many bytes apart.
TEXT ·packFloats(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ low+8(FP), SI
	MOVQ high+16(FP), R8
	MOVQ cols+24(FP), CX
	MOVQ panel+32(FP), BX
	VMOVDQU64 ·mix+0(SB), Z4
	VMOVDQU64 ·mix+64(SB), Z5
	ZERO(Z7)
	KXNORW K1, K1, K1
	KXNORW K2, K2, K2

loop:
	TESTQ CX, CX
	JLE  done
	CMPQ CX, $32
	JGE  full
	MOVQ $-1, DX
	BZHIQ CX, DX, DX
	KMOVW DX, K1
	SHRQ $16, DX
	KMOVW DX, K2

full:
	VMOVUPS.Z (SI), K1, Z0
	VMOVUPS.Z 64(SI), K2, Z1
	CVT2BF16(0, 1, 6)
	TESTQ R8, R8
	JZ   mixed
	VMOVUPS.Z (R8), K1, Z0
	VMOVUPS.Z 64(R8), K2, Z1
	CVT2BF16(0, 1, 7)
	ADDQ $128, R8

mixed:
	MIX
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	ADDQ $128, SI
	ADDQ BX, DI
	SUBQ $32, CX
	JMP  loop

done:
	VZEROUPPER
	RET

// func gateArgument(e, x *float32, a, b float32, n int)
TEXT ·gateArgument(SB), NOSPLIT, $0-32
	MOVQ e+0(FP), DI
	MOVQ x+8(FP), SI
	VBROADCASTSS a+16(FP), Z4
	VBROADCASTSS b+20(FP), Z5
	MOVQ n+24(FP), CX
	BROADCAST(0x5368d4a5, Z6) // 1e12
	BROADCAST(0x80000000, Z7)
	BEGIN16
	VMOVUPS.Z (SI), K1, Z0
	VMULPS Z0, Z0, Z1
	VMINPS Z1, Z6, Z1
	VMULPS Z1, Z5, Z1
	VADDPS Z1, Z4, Z1
	VMULPS Z1, Z0, Z0
	VPORD  Z7, Z0, Z0
	VMOVUPS Z0, K1, (DI)
	ADDQ $64, DI
	ADDQ $64, SI
	END16

// func gateSlope(dy, x, e *float32, a, b3 float32, n int)
//
// Z0 x, Z2 x², Z4 and Z5 the sigmoid of z and of -z.
TEXT ·gateSlope(SB), NOSPLIT, $0-40
	MOVQ dy+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ e+16(FP), R8
	VBROADCASTSS a+24(FP), Z16
	VBROADCASTSS b3+28(FP), Z17
	MOVQ n+32(FP), CX
	BROADCAST(0x5368d4a5, Z18) // 1e12
	BROADCAST(0x49742400, Z19) // 1e6
	BROADCAST(0x3f800000, Z20)
	ZERO(Z21)
	BEGIN16
	VMOVUPS.Z (SI), K1, Z0
	VMOVUPS.Z (R8), K1, Z1
	VMULPS Z0, Z0, Z2
	VMINPS Z2, Z18, Z2
	VADDPS Z1, Z20, Z3
	VDIVPS Z3, Z20, Z3
	VMULPS Z1, Z3, Z6
	VCMPPS $1, Z21, Z0, K2
	VBLENDMPS Z6, Z3, K2, Z4
	VBLENDMPS Z3, Z6, K2, Z5
	VMULPS Z2, Z17, Z6
	VADDPS Z6, Z16, Z6
	VMULPS Z6, Z5, Z6
	VMULPS Z4, Z0, Z7
	VMULPS Z6, Z7, Z7
	VADDPS Z7, Z4, Z7
	VCMPPS $14, Z19, Z2, K2
	VMOVAPS Z4, K2, Z7
	VMULPS.Z (DI), Z7, K1, Z7
	VMOVUPS Z7, K1, (DI)
	ADDQ $64, DI
	ADDQ $64, SI
	ADDQ $64, R8
	END16

// func softmaxGrad(d, p *float32, delta, scale float32, n int)
TEXT ·softmaxGrad(SB), NOSPLIT, $0-32
	MOVQ d+0(FP), DI
	MOVQ p+8(FP), SI
	VBROADCASTSS delta+16(FP), Z4
	VBROADCASTSS scale+20(FP), Z5
	MOVQ n+24(FP), CX
	BEGIN16
	VMOVUPS.Z (DI), K1, Z0
	VSUBPS Z4, Z0, Z0
	VMULPS.Z (SI), Z0, K1, Z0
	VMULPS Z5, Z0, Z0
	VMOVUPS Z0, K1, (DI)
	ADDQ $64, DI
	ADDQ $64, SI
	END16

// func addRows(y, x *float32, ldx uintptr, rows, cols int)
//
// 64 columns at a time, then 16.
TEXT ·addRows(SB), NOSPLIT, $0-40
	MOVQ y+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ ldx+16(FP), R8
	MOVQ rows+24(FP), R9
	MOVQ cols+32(FP), CX

wide:
	CMPQ CX, $64
	JLT  narrow
	VMOVUPS (DI), Z0
	VMOVUPS 64(DI), Z1
	VMOVUPS 128(DI), Z2
	VMOVUPS 192(DI), Z3
	MOVQ SI, R10
	MOVQ R9, BX

wideRows:
	VADDPS (R10), Z0, Z0
	VADDPS 64(R10), Z1, Z1
	VADDPS 128(R10), Z2, Z2
	VADDPS 192(R10), Z3, Z3
	ADDQ R8, R10
	DECQ BX
	JNZ  wideRows
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	VMOVUPS Z2, 128(DI)
	VMOVUPS Z3, 192(DI)
	ADDQ $256, DI
	ADDQ $256, SI
	SUBQ $64, CX
	JMP  wide

narrow:
	BEGIN16
	VMOVUPS.Z (DI), K1, Z0
	MOVQ SI, R10
	MOVQ R9, BX

rowsLoop:
	VMOVUPS.Z (R10), K1, Z1
	VADDPS Z1, Z0, Z0
	ADDQ R8, R10
	DECQ BX
	JNZ  rowsLoop
	VMOVUPS Z0, K1, (DI)
	ADDQ $64, DI
	ADDQ $64, SI
	END16

// func normSums(lanes *[32]float32, dy, x, gain *float32, mean, rstd float32, n int)
TEXT ·normSums(SB), NOSPLIT, $0-48
	MOVQ lanes+0(FP), R10
	MOVQ dy+8(FP), DI
	MOVQ x+16(FP), SI
	MOVQ gain+24(FP), R8
	VBROADCASTSS mean+32(FP), Z4
	VBROADCASTSS rstd+36(FP), Z5
	MOVQ n+40(FP), CX
	ZERO(Z8)
	ZERO(Z9)
	KXNORW K1, K1, K1

loop:
	CMPQ CX, $16
	JGE  full
	TESTQ CX, CX
	JLE  done
	MASK16(AX)

full:
	VMOVUPS.Z (DI), K1, Z0
	VMULPS.Z (R8), Z0, K1, Z0
	VADDPS Z0, Z8, K1, Z8
	VMOVUPS.Z (SI), K1, Z1
	VSUBPS Z4, Z1, Z1
	VMULPS Z5, Z1, Z1
	VMULPS Z1, Z0, Z0
	VADDPS Z0, Z9, K1, Z9
	ADDQ $64, DI
	ADDQ $64, SI
	ADDQ $64, R8
	SUBQ $16, CX
	JMP  loop

done:
	VMOVUPS Z8, (R10)
	VMOVUPS Z9, 64(R10)
	VZEROUPPER
	RET

// func normSlope(out, dy, x, gain *float32, mean, rstd, a, b float32, n int)
TEXT ·normSlope(SB), NOSPLIT, $0-56
	MOVQ out+0(FP), R10
	MOVQ dy+8(FP), DI
	MOVQ x+16(FP), SI
	MOVQ gain+24(FP), R8
	VBROADCASTSS mean+32(FP), Z4
	VBROADCASTSS rstd+36(FP), Z5
	VBROADCASTSS a+40(FP), Z6
	VBROADCASTSS b+44(FP), Z7
	MOVQ n+48(FP), CX
	BEGIN16
	VMOVUPS.Z (SI), K1, Z1
	VSUBPS Z4, Z1, Z1
	VMULPS Z5, Z1, Z1
	VMULPS Z7, Z1, Z1
	VMOVUPS.Z (DI), K1, Z0
	VMULPS.Z (R8), Z0, K1, Z0
	VSUBPS Z6, Z0, Z0
	VSUBPS Z1, Z0, Z0
	VMULPS Z5, Z0, Z0
	VMOVUPS.Z (R10), K1, Z1
	VADDPS Z0, Z1, Z1
	VMOVUPS Z1, K1, (R10)
	ADDQ $64, R10
	ADDQ $64, DI
	ADDQ $64, SI
	ADDQ $64, R8
	END16

// func normColumns(dgain, dbias, dy, x, stats *float32, ld uintptr, rows, cols int)
TEXT ·normColumns(SB), NOSPLIT, $0-64
	MOVQ dgain+0(FP), R10
	MOVQ dbias+8(FP), R11
	MOVQ dy+16(FP), DI
	MOVQ x+24(FP), SI
	MOVQ ld+40(FP), R8
	MOVQ cols+56(FP), CX
	BEGIN16
	VMOVUPS.Z (R10), K1, Z8
	VMOVUPS.Z (R11), K1, Z9
	MOVQ stats+32(FP), R9
	MOVQ rows+48(FP), BX
	MOVQ DI, R12
	MOVQ SI, R13

rowsLoop:
	VBROADCASTSS (R9), Z4
	VBROADCASTSS 4(R9), Z5
	VMOVUPS.Z (R12), K1, Z0
	VMOVUPS.Z (R13), K1, Z1
	VADDPS Z0, Z9, Z9
	VSUBPS Z4, Z1, Z1
	VMULPS Z5, Z1, Z1
	VMULPS Z0, Z1, Z1
	VADDPS Z1, Z8, Z8
	ADDQ $8, R9
	ADDQ R8, R12
	ADDQ R8, R13
	DECQ BX
	JNZ  rowsLoop
	VMOVUPS Z8, K1, (R10)
	VMOVUPS Z9, K1, (R11)
	ADDQ $64, R10
	ADDQ $64, R11
	ADDQ $64, DI
	ADDQ $64, SI
	END16

// func dropout(x *float32, n int, state, limit uint64, keep float32)
//
// n is a multiple of 16. Z0 and Z1 the states of eight numbers each, Z16 what
// two groups of eight add, Z17 and Z18 the multipliers, Z19 the limit, Z20 keep.
#define SPLITMIX(S, A, B) \
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
	SPLITMIX(Z0, Z4, Z5)
	SPLITMIX(Z1, Z6, Z7)
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
