//go:build amd64 && !noasm

package avx512

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"golang.org/x/sys/cpu"

	"github.com/gptctl/gptctl/internal/kernel/generic"
)

// MultiplyAhead gives the bits of Multiply, whatever it asks for.
func TestMultiplyAhead(t *testing.T) {
	if x := &cpu.X86; !x.HasAVX512F || !x.HasAVX512BW || !x.HasAVX512DQ || !x.HasAVX512VL {
		t.Skip("no AVX-512")
	}
	multiply := func(c []float32, ldc int, a []float32, lda int, b []float32, mr, k int, load bool) {
		Multiply(c, ldc, a, lda, b, NR, mr, k, load)
	}
	checkAhead(t, randomFloats, multiply, MultiplyAhead)
}

// So does MultiplyPairsAhead those of MultiplyPairs.
func TestMultiplyPairsAhead(t *testing.T) {
	if x := &cpu.X86; !x.HasAVX512BF16 || !x.HasAVX512BW || !x.HasAVX512DQ || !x.HasAVX512VL {
		t.Skip("no AVX512_BF16")
	}
	pairs := func(rng *rand.Rand, n int) []uint32 {
		v := make([]uint32, n)
		RoundPairs(v, randomFloats(rng, 2*n))
		return v
	}
	checkAhead(t, pairs, MultiplyPairs, MultiplyPairsAhead)
}

func randomFloats(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = rng.Float32() - 0.5
	}
	return v
}

// checkAhead compares products of all numbers of rows and some depths, as they are and as
// the results of a layer.
func checkAhead[N float32 | uint32](t *testing.T, numbers func(rng *rand.Rand, n int) []N,
	multiply func(c []float32, ldc int, a []N, lda int, b []N, mr, k int, load bool),
	ahead func(c []float32, ldc int, a []N, lda int, b []N, mr, k int, load bool, h *generic.Ahead)) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 2 * 75 * (MR + 1) {
		mr, k, load := i/2%(MR+1), i/2/(MR+1), i%2 > 0
		lda, ldc, ldy := k+3, NR+1, NR+3
		a, b, c := numbers(rng, mr*lda+1), numbers(rng, k*NR+1), randomFloats(rng, mr*ldc+1)
		want, before := append([]float32(nil), c...), append([]float32(nil), c...)
		multiply(want, ldc, a, lda, b, mr, k, load)
		h := generic.Ahead{Y: &c[0], LDY: uintptr(ldc * 4), A: &c[0], B: (*byte)(unsafe.Pointer(&b[0])), Step: uintptr(k)}
		ahead(c, ldc, a, lda, b, mr, k, load, &h)
		for i := range c {
			if c[i] != want[i] {
				t.Fatalf("%d rows, k %d, load %v: element %d is %v, want %v", mr, k, load, i, c[i], want[i])
			}
		}
		for _, bias := range [][]float32{nil, randomFloats(rng, NR+1)[1:]} {
			for _, add := range []bool{false, true} {
				c, y := append([]float32(nil), before...), randomFloats(rng, mr*ldy+1)[1:]
				h.End = &generic.End{Out: y, LD: ldy, Bias: bias, Add: add}
				wanted := *h.End
				wanted.Out = append([]float32(nil), y...)
				wanted.Rows(append([]float32(nil), want...), ldc, mr, NR, generic.Add)
				ahead(c, ldc, a, lda, b, mr, k, load, &h)
				for i := range y {
					if y[i] != wanted.Out[i] {
						t.Fatalf("%d rows, k %d, load %v, bias %v, add %v: element %d is %v, want %v", mr, k, load, bias != nil, add, i, y[i], wanted.Out[i])
					}
				}
			}
		}
		ahead(c, ldc, a, lda, b, mr, k, load, &generic.Ahead{}) // asks for nothing at all
	}
}
