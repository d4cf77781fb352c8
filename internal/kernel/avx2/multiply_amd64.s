//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// Tiles of MR rows × 16 columns: c[i][j] (+)= Σ a[i][k]·b[k][j].
//
// Y4-Y15 hold the tile, two registers to a row; Y0 and Y1 a row of b, Y2-Y3
// an element of a in all lanes. AX and BX are rows 0 and 3 of a; R8 the
// distance of its rows; SI walks over b by R10; CX counts k. DI is c, R11 the
// distance of its rows.

#define ARGS \
	MOVQ c+0(FP), DI; \
	MOVQ ldc+8(FP), R11; \
	MOVQ a+16(FP), AX; \
	MOVQ lda+24(FP), R8; \
	MOVQ b+32(FP), SI; \
	MOVQ ldb+40(FP), R10; \
	MOVQ k+48(FP), CX; \
	LEAQ (AX)(R8*2), BX; \
	ADDQ R8, BX

#define LOADROW(LO, HI) \
	VMOVUPS (DI), LO; \
	VMOVUPS 32(DI), HI; \
	ADDQ R11, DI

#define STOREROW(LO, HI) \
	VMOVUPS LO, (DI); \
	VMOVUPS HI, 32(DI); \
	ADDQ R11, DI

#define ROWB \
	VMOVUPS (SI), Y0; \
	VMOVUPS 32(SI), Y1; \
	ADDQ R10, SI

#define ROW(A, V, LO, HI) \
	VBROADCASTSS A, V; \
	VFMADD231PS Y0, V, LO; \
	VFMADD231PS Y1, V, HI

#define STEP3(O) \
	ROWB; \
	ROW(O(AX), Y2, Y4, Y5); \
	ROW(O(AX)(R8*1), Y3, Y6, Y7); \
	ROW(O(AX)(R8*2), Y2, Y8, Y9)

#define STEP6(O) \
	STEP3(O); \
	ROW(O(BX), Y3, Y10, Y11); \
	ROW(O(BX)(R8*1), Y2, Y12, Y13); \
	ROW(O(BX)(R8*2), Y3, Y14, Y15)

// One row of a: b may come from memory, so that R12, 32 rows further on, is
// prefetched.
#define STEP1(O) \
	PREFETCHT1 (R12); \
	ADDQ R10, R12; \
	ROWB; \
	ROW(O(AX), Y2, Y4, Y5)

// func multiply6(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)
TEXT ·multiply6(SB), NOSPLIT, $0-57
	ARGS
	CMPB load+56(FP), $0
	JEQ  zero
	LOADROW(Y4, Y5)
	LOADROW(Y6, Y7)
	LOADROW(Y8, Y9)
	LOADROW(Y10, Y11)
	LOADROW(Y12, Y13)
	LOADROW(Y14, Y15)
	MOVQ c+0(FP), DI
	JMP  loop4

zero:
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
	ZERO(Y14)
	ZERO(Y15)

loop4:
	CMPQ CX, $4
	JLT  loop1
	STEP6(0)
	STEP6(4)
	STEP6(8)
	STEP6(12)
	ADDQ $16, AX
	ADDQ $16, BX
	SUBQ $4, CX
	JMP  loop4

loop1:
	TESTQ CX, CX
	JZ    store
	STEP6(0)
	ADDQ $4, AX
	ADDQ $4, BX
	DECQ CX
	JMP  loop1

store:
	STOREROW(Y4, Y5)
	STOREROW(Y6, Y7)
	STOREROW(Y8, Y9)
	STOREROW(Y10, Y11)
	STOREROW(Y12, Y13)
	STOREROW(Y14, Y15)
	VZEROUPPER
	RET

// func multiply3(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)
TEXT ·multiply3(SB), NOSPLIT, $0-57
	ARGS
	CMPB load+56(FP), $0
	JEQ  zero
	LOADROW(Y4, Y5)
	LOADROW(Y6, Y7)
	LOADROW(Y8, Y9)
	MOVQ c+0(FP), DI
	JMP  loop4

zero:
	ZERO(Y4)
	ZERO(Y5)
	ZERO(Y6)
	ZERO(Y7)
	ZERO(Y8)
	ZERO(Y9)

loop4:
	CMPQ CX, $4
	JLT  loop1
	STEP3(0)
	STEP3(4)
	STEP3(8)
	STEP3(12)
	ADDQ $16, AX
	SUBQ $4, CX
	JMP  loop4

