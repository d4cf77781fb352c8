//go:build !noasm

#include "go_asm.h"
#include "textflag.h"
#include "forms_amd64.h"

// TILELOADD (BX)(DX*1), TMM6 and 1024(BX)(DX*1), TMM7
#define LOADD0 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x4b; BYTE $0x34; BYTE $0x13
#define LOADD1 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x4b; BYTE $0xbc; BYTE $0x13; LONG $0x00000400

// TDPBF16PS TMM6|TMM7, TMM4, TMM2|TMM3
#define BF16D0 BYTE $0xc4; BYTE $0xe2; BYTE $0x4a; BYTE $0x5c; BYTE $0xd4
#define BF16D1 BYTE $0xc4; BYTE $0xe2; BYTE $0x42; BYTE $0x5c; BYTE $0xdc

// TILESTORED TMM2, (R10)(R12*1) and TMM3, 64(R10)(R12*1)
#define STORED0 BYTE $0xc4; BYTE $0x82; BYTE $0x7a; BYTE $0x4b; BYTE $0x14; BYTE $0x22
#define STORED1 BYTE $0xc4; BYTE $0x82; BYTE $0x7a; BYTE $0x4b; BYTE $0x5c; BYTE $0x22; BYTE $0x40

// Half a step of a panel, 16 lines, is asked for so many bytes ahead.
#define NEAR 2048
#define NEAR4(R, O) \
	PREFETCHT0 (NEAR+O)(R); \
	PREFETCHT0 (NEAR+O+64)(R); \
	PREFETCHT0 (NEAR+O+128)(R); \
	PREFETCHT0 (NEAR+O+192)(R)
#define NEAR16(R, O) NEAR4(R, O); NEAR4(R, O+256); NEAR4(R, O+512); NEAR4(R, O+768)

// func streamTiles(j *streamJob)
//
// TMM0-TMM3 hold the results of two panels, TMM4 a step of x, TMM6 and TMM7 one of
// a panel by turns: from memory, and since that takes longest, nothing else counts.
//
// R15 the job; SI walks over x, DI and BX over the panels; DX the distance of a
// tile's rows; CX counts steps, R13 panels. R8 and R10 where results start, R11 and
// R14 where they go, R12 the distance of their rows.
TEXT ·streamTiles(SB), NOSPLIT, $0-8
	MOVQ j+0(FP), R15
	LEAQ streamJob_config(R15), AX
	LDTILECFG
	MOVQ streamJob_w0(R15), DI
	MOVQ streamJob_w1(R15), BX
	MOVQ streamJob_c0(R15), R11
	MOVQ streamJob_c1(R15), R14
	MOVQ streamJob_ldc(R15), R12
	MOVQ streamJob_panels(R15), R13
	MOVQ streamJob_xstep(R15), AX
	MOVQ $64, DX

panel:
	MOVQ streamJob_start0(R15), R8
	MOVQ streamJob_start1(R15), R10
	XORL R9, R9 // all rows start alike
	LOADC0
	LOADC1
	LOADC2
	LOADC3
	ADDQ $128, R8
	ADDQ $128, R10
	MOVQ R8, streamJob_start0(R15)
	MOVQ R10, streamJob_start1(R15)
	MOVQ streamJob_x(R15), SI
	MOVQ streamJob_steps(R15), CX

step:
	LOADA0
	LOADB0
	BF16C0
	NEAR16(DI, 0)
	LOADD0
	BF16D0
	NEAR16(BX, 0)
	LOADB1
	BF16C1
	NEAR16(DI, 1024)
	LOADD1
	BF16D1
	NEAR16(BX, 1024)
	ADDQ AX, SI
	ADDQ $2048, DI
	ADDQ $2048, BX
	DECQ CX
	JNZ  step

	STOREC0
	STOREC1
	MOVQ R14, R10
	STORED0
	STORED1
	ADDQ $128, R11
	ADDQ $128, R14
	DECQ R13
	JNZ  panel
	TILERELEASE
	VZEROUPPER
	RET
