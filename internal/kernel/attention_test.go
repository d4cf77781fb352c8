package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// attend is attention written from its definition.
func attend(q []float32, ldq int, rows []AttentionRow, heads, dim int, scale float32) []float64 {
	out := make([]float64, len(rows)*heads*dim)
	for r, row := range rows {
		for h := range heads {
			base := h * row.Cap * dim
			p := make([]float64, row.Len)
			largest, sum := math.Inf(-1), 0.0
			for t := range p {
				for d := range dim {
					p[t] += float64(q[r*ldq+h*dim+d]) * float64(row.K[base+t*dim+d])
				}
				p[t] *= float64(scale)
				largest = math.Max(largest, p[t])
			}
			for t := range p {
				p[t] = math.Exp(p[t] - largest)
				sum += p[t]
			}
			for t := range p {
				for d := range dim {
					out[(r*heads+h)*dim+d] += p[t] / sum * float64(row.V[base+t*dim+d])
				}
			}
		}
	}
	return out
}

func TestAttention(t *testing.T) {
	type shape struct{ heads, dim, tokens int }
	shapes := []shape{{1, 1, 1}, {2, 3, 40}, {3, 16, 70}, {2, 21, 33}, {2, 32, 65}, {3, 64, 131}, {1, 80, 50}, {1, 5, 2000}}
	if testing.Short() {
		shapes = shapes[:5]
	}
	eachFamily(t, func(t *testing.T, c *CPU) {
		alone := newCPU(t, c.Family(), 1)
		for _, s := range shapes {
			t.Run(fmt.Sprintf("%dx%d/%d", s.heads, s.dim, s.tokens), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(s.dim), uint64(s.tokens)))
				limit := s.tokens + 3
				width := s.heads * s.dim
				ldq := width + 5
				k, v := random(rng, limit*width), random(rng, limit*width)
				k2, v2 := random(rng, limit*width), random(rng, limit*width)
				// What lies behind a row's length must not matter, whatever it is.
				for h := range s.heads {
					for i := s.tokens * s.dim; i < limit*s.dim; i++ {
						k[h*limit*s.dim+i] = float32(math.NaN())
						v[h*limit*s.dim+i] = float32(math.Inf(1))
					}
				}
				var rows []AttentionRow
				for i := max(0, s.tokens-60); i < s.tokens; i++ {
					rows = append(rows, AttentionRow{K: k, V: v, Cap: limit, Len: i + 1})
				}
				for i := range 5 {
					rows = append(rows, AttentionRow{K: k2, V: v2, Cap: limit, Len: 1 + i*7%s.tokens})
				}
				q := random(rng, len(rows)*ldq)
				scale := float32(1 / math.Sqrt(float64(s.dim)))
				out := make([]float32, len(rows)*width)
				c.Attention(out, q, ldq, rows, s.heads, s.dim, scale)
				if e := distance(out, attend(q, ldq, rows, s.heads, s.dim, scale)); !(e < 1e-6) {
					t.Errorf("off by %g", e)
				}
				for _, cpu := range []*CPU{c, alone} {
					for _, n := range []int{1, 2, 7, 13} {
						for first := 0; first+n <= len(rows); first += n + 2 {
							part := make([]float32, n*width)
							cpu.Attention(part, q[first*ldq:], ldq, rows[first:first+n], s.heads, s.dim, scale)
							if at := same(part, out[first*width:]); at >= 0 {
								t.Fatalf("rows %d+%d: element %d differs from the whole", first, n, at)
							}
						}
					}
				}
			})
		}
	})
}

// A NaN key or value reaches those rows that attend to it, and no others.
func TestAttentionNaN(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		const dim, tokens, bad = 64, 50, 37
		rng := rand.New(rand.NewPCG(1, 2))
		for _, inKey := range []bool{true, false} {
			k, v, q := random(rng, tokens*dim), random(rng, tokens*dim), random(rng, tokens*dim)
			if inKey {
				k[bad*dim+3] = float32(math.NaN())
			} else {
				v[bad*dim+3] = float32(math.NaN())
			}
			rows := make([]AttentionRow, tokens)
			for i := range rows {
				rows[i] = AttentionRow{K: k, V: v, Cap: tokens, Len: i + 1}
			}
			out := make([]float32, tokens*dim)
			c.Attention(out, q, dim, rows, 1, dim, 0.125)
			for r := range tokens {
				for d := range dim {
					want := r >= bad && (inKey || d == 3)
					if got := math.IsNaN(float64(out[r*dim+d])); got != want {
						t.Fatalf("NaN in key %v: row %d element %d: NaN %v, want %v", inKey, r, d, got, want)
					}
				}
			}
		}
	})
}

func TestAttentionOfNothing(t *testing.T) {
	c := newCPU(t, "", 2)
	out := []float32{1, 2}
	c.Attention(out, []float32{1, 2}, 2, []AttentionRow{{}}, 1, 2, 1)
	if out[0] != 0 || out[1] != 0 {
		t.Errorf("row of length zero: got %v, want zeros", out)
	}
}
