//go:build !noasm && !emulatedamx && !asamd

package amx

import (
	"sync"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// Available returns nil if tiles may be used, else why not. The first call
// asks the system for them, which holds for all threads of the process, those
// that exist included. Linux grants it from 5.16 on, as long as each thread's
// stack for signals has room for tiles (12 KB; Go's have 32 KB) and no sandbox forbids it.
//
// https://docs.kernel.org/arch/x86/xstate.html
var Available = sync.OnceValue(func() error { return host().check() })

func host() machine {
	m := machine{bf16: cpu.X86.HasAVX512BF16, request: request}
	m.maxLeaf, _, _, _ = cpuid(0, 0)
	if m.maxLeaf < 0x1e {
		return m
	}
	_, _, ecx, _ := cpuid(1, 0)
	if m.osxsave = ecx&(1<<27) != 0; m.osxsave {
		m.xcr0 = xgetbv()
	}
	_, _, _, m.edx7 = cpuid(7, 0)
	m.palette[0], m.palette[1], m.palette[2], _ = cpuid(0x1d, 1)
	_, m.tmul, _, _ = cpuid(0x1e, 0)
	return m
}

func request() error {
	const (
		reqPermission = 0x1023 // ARCH_REQ_XCOMP_PERM
		tileData      = 18     // XFEATURE_XTILEDATA
	)
	if _, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, reqPermission, tileData, 0); errno != 0 {
		return errno
	}
	return nil
}

func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)

// xgetbv returns XCR0; it faults without OSXSAVE.
func xgetbv() uint64
