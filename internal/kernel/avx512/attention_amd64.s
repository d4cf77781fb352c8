//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"

// Attention of one row: keys and values pass once. What lies AHEAD bytes further
// on is prefetched, a cache line at a time, and in the last bytes, as many, the beginning of
// what is read next, at R11. R9 is the distance of what is prefetched. These kernels are AMD's
// (Intel's are ScoresAhead and ValuesAhead), whose NTA goes past the second-level cache: what
// leaves that one takes the place of weights in the third (Q4_0 on a Zen 5: at 900 positions of
// F16 and F32 a token takes 3 to 20 % less so).
#define AHEAD 4096

// From here on, which is BX, prefetch what is next.
#define TURN \
	MOVQ R11, R9; \
	SUBQ BX, R9

// One step of 32 scores: BX a row of the panel, AX the element of the query.
#define SCORESF32(PF, O) \
	VBROADCASTSS O(AX), Z2; \
	PF (32*O)(BX)(R9*1); \
	PF (32*O+64)(BX)(R9*1); \
	VFMADD231PS (32*O)(BX), Z2, Z8; \
	VFMADD231PS (32*O+64)(BX), Z2, Z9

#define SCORES16(PF, O, LOAD) \
	VBROADCASTSS O(AX), Z2; \
	PF (16*O)(BX)(R9*1); \
	LOAD((16*O)(BX), Z0); \
	LOAD((16*O+32)(BX), Z1); \
	VFMADD231PS Z0, Z2, Z8; \
	VFMADD231PS Z1, Z2, Z9

#define SCORESF16(PF, O)  SCORES16(PF, O, LOADF16)
#define SCORESBF16(PF, O) SCORES16(PF, O, LOADBF16)

// A panel, with labels of its own: CX the elements left of the query at AX. ROWBYTES is a
// panel's row, STEP one element.
#define PANEL(PF, ROWBYTES, STEP, LOOP4, LOOP1, STORE) \
	MOVQ q+8(FP), AX; \
	MOVQ dim+32(FP), CX; \
	ZERO(Z8); \
	ZERO(Z9); \
LOOP4: \
	CMPQ CX, $4; \
	JLT  LOOP1; \
	STEP(PF, 0); \
	STEP(PF, 4); \
	STEP(PF, 8); \
	STEP(PF, 12); \
	ADDQ $16, AX; \
	ADDQ $(4*ROWBYTES), BX; \
	SUBQ $4, CX; \
	JMP  LOOP4; \
LOOP1: \
	TESTQ CX, CX; \
	JZ    STORE; \
	STEP(PF, 0); \
	ADDQ $4, AX; \
	ADDQ $ROWBYTES, BX; \
	DECQ CX; \
	JMP  LOOP1; \
STORE: \
	VMOVUPS Z8, (DI); \
	VMOVUPS Z9, 64(DI); \
	ADDQ $128, DI

// DI the scores, BX the keys, DX the panels left, R10 where the last panel begins that is not
// among the last bytes.
#define SCORES(ROWBYTES, STEP) \
	MOVQ s+0(FP), DI; \
	MOVQ k+16(FP), BX; \
	MOVQ panels+24(FP), DX; \
	MOVQ dim+32(FP), R10; \
	IMULQ $ROWBYTES, R10; \
	MOVQ DX, R12; \
	DECQ R12; \
	IMULQ R12, R10; \
	ADDQ BX, R10; \
	SUBQ $AHEAD, R10; \
	MOVQ $AHEAD, R9; \
	MOVQ next+40(FP), R11; \
panel: \
	CMPQ BX, R10; \
	JGT  turn; \
	PANEL(PREFETCHNTA, ROWBYTES, STEP, loop4, loop1, store); \
	DECQ DX; \
	JNZ  panel; \
	JMP  done; \
turn: \
	TURN; \
last: \
	PANEL(PREFETCHT1, ROWBYTES, STEP, last4, last1, storeLast); \
	DECQ DX; \
	JNZ  last; \
done: \
	VZEROUPPER; \
	RET

