// Tiles of up to 12 rows × 32 columns with W in place, for a few rows:
// c[i][j] += Σ a[i][k]·w[k][j]. The rows of W are a stride apart, and those
// `ahead` bytes further on are prefetched into the second-level cache: the
// first has too few requests under way at a time to keep memory busy. Columns
// from cols on are not read; c has room for 32.
//
// Z8-Z31 hold the tile, two registers to a row; Z0 and Z1 a row of W (in pairs:
// two rows), Z2 an element of a in all lanes; in pairs Z4 and Z5 tell how two
// rows mix and Z6, Z7 are those rows. AX, BX, DX are rows 0, 4, 8 of a; R8 the
// distance of its rows and R9 three times that; SI walks over W by R10, R12 is
// as much ahead; CX counts k. DI is c, R11 the distance of its rows. K1 and K2
// are the columns.

#define ARGS \
	MOVQ a+16(FP), AX; \
	MOVQ lda+24(FP), R8; \
	MOVQ w+32(FP), SI; \
	MOVQ stride+40(FP), R10; \
	MOVQ k+48(FP), CX; \
	MOVQ cols+56(FP), BX; \
	MOVQ ahead+64(FP), R12; \
	ADDQ SI, R12; \
	MOVQ $-1, DX; \
	BZHIQ BX, DX, DX; \
	KMOVD DX, K1; \
	SHRQ $16, DX; \
	KMOVW DX, K2; \
	MOVQ c+0(FP), DI; \
	MOVQ ldc+8(FP), R11; \
	LEAQ (R8)(R8*2), R9; \
	LEAQ (AX)(R8*4), BX; \
	LEAQ (BX)(R8*4), DX

#define LOADROW(LO, HI) \
	VMOVUPS (DI), LO; \
	VMOVUPS 64(DI), HI; \
	ADDQ R11, DI

#define STOREROW(LO, HI) \
	VMOVUPS LO, (DI); \
	VMOVUPS HI, 64(DI); \
	ADDQ R11, DI

#define ROW1(X) X(8, 9, Z8, Z9)
#define ROW4(X) \
	ROW1(X); \
	X(10, 11, Z10, Z11); \
	X(12, 13, Z12, Z13); \
	X(14, 15, Z14, Z15)
#define ROW8(X) \
	ROW4(X); \
	X(16, 17, Z16, Z17); \
	X(18, 19, Z18, Z19); \
	X(20, 21, Z20, Z21); \
	X(22, 23, Z22, Z23)
#define ROW12(X) \
	ROW8(X); \
	X(24, 25, Z24, Z25); \
	X(26, 27, Z26, Z27); \
	X(28, 29, Z28, Z29); \
	X(30, 31, Z30, Z31)

#define LOADC(L, H, LO, HI) LOADROW(LO, HI)
#define STOREC(L, H, LO, HI) STOREROW(LO, HI)
#define ZEROC(L, H, LO, HI) \
	ZERO(LO); \
	ZERO(HI)

// The next row (or two) of W.
#define ROWF32 \
	PREFETCHT1 (R12); \
	PREFETCHT1 64(R12); \
	LOADF32K((SI), Z0); \
	LOADF32K2(64(SI), Z1); \
	ADDQ R10, SI; \
	ADDQ R10, R12

#define ROWF16 \
	PREFETCHT1 (R12); \
	LOADF16K((SI), Z0); \
	LOADF16K2(32(SI), Z1); \
	ADDQ R10, SI; \
	ADDQ R10, R12

#define ROWBF16 \
	PREFETCHT1 (R12); \
	LOADBF16K((SI), Z0); \
	LOADBF16K2(32(SI), Z1); \
	ADDQ R10, SI; \
	ADDQ R10, R12

// A row of pairs, which are asked for past the second-level cache (see stream_amd64.s; into it:
// eight rows 3 to 5 % slower).
#define ROWPANELAHEAD \
	PREFETCHNTA (R12); \
	PREFETCHNTA 64(R12); \
	VMOVUPS (SI), Z0; \
	VMOVUPS 64(SI), Z1; \
	ADDQ R10, SI; \
	ADDQ R10, R12

#define MIX \
	VMOVDQA64 Z4, Z0; \
	VPERMI2W Z7, Z6, Z0; \
	VMOVDQA64 Z5, Z1; \
	VPERMI2W Z7, Z6, Z1

