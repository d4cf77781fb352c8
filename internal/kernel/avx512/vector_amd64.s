//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "exp_amd64.h"

// QUARTERS is for read and readFourAhead: where the quarters begin, and the bytes of one.
#define QUARTERS \
	MOVQ p+0(FP), SI; \
	MOVQ n+8(FP), CX; \
	SHRQ $2, CX; \
	LEAQ (SI)(CX*1), R8; \
	LEAQ (R8)(CX*1), R9; \
	LEAQ (R9)(CX*1), R10

// Functions of one row. DI and SI walk over the row, CX counts the elements
// left, K1 masks the last few.

// func add(y, x *float32, n int)
TEXT ·add(SB), NOSPLIT, $0-24
	MOVQ y+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	CMPQ CX, $16
	JLT  tail
	VMOVUPS (DI), Z0
	VADDPS (SI), Z0, Z0
	VMOVUPS Z0, (DI)
	ADDQ $64, DI
	ADDQ $64, SI
	SUBQ $16, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK16(AX)
	VMOVUPS.Z (DI), K1, Z0
	VMOVUPS.Z (SI), K1, Z1
	VADDPS Z1, Z0, Z0
	VMOVUPS Z0, K1, (DI)

done:
	VZEROUPPER
	RET

// func scale(y *float32, a float32, n int)
TEXT ·scale(SB), NOSPLIT, $0-24
	MOVQ y+0(FP), DI
	VBROADCASTSS a+8(FP), Z1
	MOVQ n+16(FP), CX

loop:
	CMPQ CX, $16
	JLT  tail
	VMULPS (DI), Z1, Z0
	VMOVUPS Z0, (DI)
	ADDQ $64, DI
	SUBQ $16, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK16(AX)
	VMOVUPS.Z (DI), K1, Z0
	VMULPS Z0, Z1, Z0
	VMOVUPS Z0, K1, (DI)

done:
	VZEROUPPER
	RET

// func sum(x *float32, n int) float32
// Z8 sixteen lanes.
TEXT ·sum(SB), NOSPLIT, $0-20
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	VPXORD Z8, Z8, Z8

loop:
	CMPQ CX, $16
	JLT  tail
	VADDPS (SI), Z8, Z8
	ADDQ $64, SI
	SUBQ $16, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK16(AX)
	VMOVUPS.Z (SI), K1, Z0
	VADDPS Z0, Z8, Z8

done:
	HSUM
	VMOVSS X8, ret+16(FP)
	VZEROUPPER
	RET

// func sumSquares(x *float32, mean float32, n int) float32
// Z8 sixteen lanes, Z1 the mean.
TEXT ·sumSquares(SB), NOSPLIT, $0-28
	MOVQ x+0(FP), SI
	VBROADCASTSS mean+8(FP), Z1
	MOVQ n+16(FP), CX
	VPXORD Z8, Z8, Z8

loop:
	CMPQ CX, $16
	JLT  tail
	VMOVUPS (SI), Z0
	VSUBPS Z1, Z0, Z0
	VFMADD231PS Z0, Z0, Z8
	ADDQ $64, SI
	SUBQ $16, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK16(AX)
	VMOVUPS.Z (SI), K1, Z0
	VSUBPS.Z Z1, Z0, K1, Z0
	VFMADD231PS Z0, Z0, Z8

done:
	HSUM
	VMOVSS X8, ret+24(FP)
	VZEROUPPER
	RET

// func normalize(y, x, gain, bias *float32, mean, rstd float32, n int)
// Z1 mean, Z2 rstd; R8 gain, R9 bias.
TEXT ·normalize(SB), NOSPLIT, $0-48
	MOVQ y+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ gain+16(FP), R8
	MOVQ bias+24(FP), R9
	VBROADCASTSS mean+32(FP), Z1
	VBROADCASTSS rstd+36(FP), Z2
	MOVQ n+40(FP), CX

