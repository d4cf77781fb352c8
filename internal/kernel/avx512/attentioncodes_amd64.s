//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// Keys and values in codes of Q8_0, see package generic.

// Two lines of the keys and of the values that come next.
#define ASK \
	PREFETCHT1 (R9); \
	PREFETCHT1 64(R9); \
	PREFETCHT1 (R11); \
	PREFETCHT1 64(R11); \
	ADDQ $128, R9; \
	ADDQ $128, R11

// The float32 scales of 32 positions, from the float16 ones at M.
#define SCALES(M0, M1, O) \
	VCVTPH2PS M0, Z0; \
	VCVTPH2PS M1, Z1; \
	VMOVUPS Z0, (O)(CX); \
	VMOVUPS Z1, (O+64)(CX)

// A position: 64 codes at R, its probability O(AX), its scales O(CX) and O+128(CX).
#define ADD64(O, R) \
	VPMOVSXBD (R), Z0; \
	VPMOVSXBD 16(R), Z1; \
	VPMOVSXBD 32(R), Z3; \
	VPMOVSXBD 48(R), Z4; \
	VBROADCASTSS O(AX), Z2; \
	VBROADCASTSS O(CX), Z5; \
	VBROADCASTSS (O+128)(CX), Z6; \
	VCVTDQ2PS Z0, Z0; \
	VCVTDQ2PS Z1, Z1; \
	VCVTDQ2PS Z3, Z3; \
	VCVTDQ2PS Z4, Z4; \
	VMULPS Z5, Z0, Z0; \
	VMULPS Z5, Z1, Z1; \
	VMULPS Z6, Z3, Z3; \
	VMULPS Z6, Z4, Z4; \
	VFMADD231PS Z0, Z2, Z8; \
	VFMADD231PS Z1, Z2, Z9; \
	VFMADD231PS Z3, Z2, Z10; \
	VFMADD231PS Z4, Z2, Z11
#define ADD32(O, R) \
	VPMOVSXBD (R), Z0; \
	VPMOVSXBD 16(R), Z1; \
	VBROADCASTSS O(AX), Z2; \
	VBROADCASTSS O(CX), Z5; \
	VCVTDQ2PS Z0, Z0; \
	VCVTDQ2PS Z1, Z1; \
	VMULPS Z5, Z0, Z0; \
	VMULPS Z5, Z1, Z1; \
	VFMADD231PS Z0, Z2, Z8; \
	VFMADD231PS Z1, Z2, Z9

// func codeValues64(out, p *float32, v, scales *byte, stride, panel uintptr, n int, nextk, nextv *byte, asks int)
//
// BX the codes, R8 the scales, R13 the distance of panels; R12 positions left, R15 of them
// in the panel.
TEXT ·codeValues64(SB), NOSPLIT, $256-80
	MOVQ out+0(FP), DI
	MOVQ p+8(FP), AX
	MOVQ scales+24(FP), R8
	MOVQ stride+32(FP), DX
	MOVQ panel+40(FP), R13
	MOVQ n+48(FP), R12
	MOVQ nextk+56(FP), R9
	MOVQ nextv+64(FP), R11
	MOVQ asks+72(FP), R10
	LOAD64

panel64:
	LEAQ work-256(SP), CX
	SCALES((R8), 32(R8), 0)
	SCALES(64(R8), 96(R8), 128)
	MOVQ v+16(FP), BX
	ADDQ R13, v+16(FP)
	ADDQ R13, R8
	MOVQ $32, R15
	CMPQ R12, R15
	CMOVQLT R12, R15
	SUBQ R15, R12

four64:
	SUBQ $4, R15
	JLT last64
	LEAQ (BX)(DX*1), SI
	SUBQ $1, R10
	JLT add64
	ASK

add64:
	ADD64(0, BX)
	ADD64(4, SI)
	LEAQ (SI)(DX*1), BX
	LEAQ (BX)(DX*1), SI
	ADD64(8, BX)
	ADD64(12, SI)
	ADDQ $16, AX
	ADDQ $16, CX
	LEAQ (SI)(DX*1), BX
	JMP four64

last64:
	ADDQ $4, R15
	JZ next64

one64:
	ADD64(0, BX)
	ADDQ $4, AX
	ADDQ $4, CX
	ADDQ DX, BX
	DECQ R15
	JNZ one64

next64:
	TESTQ R12, R12
	JNZ panel64
	STORE64
	VZEROUPPER
	RET

// func codeValues32(out, p *float32, v, scales *byte, stride, panel uintptr, n int)
TEXT ·codeValues32(SB), NOSPLIT, $128-56
	MOVQ out+0(FP), DI
	MOVQ p+8(FP), AX
	MOVQ scales+24(FP), R8
	MOVQ stride+32(FP), DX
	MOVQ panel+40(FP), R13
	MOVQ n+48(FP), R12
	VMOVUPS (DI), Z8
	VMOVUPS 64(DI), Z9

panel32:
	LEAQ work-128(SP), CX
	SCALES((R8), 32(R8), 0)
	MOVQ v+16(FP), BX
	ADDQ R13, v+16(FP)
	ADDQ R13, R8
	MOVQ $32, R15
	CMPQ R12, R15
	CMOVQLT R12, R15
	SUBQ R15, R12