loop1:
	TESTQ CX, CX
	JZ    store
	STEP3(0)
	ADDQ $4, AX
	DECQ CX
	JMP  loop1

store:
	STOREROW(Y4, Y5)
	STOREROW(Y6, Y7)
	STOREROW(Y8, Y9)
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
	LOADROW(Y4, Y5)
	MOVQ c+0(FP), DI
	JMP  loop4

zero:
	ZERO(Y4)
	ZERO(Y5)

loop4:
	CMPQ CX, $4
	JLT  loop1
	STEP1(0)
	STEP1(4)
	STEP1(8)
	STEP1(12)
	ADDQ $16, AX
	SUBQ $4, CX
	JMP  loop4

loop1:
	TESTQ CX, CX
	JZ    store
	STEP1(0)
	ADDQ $4, AX
	DECQ CX
	JMP  loop1

store:
	STOREROW(Y4, Y5)
	VZEROUPPER
	RET

// func transpose8(dst *float32, ldd uintptr, src *float32, stride uintptr)
//
// dst[c][r] = src[r][c] for eight rows and columns. Rows of dst are ldd bytes
// apart, rows of src stride bytes. SI row 0, R8 row 4. What lies
// AHEAD bytes further on is prefetched.
#define AHEAD 8192

TEXT ·transpose8(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ ldd+8(FP), R9
	MOVQ src+16(FP), SI
	MOVQ stride+24(FP), DX
	LEAQ (DX)(DX*2), BX
	LEAQ (SI)(DX*4), R8
	PREFETCHT1 AHEAD(SI)
	PREFETCHT1 AHEAD(SI)(DX*1)
	PREFETCHT1 AHEAD(SI)(DX*2)
	PREFETCHT1 AHEAD(SI)(BX*1)
	PREFETCHT1 AHEAD(R8)
	PREFETCHT1 AHEAD(R8)(DX*1)
	PREFETCHT1 AHEAD(R8)(DX*2)
	PREFETCHT1 AHEAD(R8)(BX*1)
	VMOVUPS (SI), Y0
	VMOVUPS (SI)(DX*1), Y1
	VMOVUPS (SI)(DX*2), Y2
	VMOVUPS (SI)(BX*1), Y3
	VMOVUPS (R8), Y4
	VMOVUPS (R8)(DX*1), Y5
	VMOVUPS (R8)(DX*2), Y6
	VMOVUPS (R8)(BX*1), Y7

	// Pairs of rows.
	VUNPCKLPS Y1, Y0, Y8
	VUNPCKHPS Y1, Y0, Y9
	VUNPCKLPS Y3, Y2, Y10
	VUNPCKHPS Y3, Y2, Y11
	VUNPCKLPS Y5, Y4, Y12
	VUNPCKHPS Y5, Y4, Y13
	VUNPCKLPS Y7, Y6, Y14
	VUNPCKHPS Y7, Y6, Y15

	// Four rows: columns 0 1 2 3 (+4 in the upper half).
	VUNPCKLPD Y10, Y8, Y0
	VUNPCKHPD Y10, Y8, Y1
	VUNPCKLPD Y11, Y9, Y2
	VUNPCKHPD Y11, Y9, Y3
	VUNPCKLPD Y14, Y12, Y4
	VUNPCKHPD Y14, Y12, Y5
	VUNPCKLPD Y15, Y13, Y6
	VUNPCKHPD Y15, Y13, Y7

	// Eight rows.
	VPERM2F128 $0x20, Y4, Y0, Y8
	VPERM2F128 $0x20, Y5, Y1, Y9
	VPERM2F128 $0x20, Y6, Y2, Y10
	VPERM2F128 $0x20, Y7, Y3, Y11
	VPERM2F128 $0x31, Y4, Y0, Y12
	VPERM2F128 $0x31, Y5, Y1, Y13
	VPERM2F128 $0x31, Y6, Y2, Y14
	VPERM2F128 $0x31, Y7, Y3, Y15
	VMOVUPS Y8, (DI)
	ADDQ R9, DI
	VMOVUPS Y9, (DI)
	ADDQ R9, DI
	VMOVUPS Y10, (DI)
	ADDQ R9, DI
	VMOVUPS Y11, (DI)
	ADDQ R9, DI
	VMOVUPS Y12, (DI)
	ADDQ R9, DI
	VMOVUPS Y13, (DI)
	ADDQ R9, DI
	VMOVUPS Y14, (DI)
	ADDQ R9, DI
	VMOVUPS Y15, (DI)
	VZEROUPPER
	RET
