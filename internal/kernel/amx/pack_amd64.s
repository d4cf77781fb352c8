//go:build !noasm

#include "textflag.h"
#include "transpose_amd64.h"
#include "pick_amd64.h"

// Thirty-two elements at M (those of K1) as bfloat16 in V.
#define LOADBF16(M, V) VMOVDQU16.Z M, K1, V
#define LOADF16(M, V) \
	VMOVDQU16.Z M, K1, Z19; \
	VEXTRACTI64X4 $1, Z19, Y20; \
	VCVTPH2PS Y19, Z16; \
	VCVTPH2PS Y20, Z17; \
	NARROW; \
	VMOVDQA64 Z18, V

// func pairBF16(dst *byte, panel uintptr, lo, hi *byte, n int)
// func pairF16(dst *byte, panel uintptr, lo, hi *byte, n int)
//
// Two rows of W as one row of the tiles: 64 bytes to each, panels of two tiles
// lie panel bytes apart. hi may be nil for a row of zeros. DI dst, DX panel, SI
// lo, R8 hi, BX elements left. Z30 and Z31 pick for the two tiles.
#define PAIR(LOAD) \
	MOVQ dst+0(FP), DI; \
	MOVQ panel+8(FP), DX; \
	MOVQ lo+16(FP), SI; \
	MOVQ hi+24(FP), R8; \
	MOVQ n+32(FP), BX; \
	VMOVDQU64 lower<>(SB), Z30; \
	VPBROADCASTD sixteen<>(SB), Z31; \
	VPADDW Z30, Z31, Z31; \
	VPXORD Z1, Z1, Z1; \
	KXNORD K1, K1, K1; \
loop: \
	TESTQ BX, BX; \
	JLE  done; \
	CMPQ BX, $32; \
	JGE  load; \
	MASK32(BX, AX, K1); \
load: \
	LOAD((SI), Z0); \
	TESTQ R8, R8; \
	JZ   store; \
	LOAD((R8), Z1); \
	ADDQ $64, R8; \
store: \
	VMOVDQA64 Z0, Z2; \
	VPERMT2W Z1, Z30, Z2; \
	VPERMT2W Z1, Z31, Z0; \
	VMOVDQU64 Z2, (DI); \
	VMOVDQU64 Z0, 1024(DI); \
	ADDQ DX, DI; \
	ADDQ $64, SI; \
	SUBQ $32, BX; \
	JMP  loop; \
done: \
	VZEROUPPER; \
	RET

// func panelBF16(dst, src *byte, pairs int)
// func panelF16(dst, src *byte, pairs int)
//
// Pairs of rows of 32, which follow each other, as the tiles of one panel. DX
// counts the pairs, as in PAIR.
#define PANEL(LOAD) \
	MOVQ dst+0(FP), DI; \
	MOVQ src+8(FP), SI; \
	MOVQ pairs+16(FP), BX; \
	VMOVDQU64 lower<>(SB), Z30; \
	VPBROADCASTD sixteen<>(SB), Z31; \
	VPADDW Z30, Z31, Z31; \
	KXNORD K1, K1, K1; \
	XORQ DX, DX; \
loop: \
	LOAD((SI), Z0); \
	LOAD(64(SI), Z1); \
	VMOVDQA64 Z0, Z2; \
	VPERMT2W Z1, Z30, Z2; \
	VPERMT2W Z1, Z31, Z0; \
	VMOVDQU64 Z2, (DI); \
	VMOVDQU64 Z0, 1024(DI); \
	ADDQ $128, SI; \
	ADDQ $64, DI; \
	INCQ DX; \
	CMPQ DX, BX; \
	JEQ  done; \
	TESTQ $15, DX; \
	JNZ  loop; \
	ADDQ $1024, DI; \
	JMP  loop; \
done: \
	VZEROUPPER; \
	RET

// func transposeBF16(dst, src *byte, stride uintptr, rows, n int)
// func transposeF16(dst, src *byte, stride uintptr, rows, n int)
//
// n ≤ 32 elements of each of up to 16 outputs as one tile: its row r holds the
// pairs of elements 2r and 2r+1 of each output. DI dst, SI src, DX stride, BX
// rows. Z0-Z15 the rows, then by turns Z16-Z31 and Z0-Z15.
#define NEXT(LOAD, N, V) \
	CMPQ BX, $N; \
	JLE  loaded; \
	LOAD((SI), V); \
	ADDQ DX, SI

