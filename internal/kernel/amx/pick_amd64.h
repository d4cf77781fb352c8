// Constants of what packs W.

// The 32 words 0, 32, 1, 33 … and 16, 48, 17, 49 … of two registers, and the
// words 0, 16, 1, 17 … of one.
DATA lower<>+0(SB)/8, $0x0021000100200000
DATA lower<>+8(SB)/8, $0x0023000300220002
DATA lower<>+16(SB)/8, $0x0025000500240004
DATA lower<>+24(SB)/8, $0x0027000700260006
DATA lower<>+32(SB)/8, $0x0029000900280008
DATA lower<>+40(SB)/8, $0x002b000b002a000a
DATA lower<>+48(SB)/8, $0x002d000d002c000c
DATA lower<>+56(SB)/8, $0x002f000f002e000e
GLOBL lower<>(SB), RODATA, $64

DATA halves<>+0(SB)/8, $0x0011000100100000
DATA halves<>+8(SB)/8, $0x0013000300120002
DATA halves<>+16(SB)/8, $0x0015000500140004
DATA halves<>+24(SB)/8, $0x0017000700160006
DATA halves<>+32(SB)/8, $0x0019000900180008
DATA halves<>+40(SB)/8, $0x001b000b001a000a
DATA halves<>+48(SB)/8, $0x001d000d001c000c
DATA halves<>+56(SB)/8, $0x001f000f001e000e
GLOBL halves<>(SB), RODATA, $64

DATA sixteen<>+0(SB)/4, $0x00100010
GLOBL sixteen<>(SB), RODATA, $4

DATA nibble<>+0(SB)/4, $0x0f0f0f0f
GLOBL nibble<>(SB), RODATA, $4
DATA eight<>+0(SB)/4, $0x08080808
GLOBL eight<>(SB), RODATA, $4