loop:
	CMPQ CX, $16
	JLT  tail
	VMOVUPS (SI), Z0
	VMOVUPS (R8), Z3
	VSUBPS Z1, Z0, Z0
	VMULPS Z2, Z0, Z0
	VFMADD213PS (R9), Z3, Z0
	VMOVUPS Z0, (DI)
	ADDQ $64, SI
	ADDQ $64, DI
	ADDQ $64, R8
	ADDQ $64, R9
	SUBQ $16, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK16(AX)
	VMOVUPS.Z (SI), K1, Z0
	VMOVUPS.Z (R8), K1, Z3
	VMOVUPS.Z (R9), K1, Z4
	VSUBPS Z1, Z0, Z0
	VMULPS Z2, Z0, Z0
	VFMADD213PS Z4, Z3, Z0
	VMOVUPS Z0, K1, (DI)

done:
	VZEROUPPER
	RET

// func scaleMax(s *float32, a float32, n int) float32
// Z1 the factor, Z8 the largest so far. VMAXPS gives the second of its
// operands (the first one written here) when either is NaN.
TEXT ·scaleMax(SB), NOSPLIT, $0-28
	MOVQ s+0(FP), DI
	VBROADCASTSS a+8(FP), Z1
	MOVQ n+16(FP), CX
	VBROADCASTSS minusInf<>(SB), Z8

loop:
	CMPQ CX, $16
	JLT  tail
	VMULPS (DI), Z1, Z0
	VMOVUPS Z0, (DI)
	VMAXPS Z8, Z0, Z8
	ADDQ $64, DI
	SUBQ $16, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK16(AX)
	VMOVUPS.Z (DI), K1, Z0
	VMULPS Z0, Z1, Z0
	VMOVUPS Z0, K1, (DI)
	VMAXPS Z8, Z0, K1, Z8

done:
	VEXTRACTF64X4 $1, Z8, Y9
	VMAXPS Y9, Y8, Y8
	VEXTRACTF128 $1, Y8, X9
	VMAXPS X9, X8, X8
	VPERMILPS $0x4e, X8, X9
	VMAXPS X9, X8, X8
	VPERMILPS $0x55, X8, X9
	VMAXSS X9, X8, X8
	VMOVSS X8, ret+24(FP)
	VZEROUPPER
	RET

DATA minusInf<>+0(SB)/4, $0xff800000
GLOBL minusInf<>(SB), RODATA|NOPTR, $4

// func expSum(s *float32, m float32, n int) float32
// Z4 the largest, Z8 sixteen lanes of the sum.
TEXT ·expSum(SB), NOSPLIT, $0-28
	MOVQ s+0(FP), DI
	VBROADCASTSS m+8(FP), Z4
	MOVQ n+16(FP), CX
	EXPCONST
	VPXORD Z8, Z8, Z8

loop:
	CMPQ CX, $16
	JLT  tail
	VMOVUPS (DI), Z0
	VSUBPS Z4, Z0, Z0
	EXP
	VMOVUPS Z0, (DI)
	VADDPS Z0, Z8, Z8
	ADDQ $64, DI
	SUBQ $16, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK16(AX)
	VMOVUPS.Z (DI), K1, Z0
	VSUBPS Z4, Z0, Z0
	EXP
	VMOVUPS Z0, K1, (DI)
	VMOVAPS.Z Z0, K1, Z0
	VADDPS Z0, Z8, Z8

done:
	HSUM
	VMOVSS X8, ret+24(FP)
	VZEROUPPER
	RET

// func gate(x *float32, a, b float32, n int)
//
// x = x / (1 + exp(-z)), z = x·(a + b·x²). Z4 -a, Z5 -b, Z6 x, Z27 the largest
// finite number: x² stops there, since 0·Inf is NaN.
#define GATE \
	VMULPS Z6, Z6, Z0; \
	VMINPS Z0, Z27, Z0; \
	VFMADD213PS Z4, Z5, Z0; \
	VMULPS Z6, Z0, Z0; \
	EXP; \
	VADDPS Z24, Z0, Z0; \
	VDIVPS Z0, Z6, Z0

