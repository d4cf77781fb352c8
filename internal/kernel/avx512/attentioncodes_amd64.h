// Keys and values in codes of Q8_0, see package generic.

// What values are weighed with, see generic.CodeValues: Z27 2⁻¹²⁰, Z28 infinity, Z29 NaN,
// Z30 255, Z31 1/255. K1 and K2 are the positions of the panel that there are.
#define CONSTANTS \
	MOVL $0x03800000, CX; \
	VPBROADCASTD CX, Z27; \
	MOVL $0x7f800000, CX; \
	VPBROADCASTD CX, Z28; \
	MOVL $0x7fc00000, CX; \
	VPBROADCASTD CX, Z29; \
	MOVL $0x437f0000, CX; \
	VPBROADCASTD CX, Z30; \
	MOVL $0x3b808081, CX; \
	VPBROADCASTD CX, Z31; \
	KXNORW K1, K1, K1; \
	KXNORW K2, K2, K2

// Quantises the weights p·scale of 32 positions, p in Z4 and Z5, for block A, whose scales
// are at R8, and for block B, at R8 + O. The codes of positions 4g … 4g+3 come to
// 16·(g mod 4) + 4·(g/4) of Z0, those of B 8 further; Z2 and Z3 are the steps of A and B. Z12
// and Z13 are spoiled.
//
// The comparisons are of the bits: NaN is above infinity.
#define WEIGHTS(O) \
	VCVTPH2PS (R8), Z0; \
	VCVTPH2PS 32(R8), Z1; \
	VCVTPH2PS (O)(R8), Z2; \
	VCVTPH2PS (O+32)(R8), Z3; \
	VMULPS.Z Z4, Z0, K1, Z0; \
	VMULPS.Z Z5, Z1, K2, Z1; \
	VMULPS.Z Z4, Z2, K1, Z2; \
	VMULPS.Z Z5, Z3, K2, Z3; \
	VPMAXUD Z0, Z1, Z4; \
	VPMAXUD Z2, Z3, Z5; \
	VSHUFI64X2 $0x44, Z5, Z4, Z12; \
	VSHUFI64X2 $0xee, Z5, Z4, Z13; \
	VPMAXUD Z12, Z13, Z4; \
	VSHUFI64X2 $0xb1, Z4, Z4, Z5; \
	VPMAXUD Z4, Z5, Z4; \
	VPSHUFD $0x4e, Z4, Z5; \
	VPMAXUD Z4, Z5, Z4; \
	VPSHUFD $0xb1, Z4, Z5; \
	VPMAXUD Z4, Z5, Z4; \
	VPCMPUD $5, Z27, Z4, K3; \
	VPCMPUD $5, Z28, Z4, K4; \
	VDIVPS.Z Z4, Z30, K3, Z5; \
	VMULPS.Z Z4, Z31, K3, Z4; \
	VMOVDQA32 Z29, K4, Z4; \
	VSHUFF64X2 $0x00, Z5, Z5, Z12; \
	VSHUFF64X2 $0xaa, Z5, Z5, Z13; \
	VMULPS Z0, Z12, Z0; \
	VMULPS Z1, Z12, Z1; \
	VMULPS Z2, Z13, Z2; \
	VMULPS Z3, Z13, Z3; \
	VCVTPS2DQ Z0, Z0; \
	VCVTPS2DQ Z1, Z1; \
	VCVTPS2DQ Z2, Z2; \
	VCVTPS2DQ Z3, Z3; \
	VPACKUSDW Z1, Z0, Z0; \
	VPACKUSDW Z3, Z2, Z2; \
	VPACKUSWB Z2, Z0, Z0; \
	VSHUFF64X2 $0x00, Z4, Z4, Z2; \
	VSHUFF64X2 $0xaa, Z4, Z4, Z3

// Four positions, whose weights are O(CX), their codes P(BX).
#define FOUR32(O, P) \
	VPBROADCASTD O(CX), Z4; \
	VPDPBUSD (P)(BX), Z4, Z12; \
	VPDPBUSD (P+64)(BX), Z4, Z13
#define FOUR64(O, P) \
	FOUR32(O, P); \
	VPBROADCASTD (O+8)(CX), Z5; \
	VPDPBUSD (P+128)(BX), Z5, Z14; \
	VPDPBUSD (P+192)(BX), Z5, Z15

#define PLUS(STEP, ACC, SUM) \
	VCVTDQ2PS ACC, ACC; \
	VFMADD231PS STEP, ACC, SUM
