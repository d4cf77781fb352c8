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

// The same past the first-level cache: TILELOADDT1 (SI)(DX*1), TMM4 and
// 1024(SI)(DX*1), TMM5; (DI)(DX*1), TMM6 and 1024(DI)(DX*1), TMM7
#define LOADA0T BYTE $0xc4; BYTE $0xe2; BYTE $0x79; BYTE $0x4b; BYTE $0x24; BYTE $0x16
#define LOADA1T BYTE $0xc4; BYTE $0xe2; BYTE $0x79; BYTE $0x4b; BYTE $0xac; BYTE $0x16; LONG $0x00000400
#define LOADB0T BYTE $0xc4; BYTE $0xe2; BYTE $0x79; BYTE $0x4b; BYTE $0x34; BYTE $0x17
#define LOADB1T BYTE $0xc4; BYTE $0xe2; BYTE $0x79; BYTE $0x4b; BYTE $0xbc; BYTE $0x17; LONG $0x00000400

// TILEZERO TMM0-TMM3
#define TILEZERO0 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x49; BYTE $0xc0
#define TILEZERO1 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x49; BYTE $0xc8
#define TILEZERO2 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x49; BYTE $0xd0
#define TILEZERO3 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x49; BYTE $0xd8

// MASK32 sets K to the lowest N lanes, at most 32; R and CX are spoiled.
#define MASK32(N, R, K) \
	MOVQ N, CX; \
	MOVL $1, R; \
	SHLQ CX, R; \
	DECQ R; \
	KMOVD R, K

// VCVTNE2PS2BF16 Z6, Z7, Z8: 32 float32, the lower 16 of them in Z6.
#define NARROW8 BYTE $0x62; BYTE $0x72; BYTE $0x47; BYTE $0x48; BYTE $0x72; BYTE $0xc6

// Palette 1, eight tiles of 16 rows of 64 bytes.
DATA tileConfig<>+0(SB)/8, $1
DATA tileConfig<>+8(SB)/8, $0
DATA tileConfig<>+16(SB)/8, $0x0040004000400040
DATA tileConfig<>+24(SB)/8, $0x0040004000400040
DATA tileConfig<>+32(SB)/8, $0
DATA tileConfig<>+40(SB)/8, $0
DATA tileConfig<>+48(SB)/8, $0x1010101010101010
DATA tileConfig<>+56(SB)/8, $0
GLOBL tileConfig<>(SB), RODATA, $64

// PREFETCHW (R8)(AX*1) and 64(R8)(AX*1)
#define CLAIM BYTE $0x41; BYTE $0x0f; BYTE $0x0d; BYTE $0x0c; BYTE $0x00
#define CLAIM64 BYTE $0x41; BYTE $0x0f; BYTE $0x0d; BYTE $0x4c; BYTE $0x00; BYTE $0x40