TEXT ·gate(SB), NOSPLIT, $0-24
	MOVQ x+0(FP), DI
	MOVQ n+16(FP), CX
	EXPCONST
	VBROADCASTSS expConst<>+44(SB), Z27
	VPXORD Z0, Z0, Z0
	VBROADCASTSS a+8(FP), Z4
	VBROADCASTSS b+12(FP), Z5
	VSUBPS Z4, Z0, Z4
	VSUBPS Z5, Z0, Z5

loop:
	CMPQ CX, $16
	JLT  tail
	VMOVUPS (DI), Z6
	GATE
	VMOVUPS Z0, (DI)
	ADDQ $64, DI
	SUBQ $16, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK16(AX)
	VMOVUPS.Z (DI), K1, Z6
	GATE
	VMOVUPS Z0, K1, (DI)

done:
	VZEROUPPER
	RET

// func peak(n int)
// Sixteen independent sums Z0-Z15, n rounds of one multiply-add each.
TEXT ·peak(SB), NOSPLIT, $0-8
	MOVQ n+0(FP), CX
	VPXORD Z0, Z0, Z0
	VPXORD Z1, Z1, Z1
	VPXORD Z2, Z2, Z2
	VPXORD Z3, Z3, Z3
	VPXORD Z4, Z4, Z4
	VPXORD Z5, Z5, Z5
	VPXORD Z6, Z6, Z6
	VPXORD Z7, Z7, Z7
	VPXORD Z8, Z8, Z8
	VPXORD Z9, Z9, Z9
	VPXORD Z10, Z10, Z10
	VPXORD Z11, Z11, Z11
	VPXORD Z12, Z12, Z12
	VPXORD Z13, Z13, Z13
	VPXORD Z14, Z14, Z14
	VPXORD Z15, Z15, Z15
	VPXORD Z16, Z16, Z16
	VPXORD Z17, Z17, Z17

loop:
	VFMADD231PS Z16, Z17, Z0
	VFMADD231PS Z16, Z17, Z1
	VFMADD231PS Z16, Z17, Z2
	VFMADD231PS Z16, Z17, Z3
	VFMADD231PS Z16, Z17, Z4
	VFMADD231PS Z16, Z17, Z5
	VFMADD231PS Z16, Z17, Z6
	VFMADD231PS Z16, Z17, Z7
	VFMADD231PS Z16, Z17, Z8
	VFMADD231PS Z16, Z17, Z9
	VFMADD231PS Z16, Z17, Z10
	VFMADD231PS Z16, Z17, Z11
	VFMADD231PS Z16, Z17, Z12
	VFMADD231PS Z16, Z17, Z13
	VFMADD231PS Z16, Z17, Z14
	VFMADD231PS Z16, Z17, Z15
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET

// func read(p *byte, n int) float32
//
// n is a multiple of 1024. Four quarters of the memory are read side by side,
// which keeps more requests under way than one stream does. SI, R8, R9, R10
// walk over the quarters, CX counts the bytes left of one.
#define READLINE(O) \
	PREFETCHT0 (1024+O)(SI); \
	PREFETCHT0 (1024+O)(R8); \
	PREFETCHT0 (1024+O)(R9); \
	PREFETCHT0 (1024+O)(R10); \
	VPORD O(SI), Z0, Z0; \
	VPORD O(R8), Z1, Z1; \
	VPORD O(R9), Z2, Z2; \
	VPORD O(R10), Z3, Z3

TEXT ·read(SB), NOSPLIT, $0-20
	QUARTERS
	VPXORD Z0, Z0, Z0
	VPXORD Z1, Z1, Z1
	VPXORD Z2, Z2, Z2
	VPXORD Z3, Z3, Z3

loop:
	CMPQ CX, $256
	JLT  done
	READLINE(0)
	READLINE(64)
	READLINE(128)
	READLINE(192)
	ADDQ $256, SI
	ADDQ $256, R8
	ADDQ $256, R9
	ADDQ $256, R10
	SUBQ $256, CX
	JMP  loop

