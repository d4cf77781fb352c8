package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The extended state of a thread as the system shows it, and where the standard format
// has the configuration of tiles (component 17; CPUID leaf 0xD says the same).
const (
	xstate       = 0x202 // NT_X86_XSTATE
	xstateConfig = 2752
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: emulate PROGRAM [ARGUMENT…]")
		os.Exit(2)
	}
	code, err := run(os.Args[1], os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "emulate: %v\n", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// run starts the program and returns its exit status.
func run(program string, args []string) (int, error) {
	runtime.LockOSThread() // the one that traces
	process, err := os.StartProcess(program, args, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 0, err
	}
	e := emulator{main: process.Pid, threads: map[int]*tiles{}, counts: map[operation]int{}, native: hasTiles()}
	var status unix.WaitStatus
	if _, err := wait(e.main, &status); err != nil {
		return 0, fmt.Errorf("wait for the program to start: %w", err)
	}
	if err := unix.PtraceSetOptions(e.main, unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
		return 0, fmt.Errorf("trace: %w", err)
	}
	e.threads[e.main] = &tiles{}
	if err := unix.PtraceCont(e.main, 0); err != nil {
		return 0, fmt.Errorf("continue: %w", err)
	}
	return e.serve()
}

func wait(pid int, status *unix.WaitStatus) (int, error) {
	for {
		if pid, err := unix.Wait4(pid, status, unix.WALL, nil); !errors.Is(err, unix.EINTR) {
			return pid, err
		}
	}
}

type emulator struct {
	main    int
	threads map[int]*tiles
	counts  map[operation]int
	native  bool // the processor has tiles, which the system has not lent to the program
}

// serve answers each stop of a thread, until the program ends.
func (e *emulator) serve() (int, error) {
	for {
		var status unix.WaitStatus
		tid, err := wait(-1, &status)
		if err != nil {
			return 0, fmt.Errorf("wait: %w", err)
		}
		if !status.Stopped() {
			if tid == e.main {
				e.report()
				if status.Signaled() {
					return 128 + int(status.Signal()), nil
				}
				return status.ExitStatus(), nil
			}
			delete(e.threads, tid)
			continue
		}
		signal := status.StopSignal()
		switch {
		case e.threads[tid] == nil: // a new thread begins with a stop
			e.threads[tid] = &tiles{}
			if signal == unix.SIGSTOP {
				signal = 0
			}
		case signal == unix.SIGTRAP && status.TrapCause() > 0: // has made a thread
			signal = 0
		case signal == unix.SIGILL:
			if e.emulate(tid) {
				signal = 0
			}
		}
		if err := unix.PtraceCont(tid, int(signal)); err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, fmt.Errorf("continue: %w", err)
		}
	}
}

// report names what was emulated, so that a run that never came by cannot pass
// for a good one.
func (e *emulator) report() {
	if os.Getenv("EMULATE_REPORT") == "" {
		return
	}
	var names []string
	for op := range e.counts {
		names = append(names, string(op))
	}
	slices.Sort(names)
	for _, op := range names {
		fmt.Fprintf(os.Stderr, "emulated %s %d times\n", op, e.counts[operation(op)])
	}
}

// emulate performs the instruction that a thread stopped at, and those after it
// while they are AMX's. It reports whether there was any.
func (e *emulator) emulate(tid int) bool {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &regs); err != nil {
		fmt.Fprintf(os.Stderr, "emulate: registers: %v\n", err)
		return false
	}
	if err := e.configured(tid); err != nil {
		fmt.Fprintf(os.Stderr, "emulate: %v\n", err)
		return false
	}
	done := false
	for {
		var code [16]byte
		n, _ := readMemory(e.main, code[:], regs.Rip)
		in, ok := decode(code[:n])
		if !ok {
			break
		}
		next := regs.Rip + uint64(in.length)
		address := uint64(in.disp) + register(&regs, in.base)
		if in.relative {
			address += next
		}
		if err := e.threads[tid].execute(in, process(e.main), address, register(&regs, in.index)<<in.scale); err != nil {
			fmt.Fprintf(os.Stderr, "emulate: %s (% x) at %#x: %v\n", in.op, code[:in.length], regs.Rip, err)
			done = false // the program gets its signal
			break
		}
		e.counts[in.op]++
		regs.Rip = next
		done = true
	}
	if err := unix.PtraceSetRegs(tid, &regs); err != nil {
		fmt.Fprintf(os.Stderr, "emulate: registers: %v\n", err)
		return false
	}
	return done
}

func hasTiles() bool {
	info, err := os.ReadFile("/proc/cpuinfo")
	return err == nil && bytes.Contains(info, []byte(" amx_tile"))
}

// configured takes over what the processor itself was told of tiles. Where it has
// some, whatever touches them stops as well, as the program has not asked the system
// for them; but it loads, stores and releases their configuration all the same.
func (e *emulator) configured(tid int) error {
	if !e.native {
		return nil
	}
	area := make([]byte, xstateConfig+64)
	v := iovec(area)
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GETREGSET, uintptr(tid), xstate, uintptr(unsafe.Pointer(&v)), 0, 0); errno != 0 {
		return fmt.Errorf("extended state: %w", errno)
	}
	if v.Len < uint64(len(area)) {
		return errors.New("the extended state has no configuration of tiles")
	}
	t, now := e.threads[tid], [64]byte(area[xstateConfig:])
	if t.configuration() == now {
		return nil
	}
	return t.configure(now)
}

func register(r *unix.PtraceRegs, n int) uint64 {
	if n < 0 {
		return 0
	}
	return [...]uint64{r.Rax, r.Rcx, r.Rdx, r.Rbx, r.Rsp, r.Rbp, r.Rsi, r.Rdi, r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15}[n]
}

// process is the memory of the one with that number.
type process int

func (p process) read(b []byte, address uint64) error {
	n, err := readMemory(int(p), b, address)
	if err == nil && n < len(b) {
		err = unix.EFAULT
	}
	if err != nil {
		return fmt.Errorf("read %d bytes at %#x: %w", len(b), address, err)
	}
	return nil
}

func (p process) write(address uint64, b []byte) error {
	n, err := unix.ProcessVMWritev(int(p), []unix.Iovec{iovec(b)}, []unix.RemoteIovec{{Base: uintptr(address), Len: len(b)}}, 0)
	if err == nil && n < len(b) {
		err = unix.EFAULT
	}
	if err != nil {
		return fmt.Errorf("write %d bytes at %#x: %w", len(b), address, err)
	}
	return nil
}

func readMemory(pid int, b []byte, address uint64) (int, error) {
	return unix.ProcessVMReadv(pid, []unix.Iovec{iovec(b)}, []unix.RemoteIovec{{Base: uintptr(address), Len: len(b)}}, 0)
}

func iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return v
}
