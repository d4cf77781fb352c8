//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// One row of x times the panels of four runs of W, for processors that do not read ahead
// far enough by themselves (Intel): four streams are read by 7 % faster there than two,
// if each line is asked for about as far ahead as was measured to be best.
//
// AX walks over x, SI, DI, BX and DX over the runs, CX counts rows of W or blocks, R13
// panels; R8-R11 are where the sums go.

#define FOURARGS \
	MOVQ y+0(FP), R8; \
	MOVQ ld+8(FP), R12; \
	LEAQ (R8)(R12*1), R9; \
	LEAQ (R9)(R12*1), R10; \
	LEAQ (R10)(R12*1), R11; \
	MOVQ w0+24(FP), SI; \
	MOVQ w1+32(FP), DI; \
	MOVQ w2+40(FP), BX; \
	MOVQ w3+48(FP), DX; \
	MOVQ panels+64(FP), R13

#define FOURPANEL \
	MOVQ x+16(FP), AX; \
	MOVQ k+56(FP), CX

#define FOURDONE(BYTES) \
	ADDQ $(BYTES), R8; \
	ADDQ $(BYTES), R9; \
	ADDQ $(BYTES), R10; \
	ADDQ $(BYTES), R11; \
	DECQ R13

#define FOURNEXT(BYTES) \
	ADDQ $(BYTES), SI; \
	ADDQ $(BYTES), DI; \
	ADDQ $(BYTES), BX; \
	ADDQ $(BYTES), DX

#define FOURNEAR(AT) \
	PREFETCHT0 (AT)(SI); \
	PREFETCHT0 (AT)(DI); \
	PREFETCHT0 (AT)(BX); \
	PREFETCHT0 (AT)(DX)

// Of float32 each line is asked for twice, right before two lines of a stream are read:
// for the second-level cache from far away, for the first from near.
#define NEARF32 768
#define FARF32 3072
#define NEARFAR(R, AT) \
	PREFETCHT0 (NEARF32+AT)(R); \
	PREFETCHT1 (FARF32+AT)(R)

// FOUR adds rows of W in floats to Z16-Z23, each ROW by itself.
#define FOUR(ROW, BYTES) \
	FOURARGS; \
panel: \
	FOURPANEL; \
	VMOVUPS (R8), Z16; \
	VMOVUPS 64(R8), Z17; \
	VMOVUPS (R9), Z18; \
	VMOVUPS 64(R9), Z19; \
	VMOVUPS (R10), Z20; \
	VMOVUPS 64(R10), Z21; \
	VMOVUPS (R11), Z22; \
	VMOVUPS 64(R11), Z23; \
loop: \
	CMPQ CX, $4; \
	JLT  tail; \
	ROW(0); \
	ROW(1); \
	ROW(2); \
	ROW(3); \
	ADDQ $16, AX; \
	FOURNEXT(4*BYTES); \
	SUBQ $4, CX; \
	JMP  loop; \
tail: \
	TESTQ CX, CX; \
	JZ   done; \
	ROW(0); \
	ADDQ $4, AX; \
	FOURNEXT(BYTES); \
	DECQ CX; \
	JMP  tail; \
done: \
	VMOVUPS Z16, (R8); \
	VMOVUPS Z17, 64(R8); \
	VMOVUPS Z18, (R9); \
	VMOVUPS Z19, 64(R9); \
	VMOVUPS Z20, (R10); \
	VMOVUPS Z21, 64(R10); \
	VMOVUPS Z22, (R11); \
	VMOVUPS Z23, 64(R11); \
	FOURDONE(128); \
	JNZ  panel; \
	VZEROUPPER; \
	RET

#define F32OF(R, K, L, H) \
	NEARFAR(R, 128*K); \
	NEARFAR(R, 128*K+64); \
	VFMADD231PS (128*K)(R), Z4, L; \
	VFMADD231PS (128*K+64)(R), Z4, H

#define F32ROW(K) \
	VBROADCASTSS (4*K)(AX), Z4; \
	F32OF(SI, K, Z16, Z17); \
	F32OF(DI, K, Z18, Z19); \
	F32OF(BX, K, Z20, Z21); \
	F32OF(DX, K, Z22, Z23)

// A line of 16 bits takes long enough that each asks for the one that comes.
#define NEARHALF 1536
#define HALFOF(LOAD, R, K, L, H) \
	PREFETCHT0 (NEARHALF+64*K)(R); \
	LOAD((64*K)(R), Z0); \
	LOAD((64*K+32)(R), Z1); \
	VFMADD231PS Z0, Z4, L; \
	VFMADD231PS Z1, Z4, H

