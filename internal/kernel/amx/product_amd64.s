//go:build !noasm

#include "go_asm.h"
#include "textflag.h"
#include "forms_amd64.h"
#include "gate_amd64.h"
#include "pick_amd64.h"

// finish brings one row of the block before, 32 results at R10, to its place R8.
// R12 rows left, R9 the distance of rows of y, R11 what becomes of them, as the bits
// of toGate and the others. K1 and K2 are the columns.
TEXT finish<>(SB), NOSPLIT, $0-0
	VMOVUPS (R10), Z6
	VMOVUPS 64(R10), Z7
	TESTQ $const_toGate, R11
	JZ   plain
	GATE(Z6, Z0, Z1, Z2)
	GATE(Z7, Z3, Z4, Z5)
plain:
	MOVQ job_ystride(R15), AX
	CLAIM
	TESTQ $const_toBF16, R11
	JZ   half
	NARROW8
	VMOVDQU64 Z8, (R8)
	JMP  done
half:
	TESTQ $const_toF16, R11
	JZ   wide
	VCVTPS2PH $0, Z6, (R8)
	VCVTPS2PH $0, Z7, 32(R8)
	JMP  done
wide:
	CLAIM64
	TESTQ $const_toAdd, R11
	JZ   store
	VMOVUPS.Z (R8), K1, Z0
	VMOVUPS.Z 64(R8), K2, Z1
	VADDPS Z6, Z0, Z6
	VADDPS Z7, Z1, Z7
store:
	VMOVUPS Z6, K1, (R8)
	VMOVUPS Z7, K2, 64(R8)
done:
	ADDQ R9, R8
	ADDQ $128, R10
	DECQ R12
	RET

#define FINISH(SKIP) \
	TESTQ R12, R12; \
	JZ   SKIP; \
	CALL finish<>(SB); \
SKIP:

// AHEAD asks for what is packed next, so many lines of two runs, and packs a part of
// what has been asked for.
#define AHEAD(LINE, PACK, DONE) \
	MOVQ job_lines(R15), AX; \
	TESTQ AX, AX; \
	JZ   PACK; \
	MOVQ job_gap(R15), R14; \
LINE: \
	PREFETCHT1 (BX); \
	PREFETCHT1 (BX)(R14*1); \
	ADDQ $64, BX; \
	DECQ AX; \
	JNZ  LINE; \
PACK: \
	MOVQ job_unit(R15), AX; \
	TESTQ AX, AX; \
	JZ   DONE; \
	CALL AX; \
DONE:

// A unit packs a part of a panel, as often as a step has to: four inputs (of Q4_0 twice)
// of 16 outputs. Blocks lie at src and at pair by turns, for the two tiles of a step; R14 is how far
// into the one at AX. UNPACK writes from dst + 2·R14 on.
#define UNITBLOCK(UNPACK, SCALES, SIZE) \
	MOVQ job_each(R15), AX; \
	MOVQ AX, job_now(R15); \
unit: \
	MOVQ job_src(R15), AX; \
	MOVQ job_at(R15), R14; \
	VCVTPH2PS (AX), Z9; \
	VMOVDQU64 SCALES(AX)(R14*1), Z0; \
	SHLQ $1, R14; \
	ADDQ job_dst(R15), R14; \
	UNPACK; \
	DECQ job_units(R15); \
	JZ   last; \
	MOVQ job_at(R15), R14; \
	ADDQ $64, R14; \
	CMPQ R14, $(SIZE-SCALES); \
	JNE  same; \
	ADDQ $SIZE, AX; \
	MOVQ job_pair(R15), R14; \
	MOVQ AX, job_pair(R15); \
	MOVQ R14, job_src(R15); \
	ADDQ $1024, job_dst(R15); \
	XORQ R14, R14; \
same: \
	MOVQ R14, job_at(R15); \
	DECQ job_now(R15); \
	JNZ  unit; \
	RET; \
last: \
	MOVQ $0, job_unit(R15); \
	RET

// Four signed bytes of 16 outputs in V, times Z9, become two rows of a tile at
// AT(R14).
#define BYTES(V, AT) \
	VPSLLD $24, V, Z6; \
	VPSLLD $16, V, Z7; \
	VPSLLD $8, V, Z2; \
	VPSRAD $24, V, Z3; \
	VPSRAD $24, Z6, Z6; \
	VPSRAD $24, Z7, Z7; \
	VPSRAD $24, Z2, Z2; \
	VCVTDQ2PS Z6, Z6; \
	VCVTDQ2PS Z7, Z7; \
	VCVTDQ2PS Z2, Z2; \
	VCVTDQ2PS Z3, Z3; \
	VMULPS Z9, Z6, Z6; \
	VMULPS Z9, Z7, Z7; \
	NARROW8; \
	VPERMW Z8, Z29, Z8; \
	VMOVDQU64 Z8, (AT)(R14); \
	VMULPS Z9, Z2, Z6; \
	VMULPS Z9, Z3, Z7; \
	NARROW8; \
	VPERMW Z8, Z29, Z8; \
	VMOVDQU64 Z8, (AT+64)(R14)

// The low halves of the bytes, less eight, are for this place, the high ones for
// 16 inputs further on.
#define NIBBLES \
	VPSRLD $4, Z0, Z1; \
	VPANDD Z28, Z0, Z0; \
	VPANDD Z28, Z1, Z1; \
	VPBROADCASTD eight<>(SB), Z4; \
	VPSUBB Z4, Z0, Z0; \
	VPSUBB Z4, Z1, Z1; \
	BYTES(Z0, 0); \
	BYTES(Z1, 512)

TEXT unitQ8<>(SB), NOSPLIT, $0-0
	UNITBLOCK(BYTES(Z0, 0), 32, const_q8Bytes)

