// Emulate runs a program that uses Intel's AMX on a machine that lacks it, or on
// one that has it without using it:
//
//	go test -tags emulatedamx -exec 'go run github.com/gptctl/gptctl/internal/kernel/amx/emulate' ./internal/kernel
//
// It traces the program (Linux on amd64 only), and performs each AMX instruction
// at which the processor stops, from the bytes of the instruction and Intel's
// description alone: nothing is shared with the assembly that it tests. It is
// for correctness; an instruction takes some microseconds. With EMULATE_REPORT=1
// it says on stderr at the end what it performed.
package main
