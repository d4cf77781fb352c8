//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "bf16_amd64.h"

// Products with an [out][in] weight: sixteen lanes (k mod 16; of bf16 pairs the
// pair mod 16) to an output, added by a fixed tree: halves onto each other.
// Four rows of W against up to six rows of x.
//
// Z8-Z31 the sums (four to a row of x), Z0-Z3 elements of W, Z4 of x. AX walks
// over W, BX its stride, DX 3·BX; SI over rows 0-2 of x, R13 over rows 3-5, R8
// their stride; CX elements left. DI y, R10 its stride, R11 the distance of
// the results of two rows of W, R12 3·R11.

// What lies ahead is prefetched, at R14.
#define PREFETCHW \
	PREFETCHT0 (R14); \
	PREFETCHT0 (R14)(BX*1); \
	PREFETCHT0 (R14)(BX*2); \
	PREFETCHT0 (R14)(DX*1)

#define LOAD4(LOADW) \
	LOADW((AX), Z0); \
	LOADW((AX)(BX*1), Z1); \
	LOADW((AX)(BX*2), Z2); \
	LOADW((AX)(DX*1), Z3)

#define LOADPAIRS(M, V) VMOVDQU32 M, V
#define LOADPAIRSK(M, V) VMOVDQU16.Z M, K1, V
#define LOADPAIRSX(M, V) VMOVDQU32.Z M, K2, V

#define FMA4(P, A, B, C, D, ZA, ZB, ZC, ZD) \
	VFMADD231PS Z0, Z4, ZA; \
	VFMADD231PS Z1, Z4, ZB; \
	VFMADD231PS Z2, Z4, ZC; \
	VFMADD231PS Z3, Z4, ZD

#define DP4(P, A, B, C, D, ZA, ZB, ZC, ZD) \
	DPBF16(0, 4, A); \
	DPBF16(1, 4, B); \
	DPBF16(2, 4, C); \
	DPBF16(3, 4, D)

// X for each row of x: what else it needs, the row and its sums.
#define ROWS1(X, P) \
	X(P, (SI), 8, 9, 10, 11, Z8, Z9, Z10, Z11)
#define ROWS4(X, P) \
	ROWS1(X, P); \
	X(P, (SI)(R8*1), 12, 13, 14, 15, Z12, Z13, Z14, Z15); \
	X(P, (SI)(R8*2), 16, 17, 18, 19, Z16, Z17, Z18, Z19); \
	X(P, (R13), 20, 21, 22, 23, Z20, Z21, Z22, Z23)
#define ROWS6(X, P) \
	ROWS4(X, P); \
	X(P, (R13)(R8*1), 24, 25, 26, 27, Z24, Z25, Z26, Z27); \
	X(P, (R13)(R8*2), 28, 29, 30, 31, Z28, Z29, Z30, Z31)

#define MULF(LOADX, M, A, B, C, D, ZA, ZB, ZC, ZD) \
	LOADX(M, Z4); \
	FMA4(0, A, B, C, D, ZA, ZB, ZC, ZD)

#define MULP(LOADX, M, A, B, C, D, ZA, ZB, ZC, ZD) \
	LOADX(M, Z4); \
	DP4(0, A, B, C, D, ZA, ZB, ZC, ZD)

#define ZEROL(P, M, A, B, C, D, ZA, ZB, ZC, ZD) \
	ZERO(ZA); \
	ZERO(ZB); \
	ZERO(ZC); \
	ZERO(ZD)

// Lanes that wait for the next block of inputs.
#define LOADL(P, M, A, B, C, D, ZA, ZB, ZC, ZD) \
	VMOVUPS (R9), ZA; \
	VMOVUPS 64(R9), ZB; \
	VMOVUPS 128(R9), ZC; \
	VMOVUPS 192(R9), ZD; \
	ADDQ $256, R9