// One position: its probability at AX, its values at BX, which are stride DX
// from the next.
#define VALUES4F32(PF) \
	VBROADCASTSS (AX), Z2; \
	PF (BX)(R9*1); \
	PF 64(BX)(R9*1); \
	PF 128(BX)(R9*1); \
	PF 192(BX)(R9*1); \
	VFMADD231PS (BX), Z2, Z8; \
	VFMADD231PS 64(BX), Z2, Z9; \
	VFMADD231PS 128(BX), Z2, Z10; \
	VFMADD231PS 192(BX), Z2, Z11

#define VALUES4(PF, LOAD) \
	VBROADCASTSS (AX), Z2; \
	PF (BX)(R9*1); \
	PF 64(BX)(R9*1); \
	LOAD(0(BX), Z0); \
	LOAD(32(BX), Z1); \
	LOAD(64(BX), Z3); \
	LOAD(96(BX), Z4); \
	VFMADD231PS Z0, Z2, Z8; \
	VFMADD231PS Z1, Z2, Z9; \
	VFMADD231PS Z3, Z2, Z10; \
	VFMADD231PS Z4, Z2, Z11

#define VALUES4F16(PF)  VALUES4(PF, LOADF16)
#define VALUES4BF16(PF) VALUES4(PF, LOADBF16)

#define VALUESARGS \
	MOVQ out+0(FP), DI; \
	MOVQ p+8(FP), AX; \
	MOVQ v+16(FP), BX; \
	MOVQ stride+24(FP), DX; \
	MOVQ n+32(FP), CX; \
	MOVQ DX, R10; \
	IMULQ CX, R10; \
	ADDQ BX, R10; \
	SUBQ $AHEAD, R10; \
	MOVQ $AHEAD, R9; \
	MOVQ next+40(FP), R11

#define VALUES64(STEP) \
	VALUESARGS; \
	LOAD64; \
loop: \
	CMPQ BX, R10; \
	JGE  turn; \
	STEP(PREFETCHNTA); \
	ADDQ $4, AX; \
	ADDQ DX, BX; \
	DECQ CX; \
	JNZ  loop; \
	JMP  done; \
turn: \
	TURN; \
last: \
	STEP(PREFETCHT1); \
	ADDQ $4, AX; \
	ADDQ DX, BX; \
	DECQ CX; \
	JNZ  last; \
done: \
	STORE64; \
	VZEROUPPER; \
	RET

#define VALUES32(LOAD, HALF) \
	VALUESARGS; \
	VMOVUPS (DI), Z8; \
	VMOVUPS 64(DI), Z9; \
loop: \
	DECQ CX; \
	JLT  done; \
	CMPQ BX, R10; \
	JLT  within; \
	TURN; \
	MOVQ $0x7fffffffffffffff, R10; \
within: \
	VBROADCASTSS (AX), Z2; \
	PREFETCHT1 (BX)(R9*1); \
	PREFETCHT1 HALF(BX)(R9*1); \
	LOAD(0(BX), Z0); \
	LOAD(HALF(BX), Z1); \
	VFMADD231PS Z0, Z2, Z8; \
	VFMADD231PS Z1, Z2, Z9; \
	ADDQ $4, AX; \
	ADDQ DX, BX; \
	JMP  loop; \
done: \
	VMOVUPS Z8, (DI); \
	VMOVUPS Z9, 64(DI); \
	VZEROUPPER; \
	RET

#define WIDEN(LOAD, LOADK) \
	MOVQ dst+0(FP), DI; \
	MOVQ src+8(FP), SI; \
	MOVQ n+16(FP), CX; \
loop: \
	CMPQ CX, $32; \
	JLT  tail; \
	LOAD((SI), Z0); \
	LOAD(32(SI), Z1); \
	VMOVUPS Z0, (DI); \
	VMOVUPS Z1, 64(DI); \
	ADDQ $64, SI; \
	ADDQ $128, DI; \
	SUBQ $32, CX; \
	JMP  loop; \
tail: \
	CMPQ CX, $16; \
	JLT  last; \
	LOAD((SI), Z0); \
	VMOVUPS Z0, (DI); \
	ADDQ $32, SI; \
	ADDQ $64, DI; \
	SUBQ $16, CX; \
last: \
	TESTQ CX, CX; \
	JZ    done; \
	MASK16(AX); \
	LOADK((SI), Z0); \
	VMOVUPS Z0, K1, (DI); \
