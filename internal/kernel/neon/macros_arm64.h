// Instructions that Go's assembler does not know, by the encodings of the Arm
// Architecture Reference Manual (A64, SIMD and floating-point). Operands are
// the numbers of registers, the destination last as in Go's assembler; the
// comments have Arm's order. Vectors hold four float32 or int32 unless said.

#define FADD(M, N, D) WORD $(0x4e20d400 | (M)<<16 | (N)<<5 | (D)) // fadd d.4s, n.4s, m.4s
#define FSUB(M, N, D) WORD $(0x4ea0d400 | (M)<<16 | (N)<<5 | (D)) // fsub d.4s, n.4s, m.4s: n-m
#define FMUL(M, N, D) WORD $(0x6e20dc00 | (M)<<16 | (N)<<5 | (D)) // fmul d.4s, n.4s, m.4s
#define FDIV(M, N, D) WORD $(0x6e20fc00 | (M)<<16 | (N)<<5 | (D)) // fdiv d.4s, n.4s, m.4s: n/m
#define FMLA(M, N, D) WORD $(0x4e20cc00 | (M)<<16 | (N)<<5 | (D)) // fmla d.4s, n.4s, m.4s: d += n·m, rounded once
#define FMIN(M, N, D) WORD $(0x4ea0f400 | (M)<<16 | (N)<<5 | (D)) // fmin d.4s, n.4s, m.4s: NaN if either is
#define FMAX(M, N, D) WORD $(0x4e20f400 | (M)<<16 | (N)<<5 | (D)) // fmax d.4s, n.4s, m.4s: NaN if either is
#define FMAXNM(M, N, D) WORD $(0x4e20c400 | (M)<<16 | (N)<<5 | (D)) // fmaxnm d.4s, n.4s, m.4s: a number rather than NaN
#define FMAXNMV(N, D) WORD $(0x6e30c800 | (N)<<5 | (D)) // fmaxnmv s<d>, n.4s
#define FNEG(N, D) WORD $(0x6ea0f800 | (N)<<5 | (D)) // fneg d.4s, n.4s
#define FRINTN(N, D) WORD $(0x4e218800 | (N)<<5 | (D)) // frintn d.4s, n.4s: half to even
#define FCVTNS(N, D) WORD $(0x4e21a800 | (N)<<5 | (D)) // fcvtns d.4s, n.4s: to int32
#define FADDP2(N, D) WORD $(0x7e30d800 | (N)<<5 | (D)) // faddp s<d>, n.2s: the sum of the lowest two lanes

// d.4s += n.4s · m.s[lane], rounded once.
#define FMLA0(M, N, D) WORD $(0x4f801000 | (M)<<16 | (N)<<5 | (D)) // fmla d.4s, n.4s, m.s[0]
#define FMLA1(M, N, D) WORD $(0x4fa01000 | (M)<<16 | (N)<<5 | (D)) // fmla d.4s, n.4s, m.s[1]
#define FMLA2(M, N, D) WORD $(0x4f801800 | (M)<<16 | (N)<<5 | (D)) // fmla d.4s, n.4s, m.s[2]
#define FMLA3(M, N, D) WORD $(0x4fa01800 | (M)<<16 | (N)<<5 | (D)) // fmla d.4s, n.4s, m.s[3]

#define ADDS4(M, N, D) WORD $(0x4ea08400 | (M)<<16 | (N)<<5 | (D)) // add d.4s, n.4s, m.4s
#define SUBS4(M, N, D) WORD $(0x6ea08400 | (M)<<16 | (N)<<5 | (D)) // sub d.4s, n.4s, m.4s: n-m
#define SSHR1(N, D) WORD $(0x4f3f0400 | (N)<<5 | (D)) // sshr d.4s, n.4s, #1
#define SHL23(N, D) WORD $(0x4f375400 | (N)<<5 | (D)) // shl d.4s, n.4s, #23
#define AND(M, N, D) WORD $(0x4e201c00 | (M)<<16 | (N)<<5 | (D)) // and d.16b, n.16b, m.16b
#define ORR(M, N, D) WORD $(0x4ea01c00 | (M)<<16 | (N)<<5 | (D)) // orr d.16b, n.16b, m.16b
#define MOV(N, D) ORR(N, N, D) // mov d.16b, n.16b
#define ZERO(D) WORD $(0x6f00e400 | (D)) // movi d.2d, #0
#define UPPER(N, D) WORD $(0x6e004000 | (N)<<16 | (N)<<5 | (D)) // ext d.16b, n.16b, n.16b, #8: halves exchanged

