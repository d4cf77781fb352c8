//go:build !noasm

#include "textflag.h"

// Products of a few rows of x, 8 at most, with two panels of a quantised weight. A
// block's product of codes is a tile instruction; its sums of int32 are stored, and
// scaled and added up by vectors while the tiles of the next blocks are at work.
//
// Beside tile instructions vectors do only one operation of floats a cycle instead of
// two, so that these, three for a row of a panel, are what it takes: about 30 cycles
// for a block of 8 rows, where VNNI needs 50.

// Tile instructions as bytes. Registers are numbers: AX 0, CX 1, DX 2, BX 3, SI 6,
// DI 7, R8 8 …
#define TILEMEMORY(PP, T, BASE, INDEX, OFFSET) \
	BYTE $0xc4; \
	BYTE $(0x82 | ((1-(INDEX>>3))<<6) | ((1-(BASE>>3))<<5)); \
	BYTE $(0x78 | PP); \
	BYTE $0x4b; \
	BYTE $(0x84 | (T<<3)); \
	BYTE $(((INDEX&7)<<3) | (BASE&7)); \
	LONG $OFFSET
#define TILELOAD(OFFSET, BASE, INDEX, T) TILEMEMORY(3, T, BASE, INDEX, OFFSET)
#define TILESTORE(T, OFFSET, BASE, INDEX) TILEMEMORY(2, T, BASE, INDEX, OFFSET)
#define TILEZERO(T) BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x49; BYTE $(0xc0 | (T<<3))

// C += A·B, signed bytes
#define TDPBSSD(B, A, C) BYTE $0xc4; BYTE $0xe2; BYTE $(0x03 | ((15-B)<<3)); BYTE $0x5e; BYTE $(0xc0 | (C<<3) | A)

// (AX)
#define LDTILECFG BYTE $0xc4; BYTE $0xe2; BYTE $0x78; BYTE $0x49; BYTE $0x00
#define TILERELEASE BYTE $0xc4; BYTE $0xe2; BYTE $0x78; BYTE $0x49; BYTE $0xc0

// Palette 1: rows of 16 results in tiles 0-3, of 32 codes of x in 4; 8 rows of codes
// of 16 outputs in 5 and 6. The rows are put in.
DATA fewConfig<>+0(SB)/8, $1
DATA fewConfig<>+8(SB)/8, $0
DATA fewConfig<>+16(SB)/8, $0x0040004000400040
DATA fewConfig<>+24(SB)/8, $0x0000004000400020
DATA fewConfig<>+32(SB)/8, $0
DATA fewConfig<>+40(SB)/8, $0
DATA fewConfig<>+48(SB)/8, $0x0008080000000000
DATA fewConfig<>+56(SB)/8, $0
GLOBL fewConfig<>(SB), RODATA, $64

// Which bits of a byte become those of a code, from the highest on: a half less 8 is the
// half with its highest bit turned and repeated to the left.
DATA fewHalves<>+0(SB)/8, $0x0102040808080808
DATA fewHalves<>+8(SB)/8, $0x1020408080808080
GLOBL fewHalves<>(SB), RODATA, $16

#define ZERO(R) VPXORD R, R, R
#define ZEROSUMS \
	ZERO(Z0); \
	ZERO(Z1); \
	ZERO(Z2); \
	ZERO(Z3); \
	ZERO(Z4); \
	ZERO(Z5); \
	ZERO(Z6); \
	ZERO(Z7); \
	ZERO(Z8); \
	ZERO(Z9); \
	ZERO(Z10); \
	ZERO(Z11); \
	ZERO(Z12); \
	ZERO(Z13); \
	ZERO(Z14); \
	ZERO(Z15)

// What work holds, at R12: sums of both panels for two blocks, and codes of Q4_0.
#define SUMS0 0
#define SUMS1 1024
#define CODES0 2048
#define CODES1 3072

// The product of the next block of both panels, in tiles C0 and C1; B0 and B1 load
// its codes.
#define MULTIPLY(C0, C1, B0, B1, NEXT) \
	TILELOAD(8, 0, 8, 4); \
	B0; \
	TILEZERO(C0); \
	TDPBSSD(5, 4, C0); \
	B1; \
	TILEZERO(C1); \
	TDPBSSD(6, 4, C1); \
	ADDQ $40, AX; \
	DECQ CX; \
	JNZ  NEXT; \
	MOVQ x+24(FP), AX; \
	MOVQ blocks+56(FP), CX; \
