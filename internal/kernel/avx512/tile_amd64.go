//go:build !noasm

package avx512

import "unsafe"

//go:noescape
func tile12F32(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile8F32(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile4F32(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile1F32(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile12F16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile8F16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile4F16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile1F16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile12BF16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile8BF16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile4BF16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile1BF16(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile12Pairs(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile8Pairs(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile4Pairs(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile1Pairs(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile12Panel(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile8Panel(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile4Panel(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)

//go:noescape
func tile1Panel(c *float32, ldc uintptr, a unsafe.Pointer, lda uintptr, w *byte, stride uintptr, k, cols int, ahead uintptr)
