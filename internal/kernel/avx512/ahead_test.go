//go:build amd64 && !noasm

package avx512

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// MultiplyAhead gives the bits of Multiply, whatever it asks for.
func TestMultiplyAhead(t *testing.T) {
	if x := &cpu.X86; !x.HasAVX512F || !x.HasAVX512BW || !x.HasAVX512DQ || !x.HasAVX512VL {
		t.Skip("no AVX-512")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = rng.Float32() - 0.5
		}
		return v
	}
	for mr := range MR + 1 {
		for k := range 75 {
			for _, load := range []bool{false, true} {
				lda, ldc := k+3, NR+1
				a, b, c := random(mr*lda+1), random(k*NR+1), random(mr*ldc+1)
				want, before := append([]float32(nil), c...), append([]float32(nil), c...)
				Multiply(want, ldc, a, lda, b, NR, mr, k, load)
				h := generic.Ahead{Y: &c[0], LDY: uintptr(ldc * 4), A: &a[0], B: &tensor.Bytes(b)[0], Step: uintptr(k)}
				MultiplyAhead(c, ldc, a, lda, b, mr, k, load, &h)
				for i := range c {
					if c[i] != want[i] {
						t.Fatalf("%d rows, k %d, load %v: element %d is %v, want %v", mr, k, load, i, c[i], want[i])
					}
				}
				for _, bias := range [][]float32{nil, random(NR + 1)[1:]} {
					for _, add := range []bool{false, true} {
						c, y := append([]float32(nil), before...), random(mr*(NR+3) + 1)[1:]
						end := generic.End{Out: y, LD: NR + 3, Bias: bias, Add: add}
						wanted := end
						wanted.Out = append([]float32(nil), y...)
						wanted.Rows(append([]float32(nil), want...), ldc, mr, NR, generic.Add)
						h.End = &end
						MultiplyAhead(c, ldc, a, lda, b, mr, k, load, &h)
						for i := range y {
							if y[i] != wanted.Out[i] {
								t.Fatalf("%d rows, k %d, load %v, bias %v, add %v: element %d is %v, want %v", mr, k, load, bias != nil, add, i, y[i], wanted.Out[i])
							}
						}
					}
				}
				// Nothing at all.
				MultiplyAhead(c, ldc, a, lda, b, mr, k, load, &generic.Ahead{})
			}
		}
	}
}

// So does MultiplyPairsAhead those of MultiplyPairs.
func TestMultiplyPairsAhead(t *testing.T) {
	if x := &cpu.X86; !x.HasAVX512BF16 || !x.HasAVX512BW || !x.HasAVX512DQ || !x.HasAVX512VL {
		t.Skip("no AVX512_BF16")
	}
	rng := rand.New(rand.NewPCG(3, 4))
	random := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = rng.Float32() - 0.5
		}
		return v
	}
	for i := range 2 * 75 * (MR + 1) {
		mr, k, load := i/2%(MR+1), i/2/(MR+1), i%2 > 0
		lda, ldc, ldy := k+3, NR+1, NR+3
		a, b, c := make([]uint32, mr*lda+1), make([]uint32, k*NR+1), random(mr*ldc+1)
		RoundPairs(a, random(2*len(a)))
		RoundPairs(b, random(2*len(b)))
		want, before := append([]float32(nil), c...), append([]float32(nil), c...)
		MultiplyPairs(want, ldc, a, lda, b, mr, k, load)
		h := generic.Ahead{Y: &c[0], LDY: uintptr(ldc * 4), A: &c[0], B: (*byte)(unsafe.Pointer(&b[0])), Step: uintptr(k)}
		MultiplyPairsAhead(c, ldc, a, lda, b, mr, k, load, &h)
		for i := range c {
			if c[i] != want[i] {
				t.Fatalf("%d rows, k %d, load %v: element %d is %v, want %v", mr, k, load, i, c[i], want[i])
			}
		}
		for _, bias := range [][]float32{nil, random(NR + 1)[1:]} {
			for _, add := range []bool{false, true} {
				c, y := append([]float32(nil), before...), random(mr*ldy + 1)[1:]
				h.End = &generic.End{Out: y, LD: ldy, Bias: bias, Add: add}
				wanted := *h.End
				wanted.Out = append([]float32(nil), y...)
				wanted.Rows(append([]float32(nil), want...), ldc, mr, NR, generic.Add)
				MultiplyPairsAhead(c, ldc, a, lda, b, mr, k, load, &h)
				for i := range y {
					if y[i] != wanted.Out[i] {
						t.Fatalf("%d rows, k %d, load %v, bias %v, add %v: element %d is %v, want %v", mr, k, load, bias != nil, add, i, y[i], wanted.Out[i])
					}
				}
			}
		}
	}
}