NEXT:

// On to the next block of the panels. The last one stays where there is none.
#define FORTH(BYTES, NEXT) \
	DECQ left-8(SP); \
	JLE  NEXT; \
	ADDQ $BYTES, SI; \
	ADDQ $BYTES, DI; \
NEXT:

#define SAVE(C0, C1, SUMS) \
	TILESTORE(C0, SUMS, 12, 9); \
	TILESTORE(C1, (SUMS+512), 12, 9)

// sum += products · (scale of the weight · scale of x), of a row and both panels.
#define ADDROW(SCALE, SUMS, S0, S1) \
	VBROADCASTSS SCALE, Z20; \
	VMULPS Z20, Z16, Z22; \
	VMULPS Z20, Z17, Z23; \
	VCVTDQ2PS SUMS(R12), Z24; \
	VCVTDQ2PS (512+SUMS)(R12), Z25; \
	VFMADD231PS Z22, Z24, S0; \
	VFMADD231PS Z23, Z25, S1

// A block's sums, and what comes between its rows.
#define ADDUP(SUMS, BYTES, I0, I1, I2, I3, I4, I5, I6, I7) \
	VCVTPH2PS (R13), Z16; \
	VCVTPH2PS (BX), Z17; \
	ADDROW((R10), SUMS, Z0, Z8); \
	I0; \
	ADDROW((R10)(R8*1), (SUMS+64), Z1, Z9); \
	I1; \
	ADDROW((R10)(R8*2), (SUMS+128), Z2, Z10); \
	I2; \
	ADDROW((R11), (SUMS+192), Z3, Z11); \
	I3; \
	ADDROW((R11)(R8*1), (SUMS+256), Z4, Z12); \
	I4; \
	ADDROW((R11)(R8*2), (SUMS+320), Z5, Z13); \
	I5; \
	ADDROW((DX), (SUMS+384), Z6, Z14); \
	I6; \
	ADDROW((DX)(R8*1), (SUMS+448), Z7, Z15); \
	I7; \
	ADDQ $BYTES, R13; \
	ADDQ $BYTES, BX; \
	ADDQ $40, R10; \
	ADDQ $40, R11; \
	ADDQ $40, DX

// PREFETCHW of the lines of y that follow those at R10 and R11, and of these.
#define CLAIMNEXT BYTE $0x41; BYTE $0x0f; BYTE $0x0d; BYTE $0x4a; BYTE $0x40; BYTE $0x41; BYTE $0x0f; BYTE $0x0d; BYTE $0x4b; BYTE $0x40
#define CLAIM BYTE $0x41; BYTE $0x0f; BYTE $0x0d; BYTE $0x0a; BYTE $0x41; BYTE $0x0f; BYTE $0x0d; BYTE $0x0b

#define ADDBIAS(S0, S1) \
	VADDPS Z16, S0, S0; \
	VADDPS Z17, S1, S1

#define ADDY(S0, S1) \
	VADDPS (R10), S0, S0; \
	VADDPS (R11), S1, S1
#define NOADD(S0, S1)

#define PUTROW(R, S0, S1, ADD, DONE) \
	ADD(S0, S1); \
	VADDPS S0, Z18, Z18; \
	VADDPS S1, Z19, Z19; \
	VMOVUPS S0, (R10); \
	VMOVUPS S1, (R11); \
	CLAIMNEXT; \
	ADDQ DX, R10; \
	ADDQ DX, R11; \
	CMPQ rows+64(FP), $(R+1); \
	JEQ DONE
#define PUTROWS(ADD, DONE) \
	PUTROW(0, Z0, Z8, ADD, DONE); \
	PUTROW(1, Z1, Z9, ADD, DONE); \
	PUTROW(2, Z2, Z10, ADD, DONE); \
	PUTROW(3, Z3, Z11, ADD, DONE); \
	PUTROW(4, Z4, Z12, ADD, DONE); \
	PUTROW(5, Z5, Z13, ADD, DONE); \
	PUTROW(6, Z6, Z14, ADD, DONE); \
	ADD(Z7, Z15); \
	VADDPS Z7, Z18, Z18; \
	VADDPS Z15, Z19, Z19; \
	VMOVUPS Z7, (R10); \
	VMOVUPS Z15, (R11); \
	CLAIMNEXT; \
	JMP DONE

