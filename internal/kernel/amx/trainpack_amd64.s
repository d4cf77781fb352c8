//go:build !noasm

#include "textflag.h"
#include "transpose_amd64.h"
#include "pick_amd64.h"

// VCVTNEPS2BF16 Z0, Y1
#define ROUND BYTE $0x62; BYTE $0xf2; BYTE $0x7e; BYTE $0x48; BYTE $0x72; BYTE $0xc8

// Rows of the tile: up to 16 of 32 elements each. BX rows, SI the first, DX their
// distance, K1 and K2 the elements.
#define ROW(N, V) \
	CMPQ BX, $N; \
	JLE  loaded; \
	PREFETCHT0 512(SI); \
	PREFETCHT0 576(SI); \
	VMOVUPS.Z (SI), K1, Z16; \
	VMOVUPS.Z 64(SI), K2, Z17; \
	NARROW; \
	VMOVDQA64 Z18, V; \
	ADDQ DX, SI

// Two rows of 16 elements as pairs in V. Z31 mixes.
#define PAIRF32(V) \
	VMOVUPS.Z (SI), K1, Z16; \
	VMOVUPS.Z (SI)(DX*1), K1, Z17; \
	NARROW; \
	VPERMW Z18, Z31, V; \
	PREFETCHT0 (SI)(R9*1); \
	PREFETCHT0 (SI)(R10*1); \
	LEAQ (SI)(DX*2), SI

#define PAIRBF16(V) \
	VMOVDQU16.Z (SI), K1, Y16; \
	VMOVDQU16.Z (SI)(DX*1), K1, Y17; \
	VINSERTI64X4 $1, Y17, Z16, Z18; \
	VPERMW Z18, Z31, V; \
	PREFETCHT0 (SI)(R9*1); \
	PREFETCHT0 (SI)(R10*1); \
	LEAQ (SI)(DX*2), SI

#define TURN(PAIR) \
	MOVQ dst+0(FP), DI; \
	MOVQ src+8(FP), SI; \
	MOVQ stride+16(FP), DX; \
	MOVQ ahead+32(FP), R9; \
	MOVQ R9, R10; \
	ADDQ DX, R10; \
	MASK32(cols+24(FP), AX, K1); \
	VMOVDQU64 halves<>(SB), Z31; \
	PAIR(Z0); \
	PAIR(Z1); \
	PAIR(Z2); \
	PAIR(Z3); \
	PAIR(Z4); \
	PAIR(Z5); \
	PAIR(Z6); \
	PAIR(Z7); \
	PAIR(Z8); \
	PAIR(Z9); \
	PAIR(Z10); \
	PAIR(Z11); \
	PAIR(Z12); \
	PAIR(Z13); \
	PAIR(Z14); \
	PAIR(Z15); \
	NETWORK; \
	VZEROUPPER; \
	RET

// Results: rows of c, R9 bytes apart, R10 of them, to DI, DX bytes apart. SI walks
// over a row of c, R8 over one of y, SIZE bytes to a number; CX counts columns: 64
// at a time, the last ones by 16.
#define FINISH(SIZE, WIDE, DO) \
	MOVQ y+0(FP), DI; \
	MOVQ ldy+8(FP), DX; \
	MOVQ c+16(FP), R11; \
	MOVQ ldc+24(FP), R9; \
	MOVQ rows+32(FP), R10; \
row: \
	DECQ R10; \
	JLT  finished; \
	MOVQ R11, SI; \
	MOVQ DI, R8; \
	MOVQ cols+40(FP), CX; \
	KXNORD K1, K1, K1; \
wide: \
	CMPQ CX, $64; \
	JLT  columns; \
	WIDE; \
	ADDQ $256, SI; \
	ADDQ $(64*SIZE), R8; \
	SUBQ $64, CX; \
	JMP  wide; \
columns: \
	CMPQ CX, $16; \
	JGE  whole; \
	TESTQ CX, CX; \
	JLE  next; \
	MOVL $-1, AX; \
	BZHIL CX, AX, AX; \
	KMOVD AX, K1; \
whole: \
	DO; \
	ADDQ $64, SI; \
	ADDQ $(16*SIZE), R8; \
	SUBQ $16, CX; \
	JMP  columns; \
next: \
	ADDQ R9, R11; \
	ADDQ DX, DI; \
	JMP  row; \
finished: \
	SFENCE; \
	VZEROUPPER; \
	RET

// What is rounded, in Z1 as float32.
#define ROUNDED \
	VMOVUPS.Z (SI), K1, Z0; \
	ROUND; \
	VPMOVZXWD Y1, Z1; \
	VPSLLD $16, Z1, Z1

#define COPY \
	VMOVUPS.Z (SI), K1, Z0; \
	VMOVUPS Z0, K1, (R8)

