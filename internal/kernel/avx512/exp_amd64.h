// What softmax and activations are made of.

// HSUM adds up the lanes of Z8.
#define HSUM \
	VEXTRACTF64X4 $1, Z8, Y9; \
	VADDPS Y9, Y8, Y8; \
	VEXTRACTF128 $1, Y8, X9; \
	VADDPS X9, X8, X8; \
	VPERMILPS $0x4e, X8, X9; \
	VADDPS X9, X8, X8; \
	VPERMILPS $0x55, X8, X9; \
	VADDSS X9, X8, X8

// exp(x) = 2ⁿ·e^r, n = round(x·log₂e), r = x - n·ln 2, |r| ≤ ½ ln 2, with
// e^r = 1 + r + r²·q(r), q of degree 4 (fitted at Chebyshev nodes, 1e-8).
DATA expConst<>+0(SB)/4, $0x3fb8aa3b  // log₂e
DATA expConst<>+4(SB)/4, $0xbf317218  // -ln 2, rounded …
DATA expConst<>+8(SB)/4, $0x3102e308  // … and what is left of it
DATA expConst<>+12(SB)/4, $0x3ab6a1da // q₄
DATA expConst<>+16(SB)/4, $0x3c0905f4 // q₃
DATA expConst<>+20(SB)/4, $0x3d2aaa74 // q₂
DATA expConst<>+24(SB)/4, $0x3e2aaa6e // q₁
DATA expConst<>+28(SB)/4, $0x3f000000 // q₀
DATA expConst<>+32(SB)/4, $0x3f800000 // 1
DATA expConst<>+36(SB)/4, $0x42b20000 // 89: Inf from here on
DATA expConst<>+40(SB)/4, $0xc2d00000 // -104: zero
DATA expConst<>+44(SB)/4, $0x7f7fffff // the largest finite number
GLOBL expConst<>(SB), RODATA|NOPTR, $48

#define EXPCONST \
	VBROADCASTSS expConst<>+0(SB), Z16; \
	VBROADCASTSS expConst<>+4(SB), Z17; \
	VBROADCASTSS expConst<>+8(SB), Z18; \
	VBROADCASTSS expConst<>+12(SB), Z19; \
	VBROADCASTSS expConst<>+16(SB), Z20; \
	VBROADCASTSS expConst<>+20(SB), Z21; \
	VBROADCASTSS expConst<>+24(SB), Z22; \
	VBROADCASTSS expConst<>+28(SB), Z23; \
	VBROADCASTSS expConst<>+32(SB), Z24; \
	VBROADCASTSS expConst<>+36(SB), Z25; \
	VBROADCASTSS expConst<>+40(SB), Z26

// Z0 = exp(Z0); spoils Z1-Z3. The clamps let NaN pass.
#define EXP \
	VMINPS Z0, Z25, Z0; \
	VMAXPS Z0, Z26, Z0; \
	VMULPS Z16, Z0, Z1; \
	VRNDSCALEPS $8, Z1, Z1; \
	VFMADD231PS Z17, Z1, Z0; \
	VFMADD231PS Z18, Z1, Z0; \
	VMOVAPS Z19, Z2; \
	VFMADD213PS Z20, Z0, Z2; \
	VFMADD213PS Z21, Z0, Z2; \
	VFMADD213PS Z22, Z0, Z2; \
	VFMADD213PS Z23, Z0, Z2; \
	VMULPS Z0, Z0, Z3; \
	VFMADD213PS Z0, Z3, Z2; \
	VADDPS Z24, Z2, Z2; \
	VSCALEFPS Z1, Z2, Z0
