// X = X / (1 + exp(-z)), z = X·(a + b·X²), for what is multiplied as bfloat16 next: the
// power of two is off by 0.8e-4 at most, the quotient by 0.6e-4 more.
DATA gateConst<>+0(SB)/4, $0x42fc0000  // 126
DATA gateConst<>+4(SB)/4, $0xc2fc0000  // -126
DATA gateConst<>+8(SB)/4, $0x3d9fcb52  // of r³, 0 ≤ r < 1
DATA gateConst<>+12(SB)/4, $0x3e677e26 // r²
DATA gateConst<>+16(SB)/4, $0x3f322226 // r
DATA gateConst<>+20(SB)/4, $0x3f7ffb19 // 1
DATA gateConst<>+24(SB)/4, $0x3f800000 // 1
DATA gateConst<>+28(SB)/4, $0x7f7fffff // the largest finite number
DATA gateConst<>+32(SB)/4, $0xbfb8aa3b // -log₂e
GLOBL gateConst<>(SB), RODATA|NOPTR, $36

// Z12 and Z13 are a and b in units of -log₂e.
#define GATECONST(A, B) \
	VBROADCASTSS gateConst<>+0(SB), Z16; \
	VBROADCASTSS gateConst<>+4(SB), Z17; \
	VBROADCASTSS gateConst<>+8(SB), Z18; \
	VBROADCASTSS gateConst<>+12(SB), Z19; \
	VBROADCASTSS gateConst<>+16(SB), Z20; \
	VBROADCASTSS gateConst<>+20(SB), Z21; \
	VBROADCASTSS gateConst<>+24(SB), Z22; \
	VBROADCASTSS gateConst<>+28(SB), Z23; \
	VBROADCASTSS gateConst<>+32(SB), Z13; \
	VBROADCASTSS A, Z12; \
	VMULPS Z13, Z12, Z12; \
	VBROADCASTSS B, Z14; \
	VMULPS Z14, Z13, Z13

// POWER is R = 2^P, none below 2^-126; spoils P, T and U. NaN passes.
#define POWER(P, T, U, R) \
	VMAXPS P, Z17, P; \
	VREDUCEPS $9, P, T; \
	VMOVAPS Z18, U; \
	VFMADD213PS Z19, T, U; \
	VFMADD213PS Z20, T, U; \
	VFMADD213PS Z21, T, U; \
	VSCALEFPS P, U, R

// Spoils T, U and V. The clamps let NaN pass.
#define GATE(X, T, U, V) \
	VMULPS X, X, T; \
	VMINPS T, Z23, T; \
	VFMADD213PS Z12, Z13, T; \
	VMULPS X, T, T; \
	VMINPS T, Z16, T; \
	POWER(T, U, V, V); \
	VADDPS Z22, V, V; \
	VRCP14PS V, V; \
	VMULPS V, X, X
