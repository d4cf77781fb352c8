//go:build !noasm

#include "textflag.h"

// Go's assembler does not know these instructions. The operands are fixed; a
// test holds the bytes to what a disassembler of its own reads.

// LDTILECFG (AX)
#define LDTILECFG BYTE $0xc4; BYTE $0xe2; BYTE $0x78; BYTE $0x49; BYTE $0x00
#define TILERELEASE BYTE $0xc4; BYTE $0xe2; BYTE $0x78; BYTE $0x49; BYTE $0xc0

// TILELOADD (SI)(DX*1), TMM4 and 1024(SI)(DX*1), TMM5
#define LOADA0 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x4b; BYTE $0x24; BYTE $0x16
#define LOADA1 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x4b; BYTE $0xac; BYTE $0x16; LONG $0x00000400

// TILELOADD (DI)(DX*1), TMM6 and 1024(DI)(DX*1), TMM7
#define LOADB0 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x4b; BYTE $0x34; BYTE $0x17
#define LOADB1 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x4b; BYTE $0xbc; BYTE $0x17; LONG $0x00000400

// TILELOADD (R8)(R9*1), TMM0 and 64(R8)(R9*1), TMM1
#define LOADC0 BYTE $0xc4; BYTE $0x82; BYTE $0x7b; BYTE $0x4b; BYTE $0x04; BYTE $0x08
#define LOADC1 BYTE $0xc4; BYTE $0x82; BYTE $0x7b; BYTE $0x4b; BYTE $0x4c; BYTE $0x08; BYTE $0x40

// TILELOADD (R10)(R9*1), TMM2 and 64(R10)(R9*1), TMM3
#define LOADC2 BYTE $0xc4; BYTE $0x82; BYTE $0x7b; BYTE $0x4b; BYTE $0x14; BYTE $0x0a
#define LOADC3 BYTE $0xc4; BYTE $0x82; BYTE $0x7b; BYTE $0x4b; BYTE $0x5c; BYTE $0x0a; BYTE $0x40

// TILESTORED TMM0-TMM3, 0, 64, 2048 and 2112 (R11)(R12*1)
#define STOREC0 BYTE $0xc4; BYTE $0x82; BYTE $0x7a; BYTE $0x4b; BYTE $0x04; BYTE $0x23
#define STOREC1 BYTE $0xc4; BYTE $0x82; BYTE $0x7a; BYTE $0x4b; BYTE $0x4c; BYTE $0x23; BYTE $0x40
#define STOREC2 BYTE $0xc4; BYTE $0x82; BYTE $0x7a; BYTE $0x4b; BYTE $0x94; BYTE $0x23; LONG $0x00000800
#define STOREC3 BYTE $0xc4; BYTE $0x82; BYTE $0x7a; BYTE $0x4b; BYTE $0x9c; BYTE $0x23; LONG $0x00000840

// TDPBF16PS TMM6|TMM7, TMM4|TMM5, TMM0-TMM3
#define BF16C0 BYTE $0xc4; BYTE $0xe2; BYTE $0x4a; BYTE $0x5c; BYTE $0xc4
#define BF16C1 BYTE $0xc4; BYTE $0xe2; BYTE $0x42; BYTE $0x5c; BYTE $0xcc
#define BF16C2 BYTE $0xc4; BYTE $0xe2; BYTE $0x4a; BYTE $0x5c; BYTE $0xd5
#define BF16C3 BYTE $0xc4; BYTE $0xe2; BYTE $0x42; BYTE $0x5c; BYTE $0xdd

// TDPBSSD TMM6|TMM7, TMM4|TMM5, TMM0-TMM3
#define INT8C0 BYTE $0xc4; BYTE $0xe2; BYTE $0x4b; BYTE $0x5e; BYTE $0xc4
#define INT8C1 BYTE $0xc4; BYTE $0xe2; BYTE $0x43; BYTE $0x5e; BYTE $0xcc
#define INT8C2 BYTE $0xc4; BYTE $0xe2; BYTE $0x4b; BYTE $0x5e; BYTE $0xd5
#define INT8C3 BYTE $0xc4; BYTE $0xe2; BYTE $0x43; BYTE $0x5e; BYTE $0xdd

