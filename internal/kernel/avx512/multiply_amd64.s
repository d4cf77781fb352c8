//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "multiply_amd64.h"

// Tiles of MR rows × 32 columns: c[i][j] (+)= Σ a[i][k]·b[k][j].
//
// Z8-Z31 hold the tile, two registers to a row; Z0 and Z1 a row of b, Z2-Z5
// an element of a in all lanes. AX, BX, DX are rows 0, 4, 8 of a; R8 the
// distance of its rows and R9 three times that; SI walks over b by R10; CX
// counts k. DI is c, R11 the distance of its rows.

#define ARGS \
	MOVQ c+0(FP), DI; \
	MOVQ ldc+8(FP), R11; \
	MOVQ a+16(FP), AX; \
	MOVQ lda+24(FP), R8; \
	MOVQ b+32(FP), SI; \
	MOVQ ldb+40(FP), R10; \
	MOVQ k+48(FP), CX; \
	LEAQ (R8)(R8*2), R9; \
	LEAQ (AX)(R8*4), BX; \
	LEAQ (BX)(R8*4), DX

#define ROWB \
	VMOVUPS (SI), Z0; \
	VMOVUPS 64(SI), Z1; \
	ADDQ R10, SI

// One row of a: b may come from memory, so that R12, 32 rows further on, is
// prefetched.
#define ROWBAHEAD \
	PREFETCHT1 (R12); \
	PREFETCHT1 64(R12); \
	ADDQ R10, R12; \
	ROWB

// func multiply12(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)
TEXT ·multiply12(SB), NOSPLIT, $0-57
	ARGS
	CMPB load+56(FP), $0
	JEQ  zero
	LOADTILE12
	MOVQ c+0(FP), DI
	JMP  loop4

zero:
	ZEROTILE12

loop4:
	CMPQ CX, $4
	JLT  loop1
	ROWB
	STEP12(0)
	ROWB
	STEP12(4)
	ROWB
	STEP12(8)
	ROWB
	STEP12(12)
	ADDQ $16, AX
	ADDQ $16, BX
	ADDQ $16, DX
	SUBQ $4, CX
	JMP  loop4

loop1:
	TESTQ CX, CX
	JZ    store
	ROWB
	STEP12(0)
	ADDQ $4, AX
	ADDQ $4, BX
	ADDQ $4, DX
	DECQ CX
	JMP  loop1

store:
	STORETILE12
	VZEROUPPER
	RET

// func multiply8(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)
TEXT ·multiply8(SB), NOSPLIT, $0-57
	ARGS
	CMPB load+56(FP), $0
	JEQ  zero
	LOADROW(Z8, Z9)
	LOADROW(Z10, Z11)
	LOADROW(Z12, Z13)
	LOADROW(Z14, Z15)
	LOADROW(Z16, Z17)
	LOADROW(Z18, Z19)
	LOADROW(Z20, Z21)
	LOADROW(Z22, Z23)
	MOVQ c+0(FP), DI
	JMP  loop4

zero:
	ZERO(Z8)
	ZERO(Z9)
	ZERO(Z10)
	ZERO(Z11)
	ZERO(Z12)
	ZERO(Z13)
	ZERO(Z14)
	ZERO(Z15)
	ZERO(Z16)
	ZERO(Z17)
	ZERO(Z18)
	ZERO(Z19)
	ZERO(Z20)
	ZERO(Z21)
	ZERO(Z22)
	ZERO(Z23)

loop4:
	CMPQ CX, $4
	JLT  loop1
	ROWB
	STEP8(0)
	ROWB
	STEP8(4)
	ROWB
	STEP8(8)
	ROWB
	STEP8(12)
	ADDQ $16, AX
	ADDQ $16, BX
	SUBQ $4, CX
	JMP  loop4

loop1:
	TESTQ CX, CX
	JZ    store
	ROWB
	STEP8(0)
	ADDQ $4, AX
	ADDQ $4, BX
	DECQ CX
	JMP  loop1

store:
	STOREROW(Z8, Z9)
	STOREROW(Z10, Z11)
	STOREROW(Z12, Z13)
	STOREROW(Z14, Z15)
	STOREROW(Z16, Z17)
	STOREROW(Z18, Z19)
	STOREROW(Z20, Z21)
	STOREROW(Z22, Z23)
	VZEROUPPER
	RET

// func multiply4(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)
TEXT ·multiply4(SB), NOSPLIT, $0-57
	ARGS
	CMPB load+56(FP), $0
	JEQ  zero
	LOADROW(Z8, Z9)
	LOADROW(Z10, Z11)
	LOADROW(Z12, Z13)
	LOADROW(Z14, Z15)
	MOVQ c+0(FP), DI
	JMP  loop4