#define TRANSPOSE(LOAD) \
	MOVQ dst+0(FP), DI; \
	MOVQ src+8(FP), SI; \
	MOVQ stride+16(FP), DX; \
	MOVQ rows+24(FP), BX; \
	MASK32(n+32(FP), AX, K1); \
	ZERO16; \
	NEXT(LOAD, 0, Z0); \
	NEXT(LOAD, 1, Z1); \
	NEXT(LOAD, 2, Z2); \
	NEXT(LOAD, 3, Z3); \
	NEXT(LOAD, 4, Z4); \
	NEXT(LOAD, 5, Z5); \
	NEXT(LOAD, 6, Z6); \
	NEXT(LOAD, 7, Z7); \
	NEXT(LOAD, 8, Z8); \
	NEXT(LOAD, 9, Z9); \
	NEXT(LOAD, 10, Z10); \
	NEXT(LOAD, 11, Z11); \
	NEXT(LOAD, 12, Z12); \
	NEXT(LOAD, 13, Z13); \
	NEXT(LOAD, 14, Z14); \
	NEXT(LOAD, 15, Z15); \
loaded: \
	NETWORK; \
	VZEROUPPER; \
	RET

// Four signed bytes of 16 outputs in V, times the scales in Z31, become two rows
// of a tile at AT(DI). Z30 brings the pairs together.
#define DEQUANTIZE(V, AT) \
	VPSLLD $24, V, Z16; \
	VPSLLD $16, V, Z17; \
	VPSLLD $8, V, Z21; \
	VPSRAD $24, Z16, Z16; \
	VPSRAD $24, Z17, Z17; \
	VPSRAD $24, Z21, Z21; \
	VPSRAD $24, V, Z22; \
	VCVTDQ2PS Z16, Z16; \
	VCVTDQ2PS Z17, Z17; \
	VCVTDQ2PS Z21, Z21; \
	VCVTDQ2PS Z22, Z22; \
	VMULPS Z31, Z16, Z16; \
	VMULPS Z31, Z17, Z17; \
	NARROW; \
	VPERMW Z18, Z30, Z20; \
	VMOVDQU64 Z20, (AT)(DI); \
	VMULPS Z31, Z21, Z16; \
	VMULPS Z31, Z22, Z17; \
	NARROW; \
	VPERMW Z18, Z30, Z20; \
	VMOVDQU64 Z20, (AT+64)(DI)

// Inputs 4g … 4g+3 are the low halves of bytes, those 16 further on the high.
#define NIBBLES(FROM, AT) \
	VMOVDQU64 FROM(SI), Z0; \
	VPSRLD $4, Z0, Z1; \
	VPANDD Z28, Z0, Z0; \
	VPANDD Z28, Z1, Z1; \
	VPSUBB Z29, Z0, Z0; \
	VPSUBB Z29, Z1, Z1; \
	DEQUANTIZE(Z0, AT); \
	DEQUANTIZE(Z1, (AT+512))

// func packRow(dst *byte, x *float32, n int)
TEXT ·packRow(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), BX
	MOVQ $2048, DX
	JMP row<>(SB)

// func packRowApart(dst *byte, x *float32, n int, step uintptr)
TEXT ·packRowApart(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), BX
	MOVQ step+24(FP), DX
	JMP row<>(SB)

// One row of x as 64 bytes of each step, zeros behind its end. DI where it goes, SI
// x, BX elements left, DX the distance of steps.
TEXT row<>(SB), NOSPLIT, $0-0
loop:
	CMPQ BX, $32
	JLT  tail
	PREFETCHT0 1024(SI)
	PREFETCHT0 1088(SI)
	VMOVUPS (SI), Z16
	VMOVUPS 64(SI), Z17
	NARROW
	VMOVDQU64 Z18, (DI)
	ADDQ DX, DI
	ADDQ $128, SI
	SUBQ $32, BX
	JMP  loop

tail:
	TESTQ BX, BX
	JZ   done
	MASK32(BX, AX, K1)
	KSHIFTRD $16, K1, K2
	VMOVUPS.Z (SI), K1, Z16
	VMOVUPS.Z 64(SI), K2, Z17
	NARROW
	VMOVDQU64 Z18, (DI)

done:
	VZEROUPPER
	RET

