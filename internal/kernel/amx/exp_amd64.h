// exp(x) as package avx512 computes it, bit for bit; see there.
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
DATA expConst<>+48(SB)/4, $0xff800000 // -Inf
GLOBL expConst<>(SB), RODATA|NOPTR, $52

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

// X = exp(X); spoils T, U and V. The clamps let NaN pass.
#define EXP(X, T, U, V) \
	VMINPS X, Z25, X; \
	VMAXPS X, Z26, X; \
	VMULPS Z16, X, T; \
	VRNDSCALEPS $8, T, T; \
	VFMADD231PS Z17, T, X; \
	VFMADD231PS Z18, T, X; \
	VMOVAPS Z19, U; \
	VFMADD213PS Z20, X, U; \
	VFMADD213PS Z21, X, U; \
	VFMADD213PS Z22, X, U; \
	VFMADD213PS Z23, X, U; \
	VMULPS X, X, V; \
	VFMADD213PS X, V, U; \
	VADDPS Z24, U, U; \
	VSCALEFPS T, U, X
