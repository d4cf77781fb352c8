package amx

import (
	"errors"
	"fmt"
)

// ErrNone is the error of Available on a processor without AMX.
var ErrNone = errors.New("the processor has no AMX")

// machine is what the processor and the system say of AMX.
type machine struct {
	maxLeaf uint32
	edx7    uint32 // CPUID leaf 7, EDX
	osxsave bool
	xcr0    uint64    // what the system saves, 0 if it may not be asked
	palette [3]uint32 // CPUID leaf 0x1D, subleaf 1: EAX, EBX, ECX
	tmul    uint32    // CPUID leaf 0x1E, EBX
	bf16    bool      // AVX512_BF16, whose conversions are used to pack
	request func() error
}

const (
	amxBF16 = 1 << 22 // of edx7
	amxTile = 1 << 24
	amxInt8 = 1 << 25
	xcrTile = 1<<17 | 1<<18 // XTILECFG and XTILEDATA
)

// check says what stands against the use of tiles. The system is asked for
// them last, when nothing else does.
func (m machine) check() error {
	const all = amxBF16 | amxTile | amxInt8
	switch {
	case m.maxLeaf < 0x1e || m.edx7&all == 0:
		return ErrNone
	case m.edx7&all != all:
		return fmt.Errorf("the processor has only a part of AMX (flags %#x)", m.edx7&all)
	case !m.bf16:
		return errors.New("the processor has AMX, but not AVX512_BF16")
	case !m.osxsave || m.xcr0&xcrTile != xcrTile:
		return errors.New("the operating system does not save AMX's registers")
	}
	// Palette 1: 8192 bytes in all, 1024 to a tile, 64 to a row, 8 tiles of 16 rows.
	if m.palette != [3]uint32{1024<<16 | 8192, 8<<16 | 64, 16} {
		return fmt.Errorf("the tiles have an unknown form (%#x)", m.palette)
	}
	if k, n := m.tmul&0xff, m.tmul>>8&0xffff; k < 16 || n < 64 {
		return fmt.Errorf("products of tiles are limited to %d rows of %d bytes", k, n)
	}
	if err := m.request(); err != nil {
		return fmt.Errorf("the system refuses AMX: %w", err)
	}
	return nil
}
