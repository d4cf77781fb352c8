//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

#define HSUM(Z, Y, X, M) \
	VEXTRACTF64X4 $1, Z, Y4; \
	VADDPS Y4, Y, Y4; \
	VEXTRACTF128 $1, Y4, X5; \
	VADDPS X5, X4, X4; \
	VPERMILPS $0x4e, X4, X5; \
	VADDPS X5, X4, X4; \
	VPERMILPS $0x55, X4, X5; \
	VADDSS X5, X4, X4; \
	VMOVSS X4, M

// Four rows of W against four rows of x. Z8-Z23 the sums (four to a row of
// x), Z0-Z3 elements of W, Z4-Z7 of x. AX walks over W, BX its stride, DX 3·BX;
// SI over x, R8 its stride, R9 3·R8; DI y, R10 its stride, R11 the distance of
// the results of two rows of W, R12 3·R11; CX elements left.
#define FMA4(Z, A, B, C, D) \
	VFMADD231PS Z0, Z, A; \
	VFMADD231PS Z1, Z, B; \
	VFMADD231PS Z2, Z, C; \
	VFMADD231PS Z3, Z, D

#define STEP44(LOADX, LOADW) \
	LOADW((AX), Z0); \
	LOADW((AX)(BX*1), Z1); \
	LOADW((AX)(BX*2), Z2); \
	LOADW((AX)(DX*1), Z3); \
	LOADX((SI), Z4); \
	LOADX((SI)(R8*1), Z5); \
	LOADX((SI)(R8*2), Z6); \
	LOADX((SI)(R9*1), Z7); \
	FMA4(Z4, Z8, Z9, Z10, Z11); \
	FMA4(Z5, Z12, Z13, Z14, Z15); \
	FMA4(Z6, Z16, Z17, Z18, Z19); \
	FMA4(Z7, Z20, Z21, Z22, Z23)

#define DOT44(LOADW, LOADWK, BYTES) \
	MOVQ y+0(FP), DI; \
	MOVQ ldy+8(FP), R10; \
	MOVQ x+16(FP), SI; \
	MOVQ ldx+24(FP), R8; \
	MOVQ w+32(FP), AX; \
	MOVQ stride+40(FP), BX; \
	MOVQ n+48(FP), CX; \
	LEAQ (BX)(BX*2), DX; \
	LEAQ (R8)(R8*2), R9; \
	ZERO(Z8); \
	ZERO(Z9); \
	ZERO(Z10); \
	ZERO(Z11); \
	ZERO(Z12); \
	ZERO(Z13); \
	ZERO(Z14); \
	ZERO(Z15); \
	ZERO(Z16); \
	ZERO(Z17); \
	ZERO(Z18); \
	ZERO(Z19); \
	ZERO(Z20); \
	ZERO(Z21); \
	ZERO(Z22); \
	ZERO(Z23); \
loop: \
	CMPQ CX, $16; \
	JLT  tail; \
	STEP44(LOADF32, LOADW); \
	ADDQ $BYTES, AX; \
	ADDQ $64, SI; \
	SUBQ $16, CX; \
	JMP  loop; \
tail: \
	TESTQ CX, CX; \
	JZ    done; \
	MASK16(R11); \
	STEP44(LOADF32K, LOADWK); \
done: \
	MOVQ step+56(FP), R11; \
	LEAQ (R11)(R11*2), R12; \
	HSUM(Z8, Y8, X8, 0(DI)); \
	HSUM(Z9, Y9, X9, 0(DI)(R11*1)); \
	HSUM(Z10, Y10, X10, 0(DI)(R11*2)); \
	HSUM(Z11, Y11, X11, 0(DI)(R12*1)); \
	ADDQ R10, DI; \
	HSUM(Z12, Y12, X12, 0(DI)); \
	HSUM(Z13, Y13, X13, 0(DI)(R11*1)); \
	HSUM(Z14, Y14, X14, 0(DI)(R11*2)); \
	HSUM(Z15, Y15, X15, 0(DI)(R12*1)); \
	ADDQ R10, DI; \
	HSUM(Z16, Y16, X16, 0(DI)); \
	HSUM(Z17, Y17, X17, 0(DI)(R11*1)); \
	HSUM(Z18, Y18, X18, 0(DI)(R11*2)); \
	HSUM(Z19, Y19, X19, 0(DI)(R12*1)); \
	ADDQ R10, DI; \
	HSUM(Z20, Y20, X20, 0(DI)); \
	HSUM(Z21, Y21, X21, 0(DI)(R11*1)); \
	HSUM(Z22, Y22, X22, 0(DI)(R11*2)); \
	HSUM(Z23, Y23, X23, 0(DI)(R12*1)); \
	VZEROUPPER; \
	RET

#define AHEAD 1024

// Four rows of W against one row of x. W as above; R8 is the distance of the
// results, R9 3·R8. AHEAD is how many bytes further on is prefetched.
#define STEP14(LOADX, LOADW) \
	LOADW((AX), Z0); \
	LOADW((AX)(BX*1), Z1); \
	LOADW((AX)(BX*2), Z2); \
	LOADW((AX)(DX*1), Z3); \
	LOADX((SI), Z4); \
	FMA4(Z4, Z8, Z9, Z10, Z11)

