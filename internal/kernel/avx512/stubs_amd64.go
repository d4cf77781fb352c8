//go:build !noasm

package avx512

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
)

// The micro-kernel's tile: MR rows by NR columns.
const (
	MR = 12
	NR = 32
)

//go:noescape
func stream8F32(y *float32, x unsafe.Pointer, w *byte, stride uintptr, n int, ahead uintptr)

//go:noescape
func stream8F16(y *float32, x unsafe.Pointer, w *byte, stride uintptr, n int, ahead uintptr)

//go:noescape
func stream8BF16(y *float32, x unsafe.Pointer, w *byte, stride uintptr, n int, ahead uintptr)

//go:noescape
func stream8Pairs(y *float32, x unsafe.Pointer, w *byte, stride uintptr, n int, ahead uintptr)

//go:noescape
func packRowF32(dst *float32, src *byte, n int, panel, ahead uintptr)

//go:noescape
func packRowF16(dst *float32, src *byte, n int, panel, ahead uintptr)

//go:noescape
func packRowBF16(dst *float32, src *byte, n int, panel, ahead uintptr)

//go:noescape
func multiply12(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)

//go:noescape
func multiply12Ahead(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, k int, load bool, h *generic.Ahead)

//go:noescape
func multiply8(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)

//go:noescape
func multiply4(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)

//go:noescape
func multiply1(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)

//go:noescape
func transpose16(dst *float32, ldd uintptr, src *float32, stride uintptr, rows, cols int)

//go:noescape
func add(y, x *float32, n int)

//go:noescape
func scale(y *float32, a float32, n int)

//go:noescape
func sum(x *float32, n int) float32

//go:noescape
func sumSquares(x *float32, mean float32, n int) float32

//go:noescape
func normalize(y, x, gain, bias *float32, mean, rstd float32, n int)

//go:noescape
func scaleMax(s *float32, a float32, n int) float32

//go:noescape
func expSum(s *float32, m float32, n int) float32

//go:noescape
func gate(x *float32, a, b float32, n int)

func peak(n int)

//go:noescape
func read(p *byte, n int) float32

//go:noescape
func readOne(p *byte, n int) float32

//go:noescape
func readFourAhead(p *byte, n int) float32

//go:noescape
func readTwo(p *byte, n int) float32

//go:noescape
func readTwoAhead(p *byte, n int) float32