TEXT ·pairBF16(SB), NOSPLIT, $0-40
	PAIR(LOADBF16)

TEXT ·pairF16(SB), NOSPLIT, $0-40
	PAIR(LOADF16)

TEXT ·panelBF16(SB), NOSPLIT, $0-24
	PANEL(LOADBF16)

TEXT ·panelF16(SB), NOSPLIT, $0-24
	PANEL(LOADF16)

TEXT ·transposeBF16(SB), NOSPLIT, $0-40
	TRANSPOSE(LOADBF16)

TEXT ·transposeF16(SB), NOSPLIT, $0-40
	TRANSPOSE(LOADF16)

// func dequantizeQ8(dst, block *byte, n int, panel uintptr)
//
// n blocks of 16 outputs × 32 inputs that follow each other become tiles panel
// bytes apart. DI dst, SI block, CX blocks left, DX panel.
TEXT ·dequantizeQ8(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ block+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ panel+24(FP), DX
	VMOVDQU64 halves<>(SB), Z30

q8block:
	DECQ CX
	JLT  q8done
	VCVTPH2PS (SI), Z31
	VMOVDQU64 32(SI), Z0
	DEQUANTIZE(Z0, 0)
	VMOVDQU64 96(SI), Z0
	DEQUANTIZE(Z0, 128)
	VMOVDQU64 160(SI), Z0
	DEQUANTIZE(Z0, 256)
	VMOVDQU64 224(SI), Z0
	DEQUANTIZE(Z0, 384)
	VMOVDQU64 288(SI), Z0
	DEQUANTIZE(Z0, 512)
	VMOVDQU64 352(SI), Z0
	DEQUANTIZE(Z0, 640)
	VMOVDQU64 416(SI), Z0
	DEQUANTIZE(Z0, 768)
	VMOVDQU64 480(SI), Z0
	DEQUANTIZE(Z0, 896)
	ADDQ $544, SI
	ADDQ DX, DI
	JMP  q8block

q8done:
	VZEROUPPER
	RET

// func dequantizeQ4(dst, block *byte, n int, panel uintptr)
// Registers as in dequantizeQ8.
TEXT ·dequantizeQ4(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ block+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ panel+24(FP), DX
	VMOVDQU64 halves<>(SB), Z30
	VPBROADCASTD nibble<>(SB), Z28
	VPBROADCASTD eight<>(SB), Z29

q4block:
	DECQ CX
	JLT  q4done
	VCVTPH2PS (SI), Z31
	NIBBLES(32, 0)
	NIBBLES(96, 128)
	NIBBLES(160, 256)
	NIBBLES(224, 384)
	ADDQ $288, SI
	ADDQ DX, DI
	JMP  q4block

q4done:
	VZEROUPPER
	RET

DATA even<>+0(SB)/8, $0x0006000400020000
DATA even<>+8(SB)/8, $0x000e000c000a0008
DATA even<>+16(SB)/8, $0x0016001400120010
DATA even<>+24(SB)/8, $0x001e001c001a0018
DATA even<>+32(SB)/8, $0x0026002400220020
DATA even<>+40(SB)/8, $0x002e002c002a0028
DATA even<>+48(SB)/8, $0x0036003400320030
DATA even<>+56(SB)/8, $0x003e003c003a0038
GLOBL even<>(SB), RODATA, $64

DATA one<>+0(SB)/4, $0x00010001
GLOBL one<>(SB), RODATA, $4

// func splitPairs(dst, pairs *byte)
//
// Rows of two tiles become two rows of 32: the first numbers of all pairs, and the second.
TEXT ·splitPairs(SB), NOSPLIT, $0-16
	MOVQ dst+0(FP), DI
	MOVQ pairs+8(FP), SI
	MOVQ $16, CX
	VMOVDQU64 even<>(SB), Z30
	VPBROADCASTD one<>(SB), Z31
	VPADDW Z30, Z31, Z31

rows:
	VMOVDQU64 (SI), Z0
	VMOVDQU64 1024(SI), Z1
	VMOVDQA64 Z0, Z2
	VPERMT2W Z1, Z30, Z2
	VPERMT2W Z1, Z31, Z0
	VMOVDQU64 Z2, (DI)
	VMOVDQU64 Z0, 64(DI)
	ADDQ $64, SI
	SUBQ $-128, DI
	DECQ CX
	JNZ  rows
	VZEROUPPER
	RET
