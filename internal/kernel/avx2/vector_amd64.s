//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// Functions of one row. DI and SI walk over the row, CX counts the elements
// left, Y15 masks the last few.

DATA masks<>+0(SB)/8, $-1
DATA masks<>+8(SB)/8, $-1
DATA masks<>+16(SB)/8, $-1
DATA masks<>+24(SB)/8, $-1
DATA masks<>+32(SB)/8, $0
DATA masks<>+40(SB)/8, $0
DATA masks<>+48(SB)/8, $0
DATA masks<>+56(SB)/8, $0
GLOBL masks<>(SB), RODATA|NOPTR, $64

DATA minusInf<>+0(SB)/4, $0xff800000
GLOBL minusInf<>(SB), RODATA|NOPTR, $4

// MASK8 sets Y15 to the lowest CX (< 8) lanes. Spoils AX and CX.
#define MASK8 \
	LEAQ masks<>+32(SB), AX; \
	SHLQ $2, CX; \
	SUBQ CX, AX; \
	VMOVUPS (AX), Y15

// exp(x) = 2ⁿ·e^r, n = round(x·log₂e), r = x - n·ln 2, |r| ≤ ½ ln 2, with
// e^r = 1 + r + r²·q(r), q of degree 4 (fitted at Chebyshev nodes, 1e-8).
// Every constant fills a register.
DATA expConst<>+0(SB)/8, $0x3fb8aa3b3fb8aa3b // log₂e
DATA expConst<>+8(SB)/8, $0x3fb8aa3b3fb8aa3b
DATA expConst<>+16(SB)/8, $0x3fb8aa3b3fb8aa3b
DATA expConst<>+24(SB)/8, $0x3fb8aa3b3fb8aa3b
DATA expConst<>+32(SB)/8, $0xbf317218bf317218 // -ln 2, rounded …
DATA expConst<>+40(SB)/8, $0xbf317218bf317218
DATA expConst<>+48(SB)/8, $0xbf317218bf317218
DATA expConst<>+56(SB)/8, $0xbf317218bf317218
DATA expConst<>+64(SB)/8, $0x3102e3083102e308 // … and what is left of it
DATA expConst<>+72(SB)/8, $0x3102e3083102e308
DATA expConst<>+80(SB)/8, $0x3102e3083102e308
DATA expConst<>+88(SB)/8, $0x3102e3083102e308
DATA expConst<>+96(SB)/8, $0x3ab6a1da3ab6a1da // q₄
DATA expConst<>+104(SB)/8, $0x3ab6a1da3ab6a1da
DATA expConst<>+112(SB)/8, $0x3ab6a1da3ab6a1da
DATA expConst<>+120(SB)/8, $0x3ab6a1da3ab6a1da
DATA expConst<>+128(SB)/8, $0x3c0905f43c0905f4 // q₃
DATA expConst<>+136(SB)/8, $0x3c0905f43c0905f4
DATA expConst<>+144(SB)/8, $0x3c0905f43c0905f4
DATA expConst<>+152(SB)/8, $0x3c0905f43c0905f4
DATA expConst<>+160(SB)/8, $0x3d2aaa743d2aaa74 // q₂
DATA expConst<>+168(SB)/8, $0x3d2aaa743d2aaa74
DATA expConst<>+176(SB)/8, $0x3d2aaa743d2aaa74
DATA expConst<>+184(SB)/8, $0x3d2aaa743d2aaa74
DATA expConst<>+192(SB)/8, $0x3e2aaa6e3e2aaa6e // q₁
DATA expConst<>+200(SB)/8, $0x3e2aaa6e3e2aaa6e
DATA expConst<>+208(SB)/8, $0x3e2aaa6e3e2aaa6e
DATA expConst<>+216(SB)/8, $0x3e2aaa6e3e2aaa6e
DATA expConst<>+224(SB)/8, $0x3f0000003f000000 // q₀
DATA expConst<>+232(SB)/8, $0x3f0000003f000000
DATA expConst<>+240(SB)/8, $0x3f0000003f000000
DATA expConst<>+248(SB)/8, $0x3f0000003f000000
DATA expConst<>+256(SB)/8, $0x3f8000003f800000 // 1, and the exponent's offset
DATA expConst<>+264(SB)/8, $0x3f8000003f800000
DATA expConst<>+272(SB)/8, $0x3f8000003f800000
DATA expConst<>+280(SB)/8, $0x3f8000003f800000
DATA expConst<>+288(SB)/8, $0x42b2000042b20000 // 89: Inf from here on
DATA expConst<>+296(SB)/8, $0x42b2000042b20000
DATA expConst<>+304(SB)/8, $0x42b2000042b20000
DATA expConst<>+312(SB)/8, $0x42b2000042b20000
DATA expConst<>+320(SB)/8, $0xc2d00000c2d00000 // -104: zero
DATA expConst<>+328(SB)/8, $0xc2d00000c2d00000
DATA expConst<>+336(SB)/8, $0xc2d00000c2d00000
DATA expConst<>+344(SB)/8, $0xc2d00000c2d00000
DATA expConst<>+352(SB)/8, $0x7f7fffff7f7fffff // the largest finite number
DATA expConst<>+360(SB)/8, $0x7f7fffff7f7fffff
DATA expConst<>+368(SB)/8, $0x7f7fffff7f7fffff
DATA expConst<>+376(SB)/8, $0x7f7fffff7f7fffff
GLOBL expConst<>(SB), RODATA|NOPTR, $384