zero:
	ZERO(Z8)
	ZERO(Z9)
	ZERO(Z10)
	ZERO(Z11)
	ZERO(Z12)
	ZERO(Z13)
	ZERO(Z14)
	ZERO(Z15)

loop4:
	CMPQ CX, $4
	JLT  loop1
	ROWB
	STEP4(0, AX)
	ROWB
	STEP4(4, AX)
	ROWB
	STEP4(8, AX)
	ROWB
	STEP4(12, AX)
	ADDQ $16, AX
	SUBQ $4, CX
	JMP  loop4

loop1:
	TESTQ CX, CX
	JZ    store
	ROWB
	STEP4(0, AX)
	ADDQ $4, AX
	DECQ CX
	JMP  loop1

store:
	STOREROW(Z8, Z9)
	STOREROW(Z10, Z11)
	STOREROW(Z12, Z13)
	STOREROW(Z14, Z15)
	VZEROUPPER
	RET

// func multiply1(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)
TEXT ·multiply1(SB), NOSPLIT, $0-57
	ARGS
	MOVQ R10, R12
	SHLQ $5, R12
	ADDQ SI, R12
	CMPB load+56(FP), $0
	JEQ  zero
	VMOVUPS (DI), Z8
	VMOVUPS 64(DI), Z9
	JMP  loop4

zero:
	ZERO(Z8)
	ZERO(Z9)

loop4:
	CMPQ CX, $4
	JLT  loop1
	ROWBAHEAD
	ROW(0(AX), Z2, Z8, Z9)
	ROWBAHEAD
	ROW(4(AX), Z3, Z8, Z9)
	ROWBAHEAD
	ROW(8(AX), Z4, Z8, Z9)
	ROWBAHEAD
	ROW(12(AX), Z5, Z8, Z9)
	ADDQ $16, AX
	SUBQ $4, CX
	JMP  loop4

loop1:
	TESTQ CX, CX
	JZ    store
	ROWBAHEAD
	ROW(0(AX), Z2, Z8, Z9)
	ADDQ $4, AX
	DECQ CX
	JMP  loop1

store:
	VMOVUPS Z8, (DI)
	VMOVUPS Z9, 64(DI)
	VZEROUPPER
	RET

// func transpose16(dst *float32, ldd uintptr, src *float32, stride uintptr, rows, cols int)
//
// dst[c][r] = src[r][c] for rows ≤ 16 and cols ≤ 16; rows beyond count as
// zeros. Rows of dst are ldd bytes apart, rows of src stride bytes; cols rows of
// dst are written.
// Z0-Z15 the rows, then by turns Z16-Z31 and Z0-Z15. K1 the columns. What lies
// AHEAD bytes further on is prefetched.
#define AHEAD 8192

#define NEXT(N, V) \
	CMPQ BX, $N; \
	JLE  loaded; \
	VMOVUPS.Z (SI), K1, V; \
	PREFETCHT1 AHEAD(SI); \
	ADDQ DX, SI

#define PUT(N, Z) \
	CMPQ CX, $N; \
	JLE  done; \
	VMOVUPS Z, (DI); \
	ADDQ R8, DI

