//go:build !noasm

#include "textflag.h"

// func pause()
// CX counts.
TEXT ·pause(SB), NOSPLIT, $0-0
	MOVL $4, CX
again:
	PAUSE
	DECL CX
	JNZ  again
	RET

// func cpuid0() (b, d, c uint32)
TEXT ·cpuid0(SB), NOSPLIT, $0-12
	XORL AX, AX
	XORL CX, CX
	CPUID
	MOVL BX, b+0(FP)
	MOVL DX, d+4(FP)
	MOVL CX, c+8(FP)
	RET

// func prefetchRows(p *byte, stride uintptr, rows, n int)
//
// Asks for n bytes of each of some rows to be brought to the second-level
// cache. SI is the row, CX the rows left; AX walks over a row, up to DX.
TEXT ·prefetchRows(SB), NOSPLIT, $0-32
	MOVQ p+0(FP), SI
	MOVQ stride+8(FP), BX
	MOVQ rows+16(FP), CX
	MOVQ n+24(FP), R8

row:
	DECQ CX
	JLT  done
	MOVQ SI, AX
	LEAQ (SI)(R8*1), DX

line:
	CMPQ AX, DX
	JGE  next
	PREFETCHT1 (AX)
	ADDQ $64, AX
	JMP  line

next:
	ADDQ BX, SI
	JMP  row

done:
	RET

// func claimRows(p *byte, stride uintptr, rows, n int)
//
// Asks for n bytes of each of some rows to be brought to the first-level cache, to be
// written: PREFETCHW (AX). Registers as above.
TEXT ·claimRows(SB), NOSPLIT, $0-32
	MOVQ p+0(FP), SI
	MOVQ stride+8(FP), BX
	MOVQ rows+16(FP), CX
	MOVQ n+24(FP), R8

row:
	DECQ CX
	JLT  done
	MOVQ SI, AX
	LEAQ -1(SI)(R8*1), DX

line:
	BYTE $0x0f; BYTE $0x0d; BYTE $0x08
	CMPQ AX, DX
	JGE  next
	ADDQ $64, AX
	CMPQ AX, DX
	JLT  line
	MOVQ DX, AX // the last line, if there is another one
	JMP  line

next:
	ADDQ BX, SI
	JMP  row

done:
	RET