#define PAST \
	VMOVUPS (SI), Z0; \
	VMOVNTPS Z0, (R8)

#define SUM \
	VMOVUPS.Z (SI), K1, Z0; \
	VADDPS.Z (R8), Z0, K1, Z0; \
	VMOVUPS Z0, K1, (R8)

#define ROUNDCOPY \
	ROUNDED; \
	VMOVUPS Z1, K1, (R8)

#define ROUNDSUM \
	ROUNDED; \
	VADDPS.Z (R8), Z1, K1, Z1; \
	VMOVUPS Z1, K1, (R8)

// The same of 64 columns.
#define WIDECOPY \
	VMOVUPS (SI), Z0; \
	VMOVUPS 64(SI), Z1; \
	VMOVUPS 128(SI), Z2; \
	VMOVUPS 192(SI), Z3; \
	VMOVUPS Z0, (R8); \
	VMOVUPS Z1, 64(R8); \
	VMOVUPS Z2, 128(R8); \
	VMOVUPS Z3, 192(R8)

#define WIDEPAST \
	VMOVUPS (SI), Z0; \
	VMOVUPS 64(SI), Z1; \
	VMOVUPS 128(SI), Z2; \
	VMOVUPS 192(SI), Z3; \
	VMOVNTPS Z0, (R8); \
	VMOVNTPS Z1, 64(R8); \
	VMOVNTPS Z2, 128(R8); \
	VMOVNTPS Z3, 192(R8)

#define WIDESUM \
	VMOVUPS (SI), Z0; \
	VMOVUPS 64(SI), Z1; \
	VMOVUPS 128(SI), Z2; \
	VMOVUPS 192(SI), Z3; \
	VADDPS (R8), Z0, Z0; \
	VADDPS 64(R8), Z1, Z1; \
	VADDPS 128(R8), Z2, Z2; \
	VADDPS 192(R8), Z3, Z3; \
	VMOVUPS Z0, (R8); \
	VMOVUPS Z1, 64(R8); \
	VMOVUPS Z2, 128(R8); \
	VMOVUPS Z3, 192(R8)

// Of 32 numbers at AT(SI), rounded, 16 each in Z2 and Z3.
#define WIDEROUNDED(AT) \
	VMOVUPS (AT)(SI), Z16; \
	VMOVUPS (AT+64)(SI), Z17; \
	NARROW; \
	VEXTRACTI64X4 $1, Z18, Y3; \
	VPMOVZXWD Y18, Z2; \
	VPMOVZXWD Y3, Z3; \
	VPSLLD $16, Z2, Z2; \
	VPSLLD $16, Z3, Z3

#define WIDEROUND \
	WIDEROUNDED(0); \
	VMOVUPS Z2, (R8); \
	VMOVUPS Z3, 64(R8); \
	WIDEROUNDED(128); \
	VMOVUPS Z2, 128(R8); \
	VMOVUPS Z3, 192(R8)

#define WIDEROUNDSUM \
	WIDEROUNDED(0); \
	VADDPS (R8), Z2, Z2; \
	VADDPS 64(R8), Z3, Z3; \
	VMOVUPS Z2, (R8); \
	VMOVUPS Z3, 64(R8); \
	WIDEROUNDED(128); \
	VADDPS 128(R8), Z2, Z2; \
	VADDPS 192(R8), Z3, Z3; \
	VMOVUPS Z2, 128(R8); \
	VMOVUPS Z3, 192(R8)

#define WIDEHALF \
	VMOVUPS (SI), Z16; \
	VMOVUPS 64(SI), Z17; \
	NARROW; \
	VMOVDQU64 Z18, (R8); \
	VMOVUPS 128(SI), Z16; \
	VMOVUPS 192(SI), Z17; \
	NARROW; \
	VMOVDQU64 Z18, 64(R8)

// As 16 at a time.
#define NARROWLY \
	JMP columns

#define HALF \
	VMOVUPS.Z (SI), K1, Z0; \
	ROUND; \
	VMOVDQU16 Y1, K1, (R8)

#define HALFSUM \
	ROUNDED; \
	VMOVDQU16.Z (R8), K1, Y2; \
	VPMOVZXWD Y2, Z2; \
	VPSLLD $16, Z2, Z2; \
	VADDPS Z2, Z1, Z0; \
	ROUND; \
	VMOVDQU16 Y1, K1, (R8)

// Sixteen columns of a row as float32, added to SUM.
#define ADDHALF(AT, K, SUM) \
	VMOVDQU16.Z AT, K, Y16; \
	VPMOVZXWD Y16, Z16; \
	VPSLLD $16, Z16, Z16; \
	VADDPS Z16, SUM, SUM

