package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// A product of a few rows is bit for bit that of a fused sum, whatever lies
// behind the rows.
func TestTwinFew(t *testing.T) {
	assembly(t, func(t *testing.T, o, _ *ops) {
		if o.fewBlocks == nil {
			t.Skip("the family has no products of a few rows")
		}
		rng := rand.New(rand.NewPCG(55, 56))
		work := alignedBytes(generic.FewWork)
		for _, d := range quantTypes {
			for n := 1; n < 12; n++ {
				for rows := 1; rows <= generic.FewRows; rows++ {
					pairs := 1 + (n+rows)%3
					for i := range work {
						work[i] = byte(rng.Uint32())
					}
					w := packedRandom(t, rng, n*tensor.QuantBlock, 2*pairs*panelOuts, d)
					x := random(rng, rows*n*tensor.QuantBlock)
					if rows%3 == 0 {
						spoil(rng, x)
					}
					blocks := make([]generic.Block, generic.FewRows*n)
					generic.Quantize(blocks[:rows*n], x, d)
					for i := range blocks[rows*n:] {
						blocks[rows*n+i].Scale = float32(math.NaN())
					}
					// The second run begins in the middle: where a row of y ends, the next begins.
					cols := 2 * pairs * panelOuts
					ld := cols + rows%3
					y := guardedFloats(t, random(rng, rows*ld-rows%3))
					before := append([]float32(nil), y...)
					bias := guardedFloats(t, random(rng, cols))
					half := len(w.Data) / 2
					p := generic.FewProduct{
						DType: d, Y0: y, Y1: y[cols/2:], LDY: ld, X: blocks, Rows: rows, W0: w.Data[:half], W1: w.Data[half:], Pairs: pairs,
						Add: n%2 == 0, Work: work,
					}
					if n%3 > 0 {
						p.Bias0, p.Bias1 = bias[:cols/2], bias[cols/2:]
					}
					o.fewBlocks(&p)
					odd := false
					for r := range rows {
						want := fusedProducts(d, blocks[r*n:][:n], w.Data, 2*pairs)
						if p.Bias0 != nil {
							generic.Add(want, bias)
						}
						if p.Add {
							generic.Add(want, before[r*ld:][:cols])
						}
						for _, v := range want {
							odd = odd || v*0 != 0
						}
						if i := sameNumbers(y[r*ld:][:cols], want); i >= 0 {
							t.Fatalf("%v, %d blocks, %d pairs, row %d of %d, output %d: got %v, want %v", d, n, pairs, r, rows, i, y[r*ld+i], want[i])
						}
					}
					if p.Odd != odd {
						t.Fatalf("%v, %d blocks, %d pairs, %d rows: not finite %v, want %v", d, n, pairs, rows, p.Odd, odd)
					}
				}
			}
		}
	})
}

// A product tells that all results are finite only if they are.
func TestFiniteProduct(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		rng := rand.New(rand.NewPCG(57, 58))
		for name, o := range streamVariants(c.ops) {
			c.ops = o
			for _, d := range append([]tensor.DType{tensor.F32, tensor.BF16}, quantTypes...) {
				for _, out := range []int{1, 16, 50, 325} {
					t.Run(fmt.Sprintf("%s/%v/%d", name, d, out), func(t *testing.T) { finiteProducts(t, rng, c, d, out) })
				}
			}
		}
	})
}

func finiteProducts(t *testing.T, rng *rand.Rand, c *CPU, d tensor.DType, out int) {
	const in = 64
	for i, w := range randomWeights(t, rng, c, d, random(rng, in*out), in, out) {
		for rows := 1; rows <= fewRows; rows++ {
			tells := d.IsFloat() || c.ops.streamed(rows, w) || c.ops.fours(rows, w)
			for _, odd := range []int{-1, 0, rows - 1} {
				x, y, finite := random(rng, rows*in), make([]float32, rows*out), true
				if odd >= 0 {
					x[odd*in+rng.IntN(in)] = float32(math.Inf(-1))
				}
				c.Linear(y, x, rows, w, Epilogue{Finite: &finite})
				if finite && odd >= 0 || !finite && odd < 0 && tells {
					t.Fatalf("form %d, row %d of %d is odd: finite %v", i, odd, rows, finite)
				}
			}
		}
	}
}
