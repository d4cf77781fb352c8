//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "attentioncodes_amd64.h"

// Keys and values in codes of Q8_0, see package generic.

// Two lines of the keys and of the values that come next.
#define ASK \
	PREFETCHT1 (R9); \
	PREFETCHT1 64(R9); \
	PREFETCHT1 (R11); \
	PREFETCHT1 64(R11); \
	ADDQ $128, R9; \
	ADDQ $128, R11

// A line of memory at CX: stores to one line are forwarded to loads of a part.
#define WORKLINE \
	LEAQ work-128(SP), CX; \
	ADDQ $63, CX; \
	ANDQ $~63, CX

// The next panel; GT: there is one.
#define NEXTPANEL \
	ADDQ $128, AX; \
	ADDQ R13, SI; \
	ADDQ R13, R8; \
	SUBQ $32, R12

// K1 and K2 for fewer than 32 positions.
#define TAILMASKS \
	XCHGQ R12, CX; \
	MOVL $1, R15; \
	SHLL CX, R15; \
	DECL R15; \
	XCHGQ R12, CX; \
	KMOVW R15, K1; \
	SHRL $16, R15; \
	KMOVW R15, K2

// BX the codes, DX the distance of those of four positions, R8 the scales, R13 the distance of
// panels; R12 positions left.
#define VALUEARGS \
	CONSTANTS; \
	WORKLINE; \
	MOVQ out+0(FP), DI; \
	MOVQ p+8(FP), AX; \
	MOVQ v+16(FP), SI; \
	MOVQ scales+24(FP), R8; \
	MOVQ stride+32(FP), DX; \
	MOVQ panel+40(FP), R13; \
	MOVQ n+48(FP), R12

#define LOADWEIGHTS \
	VMOVUPS.Z (AX), K1, Z4; \
	VMOVUPS.Z 64(AX), K2, Z5

// func codeValues64(out, p *float32, v, scales *byte, stride, panel uintptr, n int, nextk, nextv *byte, asks int)
TEXT ·codeValues64(SB), NOSPLIT, $128-80
	VALUEARGS
	MOVQ nextk+56(FP), R9
	MOVQ nextv+64(FP), R11
	MOVQ asks+72(FP), R10
	LOAD64

panel64:
	CMPQ R12, $32
	JGE  weigh64
	TAILMASKS

weigh64:
	LOADWEIGHTS
	WEIGHTS(64)
	VMOVDQA64 Z0, (CX)
	ZERO(Z12)
	ZERO(Z13)
	ZERO(Z14)
	ZERO(Z15)
	MOVQ SI, BX
	SUBQ $8, R10
	JLT  quiet64
	FOUR64(0, 0)
	ADDQ DX, BX
	ASK
	FOUR64(16, 0)
	ADDQ DX, BX
	ASK
	FOUR64(32, 0)
	ADDQ DX, BX
	ASK
	FOUR64(48, 0)
	ADDQ DX, BX
	ASK
	FOUR64(4, 0)
	ADDQ DX, BX
	ASK
	FOUR64(20, 0)
	ADDQ DX, BX
	ASK
	FOUR64(36, 0)
	ADDQ DX, BX
	ASK
	FOUR64(52, 0)
	ADDQ DX, BX
	ASK

next64:
	PLUS(Z2, Z12, Z8)
	PLUS(Z2, Z13, Z9)
	PLUS(Z3, Z14, Z10)
	PLUS(Z3, Z15, Z11)
	NEXTPANEL
	JGT  panel64
	STORE64
	VZEROUPPER
	RET

quiet64:
	FOUR64(0, 0)
	ADDQ DX, BX
	FOUR64(16, 0)
	ADDQ DX, BX
	FOUR64(32, 0)
	ADDQ DX, BX
	FOUR64(48, 0)
	ADDQ DX, BX
	FOUR64(4, 0)
	ADDQ DX, BX
	FOUR64(20, 0)
	ADDQ DX, BX
	FOUR64(36, 0)
	ADDQ DX, BX
	FOUR64(52, 0)
	ADDQ DX, BX
	JMP next64

// func codeValues32(out, p *float32, v, scales *byte, stride, panel uintptr, n int)
TEXT ·codeValues32(SB), NOSPLIT, $128-56
	VALUEARGS
	VMOVUPS (DI), Z8
	VMOVUPS 64(DI), Z9

panel32:
	CMPQ R12, $32
	JGE  weigh32
	TAILMASKS

weigh32:
	LOADWEIGHTS
	WEIGHTS(0)
	VMOVDQA64 Z0, (CX)
	ZERO(Z12)
	ZERO(Z13)
	MOVQ SI, BX
	FOUR32(0, 0)
	ADDQ DX, BX
	FOUR32(16, 0)
	ADDQ DX, BX
	FOUR32(32, 0)
	ADDQ DX, BX
	FOUR32(48, 0)
	ADDQ DX, BX
	FOUR32(4, 0)
	ADDQ DX, BX
	FOUR32(20, 0)
	ADDQ DX, BX
	FOUR32(36, 0)
	ADDQ DX, BX
	FOUR32(52, 0)
	PLUS(Z2, Z12, Z8)
	PLUS(Z2, Z13, Z9)
	NEXTPANEL
	JGT  panel32
	VMOVUPS Z8, (DI)
	VMOVUPS Z9, 64(DI)
	VZEROUPPER
	RET