#define STOREL(P, M, A, B, C, D, ZA, ZB, ZC, ZD) \
	VMOVUPS ZA, (R9); \
	VMOVUPS ZB, 64(R9); \
	VMOVUPS ZC, 128(R9); \
	VMOVUPS ZD, 192(R9); \
	ADDQ $256, R9

// The tree for four outputs side by side.
#define SUML(P, M, A, B, C, D, ZA, ZB, ZC, ZD) \
	LANES4(ZA, ZB, ZC, ZD); \
	VMOVSS X0, (DI); \
	VMOVSS X1, (DI)(R11*1); \
	VMOVSS X2, (DI)(R11*2); \
	VMOVSS X3, (DI)(R12*1); \
	ADDQ R10, DI

#define STEPS(ROWS, MUL, LOADW, LOADX, BYTES) \
	PREFETCHW; \
	LOAD4(LOADW); \
	ROWS(MUL, LOADX); \
	ADDQ $BYTES, AX; \
	ADDQ $BYTES, R14; \
	ADDQ $64, SI; \
	ADDQ $64, R13

// STEP elements (BYTES of W, XBYTES of x) at a time. TAIL sets the masks.
#define DOTS(ROWS, MUL, LOADW, LOADWK, LOADX, LOADXK, STEP, BYTES, TAIL) \
	MOVQ y+0(FP), DI; \
	MOVQ ldy+8(FP), R10; \
	MOVQ step+16(FP), R11; \
	MOVQ x+24(FP), SI; \
	MOVQ ldx+32(FP), R8; \
	MOVQ w+40(FP), AX; \
	MOVQ stride+48(FP), BX; \
	MOVQ n+56(FP), CX; \
	MOVQ lanes+64(FP), R9; \
	MOVQ ahead+80(FP), R14; \
	ADDQ AX, R14; \
	LEAQ (BX)(BX*2), DX; \
	LEAQ (R11)(R11*2), R12; \
	LEAQ (SI)(R8*2), R13; \
	ADDQ R8, R13; \
	CMPB load+72(FP), $0; \
	JEQ  zero; \
	ROWS(LOADL, 0); \
	JMP  four; \
zero: \
	ROWS(ZEROL, 0); \
four: \
	SUBQ $(4*STEP), CX; \
	JLT  few; \
	STEPS(ROWS, MUL, LOADW, LOADX, BYTES); \
	STEPS(ROWS, MUL, LOADW, LOADX, BYTES); \
	STEPS(ROWS, MUL, LOADW, LOADX, BYTES); \
	STEPS(ROWS, MUL, LOADW, LOADX, BYTES); \
	JMP  four; \
few: \
	ADDQ $(4*STEP), CX; \
loop: \
	CMPQ CX, $STEP; \
	JLT  tail; \
	STEPS(ROWS, MUL, LOADW, LOADX, BYTES); \
	SUBQ $STEP, CX; \
	JMP  loop; \
tail: \
	TESTQ CX, CX; \
	JZ    done; \
	TAIL; \
	LOAD4(LOADWK); \
	ROWS(MUL, LOADXK); \
done: \
	CMPB keep+73(FP), $0; \
	JNE  keep; \
	ROWS(SUML, 0); \
	VZEROUPPER; \
	RET; \
keep: \
	MOVQ lanes+64(FP), R9; \
	ROWS(STOREL, 0); \
	VZEROUPPER; \
	RET

#define TAILF MASK16(R9)

// K1 words of W, K2 pairs of x.
#define TAILP \
	MOVQ $-1, R9; \
	BZHIQ CX, R9, R9; \
	KMOVD R9, K1; \
	INCQ CX; \
	SHRQ $1, CX; \
	MOVQ $-1, R9; \
	BZHIQ CX, R9, R9; \
	KMOVW R9, K2

