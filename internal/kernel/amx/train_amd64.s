//go:build !noasm

#include "textflag.h"
#include "tiles_amd64.h"

// func panels(c *float32, ldc uintptr, start *float32, lds uintptr, a, b *byte, next uintptr, n, steps int, ahead *byte)
//
// 32 rows of a times n panels of b, which are next bytes apart. R11 and R10 are
// rows 0 and 16 of c, R12 the distance of its rows; R8 and R13 those of start,
// R9 the distance of its rows; BX is a, AX b; SI and DI walk over them; CX counts
// steps, R15 panels. DX is the distance of a tile's rows. 512 bytes more of ahead, R14,
// are asked for with each step.
TEXT ·panels(SB), NOSPLIT, $0-80
	MOVQ c+0(FP), R11
	MOVQ ldc+8(FP), R12
	MOVQ start+16(FP), R8
	MOVQ lds+24(FP), R9
	MOVQ a+32(FP), BX
	MOVQ n+56(FP), R15
	MOVQ ahead+72(FP), R14
	LEAQ ·tileConfig(SB), AX
	LDTILECFG
	MOVQ b+40(FP), AX
	MOVQ R12, R10
	SHLQ $4, R10
	ADDQ R11, R10
	MOVQ R9, R13
	SHLQ $4, R13
	ADDQ R8, R13
	MOVQ $64, DX

panel:
	CMPQ start+16(FP), $0
	JEQ  zero
	LOADS0
	LOADS1
	LOADS2
	LOADS3
	JMP  begin

zero:
	ZEROC0
	ZEROC1
	ZEROC2
	ZEROC3

begin:
	MOVQ BX, SI
	MOVQ AX, DI
	MOVQ steps+64(FP), CX

step:
	LOADA0
	LOADB0
	PREFETCHT1 (R14)
	PREFETCHT1 64(R14)
	PREFETCHT1 128(R14)
	PREFETCHT1 192(R14)
	LOADB1
	LOADA1
	PREFETCHT1 256(R14)
	PREFETCHT1 320(R14)
	PREFETCHT1 384(R14)
	PREFETCHT1 448(R14)
	ADDQ $512, R14
	BF16C0
	BF16C1
	BF16C2
	BF16C3
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ CX
	JNZ  step
	STORET0
	STORET1
	STORET2
	STORET3
	ADDQ $128, R11
	ADDQ $128, R10
	ADDQ $128, R8
	ADDQ $128, R13
	ADDQ next+48(FP), AX
	DECQ R15
	JNZ  panel
	TILERELEASE
	RET

// Palette 1, eight tiles of 16 rows of 64 bytes.
DATA ·tileConfig+0(SB)/8, $1
DATA ·tileConfig+8(SB)/8, $0
DATA ·tileConfig+16(SB)/8, $0x0040004000400040
DATA ·tileConfig+24(SB)/8, $0x0040004000400040
DATA ·tileConfig+32(SB)/8, $0
DATA ·tileConfig+40(SB)/8, $0
DATA ·tileConfig+48(SB)/8, $0x1010101010101010
DATA ·tileConfig+56(SB)/8, $0
GLOBL ·tileConfig(SB), RODATA|NOPTR, $64