// Y0 = exp(Y0); spoils Y1-Y3. The clamps let NaN pass. 2ⁿ is multiplied in two
// halves: its exponent may lie outside a float32's.
#define EXP \
	VMOVUPS expConst<>+288(SB), Y1; \
	VMINPS Y0, Y1, Y0; \
	VMOVUPS expConst<>+320(SB), Y1; \
	VMAXPS Y0, Y1, Y0; \
	VMULPS expConst<>+0(SB), Y0, Y1; \
	VROUNDPS $0, Y1, Y1; \
	VFMADD231PS expConst<>+32(SB), Y1, Y0; \
	VFMADD231PS expConst<>+64(SB), Y1, Y0; \
	VMOVUPS expConst<>+96(SB), Y2; \
	VFMADD213PS expConst<>+128(SB), Y0, Y2; \
	VFMADD213PS expConst<>+160(SB), Y0, Y2; \
	VFMADD213PS expConst<>+192(SB), Y0, Y2; \
	VFMADD213PS expConst<>+224(SB), Y0, Y2; \
	VMULPS Y0, Y0, Y3; \
	VFMADD213PS Y0, Y3, Y2; \
	VADDPS expConst<>+256(SB), Y2, Y2; \
	VCVTPS2DQ Y1, Y1; \
	VPSRAD $1, Y1, Y3; \
	VPSUBD Y3, Y1, Y1; \
	VPSLLD $23, Y1, Y1; \
	VPSLLD $23, Y3, Y3; \
	VPADDD expConst<>+256(SB), Y1, Y1; \
	VPADDD expConst<>+256(SB), Y3, Y3; \
	VMULPS Y1, Y2, Y0; \
	VMULPS Y3, Y0, Y0

// x / (1 + exp(-z)), z = x·(a + b·x²). Y4 -a, Y5 -b, Y6 x. x² stops at the
// largest finite number, since 0·Inf is NaN.
#define GATE \
	VMULPS Y6, Y6, Y0; \
	VMOVUPS expConst<>+352(SB), Y1; \
	VMINPS Y0, Y1, Y0; \
	VFMADD213PS Y4, Y5, Y0; \
	VMULPS Y6, Y0, Y0; \
	EXP; \
	VADDPS expConst<>+256(SB), Y0, Y0; \
	VDIVPS Y0, Y6, Y0

// func add(y, x *float32, n int)
TEXT ·add(SB), NOSPLIT, $0-24
	MOVQ y+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	CMPQ CX, $8
	JLT  tail
	VMOVUPS (DI), Y0
	VMOVUPS (SI), Y1
	VADDPS Y1, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, DI
	ADDQ $32, SI
	SUBQ $8, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK8
	VMASKMOVPS (DI), Y15, Y0
	VMASKMOVPS (SI), Y15, Y1
	VADDPS Y1, Y0, Y0
	VMASKMOVPS Y0, Y15, (DI)

done:
	VZEROUPPER
	RET

// func scale(y *float32, a float32, n int)
TEXT ·scale(SB), NOSPLIT, $0-24
	MOVQ y+0(FP), DI
	VBROADCASTSS a+8(FP), Y1
	MOVQ n+16(FP), CX

