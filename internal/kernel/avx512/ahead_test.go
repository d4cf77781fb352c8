//go:build amd64 && !noasm

package avx512

import (
	"math/rand/v2"
	"testing"

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
				want := append([]float32(nil), c...)
				Multiply(want, ldc, a, lda, b, NR, mr, k, load)
				h := generic.Ahead{Y: &c[0], LDY: uintptr(ldc * 4), A: &a[0], B: &tensor.Bytes(b)[0], Step: uintptr(k)}
				MultiplyAhead(c, ldc, a, lda, b, mr, k, load, &h)
				for i := range c {
					if c[i] != want[i] {
						t.Fatalf("%d rows, k %d, load %v: element %d is %v, want %v", mr, k, load, i, c[i], want[i])
					}
				}
				// Nothing at all.
				MultiplyAhead(c, ldc, a, lda, b, mr, k, load, &generic.Ahead{})
			}
		}
	}
}
