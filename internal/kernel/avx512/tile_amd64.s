//go:build !noasm

#include "textflag.h"
#include "macros_amd64.h"
#include "bf16_amd64.h"

#include "tile_amd64.h"

// Columns 0-15 and 16-31 of two rows, alternating.
DATA ·mix+0(SB)/8, $0x0021000100200000
DATA ·mix+8(SB)/8, $0x0023000300220002
DATA ·mix+16(SB)/8, $0x0025000500240004
DATA ·mix+24(SB)/8, $0x0027000700260006
DATA ·mix+32(SB)/8, $0x0029000900280008
DATA ·mix+40(SB)/8, $0x002b000b002a000a
DATA ·mix+48(SB)/8, $0x002d000d002c000c
DATA ·mix+56(SB)/8, $0x002f000f002e000e
DATA ·mix+64(SB)/8, $0x0031001100300010
DATA ·mix+72(SB)/8, $0x0033001300320012
DATA ·mix+80(SB)/8, $0x0035001500340014
DATA ·mix+88(SB)/8, $0x0037001700360016
DATA ·mix+96(SB)/8, $0x0039001900380018
DATA ·mix+104(SB)/8, $0x003b001b003a001a
DATA ·mix+112(SB)/8, $0x003d001d003c001c
DATA ·mix+120(SB)/8, $0x003f001f003e001e
GLOBL ·mix(SB), RODATA|NOPTR, $128

// func tile12F32(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile12F32(SB), NOSPLIT, $0-72
	TILE(ROW12, STEP12, ROWF32, FMA)

// func tile8F32(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile8F32(SB), NOSPLIT, $0-72
	TILE(ROW8, STEP8, ROWF32, FMA)

// func tile4F32(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile4F32(SB), NOSPLIT, $0-72
	TILE(ROW4, STEP4, ROWF32, FMA)

// func tile1F32(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile1F32(SB), NOSPLIT, $0-72
	TILE(ROW1, STEP1, ROWF32, FMA)

// func tile12F16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile12F16(SB), NOSPLIT, $0-72
	TILE(ROW12, STEP12, ROWF16, FMA)

// func tile8F16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile8F16(SB), NOSPLIT, $0-72
	TILE(ROW8, STEP8, ROWF16, FMA)

// func tile4F16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile4F16(SB), NOSPLIT, $0-72
	TILE(ROW4, STEP4, ROWF16, FMA)

// func tile1F16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile1F16(SB), NOSPLIT, $0-72
	TILE(ROW1, STEP1, ROWF16, FMA)

// func tile12BF16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile12BF16(SB), NOSPLIT, $0-72
	TILE(ROW12, STEP12, ROWBF16, FMA)

// func tile8BF16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile8BF16(SB), NOSPLIT, $0-72
	TILE(ROW8, STEP8, ROWBF16, FMA)

// func tile4BF16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile4BF16(SB), NOSPLIT, $0-72
	TILE(ROW4, STEP4, ROWBF16, FMA)

// func tile1BF16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile1BF16(SB), NOSPLIT, $0-72
	TILE(ROW1, STEP1, ROWBF16, FMA)

// func tile12Pairs(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile12Pairs(SB), NOSPLIT, $0-72
	TILEPAIRS(ROW12, STEP12)

// func tile8Pairs(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile8Pairs(SB), NOSPLIT, $0-72
	TILEPAIRS(ROW8, STEP8)

// func tile4Pairs(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile4Pairs(SB), NOSPLIT, $0-72
	TILEPAIRS(ROW4, STEP4)

// func tile1Pairs(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile1Pairs(SB), NOSPLIT, $0-72
	TILEPAIRS(ROW1, STEP1)

// func tile12Panel(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile12Panel(SB), NOSPLIT, $0-72
	TILE(ROW12, STEP12, ROWPANELAHEAD, DP)

// func tile8Panel(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile8Panel(SB), NOSPLIT, $0-72
	TILE(ROW8, STEP8, ROWPANELAHEAD, DP)

// func tile4Panel(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile4Panel(SB), NOSPLIT, $0-72
	TILE(ROW4, STEP4, ROWPANELAHEAD, DP)

// func tile1Panel(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
TEXT ·tile1Panel(SB), NOSPLIT, $0-72
	TILE(ROW1, STEP1, ROWPANELAHEAD, DP)