// Eight codes of a key: each four lie 64 bytes from the next.
#define PUTKEY(O) \
	MOVQ (8+O)(SI), AX; \
	MOVL AX, (16*O)(R8); \
	SHRQ $32, AX; \
	MOVL AX, (16*O+64)(R8)

// func putCodes(k, v *byte, key, value *generic.Block, blocks, pos int)
//
// SI the key's blocks, R8 where their codes go, R10 the scales; BX, R9 and R11 the same of the
// value, DX the blocks left. Only the bytes of this position are written: other members may
// store those between.
TEXT ·putCodes(SB), NOSPLIT, $0-48
	MOVQ k+0(FP), R10
	MOVQ v+8(FP), R11
	MOVQ key+16(FP), SI
	MOVQ value+24(FP), BX
	MOVQ blocks+32(FP), DX
	MOVQ pos+40(FP), CX
	IMUL3Q $544, DX, R12
	MOVQ CX, AX
	SHRQ $4, AX
	IMULQ R12, AX
	ADDQ AX, R10
	MOVQ CX, AX
	SHRQ $5, AX
	IMULQ R12, AX
	LEAQ (R11)(AX*2), R11
	MOVQ CX, AX
	ANDQ $31, AX
	SHRQ $2, AX
	INCQ AX          // 64 bytes of scales are half of 128 of codes
	IMULQ DX, AX
	SHLQ $7, AX
	LEAQ (R11)(AX*1), R9
	MOVQ DX, AX
	SHLQ $6, AX
	SUBQ AX, R9
	MOVQ CX, AX
	ANDQ $15, AX
	LEAQ 32(R10)(AX*4), R8
	LEAQ (R10)(AX*2), R10
	MOVQ CX, AX
	ANDQ $31, AX
	LEAQ (R11)(AX*2), R11
	ANDQ $3, CX
	MOVQ $0x1111111111111111, AX
	SHLQ CX, AX
	KMOVQ AX, K1
	SHLQ $3, CX
	VMOVQ CX, X3

loop:
	VMOVSS (SI), X0
	VMOVSS (BX), X1
	VCVTPS2PH $0, X0, X0
	VCVTPS2PH $0, X1, X1
	VPEXTRW $0, X0, (R10)
	VPEXTRW $0, X1, (R11)
	PUTKEY(0)
	PUTKEY(8)
	PUTKEY(16)
	PUTKEY(24)
	VPMOVZXBD 8(BX), Z0
	VPMOVZXBD 24(BX), Z1
	VPSLLD X3, Z0, Z0
	VPSLLD X3, Z1, Z1
	VMOVDQU8 Z0, K1, (R9)
	VMOVDQU8 Z1, K1, 64(R9)
	ADDQ $40, SI
	ADDQ $40, BX
	ADDQ $544, R8
	ADDQ $544, R10
	ADDQ $128, R9
	ADDQ $64, R11
	DECQ DX
	JNZ  loop
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

// The codes of byte number S/8 of each of 16 columns, of a position with scale M.
#define VALUES(S, M, O, R) \
	VPSLLD $(24-S), Z1, Z2; \
	VPSRAD $24, Z2, Z2; \
	VCVTDQ2PS Z2, Z2; \
	VMULPS.BCST M, Z2, Z2; \
	VMOVUPS Z2, (O)(R)
#define VALUES4(O) \
	VMOVDQU32 (O)(BX), Z1; \
	VALUES(0, (CX), O, DI); \
	VALUES(8, 4(CX), O, SI); \
	VALUES(16, 8(CX), O, R9); \
	VALUES(24, 12(CX), O, R10)

// func widenValueBlock(dst *float32, v, scales *byte, stride uintptr)
//
// Codes of four positions are stride apart, as are rows of dst.
TEXT ·widenValueBlock(SB), NOSPLIT, $128-32
	MOVQ dst+0(FP), DI
	MOVQ v+8(FP), BX
	MOVQ scales+16(FP), R8
	MOVQ stride+24(FP), DX
	LEAQ work-128(SP), CX
	VCVTPH2PS (R8), Z0
	VCVTPH2PS 32(R8), Z1
	VMOVUPS Z0, (CX)
	VMOVUPS Z1, 64(CX)
	MOVQ $8, R15

values:
	LEAQ (DI)(DX*1), SI
	LEAQ (DI)(DX*2), R9
	LEAQ (SI)(DX*2), R10
	VALUES4(0)
	VALUES4(64)
	ADDQ $16, CX
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
