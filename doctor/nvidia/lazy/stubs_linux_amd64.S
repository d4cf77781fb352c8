//go:build linux && cgo && amd64

// The functions take whole numbers and pointers only, in the registers of the
// System V ABI, of which the look-up may change all; what lies on the stack stays.

	.text
	.type gptctl_nvml_call, @function
gptctl_nvml_call: // name in r11
	push %rbp
	mov %rsp, %rbp
	push %rdi
	push %rsi
	push %rdx
	push %rcx
	push %r8
	push %r9
	mov %r11, %rdi
	call gptctl_nvml_find
	mov %rax, %r11
	pop %r9
	pop %r8
	pop %rcx
	pop %rdx
	pop %rsi
	pop %rdi
	pop %rbp
	jmp *%r11

	.macro STUB name
	.globl \name
	.hidden \name
	.type \name, @function
\name:
	lea .Lname\@(%rip), %r11
	jmp gptctl_nvml_call
	.section .rodata.nvml, "a", @progbits
.Lname\@:
	.asciz "\name"
	.text
	.endm

#include "symbols.h"

	.section .note.GNU-stack, "", @progbits
