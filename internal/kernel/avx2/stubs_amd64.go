//go:build !noasm

package avx2

// The micro-kernel's tile: MR rows by NR columns.
const (
	MR = 6
	NR = 16
)

//go:noescape
func accumulate8F32(y, x *float32, w *byte, stride uintptr, n int)

//go:noescape
func accumulate8F16(y, x *float32, w *byte, stride uintptr, n int)

//go:noescape
func accumulate8BF16(y, x *float32, w *byte, stride uintptr, n int)

//go:noescape
func accumulate1F32(y *float32, x float32, w *byte, n int)

//go:noescape
func accumulate1F16(y *float32, x float32, w *byte, n int)

//go:noescape
func accumulate1BF16(y *float32, x float32, w *byte, n int)

//go:noescape
func accumulateRowsF32(y *float32, ldy uintptr, x *float32, ldx uintptr, rows int, w *byte, stride uintptr, n int)

//go:noescape
func accumulateRowsF16(y *float32, ldy uintptr, x *float32, ldx uintptr, rows int, w *byte, stride uintptr, n int)

//go:noescape
func accumulateRowsBF16(y *float32, ldy uintptr, x *float32, ldx uintptr, rows int, w *byte, stride uintptr, n int)

//go:noescape
func packRowF32(dst *float32, src *byte, n int, panel, ahead uintptr)

//go:noescape
func packRowF16(dst *float32, src *byte, n int, panel, ahead uintptr)

//go:noescape
func packRowBF16(dst *float32, src *byte, n int, panel, ahead uintptr)

//go:noescape
func multiply6(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)

//go:noescape
func multiply3(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)

//go:noescape
func multiply1(c *float32, ldc uintptr, a *float32, lda uintptr, b *float32, ldb uintptr, k int, load bool)

//go:noescape
func transpose8(dst *float32, ldd uintptr, src *float32, stride uintptr)

//go:noescape
func dot23F32(y *float32, ldy uintptr, x *float32, ldx uintptr, w *byte, stride uintptr, n int, xt, wt *float32)

//go:noescape
func dot23F16(y *float32, ldy uintptr, x *float32, ldx uintptr, w *byte, stride uintptr, n int, xt, wt *float32)

//go:noescape
func dot23BF16(y *float32, ldy uintptr, x *float32, ldx uintptr, w *byte, stride uintptr, n int, xt, wt *float32)

//go:noescape
func dot41F32(y *float32, ldy uintptr, x *float32, w *byte, stride uintptr, n int, xt, wt *float32)

//go:noescape
func dot41F16(y *float32, ldy uintptr, x *float32, w *byte, stride uintptr, n int, xt, wt *float32)

//go:noescape
func dot41BF16(y *float32, ldy uintptr, x *float32, w *byte, stride uintptr, n int, xt, wt *float32)

//go:noescape
func dot11F32(y, x *float32, w *byte, n int, xt, wt *float32)

//go:noescape
func dot11F16(y, x *float32, w *byte, n int, xt, wt *float32)

//go:noescape
func dot11BF16(y, x *float32, w *byte, n int, xt, wt *float32)

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

//go:noescape
func read(p *byte, n int) float32

//go:noescape
func readTwo(p *byte, n int) float32

func peak(n int)
