#define ZERO(R) VXORPS R, R, R

// Eight elements of a row of W as float32 in V; those with S one element in
// the lowest lane of V, by way of R12.
#define LOADF32(M, V, VX) VMOVUPS M, V
#define LOADF32S(M, VX)  VMOVSS M, VX
#define LOADF16(M, V, VX) VCVTPH2PS M, V
#define LOADF16S(M, VX) \
	MOVWLZX M, R12; \
	VMOVD R12, VX; \
	VCVTPH2PS VX, VX
#define LOADBF16(M, V, VX) \
	VPMOVZXWD M, V; \
	VPSLLD $16, V, V
#define LOADBF16S(M, VX) \
	MOVWLZX M, R12; \
	SHLL $16, R12; \
	VMOVD R12, VX

// HSUM adds sixteen lanes (LO and HI) by a fixed tree, halves onto each other,
// and leaves the sum in the lowest lane of LOX. Spoils HI.
#define HSUM(LO, LOX, HI, HIX) \
	VADDPS HI, LO, LO; \
	VEXTRACTF128 $1, LO, HIX; \
	VADDPS HIX, LOX, LOX; \
	VPERMILPS $0x4e, LOX, HIX; \
	VADDPS HIX, LOX, LOX; \
	VPERMILPS $0x55, LOX, HIX; \
	VADDSS HIX, LOX, LOX