one32:
	ADD32(0, BX)
	ADDQ $4, AX
	ADDQ $4, CX
	ADDQ DX, BX
	DECQ R15
	JNZ one32
	TESTQ R12, R12
	JNZ panel32
	VMOVUPS Z8, (DI)
	VMOVUPS Z9, 64(DI)
	VZEROUPPER
	RET

// The codes of byte number S/8 of each output.
#define KEYS(S, O) \
	VPSLLD $(24-S), Z1, Z2; \
	VPSRAD $24, Z2, Z2; \
	VCVTDQ2PS Z2, Z2; \
	VMULPS Z2, Z0, Z2; \
	VMOVUPS Z2, O(DI)

// func widenKeyBlock(dst *float32, block *byte)
TEXT ·widenKeyBlock(SB), NOSPLIT, $0-16
	MOVQ dst+0(FP), DI
	MOVQ block+8(FP), SI
	VCVTPH2PS (SI), Z0
	MOVQ $8, CX

keys:
	VMOVDQU32 32(SI), Z1
	KEYS(0, 0)
	KEYS(8, 128)
	KEYS(16, 256)
	KEYS(24, 384)
	ADDQ $64, SI
	ADDQ $512, DI
	DECQ CX
	JNZ keys
	VZEROUPPER
	RET

// func widenValueBlock(dst *float32, v, scales *byte, stride uintptr)
//
// Rows of v are stride apart, of dst four times that.
TEXT ·widenValueBlock(SB), NOSPLIT, $128-32
	MOVQ dst+0(FP), DI
	MOVQ v+8(FP), BX
	MOVQ scales+16(FP), R8
	MOVQ stride+24(FP), DX
	LEAQ work-128(SP), CX
	SCALES((R8), 32(R8), 0)
	MOVQ $32, R15

values:
	VPMOVSXBD (BX), Z0
	VPMOVSXBD 16(BX), Z1
	VBROADCASTSS (CX), Z5
	VCVTDQ2PS Z0, Z0
	VCVTDQ2PS Z1, Z1
	VMULPS Z0, Z5, Z0
	VMULPS Z1, Z5, Z1
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	ADDQ $4, CX
	ADDQ DX, BX
	LEAQ (DI)(DX*4), DI
	DECQ R15
	JNZ values
	VZEROUPPER
	RET

// Four codes of 16 positions at O(R) times four of the query.
#define DOTS(O, R, ACC) \
	VPXORD (32+64*O)(R), Z31, Z26; \
	VPDPBUSD.BCST (8+4*O)(AX), Z26, ACC
#define DOTS16(O) \
	DOTS(O, SI, Z0); \
	DOTS(O, BX, Z1)

// sum += products · (scale of the keys · scale of the query), as in quantized_amd64.s
#define ADDSCORES(R, ACC, SUM) \
	VCVTPH2PS (R), Z24; \
	VMULPS.BCST (AX), Z24, Z25; \
	VCVTDQ2PS ACC, ACC; \
	VFMADD231PS Z25, ACC, SUM

// func codeScores(s *float32, x *generic.Block, k *byte, panels, blocks int, nextk, nextv *byte, asks int)
//
// SI and BX the two panels of 16 positions, DX blocks left of them, AX the query's.
TEXT ·codeScores(SB), NOSPLIT, $0-64
	MOVQ s+0(FP), DI
	MOVQ k+16(FP), SI
	MOVQ panels+24(FP), CX
	MOVQ blocks+32(FP), R12
	IMULQ $544, R12
	MOVQ nextk+40(FP), R9
	MOVQ nextv+48(FP), R11
	MOVQ asks+56(FP), R10
	MOVL $0x80808080, AX
	VPBROADCASTD AX, Z31

pair:
	SUBQ $2, CX
	JLT last
	LEAQ (SI)(R12*1), BX
	MOVQ x+8(FP), AX
	MOVQ blocks+32(FP), DX
	ZERO(Z12)
	ZERO(Z13)

block2:
	SUBQ $4, R10
	JLT dots2
	ASK
	ASK
	ASK
	ASK

dots2:
	VPBROADCASTD 4(AX), Z0
	VMOVDQA64 Z0, Z1
	DOTS16(0)
	DOTS16(1)
	DOTS16(2)
	DOTS16(3)
	DOTS16(4)
	DOTS16(5)
	DOTS16(6)
	DOTS16(7)
	ADDSCORES(SI, Z0, Z12)
	ADDSCORES(BX, Z1, Z13)
	ADDQ $40, AX
	ADDQ $544, SI
	ADDQ $544, BX
	DECQ DX
	JNZ block2
	VMOVUPS Z12, (DI)
	VMOVUPS Z13, 64(DI)
	ADDQ $128, DI
	MOVQ BX, SI
	JMP pair

last:
	CMPQ CX, $-1
	JNE done
	MOVQ x+8(FP), AX
	MOVQ blocks+32(FP), DX
	ZERO(Z12)

block1:
	VPBROADCASTD 4(AX), Z0
	DOTS(0, SI, Z0)
	DOTS(1, SI, Z0)
	DOTS(2, SI, Z0)
	DOTS(3, SI, Z0)
	DOTS(4, SI, Z0)
	DOTS(5, SI, Z0)
	DOTS(6, SI, Z0)
	DOTS(7, SI, Z0)
	ADDSCORES(SI, Z0, Z12)
	ADDQ $40, AX
	ADDQ $544, SI
	DECQ DX
	JNZ block1
	VMOVUPS Z12, (DI)

done:
	VZEROUPPER
	RET