TEXT ·transpose16(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ ldd+8(FP), R8
	MOVQ src+16(FP), SI
	MOVQ stride+24(FP), DX
	MOVQ rows+32(FP), BX
	MOVQ cols+40(FP), CX
	MOVL $1, AX
	SHLL CX, AX
	DECL AX
	KMOVW AX, K1
	ZERO(Z0)
	ZERO(Z1)
	ZERO(Z2)
	ZERO(Z3)
	ZERO(Z4)
	ZERO(Z5)
	ZERO(Z6)
	ZERO(Z7)
	ZERO(Z8)
	ZERO(Z9)
	ZERO(Z10)
	ZERO(Z11)
	ZERO(Z12)
	ZERO(Z13)
	ZERO(Z14)
	ZERO(Z15)
	NEXT(0, Z0)
	NEXT(1, Z1)
	NEXT(2, Z2)
	NEXT(3, Z3)
	NEXT(4, Z4)
	NEXT(5, Z5)
	NEXT(6, Z6)
	NEXT(7, Z7)
	NEXT(8, Z8)
	NEXT(9, Z9)
	NEXT(10, Z10)
	NEXT(11, Z11)
	NEXT(12, Z12)
	NEXT(13, Z13)
	NEXT(14, Z14)
	NEXT(15, Z15)

loaded:
	// Pairs of rows: elements 0 1 (low) and 2 3 (high) of each group of four.
	VUNPCKLPS Z1, Z0, Z16
	VUNPCKHPS Z1, Z0, Z17
	VUNPCKLPS Z3, Z2, Z18
	VUNPCKHPS Z3, Z2, Z19
	VUNPCKLPS Z5, Z4, Z20
	VUNPCKHPS Z5, Z4, Z21
	VUNPCKLPS Z7, Z6, Z22
	VUNPCKHPS Z7, Z6, Z23
	VUNPCKLPS Z9, Z8, Z24
	VUNPCKHPS Z9, Z8, Z25
	VUNPCKLPS Z11, Z10, Z26
	VUNPCKHPS Z11, Z10, Z27
	VUNPCKLPS Z13, Z12, Z28
	VUNPCKHPS Z13, Z12, Z29
	VUNPCKLPS Z15, Z14, Z30
	VUNPCKHPS Z15, Z14, Z31

	// Four rows: Z0-Z3 hold, of rows 0-3, columns 0 1 2 3 (+4 per group of four).
	VUNPCKLPD Z18, Z16, Z0
	VUNPCKHPD Z18, Z16, Z1
	VUNPCKLPD Z19, Z17, Z2
	VUNPCKHPD Z19, Z17, Z3
	VUNPCKLPD Z22, Z20, Z4
	VUNPCKHPD Z22, Z20, Z5
	VUNPCKLPD Z23, Z21, Z6
	VUNPCKHPD Z23, Z21, Z7
	VUNPCKLPD Z26, Z24, Z8
	VUNPCKHPD Z26, Z24, Z9
	VUNPCKLPD Z27, Z25, Z10
	VUNPCKHPD Z27, Z25, Z11
	VUNPCKLPD Z30, Z28, Z12
	VUNPCKHPD Z30, Z28, Z13
	VUNPCKLPD Z31, Z29, Z14
	VUNPCKHPD Z31, Z29, Z15

	// Eight rows: groups 0 1 and 2 3 of rows 0-3 and 4-7, of 8-11 and 12-15.
	VSHUFF32X4 $0x44, Z4, Z0, Z16
	VSHUFF32X4 $0xee, Z4, Z0, Z17
	VSHUFF32X4 $0x44, Z12, Z8, Z18
	VSHUFF32X4 $0xee, Z12, Z8, Z19
	VSHUFF32X4 $0x44, Z5, Z1, Z20
	VSHUFF32X4 $0xee, Z5, Z1, Z21
	VSHUFF32X4 $0x44, Z13, Z9, Z22
	VSHUFF32X4 $0xee, Z13, Z9, Z23
	VSHUFF32X4 $0x44, Z6, Z2, Z24
	VSHUFF32X4 $0xee, Z6, Z2, Z25
	VSHUFF32X4 $0x44, Z14, Z10, Z26
	VSHUFF32X4 $0xee, Z14, Z10, Z27
	VSHUFF32X4 $0x44, Z7, Z3, Z28
	VSHUFF32X4 $0xee, Z7, Z3, Z29
	VSHUFF32X4 $0x44, Z15, Z11, Z30
	VSHUFF32X4 $0xee, Z15, Z11, Z31

	// Sixteen rows: Zc is column c.
	VSHUFF32X4 $0x88, Z18, Z16, Z0
	VSHUFF32X4 $0xdd, Z18, Z16, Z4
	VSHUFF32X4 $0x88, Z19, Z17, Z8
	VSHUFF32X4 $0xdd, Z19, Z17, Z12
	VSHUFF32X4 $0x88, Z22, Z20, Z1
	VSHUFF32X4 $0xdd, Z22, Z20, Z5
	VSHUFF32X4 $0x88, Z23, Z21, Z9
	VSHUFF32X4 $0xdd, Z23, Z21, Z13
	VSHUFF32X4 $0x88, Z26, Z24, Z2
	VSHUFF32X4 $0xdd, Z26, Z24, Z6
	VSHUFF32X4 $0x88, Z27, Z25, Z10
	VSHUFF32X4 $0xdd, Z27, Z25, Z14
	VSHUFF32X4 $0x88, Z30, Z28, Z3
	VSHUFF32X4 $0xdd, Z30, Z28, Z7
	VSHUFF32X4 $0x88, Z31, Z29, Z11
	VSHUFF32X4 $0xdd, Z31, Z29, Z15

	PUT(0, Z0)
	PUT(1, Z1)
	PUT(2, Z2)
	PUT(3, Z3)
	PUT(4, Z4)
	PUT(5, Z5)
	PUT(6, Z6)
	PUT(7, Z7)
	PUT(8, Z8)
	PUT(9, Z9)
	PUT(10, Z10)
	PUT(11, Z11)
	PUT(12, Z12)
	PUT(13, Z13)
	PUT(14, Z14)
	PUT(15, Z15)

done:
	VZEROUPPER
	RET
