//go:build !noasm

#include "textflag.h"

// Where the dwords of two blocks go: each lane holds one of both halves of the first and
// of both of the second.
DATA fours<>+0(SB)/8, $0x0000000400000000
DATA fours<>+8(SB)/8, $0x0000000c00000008
DATA fours<>+16(SB)/8, $0x0000000500000001
DATA fours<>+24(SB)/8, $0x0000000d00000009
DATA fours<>+32(SB)/8, $0x0000000600000002
DATA fours<>+40(SB)/8, $0x0000000e0000000a
DATA fours<>+48(SB)/8, $0x0000000700000003
DATA fours<>+56(SB)/8, $0x0000000f0000000b
GLOBL fours<>(SB), RODATA, $64

// The largest magnitudes, in each lane, of the block at O(SI).
#define LARGEST(O, Z, T) \
	VPANDD O(SI), Z27, Z; \
	VPANDD (O+64)(SI), Z27, T; \
	VPMAXUD Z, T, Z

// The codes of two blocks, whose factors are at F and F+4, to Z and in order to memory
// at D; their products with Z26 to S.
#define CODES(O, F, Z, T, U, V, D, S) \
	VMOVUPS O(SI), Z; \
	VMOVUPS (O+64)(SI), T; \
	VMOVUPS (O+128)(SI), U; \
	VMOVUPS (O+192)(SI), V; \
	VMULPS.BCST factors-16+F(SP), Z, Z; \
	VMULPS.BCST factors-16+F(SP), T, T; \
	VMULPS.BCST factors-16+F+4(SP), U, U; \
	VMULPS.BCST factors-16+F+4(SP), V, V; \
	VCVTPS2DQ Z, Z; \
	VCVTPS2DQ T, T; \
	VCVTPS2DQ U, U; \
	VCVTPS2DQ V, V; \
	VPACKSSDW T, Z, Z; \
	VPACKSSDW V, U, U; \
	VPACKSSWB U, Z, Z; \
	VPERMD Z, Z25, Z; \
	VPXORD S, S, S; \
	VPDPBUSD Z, Z26, S

#define PUTBLOCK(I, LANE) \
	MOVL scales-32+4*I(SP), AX; \
	MOVL AX, (40*I)(DI); \
	MOVL sums-96+4*LANE(SP), AX; \
	MOVL AX, (40*I+4)(DI)

// func quantizeFours(dst *byte, x *float32, blocks int, move uint32) (done int)
//
// quantize of four blocks at a time, as long as none of four is zero or not finite.
TEXT ·quantizeFours(SB), NOSPLIT, $96-40
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ blocks+16(FP), CX
	MOVL move+24(FP), AX
	VPBROADCASTD AX, Z26
	MOVL $0x7fffffff, AX
	VPBROADCASTD AX, Z27
	MOVL $0x42fe0000, AX
	VPBROADCASTD AX, X28
	MOVL $0x03800000, AX
	VPBROADCASTD AX, X29
	MOVL $0x7f800000, AX
	VPBROADCASTD AX, X30
	VMOVDQU64 fours<>(SB), Z25
	VPXORD Z31, Z31, Z31
	MOVQ CX, DX

loop:
	SUBQ $4, CX
	JLT  done
	LARGEST(0, Z0, Z4)
	LARGEST(128, Z1, Z5)
	LARGEST(256, Z2, Z6)
	LARGEST(384, Z3, Z7)
	VPUNPCKLDQ Z1, Z0, Z4
	VPUNPCKHDQ Z1, Z0, Z5
	VPMAXUD Z4, Z5, Z4
	VPUNPCKLDQ Z3, Z2, Z6
	VPUNPCKHDQ Z3, Z2, Z7
	VPMAXUD Z6, Z7, Z6
	VPUNPCKLQDQ Z6, Z4, Z0
	VPUNPCKHQDQ Z6, Z4, Z1
	VPMAXUD Z0, Z1, Z0
	VEXTRACTI64X4 $1, Z0, Y1
	VPMAXUD Y0, Y1, Y0
	VEXTRACTI128 $1, Y0, X1
	VPMAXUD X0, X1, X0
	VPCMPUD $1, X29, X0, K1 // below 2⁻¹²⁰
	VPCMPUD $5, X30, X0, K2 // not finite
	KORTESTW K1, K2
	JNZ  done
	VDIVPS X28, X0, X1 // m/127
	VDIVPS X0, X28, X2 // 127/m
	VMOVUPS X1, scales-32(SP)
	VMOVUPS X2, factors-16(SP)
	CODES(0, 0, Z4, Z5, Z6, Z7, 8, Z16)
	CODES(256, 8, Z8, Z9, Z10, Z11, 88, Z17)
	VMOVDQU Y4, 8(DI)
	VEXTRACTI64X4 $1, Z4, 48(DI)
	VMOVDQU Y8, 88(DI)
	VEXTRACTI64X4 $1, Z8, 128(DI)
	VPUNPCKLQDQ Z17, Z16, Z18
	VPUNPCKHQDQ Z17, Z16, Z19
	VPADDD Z18, Z19, Z18
	VPSHUFD $0xb1, Z18, Z19
	VPADDD Z18, Z19, Z18
	VPERMQ $0x4e, Z18, Z19
	VPADDD Z18, Z19, Z18
	VPSUBD Z18, Z31, Z18
	VMOVDQU64 Z18, sums-96(SP)
	PUTBLOCK(0, 0)
	PUTBLOCK(1, 8)
	PUTBLOCK(2, 2)
	PUTBLOCK(3, 10)
	ADDQ $512, SI
	ADDQ $160, DI
	JMP  loop

done:
	ADDQ $4, CX
	SUBQ CX, DX
	MOVQ DX, done+32(FP)
	VZEROUPPER
	RET