// Integers: bytes, sixteen and thirty-two bits.
#define SDOT0(M, N, D) WORD $(0x4f80e000 | (M)<<16 | (N)<<5 | (D)) // sdot d.4s, n.16b, m.4b[0]
#define SDOT1(M, N, D) WORD $(0x4fa0e000 | (M)<<16 | (N)<<5 | (D)) // sdot d.4s, n.16b, m.4b[1]
#define SDOT2(M, N, D) WORD $(0x4f80e800 | (M)<<16 | (N)<<5 | (D)) // sdot d.4s, n.16b, m.4b[2]
#define SDOT3(M, N, D) WORD $(0x4fa0e800 | (M)<<16 | (N)<<5 | (D)) // sdot d.4s, n.16b, m.4b[3]
#define SDOT(M, N, D) WORD $(0x4e809400 | (M)<<16 | (N)<<5 | (D)) // sdot d.4s, n.16b, m.16b
#define SMULL(M, N, D) WORD $(0x0e20c000 | (M)<<16 | (N)<<5 | (D)) // smull d.8h, n.8b, m.8b
#define SMULL2(M, N, D) WORD $(0x4e20c000 | (M)<<16 | (N)<<5 | (D)) // smull2 d.8h, n.16b, m.16b
#define SMLAL(M, N, D) WORD $(0x0e208000 | (M)<<16 | (N)<<5 | (D)) // smlal d.8h, n.8b, m.8b
#define SMLAL2(M, N, D) WORD $(0x4e208000 | (M)<<16 | (N)<<5 | (D)) // smlal2 d.8h, n.16b, m.16b
#define SADALP(N, D) WORD $(0x4e606800 | (N)<<5 | (D)) // sadalp d.4s, n.8h
#define SADDLP(N, D) WORD $(0x4e602800 | (N)<<5 | (D)) // saddlp d.4s, n.8h
#define ADDPS4(M, N, D) WORD $(0x4ea0bc00 | (M)<<16 | (N)<<5 | (D)) // addp d.4s, n.4s, m.4s
#define ADDPH8(M, N, D) WORD $(0x4e60bc00 | (M)<<16 | (N)<<5 | (D)) // addp d.8h, n.8h, m.8h
#define ADDVS4(N, D) WORD $(0x4eb1b800 | (N)<<5 | (D)) // addv s<d>, n.4s
#define SCVTF(N, D) WORD $(0x4e21d800 | (N)<<5 | (D)) // scvtf d.4s, n.4s
#define NIBBLE(N, D) WORD $(0x6f0c0400 | (N)<<5 | (D)) // ushr d.16b, n.16b, #4
#define LOWMASK(D) WORD $(0x4f00e5e0 | (D)) // movi d.16b, #15
#define FABS(N, D) WORD $(0x4ea0f800 | (N)<<5 | (D)) // fabs d.4s, n.4s
#define UMAXS4(M, N, D) WORD $(0x6ea06400 | (M)<<16 | (N)<<5 | (D)) // umax d.4s, n.4s, m.4s
#define UMAXVS4(N, D) WORD $(0x6eb0a800 | (N)<<5 | (D)) // umaxv s<d>, n.4s
#define FACGT(M, N, D) WORD $(0x6ea0ec00 | (M)<<16 | (N)<<5 | (D)) // facgt d.4s, n.4s, m.4s: a mask of |n| > |m|
#define FCMEQ(M, N, D) WORD $(0x4e20e400 | (M)<<16 | (N)<<5 | (D)) // fcmeq d.4s, n.4s, m.4s: a mask of n = m
#define FCVTAS(N, D) WORD $(0x4e21c800 | (N)<<5 | (D)) // fcvtas d.4s, n.4s: to int32, half away from zero, NaN to 0
#define FCVTZS(N, D) WORD $(0x4ea1b800 | (N)<<5 | (D)) // fcvtzs d.4s, n.4s: to int32, towards zero
#define SMINS4(M, N, D) WORD $(0x4ea06c00 | (M)<<16 | (N)<<5 | (D)) // smin d.4s, n.4s, m.4s
#define BIT(M, N, D) WORD $(0x6ea01c00 | (M)<<16 | (N)<<5 | (D)) // bit d.16b, n.16b, m.16b: n where m is set
#define BIF(M, N, D) WORD $(0x6ee01c00 | (M)<<16 | (N)<<5 | (D)) // bif d.16b, n.16b, m.16b: n where m is clear
#define SHLB4(N, D) WORD $(0x4f0c5400 | (N)<<5 | (D)) // shl d.16b, n.16b, #4
#define SQXTNH(N, D) WORD $(0x0e614800 | (N)<<5 | (D)) // sqxtn d.4h, n.4s
#define SQXTNH2(N, D) WORD $(0x4e614800 | (N)<<5 | (D)) // sqxtn2 d.8h, n.4s
#define SQXTNB(N, D) WORD $(0x0e214800 | (N)<<5 | (D)) // sqxtn d.8b, n.8h
#define SQXTNB2(N, D) WORD $(0x4e214800 | (N)<<5 | (D)) // sqxtn2 d.16b, n.8h