done:
	VPORD Z1, Z0, Z0
	VPORD Z3, Z2, Z2
	VPORD Z2, Z0, Z0
	VMOVSS X0, ret+16(FP)
	VZEROUPPER
	RET

// func readFourAhead(p *byte, n int) float32
//
// As read, but two lines of each quarter at a time, as the kernels of one row of float32
// read (four_amd64.s): asked for twice, from far away and from near.
#define READFAR(R) \
	PREFETCHT0 640(R); \
	PREFETCHT1 1536(R); \
	PREFETCHT0 (640+64)(R); \
	PREFETCHT1 (1536+64)(R); \
	VPORD (R), Z0, Z0; \
	VPORD 64(R), Z1, Z1; \
	ADDQ $128, R

TEXT ·readFourAhead(SB), NOSPLIT, $0-20
	QUARTERS
	ZERO(Z0)
	ZERO(Z1)

loop:
	READFAR(SI)
	READFAR(R8)
	READFAR(R9)
	READFAR(R10)
	SUBQ $128, CX
	JNZ  loop
	VPORD Z1, Z0, Z0
	VMOVSS X0, ret+16(FP)
	VZEROUPPER
	RET

// func readTwo(p *byte, n int) float32
// func readTwoAhead(p *byte, n int) float32
//
// n is a multiple of 1024. Two halves are read side by side: at the pace that the
// hardware prefetches them by itself, or asked for half a kilobyte ahead. SI and
// R8 walk over them, CX counts the bytes left of one.
#define READTWO(O) \
	VPORD O(SI), Z0, Z0; \
	VPORD (O+64)(SI), Z1, Z1; \
	VPORD O(R8), Z2, Z2; \
	VPORD (O+64)(R8), Z3, Z3

#define READTWOAHEAD(O) \
	PREFETCHT0 (512+O)(SI); \
	PREFETCHT0 (512+O+64)(SI); \
	PREFETCHT0 (512+O)(R8); \
	PREFETCHT0 (512+O+64)(R8); \
	READTWO(O)

#define HALVES(READ) \
	MOVQ p+0(FP), SI; \
	MOVQ n+8(FP), CX; \
	SHRQ $1, CX; \
	LEAQ (SI)(CX*1), R8; \
	VPXORD Z0, Z0, Z0; \
	VPXORD Z1, Z1, Z1; \
	VPXORD Z2, Z2, Z2; \
	VPXORD Z3, Z3, Z3; \
loop: \
	CMPQ CX, $256; \
	JLT  done; \
	READ(0); \
	READ(128); \
	ADDQ $256, SI; \
	ADDQ $256, R8; \
	SUBQ $256, CX; \
	JMP  loop; \
done: \
	VPORD Z1, Z0, Z0; \
	VPORD Z3, Z2, Z2; \
	VPORD Z2, Z0, Z0; \
	VMOVSS X0, ret+16(FP); \
	VZEROUPPER; \
	RET

TEXT ·readTwo(SB), NOSPLIT, $0-20
	HALVES(READTWO)

TEXT ·readTwoAhead(SB), NOSPLIT, $0-20
	HALVES(READTWOAHEAD)

// func readOne(p *byte, n int) float32
//
// n is a multiple of 1024, which are read one after the other. SI walks over
// them, CX counts the bytes left.
TEXT ·readOne(SB), NOSPLIT, $0-20
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	VPXORD Z0, Z0, Z0
	VPXORD Z1, Z1, Z1
	VPXORD Z2, Z2, Z2
	VPXORD Z3, Z3, Z3

loop:
	CMPQ CX, $256
	JLT  done
	VPORD (SI), Z0, Z0
	VPORD 64(SI), Z1, Z1
	VPORD 128(SI), Z2, Z2
	VPORD 192(SI), Z3, Z3
	ADDQ $256, SI
	SUBQ $256, CX
	JMP  loop

done:
	VPORD Z1, Z0, Z0
	VPORD Z3, Z2, Z2
	VPORD Z2, Z0, Z0
	VMOVSS X0, ret+16(FP)
	VZEROUPPER
	RET