// func rowsBF16(dst, src *byte, stride uintptr, rows, steps int)
//
// Rows of whole steps of bfloat16 as tiles. DI dst, DX the distance of rows; SI walks
// over the rows of a step, R8 is the first, R10 counts them, R11 steps.
TEXT ·rowsBF16(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), R8
	MOVQ stride+16(FP), DX
	MOVQ steps+32(FP), R11

step:
	MOVQ R8, SI
	MOVQ DI, R9
	MOVQ rows+24(FP), R10

row:
	PREFETCHT0 512(SI)
	VMOVDQU64 (SI), Z0
	VMOVDQU64 Z0, (R9)
	ADDQ DX, SI
	ADDQ $64, R9
	DECQ R10
	JNZ  row
	ADDQ $64, R8
	ADDQ $2048, DI
	DECQ R11
	JNZ  step
	VZEROUPPER
	RET

// func rowsFloats(dst, src *byte, stride uintptr, rows, steps int)
// The same of float32.
TEXT ·rowsFloats(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), R8
	MOVQ stride+16(FP), DX
	MOVQ steps+32(FP), R11

step:
	MOVQ R8, SI
	MOVQ DI, R9
	MOVQ rows+24(FP), R10

row:
	PREFETCHT0 512(SI)
	PREFETCHT0 576(SI)
	VMOVUPS (SI), Z16
	VMOVUPS 64(SI), Z17
	NARROW
	VMOVDQU64 Z18, (R9)
	ADDQ DX, SI
	ADDQ $64, R9
	DECQ R10
	JNZ  row
	ADDQ $128, R8
	ADDQ $2048, DI
	DECQ R11
	JNZ  step
	VZEROUPPER
	RET

// func rowBF16(dst, src *byte, n int)
//
// packRow of numbers that are bfloat16 already, at most 32.
TEXT ·rowBF16(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), BX
	MASK32(BX, AX, K1)
	VMOVDQU16.Z (SI), K1, Z0
	VMOVDQU64 Z0, (DI)
	VZEROUPPER
	RET

// func rowFloats(dst, src *byte, n int)
//
// packRow.
TEXT ·rowFloats(SB), NOSPLIT, $0-24
	JMP ·packRow(SB)