// One row of x against many of W, in four streams: the next results of a stream
// follow each other, and rows of W do too. Nothing is prefetched, since AMD's hardware keeps
// pace and Intel's has FourDots: on Zen 5 a head in float32 is read 4 % faster than with
// requests, and as much again because of the steps by six, with which a row of GPT-2 ends in
// no branch that was guessed wrong.
//
// R8 is where the streams are, R10 the bytes of a result, R13 the results left
// of each.
#define STEP4(MUL, LOADW, LOADX, BYTES) \
	LOAD4(LOADW); \
	ROWS1(MUL, LOADX); \
	ADDQ $BYTES, AX; \
	ADDQ $64, SI

#define DOTROW(MUL, LOADW, LOADWK, LOADX, LOADXK, STEP, BYTES, TAIL) \
	MOVQ y+0(FP), DI; \
	MOVQ step+8(FP), R11; \
	MOVQ w+24(FP), R8; \
	MOVQ apart+40(FP), BX; \
	MOVQ count+56(FP), R13; \
	LEAQ (BX)(BX*2), DX; \
	LEAQ (R11)(R11*2), R12; \
	MOVQ $4, R10; \
next: \
	MOVQ x+16(FP), SI; \
	MOVQ n+48(FP), CX; \
	MOVQ R8, AX; \
	ROWS1(ZEROL, 0); \
six: \
	SUBQ $(6*STEP), CX; \
	JLT  few; \
	STEP4(MUL, LOADW, LOADX, BYTES); \
	STEP4(MUL, LOADW, LOADX, BYTES); \
	STEP4(MUL, LOADW, LOADX, BYTES); \
	STEP4(MUL, LOADW, LOADX, BYTES); \
	STEP4(MUL, LOADW, LOADX, BYTES); \
	STEP4(MUL, LOADW, LOADX, BYTES); \
	JMP  six; \
few: \
	ADDQ $(6*STEP), CX; \
loop: \
	CMPQ CX, $STEP; \
	JLT  tail; \
	STEP4(MUL, LOADW, LOADX, BYTES); \
	SUBQ $STEP, CX; \
	JMP  loop; \
tail: \
	TESTQ CX, CX; \
	JZ    done; \
	TAIL; \
	LOAD4(LOADWK); \
	ROWS1(MUL, LOADXK); \
done: \
	ROWS1(SUML, 0); \
	ADDQ stride+32(FP), R8; \
	DECQ R13; \
	JNZ  next; \
	VZEROUPPER; \
	RET

// func dots6F32(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)
TEXT ·dots6F32(SB), NOSPLIT, $0-88
	DOTS(ROWS6, MULF, LOADF32, LOADF32K, LOADF32, LOADF32K, 16, 64, TAILF)

// func dots6F16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)
TEXT ·dots6F16(SB), NOSPLIT, $0-88
	DOTS(ROWS6, MULF, LOADF16, LOADF16K, LOADF32, LOADF32K, 16, 32, TAILF)

// func dots6BF16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)
TEXT ·dots6BF16(SB), NOSPLIT, $0-88
	DOTS(ROWS6, MULF, LOADBF16, LOADBF16K, LOADF32, LOADF32K, 16, 32, TAILF)

// func dots6Pairs(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)
TEXT ·dots6Pairs(SB), NOSPLIT, $0-88
	DOTS(ROWS6, MULP, LOADPAIRS, LOADPAIRSK, LOADPAIRS, LOADPAIRSX, 32, 64, TAILP)

// func dots4F32(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)
TEXT ·dots4F32(SB), NOSPLIT, $0-88
	DOTS(ROWS4, MULF, LOADF32, LOADF32K, LOADF32, LOADF32K, 16, 64, TAILF)

// func dots4F16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)
TEXT ·dots4F16(SB), NOSPLIT, $0-88
	DOTS(ROWS4, MULF, LOADF16, LOADF16K, LOADF32, LOADF32K, 16, 32, TAILF)

// func dots4BF16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)
TEXT ·dots4BF16(SB), NOSPLIT, $0-88
	DOTS(ROWS4, MULF, LOADBF16, LOADBF16K, LOADF32, LOADF32K, 16, 32, TAILF)