// If it was a panel's last block: the sums and the bias go to y, or are added to it. All
// that goes there is added up in Z18 and Z19, which are finite if it is, or nearly so:
// they may be too large.
#define PUT(BIASED, STORE, DONE, NEXT) \
	DECQ R15; \
	JNZ NEXT; \
	MOVQ bias0+88(FP), R10; \
	MOVQ bias1+96(FP), R11; \
	TESTQ R10, R10; \
	JZ BIASED; \
	VMOVUPS (R10), Z16; \
	VMOVUPS (R11), Z17; \
	ADDQ $64, bias0+88(FP); \
	ADDQ $64, bias1+96(FP); \
	ADDBIAS(Z0, Z8); \
	ADDBIAS(Z1, Z9); \
	ADDBIAS(Z2, Z10); \
	ADDBIAS(Z3, Z11); \
	ADDBIAS(Z4, Z12); \
	ADDBIAS(Z5, Z13); \
	ADDBIAS(Z6, Z14); \
	ADDBIAS(Z7, Z15); \
BIASED: \
	MOVQ y0+0(FP), R10; \
	MOVQ y1+8(FP), R11; \
	MOVQ ldy+16(FP), DX; \
	ADDQ $64, y0+0(FP); \
	ADDQ $64, y1+8(FP); \
	CMPB add+104(FP), $0; \
	JEQ STORE; \
	PUTROWS(ADDY, DONE); \
STORE: \
	PUTROWS(NOADD, DONE); \
DONE: \
	ZEROSUMS; \
	BEGINROWS; \
	DECQ pairs+72(FP); \
	JZ end; \
NEXT:

// R10, R11 and DX rows 0, 3 and 6 of x, R15 blocks left of the panel.
#define BEGINROWS \
	MOVQ x+24(FP), R10; \
	LEAQ (R8)(R8*2), DX; \
	LEAQ (R10)(DX*1), R11; \
	ADDQ R11, DX; \
	MOVQ blocks+56(FP), R15

// SI and DI the panels, AX x and CX the blocks left of the panel where tiles are; R13
// and BX, R10, R11, DX and R15 the same where sums are. R8 the distance of rows of x,
// R9 that of tiles' rows, R12 work; left counts blocks of all panels.
#define BEGIN \
	VMOVDQU64 fewConfig<>(SB), Z16; \
	VMOVDQU64 Z16, config-72(SP); \
	MOVQ rows+64(FP), AX; \
	IMULQ $0x01010101, AX; \
	MOVL AX, config-24(SP); \
	MOVB AX, config-20(SP); \
	LEAQ config-72(SP), AX; \
	LDTILECFG; \
	MOVQ ldx+32(FP), R8; \
	MOVQ w0+40(FP), SI; \
	MOVQ w1+48(FP), DI; \
	MOVQ SI, R13; \
	MOVQ DI, BX; \
	MOVQ work+80(FP), R12; \
	MOVQ $64, R9; \
	MOVQ x+24(FP), AX; \
	MOVQ blocks+56(FP), CX; \
	MOVQ pairs+72(FP), R10; \
	IMULQ CX, R10; \
	MOVQ R10, left-8(SP); \
	MOVQ y0+0(FP), R10; \
	MOVQ y1+8(FP), R11; \
	MOVQ rows+64(FP), DX; \
claim: \
	CLAIM; \
	ADDQ ldy+16(FP), R10; \
	ADDQ ldy+16(FP), R11; \
	DECQ DX; \
	JNZ claim; \
	BEGINROWS; \
	ZERO(Z18); \
	ZERO(Z19); \
	ZEROSUMS

// What lies ahead of the tiles is asked for: of Q8_0, which waits for memory, first for
// the second-level cache.
#define ASKNEAR(O) \
	PREFETCHT0 O(SI); \
	PREFETCHT0 O(DI)
#define ASKFAR(O) \
	PREFETCHT1 O(SI); \
	PREFETCHT1 O(DI)
#define ASK8(O) ASKFAR((8192+O)); ASKNEAR((1024+O))
#define ASK4(O) ASKNEAR((4096+O))

// Q8_0: tiles take the codes where they lie.
#define Q8(C0, C1, NEXTX, NEXTW) \
	MULTIPLY(C0, C1, TILELOAD(32, 6, 9, 5), TILELOAD(32, 7, 9, 6), NEXTX); \
	FORTH(544, NEXTW)
