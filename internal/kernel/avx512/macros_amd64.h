// MASK16 sets K1 to the lowest CX (< 16) lanes; R is spoiled.
#define MASK16(R) \
	MOVL $1, R; \
	SHLL CX, R; \
	DECL R; \
	KMOVW R, K1

#define ZERO(R) VPXORD R, R, R

// Sixteen elements of a row of W as float32 in register V; the forms with K
// read only the elements of K1 and make the others zero.
#define LOADF32(M, V)  VMOVUPS M, V
#define LOADF32K(M, V) VMOVUPS.Z M, K1, V
#define LOADF16(M, V)  VCVTPH2PS M, V
#define LOADF16K(M, V) VCVTPH2PS.Z M, K1, V
#define LOADBF16(M, V) \
	VPMOVZXWD M, V; \
	VPSLLD $16, V, V
#define LOADBF16K(M, V) \
	VPMOVZXWD.Z M, K1, V; \
	VPSLLD $16, V, V

// The same with the elements of K2.
#define LOADF32K2(M, V) VMOVUPS.Z M, K2, V
#define LOADF16K2(M, V) VCVTPH2PS.Z M, K2, V
#define LOADBF16K2(M, V) \
	VPMOVZXWD.Z M, K2, V; \
	VPSLLD $16, V, V

// LANES4 adds up the lanes of four registers side by side, 16 to 8 to 4 to 2 to 1, into
// the lowest ones of Z0-Z3.
#define LANES4(ZA, ZB, ZC, ZD) \
	VSHUFF32X4 $0x44, ZB, ZA, Z0; \
	VSHUFF32X4 $0xee, ZB, ZA, Z1; \
	VSHUFF32X4 $0x44, ZD, ZC, Z2; \
	VSHUFF32X4 $0xee, ZD, ZC, Z3; \
	VADDPS Z1, Z0, Z0; \
	VADDPS Z3, Z2, Z2; \
	VSHUFF32X4 $0x88, Z2, Z0, Z1; \
	VSHUFF32X4 $0xdd, Z2, Z0, Z3; \
	VADDPS Z3, Z1, Z0; \
	VPERMILPS $0x4e, Z0, Z1; \
	VADDPS Z1, Z0, Z0; \
	VPERMILPS $0x55, Z0, Z1; \
	VADDPS Z1, Z0, Z0; \
	VEXTRACTF32X4 $1, Z0, X1; \
	VEXTRACTF32X4 $2, Z0, X2; \
	VEXTRACTF32X4 $3, Z0, X3

// 64 numbers at DI, from and to four registers.
#define LOAD64 \
	VMOVUPS (DI), Z8; \
	VMOVUPS 64(DI), Z9; \
	VMOVUPS 128(DI), Z10; \
	VMOVUPS 192(DI), Z11
#define STORE64 \
	VMOVUPS Z8, (DI); \
	VMOVUPS Z9, 64(DI); \
	VMOVUPS Z10, 128(DI); \
	VMOVUPS Z11, 192(DI)
