//go:build !noasm

#include "textflag.h"

// func pause()
// CX counts.
TEXT ·pause(SB), NOSPLIT, $0-0
	MOVL $16, CX
again:
	PAUSE
	DECL CX
	JNZ  again
	RET