// Palette 1, eight tiles of 16 rows of 64 bytes.
DATA config<>+0(SB)/8, $1
DATA config<>+8(SB)/8, $0
DATA config<>+16(SB)/8, $0x0040004000400040
DATA config<>+24(SB)/8, $0x0040004000400040
DATA config<>+32(SB)/8, $0
DATA config<>+40(SB)/8, $0
DATA config<>+48(SB)/8, $0x1010101010101010
DATA config<>+56(SB)/8, $0
GLOBL config<>(SB), RODATA, $64

// func multiply(c, start *float32, ld uintptr, a *byte, stride uintptr, b *byte, steps, tiles int)
//
// TMM0-TMM3 hold 32 × 32 results, TMM4 and TMM5 a step of a, TMM6 and TMM7 one
// of b. R8 and R10 are rows 0 and 16 of start, R9 the distance of its rows; R11
// is c and R12 the distance of its rows; BX is a, SI and DI walk over a and b,
// DX the distance of a tile's rows; CX counts steps, R13 tiles of 16 rows.
TEXT ·multiply(SB), NOSPLIT, $0-64
	MOVQ c+0(FP), R11
	MOVQ start+8(FP), R8
	MOVQ ld+16(FP), R9
	MOVQ a+24(FP), BX
	MOVQ tiles+56(FP), R13
	MOVQ $64, DX
	MOVQ $128, R12
	LEAQ config<>(SB), AX
	LDTILECFG

two:
	CMPQ R13, $2
	JLT  one
	MOVQ R9, R10
	SHLQ $4, R10
	ADDQ R8, R10
	LOADC0
	LOADC1
	LOADC2
	LOADC3
	MOVQ BX, SI
	MOVQ b+40(FP), DI
	MOVQ steps+48(FP), CX
	TESTQ CX, CX
	JZ   twodone

twostep:
	LOADA0
	LOADB0
	LOADB1
	LOADA1
	BF16C0
	BF16C1
	BF16C2
	BF16C3
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ CX
	JNZ  twostep

twodone:
	STOREC0
	STOREC1
	STOREC2
	STOREC3
	ADDQ $4096, R11
	MOVQ R9, AX
	SHLQ $5, AX
	ADDQ AX, R8
	ADDQ stride+32(FP), BX
	SUBQ $2, R13
	JMP  two

one:
	TESTQ R13, R13
	JZ   done
	LOADC0
	LOADC1
	MOVQ BX, SI
	MOVQ b+40(FP), DI
	MOVQ steps+48(FP), CX
	TESTQ CX, CX
	JZ   onedone

onestep:
	LOADA0
	LOADB0
	LOADB1
	BF16C0
	BF16C1
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ CX
	JNZ  onestep

onedone:
	STOREC0
	STOREC1

done:
	TILERELEASE
	RET

// func peakBF16(n int)
// CX counts rounds of four products.
TEXT ·peakBF16(SB), NOSPLIT, $0-8
	MOVQ n+0(FP), CX
	LEAQ config<>(SB), AX
	LDTILECFG

bf16:
	BF16C0
	BF16C1
	BF16C2
	BF16C3
	DECQ CX
	JNZ  bf16
	TILERELEASE
	RET

// func peakInt8(n int)
// CX counts rounds of four products.
TEXT ·peakInt8(SB), NOSPLIT, $0-8
	MOVQ n+0(FP), CX
	LEAQ config<>(SB), AX
	LDTILECFG

int8:
	INT8C0
	INT8C1
	INT8C2
	INT8C3
	DECQ CX
	JNZ  int8
	TILERELEASE
	RET