done: \
	VZEROUPPER; \
	RET

// func scoresF32(s, q *float32, k *byte, panels, dim int, next *byte)
TEXT ·scoresF32(SB), NOSPLIT, $0-48
	SCORES(128, SCORESF32)

// func scoresF16(s, q *float32, k *byte, panels, dim int, next *byte)
TEXT ·scoresF16(SB), NOSPLIT, $0-48
	SCORES(64, SCORESF16)

// func scoresBF16(s, q *float32, k *byte, panels, dim int, next *byte)
TEXT ·scoresBF16(SB), NOSPLIT, $0-48
	SCORES(64, SCORESBF16)

// func values64F32(out, p *float32, v *byte, stride uintptr, n int, next *byte)
TEXT ·values64F32(SB), NOSPLIT, $0-48
	VALUES64(VALUES4F32)

// func values64F16(out, p *float32, v *byte, stride uintptr, n int, next *byte)
TEXT ·values64F16(SB), NOSPLIT, $0-48
	VALUES64(VALUES4F16)

// func values64BF16(out, p *float32, v *byte, stride uintptr, n int, next *byte)
TEXT ·values64BF16(SB), NOSPLIT, $0-48
	VALUES64(VALUES4BF16)

// func values32F32(out, p *float32, v *byte, stride uintptr, n int, next *byte)
TEXT ·values32F32(SB), NOSPLIT, $0-48
	VALUES32(LOADF32, 64)

// func values32F16(out, p *float32, v *byte, stride uintptr, n int, next *byte)
TEXT ·values32F16(SB), NOSPLIT, $0-48
	VALUES32(LOADF16, 32)

// func values32BF16(out, p *float32, v *byte, stride uintptr, n int, next *byte)
TEXT ·values32BF16(SB), NOSPLIT, $0-48
	VALUES32(LOADBF16, 32)

// func narrowF16(dst *byte, src *float32, n int)
TEXT ·narrowF16(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	CMPQ CX, $16
	JLT  tail
	VMOVUPS (SI), Z0
	VCVTPS2PH $0, Z0, (DI)
	ADDQ $64, SI
	ADDQ $32, DI
	SUBQ $16, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK16(AX)
	VMOVUPS.Z (SI), K1, Z0
	VCVTPS2PH $0, Z0, K1, (DI)

done:
	VZEROUPPER
	RET

// Sixteen numbers of Z0 as bfloat16 in the low halves of Z1: half of the last
// place is added, less a bit if it is even. Z16 1, Z17 0x7fff, Z18 the bit that
// makes a NaN quiet.
#define ROUNDBF16 \
	VPSRLD $16, Z0, Z1; \
	VPANDD Z16, Z1, Z2; \
	VPADDD Z17, Z2, Z2; \
	VPADDD Z0, Z2, Z2; \
	VCMPPS $3, Z0, Z0, K2; \
	VPSRLD $16, Z2, Z2; \
	VPORD Z18, Z1, K2, Z2

// func narrowBF16(dst *byte, src *float32, n int)
TEXT ·narrowBF16(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	MOVL $1, AX
	VPBROADCASTD AX, Z16
	MOVL $0x7fff, AX
	VPBROADCASTD AX, Z17
	MOVL $0x40, AX
	VPBROADCASTD AX, Z18

loop:
	CMPQ CX, $16
	JLT  tail
	VMOVUPS (SI), Z0
	ROUNDBF16
	VPMOVDW Z2, (DI)
	ADDQ $64, SI
	ADDQ $32, DI
	SUBQ $16, CX
	JMP  loop

tail:
	TESTQ CX, CX
	JZ    done
	MASK16(AX)
	VMOVUPS.Z (SI), K1, Z0
	ROUNDBF16
	VPMOVDW Z2, K1, (DI)

done:
	VZEROUPPER
	RET

// func widenF16(dst *float32, src *byte, n int)
TEXT ·widenF16(SB), NOSPLIT, $0-24
	WIDEN(LOADF16, LOADF16K)

// func widenBF16(dst *float32, src *byte, n int)
TEXT ·widenBF16(SB), NOSPLIT, $0-24
	WIDEN(LOADBF16, LOADBF16K)