#define Q8ADDUP(SUMS) \
	ADDUP(SUMS, 544, ASK8(0), ASK8(64), ASK8(128), ASK8(192), ASK8(256), ASK8(320), ASK8(384), ASK8(448); ASK8(512))

// func q8few(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows, pairs int, work *byte, bias0, bias1 *float32, add bool)
TEXT ·q8few(SB), 0, $72-105
	BEGIN
	Q8(0, 1, x0, w0)
	Q8(2, 3, x1, w1)
	SAVE(0, 1, SUMS0)

loop:
	Q8(0, 1, x2, w2)
	SAVE(2, 3, SUMS1)
	Q8ADDUP(SUMS0)
	PUT(biased0, store0, done0, next0)
	Q8(2, 3, x3, w3)
	SAVE(0, 1, SUMS0)
	Q8ADDUP(SUMS1)
	PUT(biased1, store1, done1, next1)
	JMP loop

end:
	VADDPS Z19, Z18, Z18
	VMOVUPS Z18, (R12)
	TILERELEASE
	VZEROUPPER
	RET

// Q4_0: the codes are unpacked two blocks before they are multiplied, as signed
// bytes. Z31 makes them of low halves, Z30 of high ones; P one of the panels.
#define UNPACK(G, P, TO) \
	VMOVDQU32 (32+64*G)(P), Z26; \
	VGF2P8AFFINEQB $0xf8, Z31, Z26, Z27; \
	VGF2P8AFFINEQB $0xf8, Z30, Z26, Z26; \
	VMOVDQA64 Z27, (TO+64*G)(R12); \
	VMOVDQA64 Z26, (TO+256+64*G)(R12)
#define UNPACKALL(TO, NEXT) \
	UNPACK(0, SI, TO); \
	UNPACK(0, DI, TO+512); \
	UNPACK(1, SI, TO); \
	UNPACK(1, DI, TO+512); \
	UNPACK(2, SI, TO); \
	UNPACK(2, DI, TO+512); \
	UNPACK(3, SI, TO); \
	UNPACK(3, DI, TO+512); \
	FORTH(288, NEXT)
#define Q4(C0, C1, CODES, NEXT) MULTIPLY(C0, C1, TILELOAD(CODES, 12, 9, 5), TILELOAD((CODES+512), 12, 9, 6), NEXT)
#define Q4ADDUP(SUMS, CODES, NEXT) \
	ADDUP(SUMS, 288, UNPACK(0, SI, CODES), UNPACK(0, DI, CODES+512); ASK4(0), UNPACK(1, SI, CODES); ASK4(64), UNPACK(1, DI, CODES+512), UNPACK(2, SI, CODES); ASK4(128), UNPACK(2, DI, CODES+512), UNPACK(3, SI, CODES); ASK4(192), UNPACK(3, DI, CODES+512); ASK4(256)); \
	FORTH(288, NEXT)

// func q4few(y0, y1 *float32, ldy uintptr, x *generic.Block, ldx uintptr, w0, w1 *byte, blocks, rows, pairs int, work *byte, bias0, bias1 *float32, add bool)
TEXT ·q4few(SB), 0, $72-105
	VPBROADCASTQ fewHalves<>+0(SB), Z31
	VPBROADCASTQ fewHalves<>+8(SB), Z30
	BEGIN
	UNPACKALL(CODES0, w0)
	UNPACKALL(CODES1, w1)
	Q4(0, 1, CODES0, x0)
	UNPACKALL(CODES0, w2)
	Q4(2, 3, CODES1, x1)
	UNPACKALL(CODES1, w3)
	SAVE(0, 1, SUMS0)

loop:
	Q4(0, 1, CODES0, x2)
	SAVE(2, 3, SUMS1)
	Q4ADDUP(SUMS0, CODES0, w4)
	PUT(biased0, store0, done0, next0)
	Q4(2, 3, CODES1, x3)
	SAVE(0, 1, SUMS0)
	Q4ADDUP(SUMS1, CODES1, w5)
	PUT(biased1, store1, done1, next1)
	JMP loop

end:
	VADDPS Z19, Z18, Z18
	VMOVUPS Z18, (R12)
	TILERELEASE
	VZEROUPPER
	RET