loop:
	CMPQ CX, $8
	JLT  tail
	VMOVUPS (DI), Y0
	VMULPS Y0, Y1, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, DI
	SUBQ $8, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK8
	VMASKMOVPS (DI), Y15, Y0
	VMULPS Y0, Y1, Y0
	VMASKMOVPS Y0, Y15, (DI)

done:
	VZEROUPPER
	RET

// func normalize(y, x, gain, bias *float32, mean, rstd float32, n int)
TEXT ·normalize(SB), NOSPLIT, $0-48
	MOVQ y+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ gain+16(FP), R8
	MOVQ bias+24(FP), R9
	VBROADCASTSS mean+32(FP), Y1
	VBROADCASTSS rstd+36(FP), Y2
	MOVQ n+40(FP), CX

loop:
	CMPQ CX, $8
	JLT  tail
	VMOVUPS (SI), Y0
	VMOVUPS (R8), Y3
	VMOVUPS (R9), Y4
	VSUBPS Y1, Y0, Y0
	VMULPS Y2, Y0, Y0
	VFMADD213PS Y4, Y3, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	ADDQ $32, R8
	ADDQ $32, R9
	SUBQ $8, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK8
	VMASKMOVPS (SI), Y15, Y0
	VMASKMOVPS (R8), Y15, Y3
	VMASKMOVPS (R9), Y15, Y4
	VSUBPS Y1, Y0, Y0
	VMULPS Y2, Y0, Y0
	VFMADD213PS Y4, Y3, Y0
	VMASKMOVPS Y0, Y15, (DI)

done:
	VZEROUPPER
	RET

// func gate(x *float32, a, b float32, n int)
TEXT ·gate(SB), NOSPLIT, $0-24
	MOVQ x+0(FP), DI
	MOVQ n+16(FP), CX
	ZERO(Y0)
	VBROADCASTSS a+8(FP), Y4
	VBROADCASTSS b+12(FP), Y5
	VSUBPS Y4, Y0, Y4
	VSUBPS Y5, Y0, Y5

loop:
	CMPQ CX, $8
	JLT  tail
	VMOVUPS (DI), Y6
	GATE
	VMOVUPS Y0, (DI)
	ADDQ $32, DI
	SUBQ $8, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK8
	VMASKMOVPS (DI), Y15, Y6
	GATE
	VMASKMOVPS Y0, Y15, (DI)

done:
	VZEROUPPER
	RET

// func sum(x *float32, n int) float32
// Y8 and Y9 sixteen lanes.
TEXT ·sum(SB), NOSPLIT, $0-20
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	ZERO(Y8)
	ZERO(Y9)

loop:
	CMPQ CX, $16
	JLT  half
	VMOVUPS (SI), Y0
	VADDPS Y0, Y8, Y8
	VMOVUPS 32(SI), Y0
	VADDPS Y0, Y9, Y9
	ADDQ $64, SI
	SUBQ $16, CX
	JMP  loop

half:
	CMPQ CX, $8
	JLT  low
	VMOVUPS (SI), Y0
	VADDPS Y0, Y8, Y8
	ADDQ $32, SI
	SUBQ $8, CX
	JZ   done
	MASK8
	VMASKMOVPS (SI), Y15, Y0
	VADDPS Y0, Y9, Y9
	JMP  done

low:
	TESTQ CX, CX
	JZ    done
	MASK8
	VMASKMOVPS (SI), Y15, Y0
	VADDPS Y0, Y8, Y8

done:
	HSUM(Y8, X8, Y9, X9)
	VMOVSS X8, ret+16(FP)
	VZEROUPPER
	RET

// func sumSquares(x *float32, mean float32, n int) float32
// Y8 and Y9 sixteen lanes, Y1 the mean.
TEXT ·sumSquares(SB), NOSPLIT, $0-28
	MOVQ x+0(FP), SI
	VBROADCASTSS mean+8(FP), Y1
	MOVQ n+16(FP), CX
	ZERO(Y8)
	ZERO(Y9)

loop:
	CMPQ CX, $16
	JLT  half
	VMOVUPS (SI), Y0
	VSUBPS Y1, Y0, Y0
	VFMADD231PS Y0, Y0, Y8
	VMOVUPS 32(SI), Y0
	VSUBPS Y1, Y0, Y0
	VFMADD231PS Y0, Y0, Y9
	ADDQ $64, SI
	SUBQ $16, CX
	JMP  loop