// float16 (FCVTL) and bfloat16 (SHLL) to float32, from the lower and the upper
// half of n.
#define FCVTL(N, D) WORD $(0x0e217800 | (N)<<5 | (D)) // fcvtl d.4s, n.4h
#define FCVTL2(N, D) WORD $(0x4e217800 | (N)<<5 | (D)) // fcvtl2 d.4s, n.8h
#define FCVTN(N, D) WORD $(0x0e216800 | (N)<<5 | (D)) // fcvtn d.4h, n.4s: float32 to float16, nearest even
#define FCVTN2(N, D) WORD $(0x4e216800 | (N)<<5 | (D)) // fcvtn2 d.8h, n.4s
#define SHLL(N, D) WORD $(0x2e613800 | (N)<<5 | (D)) // shll d.4s, n.4h, #16
#define SHLL2(N, D) WORD $(0x6e613800 | (N)<<5 | (D)) // shll2 d.4s, n.8h, #16

// Loads and stores of whole registers at the address in R<n>, which goes on
// by as much with a P; registers that follow d are numbered on from it.
#define LD1(N, D) WORD $(0x4c407800 | (N)<<5 | (D)) // ld1 {d.4s}, [xn]
#define LD1P(N, D) WORD $(0x4cdf7800 | (N)<<5 | (D)) // ld1 {d.4s}, [xn], #16
#define LD2(N, D) WORD $(0x4c40a800 | (N)<<5 | (D)) // ld1 {d.4s, +1}, [xn]
#define LD2P(N, D) WORD $(0x4cdfa800 | (N)<<5 | (D)) // ld1 {d.4s, +1}, [xn], #32
#define LD4(N, D) WORD $(0x4c402800 | (N)<<5 | (D)) // ld1 {d.4s … +3}, [xn]
#define LD4P(N, D) WORD $(0x4cdf2800 | (N)<<5 | (D)) // ld1 {d.4s … +3}, [xn], #64
#define LD4X(M, N, D) WORD $(0x4cc02800 | (M)<<16 | (N)<<5 | (D)) // ld1 {d.4s … +3}, [xn], xm
#define LD2X(M, N, D) WORD $(0x4cc0a800 | (M)<<16 | (N)<<5 | (D)) // ld1 {d.4s, +1}, [xn], xm
#define LDHALFP(N, D) WORD $(0x0cdf7400 | (N)<<5 | (D)) // ld1 {d.4h}, [xn], #8
#define ST1(N, D) WORD $(0x4c007800 | (N)<<5 | (D)) // st1 {d.4s}, [xn]
#define ST1P(N, D) WORD $(0x4c9f7800 | (N)<<5 | (D)) // st1 {d.4s}, [xn], #16
#define ST1X(M, N, D) WORD $(0x4c807800 | (M)<<16 | (N)<<5 | (D)) // st1 {d.4s}, [xn], xm
#define ST2(N, D) WORD $(0x4c00a800 | (N)<<5 | (D)) // st1 {d.4s, +1}, [xn]
#define ST2P(N, D) WORD $(0x4c9fa800 | (N)<<5 | (D)) // st1 {d.4s, +1}, [xn], #32
#define ST2X(M, N, D) WORD $(0x4c80a800 | (M)<<16 | (N)<<5 | (D)) // st1 {d.4s, +1}, [xn], xm
#define ST4(N, D) WORD $(0x4c002800 | (N)<<5 | (D)) // st1 {d.4s … +3}, [xn]
#define ST4P(N, D) WORD $(0x4c9f2800 | (N)<<5 | (D)) // st1 {d.4s … +3}, [xn], #64
#define ST4X(M, N, D) WORD $(0x4c802800 | (M)<<16 | (N)<<5 | (D)) // st1 {d.4s … +3}, [xn], xm
#define ST4BP(N, D) WORD $(0x4c9f0000 | (N)<<5 | (D)) // st4 {d.16b … +3}, [xn], #64: the bytes of four registers by turns