#define DOT14(LOADW, LOADWK, BYTES) \
	MOVQ y+0(FP), DI; \
	MOVQ ldy+8(FP), R8; \
	MOVQ x+16(FP), SI; \
	MOVQ w+24(FP), AX; \
	MOVQ stride+32(FP), BX; \
	MOVQ n+40(FP), CX; \
	LEAQ (BX)(BX*2), DX; \
	LEAQ (R8)(R8*2), R9; \
	ZERO(Z8); \
	ZERO(Z9); \
	ZERO(Z10); \
	ZERO(Z11); \
loop: \
	CMPQ CX, $16; \
	JLT  tail; \
	PREFETCHT0 AHEAD(AX); \
	PREFETCHT0 AHEAD(AX)(BX*1); \
	PREFETCHT0 AHEAD(AX)(BX*2); \
	PREFETCHT0 AHEAD(AX)(DX*1); \
	STEP14(LOADF32, LOADW); \
	ADDQ $BYTES, AX; \
	ADDQ $64, SI; \
	SUBQ $16, CX; \
	JMP  loop; \
tail: \
	TESTQ CX, CX; \
	JZ    done; \
	MASK16(R11); \
	STEP14(LOADF32K, LOADWK); \
done: \
	HSUM(Z8, Y8, X8, 0(DI)); \
	HSUM(Z9, Y9, X9, 0(DI)(R8*1)); \
	HSUM(Z10, Y10, X10, 0(DI)(R8*2)); \
	HSUM(Z11, Y11, X11, 0(DI)(R9*1)); \
	VZEROUPPER; \
	RET

// One row of W against one row of x.
#define DOT11(LOADW, LOADWK, BYTES) \
	MOVQ y+0(FP), DI; \
	MOVQ x+8(FP), SI; \
	MOVQ w+16(FP), AX; \
	MOVQ n+24(FP), CX; \
	ZERO(Z8); \
loop: \
	CMPQ CX, $16; \
	JLT  tail; \
	LOADW((AX), Z0); \
	VMOVUPS (SI), Z4; \
	VFMADD231PS Z0, Z4, Z8; \
	ADDQ $BYTES, AX; \
	ADDQ $64, SI; \
	SUBQ $16, CX; \
	JMP  loop; \
tail: \
	TESTQ CX, CX; \
	JZ    done; \
	MASK16(R11); \
	LOADWK((AX), Z0); \
	VMOVUPS.Z (SI), K1, Z4; \
	VFMADD231PS Z0, Z4, Z8; \
done: \
	HSUM(Z8, Y8, X8, 0(DI)); \
	VZEROUPPER; \
	RET

// Products with an [out][in] weight: sixteen lanes (k mod 16) to an output,
// which HSUM adds by a fixed tree: halves onto each other.

// func dot44F32(y *float32, ldy uintptr, x *float32, ldx uintptr, w *byte, stride uintptr, n int, step uintptr)
TEXT ·dot44F32(SB), NOSPLIT, $0-64
	DOT44(LOADF32, LOADF32K, 64)

// func dot44F16(y *float32, ldy uintptr, x *float32, ldx uintptr, w *byte, stride uintptr, n int, step uintptr)
TEXT ·dot44F16(SB), NOSPLIT, $0-64
	DOT44(LOADF16, LOADF16K, 32)

// func dot44BF16(y *float32, ldy uintptr, x *float32, ldx uintptr, w *byte, stride uintptr, n int, step uintptr)
TEXT ·dot44BF16(SB), NOSPLIT, $0-64
	DOT44(LOADBF16, LOADBF16K, 32)

// func dot14F32(y *float32, ldy uintptr, x *float32, w *byte, stride uintptr, n int)
TEXT ·dot14F32(SB), NOSPLIT, $0-48
	DOT14(LOADF32, LOADF32K, 64)

// func dot14F16(y *float32, ldy uintptr, x *float32, w *byte, stride uintptr, n int)
TEXT ·dot14F16(SB), NOSPLIT, $0-48
	DOT14(LOADF16, LOADF16K, 32)

// func dot14BF16(y *float32, ldy uintptr, x *float32, w *byte, stride uintptr, n int)
TEXT ·dot14BF16(SB), NOSPLIT, $0-48
	DOT14(LOADBF16, LOADBF16K, 32)

// func dot11F32(y, x *float32, w *byte, n int)
TEXT ·dot11F32(SB), NOSPLIT, $0-32
	DOT11(LOADF32, LOADF32K, 64)

// func dot11F16(y, x *float32, w *byte, n int)
TEXT ·dot11F16(SB), NOSPLIT, $0-32
	DOT11(LOADF16, LOADF16K, 32)

// func dot11BF16(y, x *float32, w *byte, n int)
TEXT ·dot11BF16(SB), NOSPLIT, $0-32
	DOT11(LOADBF16, LOADBF16K, 32)
