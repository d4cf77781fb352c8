// One row of x and two panels of a quantised weight, at W0 and W1, in blocks as in
// quantized_amd64.s. A group of four codes of x, at M, is loaded once for both panels. C0
// and C1 are products of codes, S0 and S1 their sums. Z24-Z27 codes or scales of the panels,
// Z28 those of x, Z31 what makes codes unsigned or masks them.

// Products start from the offset.
#define START(G, M, C0, C1) \
	VPBROADCASTD 4M, C0; \
	VMOVDQA64 C0, C1

// Codes of group G: eight bits, or the lower and then the upper four.
#define CODES(G, W0, W1) \
	VPXORD (32+64*G)(W0), Z31, Z24; \
	VPXORD (32+64*G)(W1), Z31, Z25
#define LOWCODES(G, W0, W1) \
	VMOVDQU32 (32+64*G)(W0), Z26; \
	VMOVDQU32 (32+64*G)(W1), Z27; \
	VPANDD Z26, Z31, Z24; \
	VPANDD Z27, Z31, Z25; \
	VPSRLW $4, Z26, Z26; \
	VPSRLW $4, Z27, Z27
#define HIGHCODES \
	VPANDD Z26, Z31, Z26; \
	VPANDD Z27, Z31, Z27

#define DOT(G, M, C0, C1) \
	VPBROADCASTD (8+4*G)M, Z28; \
	VPDPBUSD Z28, Z24, C0; \
	VPDPBUSD Z28, Z25, C1
#define DOTHIGH(G, M, C0, C1) \
	VPBROADCASTD (24+4*G)M, Z28; \
	VPDPBUSD Z28, Z26, C0; \
	VPDPBUSD Z28, Z27, C1

// sum += products · (scale of the weight · scale of x)
#define SCALES(W0, W1) \
	VCVTPH2PS (W0), Z24; \
	VCVTPH2PS (W1), Z25
#define FINISH(M, C0, C1, S0, S1) \
	VBROADCASTSS M, Z28; \
	VMULPS Z28, Z24, Z26; \
	VMULPS Z28, Z25, Z27; \
	VCVTDQ2PS C0, C0; \
	VCVTDQ2PS C1, C1; \
	VFMADD231PS Z26, C0, S0; \
	VFMADD231PS Z27, C1, S1
