//go:build !noasm

#include "textflag.h"
#include "forms_amd64.h"
#include "gate_amd64.h"

// func gate(x *float32, n int, a, b float32)
//
// As product does it, bit for bit. DI x, BX numbers left.
TEXT ·gate(SB), NOSPLIT, $0-24
	MOVQ x+0(FP), DI
	MOVQ n+8(FP), BX
	GATECONST(a+16(FP), b+20(FP))

loop:
	CMPQ BX, $32
	JLT  tail
	VMOVUPS (DI), Z6
	VMOVUPS 64(DI), Z7
	GATE(Z6, Z0, Z1, Z2)
	GATE(Z7, Z3, Z4, Z5)
	VMOVUPS Z6, (DI)
	VMOVUPS Z7, 64(DI)
	ADDQ $128, DI
	SUBQ $32, BX
	JMP  loop

tail:
	MASK32(BX, AX, K1)
	KSHIFTRD $16, K1, K2
	VMOVUPS.Z (DI), K1, Z6
	VMOVUPS.Z 64(DI), K2, Z7
	GATE(Z6, Z0, Z1, Z2)
	GATE(Z7, Z3, Z4, Z5)
	VMOVUPS Z6, K1, (DI)
	VMOVUPS Z7, K2, 64(DI)
	VZEROUPPER
	RET