TEXT unitQ4<>(SB), NOSPLIT, $0-0
	UNITBLOCK(NIBBLES, 32, const_q4Bytes)

// func product(j *job)
//
// TMM0-TMM3 hold 32 × 32 results, TMM4 and TMM5 a step of a, TMM6 and TMM7 one
// of b. While they are computed, the block before is finished, two rows to a
// step. Rows of a pass by from the second-level cache, and so do the first steps
// of a long b, past the first-level one, in which the others stay.
//
// R15 the job, SI and DI walk over a and b, DX the distance of a tile's rows, CX
// counts steps, R13 tiles of 16 rows left; BX what is prefetched. R8-R12 are of
// FINISH during the steps, else as in multiply. AX and R14 are anyone's.
TEXT ·product(SB), NOSPLIT, $0-8
	MOVQ j+0(FP), R15
	MOVQ job_tiles(R15), R13
	MOVQ job_next0(R15), BX
	MOVQ $64, DX
	MOVQ job_cols(R15), CX
	MOVL $1, AX
	SHLQ CX, AX
	DECQ AX
	KMOVD AX, K1
	KSHIFTRD $16, K1, K2
	VMOVDQU64 halves<>(SB), Z29
	VPBROADCASTD nibble<>(SB), Z28
	XORQ AX, AX
	MOVQ job_form(R15), CX
	LEAQ unitQ8<>(SB), SI
	CMPQ CX, $const_packQ8
	CMOVQEQ SI, AX
	LEAQ unitQ4<>(SB), SI
	CMPQ CX, $const_packQ4
	CMOVQEQ SI, AX
	MOVQ AX, job_unit(R15)
	GATECONST(job_gateA(R15), job_gateB(R15))
	LEAQ tileConfig<>(SB), AX
	LDTILECFG
	XORQ R12, R12 // nothing to finish yet

block:
	// All of the block before is finished here.
	MOVQ job_start(R15), R8
	MOVQ job_ld(R15), R9
	LOADC0
	LOADC1
	CMPQ R13, $2
	JLT  loaded
	MOVQ R9, R10
	SHLQ $4, R10
	ADDQ R8, R10
	LOADC2
	LOADC3
loaded:
	SHLQ $5, R9
	ADDQ R9, R8
	MOVQ R8, job_start(R15)

	// What is to be finished of the block before.
	MOVQ job_rows(R15), R12
	MOVQ job_y(R15), R8
	MOVQ job_ldy(R15), R9
	MOVQ job_from(R15), R10
	MOVQ job_what(R15), R11
	MOVQ job_a(R15), SI
	MOVQ job_b(R15), DI
	MOVQ job_passing(R15), CX
	CMPQ R13, $2
	JLT  one
	TESTQ CX, CX
	JZ   twostay

twopass:
	LOADA0T
	LOADB0T
	LOADB1T
	LOADA1T
	BF16C0
	BF16C1
	BF16C2
	BF16C3
	AHEAD(line0, pack0, packed0)
	FINISH(skip5)
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ CX
	JNZ  twopass

twostay:
	MOVQ job_staying(R15), CX
twostep:
	LOADA0T
	LOADB0
	LOADB1
	LOADA1T
	BF16C0
	BF16C1
	BF16C2
	BF16C3
	AHEAD(line1, pack1, packed1)
	FINISH(skip0)
	FINISH(skip1)
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ CX
	JNZ  twostep
	JMP  rest

one:
	TESTQ CX, CX
	JZ   onestay

onepass:
	LOADA0T
	LOADB0T
	LOADB1T
	BF16C0
	BF16C1
	AHEAD(line2, pack2, packed2)
	FINISH(skip6)
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ CX
	JNZ  onepass

onestay:
	MOVQ job_staying(R15), CX
onestep:
	LOADA0T
	LOADB0
	LOADB1
	BF16C0
	BF16C1
	AHEAD(line3, pack3, packed3)
	FINISH(skip2)
	FINISH(skip7)
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ CX
	JNZ  onestep

rest:
	FINISH(skip3)
	TESTQ R12, R12
	JNZ  rest

	// The results go to c, or by turns to the two blocks of a scratch, to be
	// finished during the next block.
	MOVQ job_c(R15), R11
	MOVQ $128, R12
	STOREC0
	STOREC1
	MOVQ job_astride(R15), AX
	ADDQ AX, job_a(R15)
	CMPQ R13, $2
	JLT  stored
	STOREC2
	STOREC3
stored:
	CMPQ job_what(R15), $0
	JLT  partial
	MOVQ job_from(R15), AX
	MOVQ AX, job_c(R15)
	MOVQ R11, job_from(R15)

	// R8 is where the next row of y goes; in tiles the next block has its own place.
	MOVQ job_nexty(R15), AX
	MOVQ AX, job_y(R15)
	ADDQ job_ystride(R15), AX
	MOVQ AX, job_nexty(R15)
	MOVQ job_left(R15), AX
	MOVQ AX, CX
	CMPQ AX, $32
	JLE  fewer
	MOVQ $32, AX
fewer:
	MOVQ AX, job_rows(R15)
	SUBQ AX, CX
	MOVQ CX, job_left(R15)
	JMP  next

partial:
	ADDQ $4096, R11
	MOVQ R11, job_c(R15)

next:
	SUBQ $2, R13
	JG   block

	// The last block.
	MOVQ job_rows(R15), R12
	MOVQ job_y(R15), R8
	MOVQ job_ldy(R15), R9
	MOVQ job_from(R15), R10
	MOVQ job_what(R15), R11
last:
	FINISH(skip4)
	TESTQ R12, R12
	JNZ  last
	TILERELEASE
	VZEROUPPER
	RET