// func dots4Pairs(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)
TEXT ·dots4Pairs(SB), NOSPLIT, $0-88
	DOTS(ROWS4, MULP, LOADPAIRS, LOADPAIRSK, LOADPAIRS, LOADPAIRSX, 32, 64, TAILP)

// func dots1F32(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)
TEXT ·dots1F32(SB), NOSPLIT, $0-88
	DOTS(ROWS1, MULF, LOADF32, LOADF32K, LOADF32, LOADF32K, 16, 64, TAILF)

// func dots1F16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)
TEXT ·dots1F16(SB), NOSPLIT, $0-88
	DOTS(ROWS1, MULF, LOADF16, LOADF16K, LOADF32, LOADF32K, 16, 32, TAILF)

// func dots1BF16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)
TEXT ·dots1BF16(SB), NOSPLIT, $0-88
	DOTS(ROWS1, MULF, LOADBF16, LOADBF16K, LOADF32, LOADF32K, 16, 32, TAILF)

// func dots1Pairs(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int, lanes *float32, load, keep bool, ahead uintptr)
TEXT ·dots1Pairs(SB), NOSPLIT, $0-88
	DOTS(ROWS1, MULP, LOADPAIRS, LOADPAIRSK, LOADPAIRS, LOADPAIRSX, 32, 64, TAILP)

// Eight rows of x against three of W: the sums are Z8-Z31 again, three to a row
// of x. AX, AX+BX, AX+2·BX are the rows of W; SI rows 0-2 of x, R13 rows 3-5, R12
// rows 6-7.
// Into the first-level cache: on Zen 5 reading takes 4 to 7 % less than with the second's, and
// for pairs another 3 % less past that one.
#define AHEAD3 3072
#define PREFETCH3(PREFETCH) \
	PREFETCH AHEAD3(AX); \
	PREFETCH AHEAD3(AX)(BX*1); \
	PREFETCH AHEAD3(AX)(BX*2)

#define LOAD3(LOADW) \
	LOADW((AX), Z0); \
	LOADW((AX)(BX*1), Z1); \
	LOADW((AX)(BX*2), Z2)

#define ROWS8(X, P) \
	X(P, (SI), 8, 9, 10, Z8, Z9, Z10); \
	X(P, (SI)(R8*1), 11, 12, 13, Z11, Z12, Z13); \
	X(P, (SI)(R8*2), 14, 15, 16, Z14, Z15, Z16); \
	X(P, (R13), 17, 18, 19, Z17, Z18, Z19); \
	X(P, (R13)(R8*1), 20, 21, 22, Z20, Z21, Z22); \
	X(P, (R13)(R8*2), 23, 24, 25, Z23, Z24, Z25); \
	X(P, (R12), 26, 27, 28, Z26, Z27, Z28); \
	X(P, (R12)(R8*1), 29, 30, 31, Z29, Z30, Z31)

#define MULF3(LOADX, M, A, B, C, ZA, ZB, ZC) \
	LOADX(M, Z4); \
	VFMADD231PS Z0, Z4, ZA; \
	VFMADD231PS Z1, Z4, ZB; \
	VFMADD231PS Z2, Z4, ZC

#define MULP3(LOADX, M, A, B, C, ZA, ZB, ZC) \
	LOADX(M, Z4); \
	DPBF16(0, 4, A); \
	DPBF16(1, 4, B); \
	DPBF16(2, 4, C)

#define ZERO3(P, M, A, B, C, ZA, ZB, ZC) \
	ZERO(ZA); \
	ZERO(ZB); \
	ZERO(ZC)

#define SUM3(P, M, A, B, C, ZA, ZB, ZC) \
	LANES4(ZA, ZB, ZC, ZC); \
	VMOVSS X0, (DI); \
	VMOVSS X1, (DI)(R11*1); \
	VMOVSS X2, (DI)(R11*2); \
	ADDQ R10, DI