half:
	CMPQ CX, $8
	JLT  low
	VMOVUPS (SI), Y0
	VSUBPS Y1, Y0, Y0
	VFMADD231PS Y0, Y0, Y8
	ADDQ $32, SI
	SUBQ $8, CX
	JZ   done
	MASK8
	VMASKMOVPS (SI), Y15, Y0
	VSUBPS Y1, Y0, Y0
	VANDPS Y15, Y0, Y0
	VFMADD231PS Y0, Y0, Y9
	JMP  done

low:
	TESTQ CX, CX
	JZ    done
	MASK8
	VMASKMOVPS (SI), Y15, Y0
	VSUBPS Y1, Y0, Y0
	VANDPS Y15, Y0, Y0
	VFMADD231PS Y0, Y0, Y8

done:
	HSUM(Y8, X8, Y9, X9)
	VMOVSS X8, ret+24(FP)
	VZEROUPPER
	RET

// func expSum(s *float32, m float32, n int) float32
// Y8 and Y9 sixteen lanes of the sum, Y4 the largest.
TEXT ·expSum(SB), NOSPLIT, $0-28
	MOVQ s+0(FP), DI
	VBROADCASTSS m+8(FP), Y4
	MOVQ n+16(FP), CX
	ZERO(Y8)
	ZERO(Y9)

loop:
	CMPQ CX, $16
	JLT  half
	VMOVUPS (DI), Y0
	VSUBPS Y4, Y0, Y0
	EXP
	VMOVUPS Y0, (DI)
	VADDPS Y0, Y8, Y8
	VMOVUPS 32(DI), Y0
	VSUBPS Y4, Y0, Y0
	EXP
	VMOVUPS Y0, 32(DI)
	VADDPS Y0, Y9, Y9
	ADDQ $64, DI
	SUBQ $16, CX
	JMP  loop

half:
	CMPQ CX, $8
	JLT  low
	VMOVUPS (DI), Y0
	VSUBPS Y4, Y0, Y0
	EXP
	VMOVUPS Y0, (DI)
	VADDPS Y0, Y8, Y8
	ADDQ $32, DI
	SUBQ $8, CX
	JZ   done
	MASK8
	VMASKMOVPS (DI), Y15, Y0
	VSUBPS Y4, Y0, Y0
	EXP
	VMASKMOVPS Y0, Y15, (DI)
	VANDPS Y15, Y0, Y0
	VADDPS Y0, Y9, Y9
	JMP  done

low:
	TESTQ CX, CX
	JZ    done
	MASK8
	VMASKMOVPS (DI), Y15, Y0
	VSUBPS Y4, Y0, Y0
	EXP
	VMASKMOVPS Y0, Y15, (DI)
	VANDPS Y15, Y0, Y0
	VADDPS Y0, Y8, Y8

done:
	HSUM(Y8, X8, Y9, X9)
	VMOVSS X8, ret+24(FP)
	VZEROUPPER
	RET

// func scaleMax(s *float32, a float32, n int) float32
// Y1 the factor, Y8 the largest so far. VMAXPS gives the second of its
// operands (the first one written here) when either is NaN.
TEXT ·scaleMax(SB), NOSPLIT, $0-28
	MOVQ s+0(FP), DI
	VBROADCASTSS a+8(FP), Y1
	MOVQ n+16(FP), CX
	VBROADCASTSS minusInf<>(SB), Y7
	VMOVUPS Y7, Y8

loop:
	CMPQ CX, $8
	JLT  tail
	VMULPS (DI), Y1, Y0
	VMOVUPS Y0, (DI)
	VMAXPS Y8, Y0, Y8
	ADDQ $32, DI
	SUBQ $8, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK8
	VMASKMOVPS (DI), Y15, Y0
	VMULPS Y0, Y1, Y0
	VMASKMOVPS Y0, Y15, (DI)
	VBLENDVPS Y15, Y0, Y7, Y0
	VMAXPS Y8, Y0, Y8

done:
	VEXTRACTF128 $1, Y8, X9
	VMAXPS X9, X8, X8
	VPERMILPS $0x4e, X8, X9
	VMAXPS X9, X8, X8
	VPERMILPS $0x55, X8, X9
	VMAXSS X9, X8, X8
	VMOVSS X8, ret+24(FP)
	VZEROUPPER
	RET