// One element to all lanes, one element to or from a lane.
#define LD1R(N, D) WORD $(0x4d40c800 | (N)<<5 | (D)) // ld1r {d.4s}, [xn]
#define LD1RP(N, D) WORD $(0x4ddfc800 | (N)<<5 | (D)) // ld1r {d.4s}, [xn], #4
#define LD1RHP(N, D) WORD $(0x4ddfc400 | (N)<<5 | (D)) // ld1r {d.8h}, [xn], #2
#define LDLANE1(N, D) WORD $(0x0d409000 | (N)<<5 | (D)) // ld1 {d.s}[1], [xn]
#define LDLANE2(N, D) WORD $(0x4d408000 | (N)<<5 | (D)) // ld1 {d.s}[2], [xn]
#define STLANE0(N, D) WORD $(0x0d008000 | (N)<<5 | (D)) // st1 {d.s}[0], [xn]
#define STLANE1(N, D) WORD $(0x0d009000 | (N)<<5 | (D)) // st1 {d.s}[1], [xn]
#define STLANE2(N, D) WORD $(0x4d008000 | (N)<<5 | (D)) // st1 {d.s}[2], [xn]

// Elements of W at R<n> as float32, the address going on: WP16 sixteen in four
// registers A B C D, WP8 eight in two, WP4 four in one, WP1 one in all lanes.
#define F32P16(N, A, B, C, D) LD4P(N, A)
#define F32P8(N, A, B) LD2P(N, A)
#define F32P4(N, A) LD1P(N, A)
#define F32P1(N, A) LD1RP(N, A)

#define F16P16(N, A, B, C, D) \
	LD2P(N, A); \
	FCVTL2(B, D); \
	FCVTL(B, C); \
	FCVTL2(A, B); \
	FCVTL(A, A)
#define F16P8(N, A, B) \
	LD1P(N, A); \
	FCVTL2(A, B); \
	FCVTL(A, A)
#define F16P4(N, A) \
	LDHALFP(N, A); \
	FCVTL(A, A)
#define F16P1(N, A) \
	LD1RHP(N, A); \
	FCVTL(A, A)

#define BF16P16(N, A, B, C, D) \
	LD2P(N, A); \
	SHLL2(B, D); \
	SHLL(B, C); \
	SHLL2(A, B); \
	SHLL(A, A)
#define BF16P8(N, A, B) \
	LD1P(N, A); \
	SHLL2(A, B); \
	SHLL(A, A)
#define BF16P4(N, A) \
	LDHALFP(N, A); \
	SHLL(A, A)
#define BF16P1(N, A) \
	LD1RHP(N, A); \
	SHLL(A, A)

// HSUM adds sixteen lanes (A B C D, in order) by a fixed tree, halves onto each
// other, and leaves the sum in the lowest lane of A. Spoils B.
#define HSUM(A, B, C, D) \
	FADD(C, A, A); \
	FADD(D, B, B); \
	FADD(B, A, A); \
	UPPER(A, B); \
	FADD(B, A, A); \
	FADDP2(A, A)

// Thirty-two columns of the row at R<N>; added to V8-V15; P16 is a load
// of sixteen, F is FMLA by an element of V<X>.
#define ROW32(P16, N, F, X) \
	P16(N, 16, 17, 18, 19); \
	P16(N, 20, 21, 22, 23); \
	F(X, 16, 8); \
	F(X, 17, 9); \
	F(X, 18, 10); \
	F(X, 19, 11); \
	F(X, 20, 12); \
	F(X, 21, 13); \
	F(X, 22, 14); \
	F(X, 23, 15)

// The next row's registers are others, so that its loads need not wait.
#define ROW32B(P16, N, F, X) \
	P16(N, 24, 25, 26, 27); \
	P16(N, 28, 29, 30, 31); \
	F(X, 24, 8); \
	F(X, 25, 9); \
	F(X, 26, 10); \
	F(X, 27, 11); \
	F(X, 28, 12); \
	F(X, 29, 13); \
	F(X, 30, 14); \
	F(X, 31, 15)
