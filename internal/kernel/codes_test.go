package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/tensor"
)

// A layer that hands on codes has the bits of one that hands on numbers.
func TestCodes(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		for _, d := range quantTypes {
			counts := []int{75}
			for rows := 1; rows <= fewRows+3; rows++ {
				counts = append(counts, rows)
			}
			for _, rows := range counts {
				if !c.TakesCodes(rows, d) {
					continue
				}
				for _, s := range []struct{ heads, inner int }{{1, 32}, {3, 64}, {2, 352}, {6, 3072}} {
					t.Run(fmt.Sprintf("%v/%d/%d", d, rows, s.inner), func(t *testing.T) { codesCase(t, c, d, rows, s.heads, s.inner) })
				}
			}
		}
	})
}

func codesCase(t *testing.T, c *CPU, d tensor.DType, rows, heads, inner int) {
	rng := rand.New(rand.NewPCG(uint64(rows), uint64(inner)))
	const dim, tokens = 32, 40
	width := heads * dim
	codes := func(width int) Codes {
		q := Codes{d, NewBlocks(CodeBlocks(rows, width))}
		for i := range q.Blocks {
			q.Blocks[i].Q[i%32], q.Blocks[i].Scale = 77, 1e30
		}
		return q
	}
	equal := func(what string, got, want []float32) {
		t.Helper()
		if at := same(got, want); at >= 0 {
			t.Fatalf("%s: element %d is %v, want %v", what, at, got[at], want[at])
		}
	}

	// x → norm → up → activation → down, with a residual.
	x, gain, bias := random(rng, rows*width), random(rng, width), random(rng, width)
	up, down := packedRandom(t, rng, width, inner, d), packedRandom(t, rng, inner, width, d)
	first, second := Epilogue{Bias: random(rng, inner), Activation: GELUTanh}, Epilogue{Bias: random(rng, width), Add: true}
	norm, mid, want := make([]float32, rows*width), make([]float32, rows*inner), append([]float32(nil), x...)
	c.LayerNorm(norm, x, gain, bias, rows, width, 1e-5)
	c.Linear(mid, norm, rows, up, first)
	c.Linear(want, mid, rows, down, second)

	q, got := codes(width), append([]float32(nil), x...)
	c.LayerNormCodes(q, x, gain, bias, rows, width, 1e-5)
	first.Codes = codes(inner)
	c.LinearCodes(nil, q, rows, up, first)
	c.LinearCodes(got, first.Codes, rows, down, second)
	equal("product of codes", got, want)

	if rows > fewRows {
		return
	}
	// Attention of single rows, and of rows of one text.
	s := AttentionShape{heads, dim, tensor.F16, 0.3, false}
	qkv, w := random(rng, rows*3*width), packedRandom(t, rng, width, 48, d)
	for _, single := range []bool{true, false} {
		all := make([]AttentionRow, rows)
		one := newCache(t, s, tokens+rows, random(rng, tokens*3*width))
		for r := range all {
			if all[r] = one.at(tokens + 1 + r); single {
				all[r] = newCache(t, s, tokens+1, random(rng, (tokens-r)*3*width)).at(tokens - r + 1)
			}
		}
		out, want, got := make([]float32, rows*width), make([]float32, rows*48), make([]float32, rows*48)
		c.Attention(out, qkv, all, s)
		c.Linear(want, out, rows, w, Epilogue{})
		q, room := codes(width), make([]float32, rows*width)
		c.AttentionCodes(q, room, QKV{Floats: qkv}, all, s)
		c.LinearCodes(got, q, rows, w, Epilogue{})
		equal("attention", got, want)
	}
}

// Queries, keys and values that come as codes give the bits of those that come as numbers:
// of several texts, of one row and of many.
func TestQKVCodes(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		if !c.QKVCodes() {
			t.Skip("the family takes only numbers")
		}
		rng := rand.New(rand.NewPCG(59, 60))
		for _, dim := range []int{32, 64, 96} {
			s := AttentionShape{2, dim, tensor.Q8_0, 0.3, false}
			width := s.Heads * dim
			for _, texts := range [][]int{{1}, {2}, {1, 40, 1}, {33, 17}, {3, 1, 5}} {
				var numbers, codes []AttentionRow
				for _, n := range texts {
					before := rng.IntN(40)
					qkv := random(rng, before*3*width)
					a, b := newCache(t, s, before+n, qkv), newCache(t, s, before+n, qkv)
					for i := range n {
						numbers, codes = append(numbers, a.at(before+i+1)), append(codes, b.at(before+i+1))
					}
				}
				rows := len(numbers)
				qkv := random(rng, rows*3*width)
				want, got := make([]float32, rows*width), make([]float32, rows*width)
				c.Attention(want, qkv, numbers, s)
				q := NewBlocks(CodeBlocks(rows, 3*width))
				c.ops.quantize(q[:rows*3*width/tensor.QuantBlock], qkv, tensor.Q8_0)
				c.AttentionTiles(nil, got, QKV{Codes: q}, codes, s)
				if i := same(got, want); i >= 0 {
					t.Fatalf("heads of %d, texts %v: element %d is %v, want %v", dim, texts, i, got[i], want[i])
				}
			}
		}
	})
}
