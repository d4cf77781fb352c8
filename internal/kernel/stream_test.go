package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// streams runs f with each family, and with its kernels for the other maker's
// processors.
func streams(t *testing.T, f func(t *testing.T, o *ops)) {
	assembly(t, func(t *testing.T, o, _ *ops) {
		for name, o := range streamVariants(o) {
			t.Run(name, func(t *testing.T) { f(t, o) })
		}
	})
}

func TestTwinStream(t *testing.T) {
	streams(t, func(t *testing.T, o *ops) {
		if o.stream == nil {
			t.Skip("the family has no kernel for streams")
		}
		rng := rand.New(rand.NewPCG(51, 52))
		for depth := range 70 {
			for _, d := range weightTypes {
				x := guardedFloats(t, random(rng, depth))
				v := random(rng, 2*depth*panelCols)
				if depth%3 == 0 {
					special(rng, v)
				}
				w := encode(t, d, v)
				w0, w1 := w[:len(w)/2], w[len(w)/2:]
				y := random(rng, 2*panelCols)
				got := guardedFloats(t, y)
				o.stream(d, got[:panelCols], got[panelCols:], x, w0, w1, depth)
				generic.Stream(d, y[:panelCols], y[panelCols:], x, w0, w1, depth)
				near(t, d.String(), got, y, 2e-5)

				if d != tensor.BF16 || o.pairs == nil {
					continue
				}
				p := make([]uint32, (depth+1)/2)
				generic.RoundPairs(p, x)
				p = guardedPairs(t, p)
				got = guardedFloats(t, random(rng, 2*panelCols))
				copy(y, got)
				o.pairs.stream(got[:panelCols], got[panelCols:], p, w0, w1, depth)
				generic.StreamPairs(y[:panelCols], y[panelCols:], p, w0, w1, depth)
				near(t, "pairs", got, y, 0)
			}
		}
	})
}

func TestTwinStreamBlocks(t *testing.T) {
	streams(t, func(t *testing.T, o *ops) {
		if o.streamBlocks == nil {
			t.Skip("the family has no kernel for streams")
		}
		rng := rand.New(rand.NewPCG(53, 54))
		for n := range 40 {
			for _, d := range quantTypes {
				w := packedRandom(t, rng, n*tensor.QuantBlock, 2*panelOuts, d)
				x := random(rng, n*tensor.QuantBlock)
				if n%3 == 1 {
					spoil(rng, x)
				}
				blocks := make([]generic.Block, n)
				generic.Quantize(blocks, x, d)
				want := fusedProducts(d, blocks, w.Data, 2)
				y0, y1 := guardedFloats(t, random(rng, panelOuts)), guardedFloats(t, random(rng, panelOuts))
				o.streamBlocks(d, y0, y1, blocks, w.Data[:len(w.Data)/2], w.Data[len(w.Data)/2:])
				if i := sameNumbers(append(append([]float32(nil), y0...), y1...), want); i >= 0 {
					t.Fatalf("%v, %d blocks: output %d differs", d, n, i)
				}
			}
		}
	})
}
