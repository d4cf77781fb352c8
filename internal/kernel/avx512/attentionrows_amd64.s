//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// Scores of a query with keys that lie row by row: eight elements of 8, 16, 24 or 32
// keys at a time are turned into rows of a panel, which are added up as in
// attention_amd64.s.

// Key I of each eight, to lanes of 16 bytes: R10 holds the distance of 8 keys; BX
// walks over the keys I in order, R11 is BX and 16 keys.
#define KEY8(Z, X) \
	VMOVDQU64 (BX), X
#define KEY16(Z, X) \
	VMOVDQU64 (BX), X; \
	VINSERTI32X4 $1, (BX)(R10*1), Z, Z
#define KEY24(Z, X) \
	KEY16(Z, X); \
	VINSERTI32X4 $2, (BX)(R10*2), Z, Z
#define KEY32(Z, X) \
	KEY24(Z, X); \
	VINSERTI32X4 $3, (R11)(R10*1), Z, Z

#define KEYS(KEY) \
	LEAQ (BX)(R10*2), R11; \
	KEY(Z16, X16); \
	ADDQ DX, BX; \
	ADDQ DX, R11; \
	KEY(Z17, X17); \
	ADDQ DX, BX; \
	ADDQ DX, R11; \
	KEY(Z18, X18); \
	ADDQ DX, BX; \
	ADDQ DX, R11; \
	KEY(Z19, X19); \
	ADDQ DX, BX; \
	ADDQ DX, R11; \
	KEY(Z20, X20); \
	ADDQ DX, BX; \
	ADDQ DX, R11; \
	KEY(Z21, X21); \
	ADDQ DX, BX; \
	ADDQ DX, R11; \
	KEY(Z22, X22); \
	ADDQ DX, BX; \
	ADDQ DX, R11; \
	KEY(Z23, X23); \
	ADDQ DX, BX; \
	SUBQ R10, BX; \
	ADDQ $16, BX

// Z16-Z23 are turned, eight by eight in each lane, to Z16-Z23.
#define TURN8 \
	VPUNPCKLWD Z17, Z16, Z24; \
	VPUNPCKHWD Z17, Z16, Z25; \
	VPUNPCKLWD Z19, Z18, Z26; \
	VPUNPCKHWD Z19, Z18, Z27; \
	VPUNPCKLWD Z21, Z20, Z28; \
	VPUNPCKHWD Z21, Z20, Z29; \
	VPUNPCKLWD Z23, Z22, Z30; \
	VPUNPCKHWD Z23, Z22, Z31; \
	VPUNPCKLDQ Z26, Z24, Z16; \
	VPUNPCKHDQ Z26, Z24, Z17; \
	VPUNPCKLDQ Z27, Z25, Z18; \
	VPUNPCKHDQ Z27, Z25, Z19; \
	VPUNPCKLDQ Z30, Z28, Z20; \
	VPUNPCKHDQ Z30, Z28, Z21; \
	VPUNPCKLDQ Z31, Z29, Z22; \
	VPUNPCKHDQ Z31, Z29, Z23; \
	VPUNPCKLQDQ Z20, Z16, Z24; \
	VPUNPCKHQDQ Z20, Z16, Z25; \
	VPUNPCKLQDQ Z21, Z17, Z26; \
	VPUNPCKHQDQ Z21, Z17, Z27; \
	VPUNPCKLQDQ Z22, Z18, Z28; \
	VPUNPCKHQDQ Z22, Z18, Z29; \
	VPUNPCKLQDQ Z23, Z19, Z30; \
	VPUNPCKHQDQ Z23, Z19, Z31

// An element of all keys, Z with its lower half Y: O is where the query's is.
#define FIRST(LOAD, O, Z, Y) \
	LOAD(Y, Z0); \
	VFMADD231PS.BCST (O)(AX), Z0, Z8
#define BOTH(LOAD, O, Z, Y) \
	VEXTRACTI64X4 $1, Z, Y1; \
	LOAD(Y, Z0); \
	LOAD(Y1, Z1); \
	VBROADCASTSS (O)(AX), Z2; \
	VFMADD231PS Z0, Z2, Z8; \
	VFMADD231PS Z1, Z2, Z9

#define ADD8(LOAD, SUM) \
	SUM(LOAD, 0, Z24, Y24); \
	SUM(LOAD, 4, Z25, Y25); \
	SUM(LOAD, 8, Z26, Y26); \
	SUM(LOAD, 12, Z27, Y27); \
	SUM(LOAD, 16, Z28, Y28); \
	SUM(LOAD, 20, Z29, Y29); \
	SUM(LOAD, 24, Z30, Y30); \
	SUM(LOAD, 28, Z31, Y31); \
	ADDQ $32, AX

// What is next, keys at R9 and values at R12, is asked for, two lines for eight keys.
#define ASK8 \
	PREFETCHT1 (R9); \
	PREFETCHT1 (R12); \
	ADDQ $64, R9; \
	ADDQ $64, R12
#define ASK16 ASK8; ASK8
#define ASK24 ASK16; ASK8
#define ASK32 ASK16; ASK16

#define ALL(LOAD, KEY, SUM, ASK, LOOP) \
LOOP: \
	KEYS(KEY); \
	ASK; \
	TURN8; \
	ADD8(LOAD, SUM); \
	SUBQ $8, CX; \
	JNZ  LOOP; \
	JMP  store

// DX is the distance of keys, CX counts elements.
#define SCOREROWS(LOAD) \
	MOVQ q+8(FP), AX; \
	MOVQ nextk+40(FP), R9; \
	MOVQ nextv+48(FP), R12; \
	MOVQ k+16(FP), BX; \
	MOVQ dim+32(FP), CX; \
	MOVQ CX, DX; \
	ADDQ DX, DX; \
	MOVQ DX, R10; \
	SHLQ $3, R10; \
	ZERO(Z8); \
	ZERO(Z9); \
	MOVQ n+24(FP), SI; \
	CMPQ SI, $8; \
	JLE  loop8; \
	CMPQ SI, $16; \
	JLE  loop16; \
	CMPQ SI, $24; \
	JLE  loop24; \
	JMP  loop32; \
	ALL(LOAD, KEY8, FIRST, ASK8, loop8); \
	ALL(LOAD, KEY16, FIRST, ASK16, loop16); \
	ALL(LOAD, KEY24, BOTH, ASK24, loop24); \
	ALL(LOAD, KEY32, BOTH, ASK32, loop32); \
store: \
	MOVQ s+0(FP), DI; \
	VMOVUPS Z8, (DI); \
	VMOVUPS Z9, 64(DI); \
	VZEROUPPER; \
	RET

// func scoreRowsF16(s, q *float32, k *byte, n, dim int, nextk, nextv *byte)
TEXT ·scoreRowsF16(SB), NOSPLIT, $0-56
	SCOREROWS(LOADF16)

// func scoreRowsBF16(s, q *float32, k *byte, n, dim int, nextk, nextv *byte)
TEXT ·scoreRowsBF16(SB), NOSPLIT, $0-56
	SCOREROWS(LOADBF16)