#define HALFROW(LOAD, K) \
	VBROADCASTSS (4*K)(AX), Z4; \
	HALFOF(LOAD, SI, K, Z16, Z17); \
	HALFOF(LOAD, DI, K, Z18, Z19); \
	HALFOF(LOAD, BX, K, Z20, Z21); \
	HALFOF(LOAD, DX, K, Z22, Z23)
#define F16ROW(K) HALFROW(LOADF16, K)
#define BF16ROW(K) HALFROW(LOADBF16, K)

// func fourF32(y *float32, ld uintptr, x *float32, w0, w1, w2, w3 *byte, k, panels int)
TEXT ·fourF32(SB), NOSPLIT, $0-72
	FOUR(F32ROW, 128)

// func fourF16(y *float32, ld uintptr, x *float32, w0, w1, w2, w3 *byte, k, panels int)
TEXT ·fourF16(SB), NOSPLIT, $0-72
	FOUR(F16ROW, 64)

// func fourBF16(y *float32, ld uintptr, x *float32, w0, w1, w2, w3 *byte, k, panels int)
TEXT ·fourBF16(SB), NOSPLIT, $0-72
	FOUR(BF16ROW, 64)

// Rows of an [out][in] weight, in the sixteen lanes of dots_amd64.s: Z8-Z11.
#define FOURDOTS(LOADW, X) \
	LOADW((SI), Z0); \
	LOADW((DI), Z1); \
	LOADW((BX), Z2); \
	LOADW((DX), Z3); \
	VFMADD231PS Z0, X, Z8; \
	VFMADD231PS Z1, X, Z9; \
	VFMADD231PS Z2, X, Z10; \
	VFMADD231PS Z3, X, Z11

#define TWOLINES(R, Y) \
	NEARFAR(R, 0); \
	NEARFAR(R, 64); \
	VFMADD231PS (R), Z4, Y; \
	VFMADD231PS 64(R), Z5, Y

// A line of 16 bits is as many numbers as two of float32.
#define HALFLINE(LOAD, R, Y) \
	NEARFAR(R, 0); \
	LOAD((R), Z0); \
	LOAD(32(R), Z1); \
	VFMADD231PS Z0, Z4, Y; \
	VFMADD231PS Z1, Z5, Y
#define F16LINE(R, Y) HALFLINE(LOADF16, R, Y)
#define BF16LINE(R, Y) HALFLINE(LOADBF16, R, Y)

// LINE takes 32 numbers of a stream, of 1<<SHIFT bytes.
#define FOURROWS(LINE, LOADW, LOADWK, SHIFT) \
	FOURARGS; \
out: \
	FOURPANEL; \
	ZERO(Z8); \
	ZERO(Z9); \
	ZERO(Z10); \
	ZERO(Z11); \
lines: \
	CMPQ CX, $32; \
	JLT  loop; \
	VMOVUPS (AX), Z4; \
	VMOVUPS 64(AX), Z5; \
	LINE(SI, Z8); \
	LINE(DI, Z9); \
	LINE(BX, Z10); \
	LINE(DX, Z11); \
	ADDQ $128, AX; \
	FOURNEXT(32<<SHIFT); \
	SUBQ $32, CX; \
	JMP  lines; \
loop: \
	CMPQ CX, $16; \
	JLT  tail; \
	VMOVUPS (AX), Z4; \
	FOURDOTS(LOADW, Z4); \
	ADDQ $64, AX; \
	FOURNEXT(16<<SHIFT); \
	SUBQ $16, CX; \
	JMP  loop; \
tail: \
	TESTQ CX, CX; \
	JZ    done; \
	MASK16(R12); \
	LOADF32K((AX), Z4); \
	FOURDOTS(LOADWK, Z4); \
	SHLQ  $SHIFT, CX; \
	ADDQ  CX, SI; \
	ADDQ  CX, DI; \
	ADDQ  CX, BX; \
	ADDQ  CX, DX; \
done: \
	LANES4(Z8, Z9, Z10, Z11); \
	VMOVSS X0, (R8); \
	VMOVSS X1, (R9); \
	VMOVSS X2, (R10); \
	VMOVSS X3, (R11); \
	FOURDONE(4); \
	JNZ  out; \
	VZEROUPPER; \
	RET

// func fourDotsF32(y *float32, ld uintptr, x *float32, w0, w1, w2, w3 *byte, k, outs int)
TEXT ·fourDotsF32(SB), NOSPLIT, $0-72
	FOURROWS(TWOLINES, LOADF32, LOADF32K, 2)

