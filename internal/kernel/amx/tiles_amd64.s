//go:build !noasm

#include "textflag.h"
#include "forms_amd64.h"

// func peakBF16(n int)
// CX counts rounds of four products.
TEXT ·peakBF16(SB), NOSPLIT, $0-8
	MOVQ n+0(FP), CX
	LEAQ tileConfig<>(SB), AX
	LDTILECFG

bf16:
	BF16C0
	BF16C1
	BF16C2
	BF16C3
	DECQ CX
	JNZ  bf16
	TILERELEASE
	RET

// func peakInt8(n int)
// CX counts rounds of four products.
TEXT ·peakInt8(SB), NOSPLIT, $0-8
	MOVQ n+0(FP), CX
	LEAQ tileConfig<>(SB), AX
	LDTILECFG

int8:
	INT8C0
	INT8C1
	INT8C2
	INT8C3
	DECQ CX
	JNZ  int8
	TILERELEASE
	RET