#define ROWPAIRS \
	PREFETCHT1 (R12); \
	PREFETCHT1 (R12)(R10*1); \
	VMOVDQU16.Z (SI), K1, Z6; \
	VMOVDQU16.Z (SI)(R10*1), K1, Z7; \
	MIX; \
	LEAQ (SI)(R10*2), SI; \
	LEAQ (R12)(R10*2), R12

// One element (or pair) of a row of a times the row of W.
#define FMA(A, L, H, LO, HI) \
	VBROADCASTSS A, Z2; \
	VFMADD231PS Z0, Z2, LO; \
	VFMADD231PS Z1, Z2, HI

#define DP(A, L, H, LO, HI) \
	VBROADCASTSS A, Z2; \
	DPBF16(0, 2, L); \
	DPBF16(1, 2, H)

#define STEP1(MUL, O) MUL(O(AX), 8, 9, Z8, Z9)
#define STEP4(MUL, O) \
	STEP1(MUL, O); \
	MUL(O(AX)(R8*1), 10, 11, Z10, Z11); \
	MUL(O(AX)(R8*2), 12, 13, Z12, Z13); \
	MUL(O(AX)(R9*1), 14, 15, Z14, Z15)
#define STEP8(MUL, O) \
	STEP4(MUL, O); \
	MUL(O(BX), 16, 17, Z16, Z17); \
	MUL(O(BX)(R8*1), 18, 19, Z18, Z19); \
	MUL(O(BX)(R8*2), 20, 21, Z20, Z21); \
	MUL(O(BX)(R9*1), 22, 23, Z22, Z23)
#define STEP12(MUL, O) \
	STEP8(MUL, O); \
	MUL(O(DX), 24, 25, Z24, Z25); \
	MUL(O(DX)(R8*1), 26, 27, Z26, Z27); \
	MUL(O(DX)(R8*2), 28, 29, Z28, Z29); \
	MUL(O(DX)(R9*1), 30, 31, Z30, Z31)

#define TILE(ROWS, STEP, ROWW, MUL) \
	ARGS; \
	ROWS(LOADC); \
	MOVQ c+0(FP), DI; \
loop4: \
	CMPQ CX, $4; \
	JLT  loop1; \
	ROWW; \
	STEP(MUL, 0); \
	ROWW; \
	STEP(MUL, 4); \
	ROWW; \
	STEP(MUL, 8); \
	ROWW; \
	STEP(MUL, 12); \
	ADDQ $16, AX; \
	ADDQ $16, BX; \
	ADDQ $16, DX; \
	SUBQ $4, CX; \
	JMP  loop4; \
loop1: \
	TESTQ CX, CX; \
	JZ    store; \
	ROWW; \
	STEP(MUL, 0); \
	ADDQ $4, AX; \
	ADDQ $4, BX; \
	ADDQ $4, DX; \
	DECQ CX; \
	JMP  loop1; \
store: \
	ROWS(STOREC); \
	VZEROUPPER; \
	RET

// In pairs k counts rows of W, of which the last may be alone.
#define TILEPAIRS(ROWS, STEP) \
	ARGS; \
	VMOVDQU64 ·mix+0(SB), Z4; \
	VMOVDQU64 ·mix+64(SB), Z5; \
	ROWS(LOADC); \
	MOVQ c+0(FP), DI; \
loop4: \
	CMPQ CX, $4; \
	JLT  loop1; \
	ROWPAIRS; \
	STEP(DP, 0); \
	ROWPAIRS; \
	STEP(DP, 4); \
	ADDQ $8, AX; \
	ADDQ $8, BX; \
	ADDQ $8, DX; \
	SUBQ $4, CX; \
	JMP  loop4; \
loop1: \
	CMPQ CX, $1; \
	JLT  store; \
	JEQ  alone; \
	ROWPAIRS; \
	STEP(DP, 0); \
	ADDQ $4, AX; \
	ADDQ $4, BX; \
	ADDQ $4, DX; \
	SUBQ $2, CX; \
	JMP  loop1; \
alone: \
	VMOVDQU16.Z (SI), K1, Z6; \
	ZERO(Z7); \
	MIX; \
	STEP(DP, 0); \
store: \
	ROWS(STOREC); \
	VZEROUPPER; \
	RET