// func fourDotsF16(y *float32, ld uintptr, x *float32, w0, w1, w2, w3 *byte, k, outs int)
TEXT ·fourDotsF16(SB), NOSPLIT, $0-72
	FOURROWS(F16LINE, LOADF16, LOADF16K, 1)

// func fourDotsBF16(y *float32, ld uintptr, x *float32, w0, w1, w2, w3 *byte, k, outs int)
TEXT ·fourDotsBF16(SB), NOSPLIT, $0-72
	FOURROWS(BF16LINE, LOADBF16, LOADBF16K, 1)

// Blocks, as in quantized_amd64.s: Z0-Z3 are the products of codes, Z16-Z19 the sums,
// Z20-Z23 scales, Z31 what makes codes unsigned or masks them.
#define FOURBLOCKS(CODES, BYTES, NEAR) \
	FOURARGS; \
panel: \
	FOURPANEL; \
	ZERO(Z16); \
	ZERO(Z17); \
	ZERO(Z18); \
	ZERO(Z19); \
loop: \
	FOURNEAR(NEAR); \
	VPBROADCASTD 4(AX), Z0; \
	VMOVDQA64 Z0, Z1; \
	VMOVDQA64 Z0, Z2; \
	VMOVDQA64 Z0, Z3; \
	CODES; \
	SCALED(SI, Z0, Z16); \
	SCALED(DI, Z1, Z17); \
	SCALED(BX, Z2, Z18); \
	SCALED(DX, Z3, Z19); \
	ADDQ $40, AX; \
	FOURNEXT(BYTES); \
	DECQ CX; \
	JNZ  loop; \
	VMOVUPS Z16, (R8); \
	VMOVUPS Z17, (R9); \
	VMOVUPS Z18, (R10); \
	VMOVUPS Z19, (R11); \
	FOURDONE(64); \
	JNZ  panel; \
	VZEROUPPER; \
	RET

#define SCALED(R, D, SUM) \
	VCVTPH2PS (R), Z20; \
	VMULPS.BCST (AX), Z20, Z20; \
	VCVTDQ2PS D, D; \
	VFMADD231PS Z20, D, SUM

#define NEARQ8 4096
#define Q8OF(R, G, D) \
	PREFETCHT0 (NEARQ8+64+64*G)(R); \
	VPXORD (32+64*G)(R), Z31, Z20; \
	VPDPBUSD Z4, Z20, D

#define Q8GROUP(G) \
	VPBROADCASTD (8+4*G)(AX), Z4; \
	Q8OF(SI, G, Z0); \
	Q8OF(DI, G, Z1); \
	Q8OF(BX, G, Z2); \
	Q8OF(DX, G, Z3)
#define Q8GROUPS Q8GROUP(0); Q8GROUP(1); Q8GROUP(2); Q8GROUP(3); Q8GROUP(4); Q8GROUP(5); Q8GROUP(6); Q8GROUP(7)

#define NEARQ4 4096
#define Q4OF(R, G, D) \
	PREFETCHT0 (NEARQ4+64+64*G)(R); \
	VMOVDQU32 (32+64*G)(R), Z20; \
	VPANDD Z20, Z31, Z21; \
	VPSRLW $4, Z20, Z20; \
	VPANDD Z20, Z31, Z20; \
	VPDPBUSD Z4, Z21, D; \
	VPDPBUSD Z5, Z20, D

#define Q4GROUP(G) \
	VPBROADCASTD (8+4*G)(AX), Z4; \
	VPBROADCASTD (24+4*G)(AX), Z5; \
	Q4OF(SI, G, Z0); \
	Q4OF(DI, G, Z1); \
	Q4OF(BX, G, Z2); \
	Q4OF(DX, G, Z3)
#define Q4GROUPS Q4GROUP(0); Q4GROUP(1); Q4GROUP(2); Q4GROUP(3)

// func fourQ8(y *float32, ld uintptr, x *generic.Block, w0, w1, w2, w3 *byte, k, panels int)
TEXT ·fourQ8(SB), NOSPLIT, $0-72
	MOVL $0x80808080, CX
	VPBROADCASTD CX, Z31
	FOURBLOCKS(Q8GROUPS, 544, NEARQ8)

// func fourQ4(y *float32, ld uintptr, x *generic.Block, w0, w1, w2, w3 *byte, k, panels int)
TEXT ·fourQ4(SB), NOSPLIT, $0-72
	MOVL $0x0f0f0f0f, CX
	VPBROADCASTD CX, Z31
	FOURBLOCKS(Q4GROUPS, 288, NEARQ4)
