//go:build !noasm

#include "textflag.h"

// func pause()
//
// YIELD does nothing on most processors; an instruction barrier costs some tens
// of cycles and little power. R0 counts.
TEXT ·pause(SB), NOSPLIT, $0-0
	MOVD $32, R0
again:
	ISB $15
	SUBS $1, R0
	BNE again
	RET

// func prefetchRows(p *byte, stride uintptr, rows, n int)
//
// Asks for n bytes of each of some rows to be brought to the second-level
// cache. R0 is the row, R2 the rows left; R4 walks over a row, up to R5.
TEXT ·prefetchRows(SB), NOSPLIT, $0-32
	MOVD p+0(FP), R0
	MOVD stride+8(FP), R1
	MOVD rows+16(FP), R2
	MOVD n+24(FP), R3

row:
	SUBS $1, R2
	BLT done
	MOVD R0, R4
	ADD R3, R0, R5

line:
	CMP R5, R4
	BHS next
	PRFM (R4), PLDL2STRM
	ADD $64, R4
	B line

next:
	ADD R1, R0
	B row

done:
	RET

// func claimRows(p *byte, stride uintptr, rows, n int)
//
// Asks for n bytes of each of some rows to be brought to the first-level cache, to be
// written. Registers as above.
TEXT ·claimRows(SB), NOSPLIT, $0-32
	MOVD p+0(FP), R0
	MOVD stride+8(FP), R1
	MOVD rows+16(FP), R2
	MOVD n+24(FP), R3

row:
	SUBS $1, R2
	BLT done
	MOVD R0, R4
	ADD R3, R0, R5
	SUB $1, R5

line:
	PRFM (R4), PSTL1KEEP
	CMP R5, R4
	BHS next
	ADD $64, R4
	CMP R5, R4
	BLO line
	MOVD R5, R4 // the last line, if there is another one
	B line

next:
	ADD R1, R0
	B row

done:
	RET