// func pairFloats(dst *byte, panel uintptr, lo, hi *byte, n int, ahead uintptr)
//
// pairBF16 of float32; what lies so many bytes further is asked for.
TEXT ·pairFloats(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ panel+8(FP), DX
	MOVQ lo+16(FP), SI
	MOVQ hi+24(FP), R8
	MOVQ n+32(FP), BX
	MOVQ ahead+40(FP), R9
	VMOVDQU64 lower<>(SB), Z30
	VPBROADCASTD sixteen<>(SB), Z31
	VPADDW Z30, Z31, Z31
	VPXORD Z1, Z1, Z1
	KXNORD K1, K1, K1
	KXNORD K2, K2, K2

loop:
	TESTQ BX, BX
	JLE  done
	CMPQ BX, $32
	JGE  load
	MASK32(BX, AX, K1)
	KSHIFTRD $16, K1, K2

load:
	PREFETCHT0 (SI)(R9*1)
	PREFETCHT0 64(SI)(R9*1)
	VMOVUPS.Z (SI), K1, Z16
	VMOVUPS.Z 64(SI), K2, Z17
	NARROW
	VMOVDQA64 Z18, Z0
	TESTQ R8, R8
	JZ   store
	PREFETCHT0 (R8)(R9*1)
	PREFETCHT0 64(R8)(R9*1)
	VMOVUPS.Z (R8), K1, Z16
	VMOVUPS.Z 64(R8), K2, Z17
	NARROW
	VMOVDQA64 Z18, Z1
	ADDQ $128, R8

store:
	VMOVDQA64 Z0, Z2
	VPERMT2W Z1, Z30, Z2
	VPERMT2W Z1, Z31, Z0
	VMOVDQU64 Z2, (DI)
	VMOVDQU64 Z0, 1024(DI)
	ADDQ DX, DI
	ADDQ $128, SI
	SUBQ $32, BX
	JMP  loop

done:
	VZEROUPPER
	RET

// func pairTile(dst, src *byte, ahead uintptr)
//
// 32 rows of 32 bfloat16, next to each other, as a step of columns. What lies so many
// bytes further is asked for.
TEXT ·pairTile(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ ahead+16(FP), R9
	VMOVDQU64 lower<>(SB), Z30
	VPBROADCASTD sixteen<>(SB), Z31
	VPADDW Z30, Z31, Z31
	MOVQ $16, CX

pair:
	PREFETCHT0 (SI)(R9*1)
	PREFETCHT0 64(SI)(R9*1)
	VMOVDQU64 (SI), Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQA64 Z0, Z2
	VPERMT2W Z1, Z30, Z2
	VPERMT2W Z1, Z31, Z0
	VMOVDQU64 Z2, (DI)
	VMOVDQU64 Z0, 1024(DI)
	ADDQ $128, SI
	ADDQ $64, DI
	DECQ CX
	JNZ  pair
	VZEROUPPER
	RET

// func transposeFloats(dst, src *byte, stride uintptr, rows, n int)
//
// transposeBF16 of float32.
TEXT ·transposeFloats(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ stride+16(FP), DX
	MOVQ rows+24(FP), BX
	MASK32(n+32(FP), AX, K1)
	KSHIFTRD $16, K1, K2
	ZERO16
	ROW(0, Z0)
	ROW(1, Z1)
	ROW(2, Z2)
	ROW(3, Z3)
	ROW(4, Z4)
	ROW(5, Z5)
	ROW(6, Z6)
	ROW(7, Z7)
	ROW(8, Z8)
	ROW(9, Z9)
	ROW(10, Z10)
	ROW(11, Z11)
	ROW(12, Z12)
	ROW(13, Z13)
	ROW(14, Z14)
	ROW(15, Z15)

loaded:
	NETWORK
	VZEROUPPER
	RET

// func turnFloats(dst, src *byte, stride uintptr, cols int, ahead uintptr)
// func turnBF16(dst, src *byte, stride uintptr, cols int, ahead uintptr)
//
// A tile of x whose rows are up to 16 columns of 32 rows of src. DI dst, SI src,
// DX the distance of its rows. What lies so many bytes further is asked for.
TEXT ·turnFloats(SB), NOSPLIT, $0-40
	TURN(PAIRF32)

TEXT ·turnBF16(SB), NOSPLIT, $0-40
	TURN(PAIRBF16)

TEXT ·finishCopy(SB), NOSPLIT, $0-48
	FINISH(4, WIDECOPY, COPY)

// Past the caches; rows are whole lines.
TEXT ·finishPast(SB), NOSPLIT, $0-48
	FINISH(4, WIDEPAST, PAST)

TEXT ·finishSum(SB), NOSPLIT, $0-48
	FINISH(4, WIDESUM, SUM)

TEXT ·finishRound(SB), NOSPLIT, $0-48
	FINISH(4, WIDEROUND, ROUNDCOPY)

TEXT ·finishRoundSum(SB), NOSPLIT, $0-48
	FINISH(4, WIDEROUNDSUM, ROUNDSUM)

TEXT ·finishHalf(SB), NOSPLIT, $0-48
	FINISH(2, WIDEHALF, HALF)

TEXT ·finishHalfSum(SB), NOSPLIT, $0-48
	FINISH(2, NARROWLY, HALFSUM)

// func addRows(y *float32, x *uint16, ldx uintptr, rows, cols int)
//
// 64 columns at a time, then 16. DI y, SI x, R8 the distance of its rows.
TEXT ·addRows(SB), NOSPLIT, $0-40
	MOVQ y+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ ldx+16(FP), R8
	MOVQ cols+32(FP), CX
	KXNORD K1, K1, K1
	LEAQ (R8)(R8*2), R11

wide:
	CMPQ CX, $64
	JLT  narrow
	VMOVUPS (DI), Z0
	VMOVUPS 64(DI), Z1
	VMOVUPS 128(DI), Z2
	VMOVUPS 192(DI), Z3
	MOVQ SI, R10
	MOVQ rows+24(FP), BX

wideRows:
	PREFETCHT0 (R10)(R11*4)
	PREFETCHT0 64(R10)(R11*4)
	ADDHALF((R10), K1, Z0)
	ADDHALF(32(R10), K1, Z1)
	ADDHALF(64(R10), K1, Z2)
	ADDHALF(96(R10), K1, Z3)
	ADDQ R8, R10
	DECQ BX
	JNZ  wideRows
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	VMOVUPS Z2, 128(DI)
	VMOVUPS Z3, 192(DI)
	ADDQ $256, DI
	ADDQ $128, SI
	SUBQ $64, CX
	JMP  wide

narrow:
	TESTQ CX, CX
	JLE  done
	CMPQ CX, $16
	JGE  full
	MOVL $-1, AX
	BZHIL CX, AX, AX
	KMOVD AX, K1

full:
	VMOVUPS.Z (DI), K1, Z0
	MOVQ SI, R10
	MOVQ rows+24(FP), BX

rowsLoop:
	ADDHALF((R10), K1, Z0)
	ADDQ R8, R10
	DECQ BX
	JNZ  rowsLoop
	VMOVUPS Z0, K1, (DI)
	ADDQ $64, DI
	ADDQ $32, SI
	SUBQ $16, CX
	JMP  narrow

done:
	VZEROUPPER
	RET