#define DOTS3(PREFETCH, MUL, LOADW, LOADWK, LOADX, LOADXK, STEP, BYTES, TAIL) \
	MOVQ y+0(FP), DI; \
	MOVQ ldy+8(FP), R10; \
	MOVQ step+16(FP), R11; \
	MOVQ x+24(FP), SI; \
	MOVQ ldx+32(FP), R8; \
	MOVQ w+40(FP), AX; \
	MOVQ stride+48(FP), BX; \
	MOVQ n+56(FP), CX; \
	LEAQ (SI)(R8*2), R13; \
	ADDQ R8, R13; \
	LEAQ (R13)(R8*2), R12; \
	ADDQ R8, R12; \
	ROWS8(ZERO3, 0); \
loop: \
	CMPQ CX, $STEP; \
	JLT  tail; \
	PREFETCH3(PREFETCH); \
	LOAD3(LOADW); \
	ROWS8(MUL, LOADX); \
	ADDQ $BYTES, AX; \
	ADDQ $64, SI; \
	ADDQ $64, R13; \
	ADDQ $64, R12; \
	SUBQ $STEP, CX; \
	JMP  loop; \
tail: \
	TESTQ CX, CX; \
	JZ    done; \
	TAIL; \
	LOAD3(LOADWK); \
	ROWS8(MUL, LOADXK); \
done: \
	ROWS8(SUM3, 0); \
	VZEROUPPER; \
	RET

// func dots8F32(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int)
TEXT ·dots8F32(SB), NOSPLIT, $0-64
	DOTS3(PREFETCHT0, MULF3, LOADF32, LOADF32K, LOADF32, LOADF32K, 16, 64, TAILF)

// func dots8F16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int)
TEXT ·dots8F16(SB), NOSPLIT, $0-64
	DOTS3(PREFETCHT0, MULF3, LOADF16, LOADF16K, LOADF32, LOADF32K, 16, 32, TAILF)

// func dots8BF16(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int)
TEXT ·dots8BF16(SB), NOSPLIT, $0-64
	DOTS3(PREFETCHT0, MULF3, LOADBF16, LOADBF16K, LOADF32, LOADF32K, 16, 32, TAILF)

// func dots8Pairs(y *float32, ldy, step uintptr, x unsafe.Pointer, ldx uintptr, w *byte, stride uintptr, n int)
TEXT ·dots8Pairs(SB), NOSPLIT, $0-64
	DOTS3(PREFETCHNTA, MULP3, LOADPAIRS, LOADPAIRSK, LOADPAIRS, LOADPAIRSX, 32, 64, TAILP)

// func dotRowF32(y *float32, step uintptr, x unsafe.Pointer, w *byte, stride, apart uintptr, n, count int)
TEXT ·dotRowF32(SB), NOSPLIT, $0-64
	DOTROW(MULF, LOADF32, LOADF32K, LOADF32, LOADF32K, 16, 64, TAILF)

// func dotRowF16(y *float32, step uintptr, x unsafe.Pointer, w *byte, stride, apart uintptr, n, count int)
TEXT ·dotRowF16(SB), NOSPLIT, $0-64
	DOTROW(MULF, LOADF16, LOADF16K, LOADF32, LOADF32K, 16, 32, TAILF)

// func dotRowBF16(y *float32, step uintptr, x unsafe.Pointer, w *byte, stride, apart uintptr, n, count int)
TEXT ·dotRowBF16(SB), NOSPLIT, $0-64
	DOTROW(MULF, LOADBF16, LOADBF16K, LOADF32, LOADF32K, 16, 32, TAILF)

// func dotRowPairs(y *float32, step uintptr, x unsafe.Pointer, w *byte, stride, apart uintptr, n, count int)
TEXT ·dotRowPairs(SB), NOSPLIT, $0-64
	DOTROW(MULP, LOADPAIRS, LOADPAIRSK, LOADPAIRS, LOADPAIRSX, 32, 64, TAILP)