// func peak(n int)
// Twelve independent sums Y0-Y11, n rounds of one multiply-add each.
TEXT ·peak(SB), NOSPLIT, $0-8
	MOVQ n+0(FP), CX
	ZERO(Y0)
	ZERO(Y1)
	ZERO(Y2)
	ZERO(Y3)
	ZERO(Y4)
	ZERO(Y5)
	ZERO(Y6)
	ZERO(Y7)
	ZERO(Y8)
	ZERO(Y9)
	ZERO(Y10)
	ZERO(Y11)
	ZERO(Y12)
	ZERO(Y13)

loop:
	VFMADD231PS Y12, Y13, Y0
	VFMADD231PS Y12, Y13, Y1
	VFMADD231PS Y12, Y13, Y2
	VFMADD231PS Y12, Y13, Y3
	VFMADD231PS Y12, Y13, Y4
	VFMADD231PS Y12, Y13, Y5
	VFMADD231PS Y12, Y13, Y6
	VFMADD231PS Y12, Y13, Y7
	VFMADD231PS Y12, Y13, Y8
	VFMADD231PS Y12, Y13, Y9
	VFMADD231PS Y12, Y13, Y10
	VFMADD231PS Y12, Y13, Y11
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func read(p *byte, n int) float32
//
// n is a multiple of 512. Four quarters of the memory are read side by side,
// which keeps more requests under way than one stream does. SI, R8, R9, R10
// walk over the quarters, CX counts the bytes left of one.
#define READLINE(O) \
	PREFETCHT0 (1024+O)(SI); \
	PREFETCHT0 (1024+O)(R8); \
	PREFETCHT0 (1024+O)(R9); \
	PREFETCHT0 (1024+O)(R10); \
	VORPS O(SI), Y0, Y0; \
	VORPS O(R8), Y1, Y1; \
	VORPS O(R9), Y2, Y2; \
	VORPS O(R10), Y3, Y3; \
	VORPS (O+32)(SI), Y0, Y0; \
	VORPS (O+32)(R8), Y1, Y1; \
	VORPS (O+32)(R9), Y2, Y2; \
	VORPS (O+32)(R10), Y3, Y3

TEXT ·read(SB), NOSPLIT, $0-20
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	SHRQ $2, CX
	LEAQ (SI)(CX*1), R8
	LEAQ (R8)(CX*1), R9
	LEAQ (R9)(CX*1), R10
	ZERO(Y0)
	ZERO(Y1)
	ZERO(Y2)
	ZERO(Y3)

loop:
	CMPQ CX, $128
	JLT  done
	READLINE(0)
	READLINE(64)
	ADDQ $128, SI
	ADDQ $128, R8
	ADDQ $128, R9
	ADDQ $128, R10
	SUBQ $128, CX
	JMP  loop

done:
	VORPS Y1, Y0, Y0
	VORPS Y3, Y2, Y2
	VORPS Y2, Y0, Y0
	VMOVSS X0, ret+16(FP)
	VZEROUPPER
	RET

// func readTwo(p *byte, n int) float32
//
// n is a multiple of 512. Two halves are read side by side, at the pace that
// the hardware prefetches them by itself. SI and R8 walk over them.
#define READTWO(O) \
	VORPS O(SI), Y0, Y0; \
	VORPS (O+32)(SI), Y1, Y1; \
	VORPS O(R8), Y2, Y2; \
	VORPS (O+32)(R8), Y3, Y3

TEXT ·readTwo(SB), NOSPLIT, $0-20
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	SHRQ $1, CX
	LEAQ (SI)(CX*1), R8
	ZERO(Y0)
	ZERO(Y1)
	ZERO(Y2)
	ZERO(Y3)

loop:
	CMPQ CX, $256
	JLT  done
	READTWO(0)
	READTWO(64)
	READTWO(128)
	READTWO(192)
	ADDQ $256, SI
	ADDQ $256, R8
	SUBQ $256, CX
	JMP  loop

done:
	VORPS Y1, Y0, Y0
	VORPS Y3, Y2, Y2
	VORPS Y2, Y0, Y0
	VMOVSS X0, ret+16(FP)
	VZEROUPPER
	RET
