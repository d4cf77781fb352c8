//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "multiply_amd64.h"

// Attention of MR rows, of which each attends to one position more than the one
// before: Z8-Z31 hold a tile as in multiply_amd64.s.

// Row k of a panel of keys at O, and what lies a panel (of 64 numbers a key) further on
// is asked for.
#define KEYS(O) \
	VMOVUPS O(SI), Z0; \
	VMOVUPS (O+64)(SI), Z1; \
	PREFETCHT0 (O+8192)(SI); \
	PREFETCHT0 (O+8192+64)(SI)

// The products of a row, scaled by Z6, are stored, and the largest joins those at O:
// VMAXPS gives the first operand as written here when either is NaN.
#define SCORED(O, LO, HI) \
	VMULPS  Z6, LO, LO; \
	VMULPS  Z6, HI, HI; \
	VMOVUPS LO, (DI); \
	VMOVUPS HI, 64(DI); \
	ADDQ    R11, DI; \
	VMAXPS  O(R15), LO, LO; \
	VMAXPS  LO, HI, HI; \
	VMOVUPS HI, O(R15)

// func crossMax12(s *float32, lds uintptr, q *float32, ldq uintptr, k *float32, dim, panels int, scale float32, most *float32, walks *generic.Walk)
//
// AX, BX, DX are rows 0, 4, 8 of q (R13); R8 the distance of its rows and R9 three
// times that; SI walks over k; CX counts dim. R12 is s, R11 the distance of its rows,
// R15 most. Of the walk of a panel (R10) R14 is where it is, DI its step.
TEXT ·crossMax12(SB), NOSPLIT, $0-80
	MOVQ s+0(FP), R12
	MOVQ lds+8(FP), R11
	MOVQ q+16(FP), R13
	MOVQ ldq+24(FP), R8
	MOVQ k+32(FP), SI
	VBROADCASTSS scale+56(FP), Z6
	MOVQ most+64(FP), R15
	MOVQ walks+72(FP), R10
	LEAQ (R8)(R8*2), R9

panel:
	MOVQ R13, AX
	LEAQ (AX)(R8*4), BX
	LEAQ (BX)(R8*4), DX
	MOVQ dim+40(FP), CX
	MOVQ 0(R10), R14
	MOVQ 8(R10), DI
	ADDQ $16, R10
	ZEROTILE12

loop:
	PREFETCHT1 (R14)
	PREFETCHT1 64(R14)
	ADDQ DI, R14
	KEYS(0)
	STEP12(0)
	KEYS(128)
	STEP12(4)
	KEYS(256)
	STEP12(8)
	KEYS(384)
	STEP12(12)
	ADDQ $512, SI
	ADDQ $16, AX
	ADDQ $16, BX
	ADDQ $16, DX
	SUBQ $4, CX
	JNZ  loop
	MOVQ R12, DI
	ADDQ $128, R12
	SCORED(0, Z8, Z9)
	SCORED(64, Z10, Z11)
	SCORED(128, Z12, Z13)
	SCORED(192, Z14, Z15)
	SCORED(256, Z16, Z17)
	SCORED(320, Z18, Z19)
	SCORED(384, Z20, Z21)
	SCORED(448, Z22, Z23)
	SCORED(512, Z24, Z25)
	SCORED(576, Z26, Z27)
	SCORED(640, Z28, Z29)
	SCORED(704, Z30, Z31)
	DECQ panels+48(FP)
	JNZ  panel
	VZEROUPPER
	RET

#define VALUES \
	VMOVUPS (SI), Z0; \
	VMOVUPS 64(SI), Z1; \
	ADDQ R10, SI

// Rows 1 to 11, each with those below it, at position O/4 behind the common ones.
#define FROM11(O) ROW(O(DX)(R9*1), Z2, Z30, Z31)
#define FROM10(O) ROW(O(DX)(R8*2), Z3, Z28, Z29); FROM11(O)
#define FROM9(O) ROW(O(DX)(R8*1), Z4, Z26, Z27); FROM10(O)
#define FROM8(O) ROW(O(DX), Z5, Z24, Z25); FROM9(O)
#define FROM7(O) ROW(O(BX)(R9*1), Z2, Z22, Z23); FROM8(O)
#define FROM6(O) ROW(O(BX)(R8*2), Z3, Z20, Z21); FROM7(O)
#define FROM5(O) ROW(O(BX)(R8*1), Z4, Z18, Z19); FROM6(O)
#define FROM4(O) ROW(O(BX), Z5, Z16, Z17); FROM5(O)
#define FROM3(O) ROW(O(AX)(R9*1), Z2, Z14, Z15); FROM4(O)
#define FROM2(O) ROW(O(AX)(R8*2), Z3, Z12, Z13); FROM3(O)
#define FROM1(O) ROW(O(AX)(R8*1), Z4, Z10, Z11); FROM2(O)

#define WEIGHED(O, LO, HI) \
	VBROADCASTSS O(R15), Z2; \
	VMULPS  Z2, LO, LO; \
	VMULPS  Z2, HI, HI; \
	VMOVUPS LO, (DI); \
	VMOVUPS HI, 64(DI); \
	ADDQ    R11, DI

// func weigh12(y *float32, ldy uintptr, p *float32, ldp uintptr, v *float32, ldv uintptr, n int, by *float32)
//
// AX, BX, DX are rows 0, 4, 8 of p; R8 the distance of its rows and R9 three times
// that; SI walks over v by R10; CX counts n. DI is y, R11 the distance of its rows.
// R15 is by.
TEXT ·weigh12(SB), NOSPLIT, $0-64
	MOVQ y+0(FP), DI
	MOVQ ldy+8(FP), R11
	MOVQ p+16(FP), AX
	MOVQ ldp+24(FP), R8
	MOVQ v+32(FP), SI
	MOVQ ldv+40(FP), R10
	MOVQ n+48(FP), CX
	MOVQ by+56(FP), R15
	LEAQ (R8)(R8*2), R9
	LEAQ (AX)(R8*4), BX
	LEAQ (BX)(R8*4), DX
	ZEROTILE12

loop4:
	SUBQ $4, CX
	JLT  last
	VALUES
	STEP12(0)
	VALUES
	STEP12(4)
	VALUES
	STEP12(8)
	VALUES
	STEP12(12)
	ADDQ $16, AX
	ADDQ $16, BX
	ADDQ $16, DX
	JMP  loop4

last:
	ADDQ $4, CX
	JZ   rising

loop1:
	VALUES
	STEP12(0)
	ADDQ $4, AX
	ADDQ $4, BX
	ADDQ $4, DX
	DECQ CX
	JNZ  loop1

rising:
	VALUES
	FROM1(0)
	VALUES
	FROM2(4)
	VALUES
	FROM3(8)
	VALUES
	FROM4(12)
	VALUES
	FROM5(16)
	VALUES
	FROM6(20)
	VALUES
	FROM7(24)
	VALUES
	FROM8(28)
	VALUES
	FROM9(32)
	VALUES
	FROM10(36)
	VALUES
	FROM11(40)
	WEIGHED(0, Z8, Z9)
	WEIGHED(4, Z10, Z11)
	WEIGHED(8, Z12, Z13)
	WEIGHED(12, Z14, Z15)
	WEIGHED(16, Z16, Z17)
	WEIGHED(20, Z18, Z19)
	WEIGHED(24, Z20, Z21)
	WEIGHED(28, Z22, Z23)
	WEIGHED(32, Z24, Z25)
	WEIGHED(36, Z26, Z27)
	WEIGHED(40, Z28, Z29)
	WEIGHED(44, Z30, Z31)
	VZEROUPPER
	RET
