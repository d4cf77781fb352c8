//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// Row I of a tile, its probability at M: Z8-Z31 hold the tile, Z0 and Z1 a row
// of b, Z2 the probability.
#define ROW(M, LO, HI) \
	VBROADCASTSS M, Z2; \
	VFMADD231PS Z0, Z2, LO; \
	VFMADD231PS Z1, Z2, HI

#define ROWB \
	VMOVUPS (SI), Z0; \
	VMOVUPS 64(SI), Z1; \
	ADDQ R10, SI

#define LOADROW(LO, HI) \
	VMOVUPS (DI), LO; \
	VMOVUPS 64(DI), HI; \
	ADDQ R11, DI

#define STOREROW(LO, HI) \
	VMOVUPS LO, (DI); \
	VMOVUPS HI, 64(DI); \
	ADDQ R11, DI

// Rows 1 to 11, each with those below it, at position O/4 behind the common ones.
#define FROM11(O) \
	ROW(O(DX)(R9*1), Z30, Z31)

#define FROM10(O) \
	ROW(O(DX)(R8*2), Z28, Z29); \
	FROM11(O)

#define FROM9(O) \
	ROW(O(DX)(R8*1), Z26, Z27); \
	FROM10(O)

#define FROM8(O) \
	ROW(O(DX), Z24, Z25); \
	FROM9(O)

#define FROM7(O) \
	ROW(O(BX)(R9*1), Z22, Z23); \
	FROM8(O)

#define FROM6(O) \
	ROW(O(BX)(R8*2), Z20, Z21); \
	FROM7(O)

#define FROM5(O) \
	ROW(O(BX)(R8*1), Z18, Z19); \
	FROM6(O)

#define FROM4(O) \
	ROW(O(BX), Z16, Z17); \
	FROM5(O)

#define FROM3(O) \
	ROW(O(AX)(R9*1), Z14, Z15); \
	FROM4(O)

#define FROM2(O) \
	ROW(O(AX)(R8*2), Z12, Z13); \
	FROM3(O)

#define FROM1(O) \
	ROW(O(AX)(R8*1), Z10, Z11); \
	FROM2(O)

// func triangle12(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr)
//
// AX, BX, DX are rows 0, 4, 8 of a; R8 the distance of its rows and R9 three
// times that; SI walks over b by R10. DI is c, R11 the distance of its rows.
TEXT ·triangle12(SB), NOSPLIT, $0-48
	MOVQ c+0(FP), DI
	MOVQ ldc+8(FP), R11
	MOVQ a+16(FP), AX
	MOVQ lda+24(FP), R8
	MOVQ b+32(FP), SI
	MOVQ ldb+40(FP), R10
	LEAQ (R8)(R8*2), R9
	LEAQ (AX)(R8*4), BX
	LEAQ (BX)(R8*4), DX
	ADDQ R11, DI
	LOADROW(Z10, Z11)
	LOADROW(Z12, Z13)
	LOADROW(Z14, Z15)
	LOADROW(Z16, Z17)
	LOADROW(Z18, Z19)
	LOADROW(Z20, Z21)
	LOADROW(Z22, Z23)
	LOADROW(Z24, Z25)
	LOADROW(Z26, Z27)
	LOADROW(Z28, Z29)
	LOADROW(Z30, Z31)
	ROWB
	FROM1(0)
	ROWB
	FROM2(4)
	ROWB
	FROM3(8)
	ROWB
	FROM4(12)
	ROWB
	FROM5(16)
	ROWB
	FROM6(20)
	ROWB
	FROM7(24)
	ROWB
	FROM8(28)
	ROWB
	FROM9(32)
	ROWB
	FROM10(36)
	ROWB
	FROM11(40)
	MOVQ c+0(FP), DI
	ADDQ R11, DI
	STOREROW(Z10, Z11)
	STOREROW(Z12, Z13)
	STOREROW(Z14, Z15)
	STOREROW(Z16, Z17)
	STOREROW(Z18, Z19)
	STOREROW(Z20, Z21)
	STOREROW(Z22, Z23)
	STOREROW(Z24, Z25)
	STOREROW(Z26, Z27)
	STOREROW(Z28, Z29)
	STOREROW(Z30, Z31)
	VZEROUPPER
	RET
