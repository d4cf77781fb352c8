package kernel

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

func TestTwinScores(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		rng := rand.New(rand.NewPCG(15, 16))
		for _, d := range kvTypes {
			for dim := range 70 {
				for _, panels := range []int{0, 1, 3} {
					v := random(rng, panels*dim*KVPanel)
					if panels == 3 {
						special(rng, v)
					}
					k, q := encode(t, d, v), guardedFloats(t, random(rng, dim))
					got := guardedFloats(t, random(rng, panels*KVPanel))
					want := make([]float32, panels*KVPanel)
					o.scores(d, got, q, k, panels, dim, nil)
					g.scores(d, want, q, k, panels, dim, nil)
					near(t, d.String(), got, want, 2e-5)
				}
			}
		}
	})
}

// Scores of keys that lie by rows have the bits of those in panels.
func TestTwinScoreRows(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		if o.scoreRows == nil {
			t.Skip("the family has none")
		}
		rng := rand.New(rand.NewPCG(23, 24))
		for _, d := range kvTypes[1:] {
			for dim := 0; dim <= 80; dim += 8 {
				for n := 1; n <= KVPanel; n++ {
					v := random(rng, KVPanel*dim)
					if n%3 == 0 {
						special(rng, v)
					}
					turned := make([]float32, len(v))
					for i := range KVPanel {
						for j := range dim {
							turned[j*KVPanel+i] = v[i*dim+j]
						}
					}
					rows, columns, q := encode(t, d, v), encode(t, d, turned), guardedFloats(t, random(rng, dim))
					got := guardedFloats(t, random(rng, KVPanel))
					want, twin := make([]float32, KVPanel), make([]float32, KVPanel)
					o.scoreRows(d, got, q, rows, n, dim, nil)
					o.scores(d, want, q, columns, 1, dim, nil)
					g.scoreRows(d, twin, q, rows, n, dim, nil)
					if at := same(got[:n], want[:n]); at >= 0 {
						t.Fatalf("%v, dim %d, key %d of %d: got %v, want %v", d, dim, at, n, got[at], want[at])
					}
					near(t, d.String(), got[:n], twin[:n], 2e-5)
				}
			}
		}
	})
}

// Single rows that come one after another, jump back or change with rows of other kinds
// leave keys that are whole in panels.
func TestKeysByRows(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		for _, d := range allKVTypes {
			s := AttentionShape{3, 64, d, 0.3, false}
			const tokens, width = 100, 3 * 64
			qkv := random(rand.New(rand.NewPCG(25, 26)), tokens*3*width)
			whole, parts := newCache(t, s, tokens, qkv), newCache(t, s, tokens, nil)
			want, got := make([]float32, tokens*width), make([]float32, tokens*width)
			part := func(cache *cache, out []float32, from, n int) {
				rows := make([]AttentionRow, n)
				for i := range rows {
					rows[i] = cache.at(from + i + 1)
				}
				c.Attention(out[from*width:], qkv[from*3*width:], rows, s)
			}
			for i := range tokens {
				part(whole, want, i, 1)
			}
			for _, p := range [][2]int{{0, 5}, {5, 1}, {6, 1}, {3, 1}, {4, 1}, {5, 1}, {6, 1}, {7, 10}, {17, 1}, {18, 13}, {31, 1}, {32, 1}, {33, 1}, {30, 1}, {31, 1}, {32, 1}, {33, 7}} {
				part(parts, got, p[0], p[1])
			}
			for i := 40; i < tokens; i++ {
				part(parts, got, i, 1)
			}
			for _, cache := range []*cache{whole, parts} {
				c.InPanels(cache.row, s)
				for h, p := range cache.row.ByRows {
					if p >= 0 {
						t.Errorf("%v: head %d has panel %d by rows", d, h, p)
					}
				}
			}
			if at := same(got, want); at >= 0 {
				t.Errorf("%v: element %d of position %d differs", d, at%width, at/width)
			}
			full := newCache(t, s, tokens, qkv)
			for i, cache := range []*cache{whole, parts} {
				// The rest of the last panel does not matter.
				if n := 96 * d.Bytes(64); !bytes.Equal(cache.row.K[:n], full.row.K[:n]) || !bytes.Equal(cache.row.V, full.row.V) {
					t.Errorf("%v: keys or values %d are not what was stored", d, i)
				}
			}
		}
	})
}

// Asking for what is next changes nothing, whatever is asked for.
func TestAttentionAsks(t *testing.T) {
	assembly(t, func(t *testing.T, o, _ *ops) {
		rng := rand.New(rand.NewPCG(31, 32))
		const panels, dim = 5, 64
		for _, d := range kvTypes {
			k, v := encode(t, d, random(rng, panels*KVPanel*dim)), encode(t, d, random(rng, panels*KVPanel*dim))
			q, p := guardedFloats(t, random(rng, dim)), guardedFloats(t, random(rng, panels*KVPanel))
			for n := 1; n <= panels; n++ {
				for _, bytes := range []int{0, 100, 128, 640, 4096, len(k)} {
					var got, want [2][]float32
					for i, all := range []*[2][]float32{&got, &want} {
						var a *generic.Asks
						if i == 0 {
							a = &generic.Asks{K: k[:bytes], V: v[:bytes]}
						}
						all[0], all[1] = make([]float32, n*KVPanel), make([]float32, dim)
						if o.scoreRows != nil && d != tensor.F32 {
							o.scoreRows(d, all[0], q, k, KVPanel, dim, a)
						}
						o.scores(d, all[0], q, k, n, dim, a)
						o.values(d, all[1], p[:n*KVPanel-3], v, dim, a)
					}
					if same(got[0], want[0]) >= 0 || same(got[1], want[1]) >= 0 {
						t.Fatalf("%v, %d panels, %d bytes asked for: other bits", d, n, bytes)
					}
				}
			}
		}
	})
}

func TestTwinValues(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		rng := rand.New(rand.NewPCG(17, 18))
		for _, d := range kvTypes {
			for dim := 0; dim <= 8*o.nr; dim += o.nr {
				for _, n := range []int{0, 1, 2, 7, 33} {
					v := random(rng, n*dim)
					if n == 7 {
						special(rng, v)
					}
					w, p := encode(t, d, v), guardedFloats(t, random(rng, n))
					want := random(rng, dim)
					got := guardedFloats(t, want)
					o.values(d, got, p, w, dim, nil)
					g.values(d, want, p, w, dim, nil)
					near(t, d.String(), got, want, 2e-5)
				}
			}
		}
	})
}

// Scores of codes have the bits of products of several rows.
func TestTwinCodeScores(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		if o.codeScores == nil {
			t.Skip("the family has none")
		}
		rng := rand.New(rand.NewPCG(37, 38))
		for n := 1; n <= 5; n++ {
			s := AttentionShape{1, 32 * n, tensor.Q8_0, 1, false}
			for panels := range 8 {
				k, b := guarded(t, panels*panelOuts*s.position()), make([]generic.Block, n)
				v := make([]byte, s.ValueBytes(panels*panelOuts))
				for pos := range panels * panelOuts {
					x := random(rng, s.HeadDim)
					if panels == 5 && pos%9 == 8 {
						special(rng, x)
					}
					generic.Quantize(b, x, s.DType)
					o.putPosition(k, v, b, b, pos)
				}
				x := make([]generic.Block, 2*n)
				generic.Quantize(x, random(rng, 2*s.HeadDim), s.DType)
				want, rows := make([]float32, panels*panelOuts), make([]float32, 2*panels*panelOuts)
				got := guardedFloats(t, random(rng, len(want)))
				o.codeScores(got, x[:n], k, panels, &generic.Asks{K: k, V: k})
				g.codeScores(want, x[:n], k, panels, nil)
				near(t, "scores", got, want, 2e-5)
				o.products(s.DType, rows, len(want), x, 2, k, panels)
				if at := same(got, rows[:len(want)]); at >= 0 {
					t.Fatalf("%d blocks, %d panels: score %d is %v, of two rows %v", n, panels, at, got[at], rows[at])
				}
			}
		}
	})
}

func TestTwinCodeValues(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		if o.codeValues == nil {
			t.Skip("the family has none")
		}
		rng := rand.New(rand.NewPCG(33, 34))
		for dim := 32; dim <= 160; dim += 32 {
			s := AttentionShape{1, dim, tensor.Q8_0, 1, false}
			for n := range 71 {
				w, k := guarded(t, s.ValueBytes(n)), make([]byte, s.KeyBytes(n))
				for i := range w {
					w[i] = 0xff // NaN, after the last
				}
				for pos := range n {
					b, v := make([]generic.Block, dim/32), random(rng, dim)
					if pos == n/2 && n%7 == 6 {
						special(rng, v)
					}
					generic.Quantize(b, v, s.DType)
					o.putPosition(k, w, b, b, pos)
				}
				p := guardedFloats(t, random(rng, n))
				for i, x := range p {
					switch p[i] = x * x; {
					case i/KVPanel == 1 && n%3 == 0: // next to nothing
						p[i] *= 0x1p-121
					case i == n-1 && n%7 == 5:
						p[i] = float32(math.Inf(1 - n%2))
					}
				}
				want := random(rng, dim)
				got := guardedFloats(t, want)
				next := generic.Asks{K: w, V: w}
				o.codeValues(got, p, w, dim, &next)
				g.codeValues(want, p, w, dim, nil)
				near(t, "values", got, want, 2e-5)
			}
		}
	})
}

// Heads of a single row have the bits of their parts, and nothing comes of what lies behind
// their positions.
func TestTwinCodeHeads(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		if o.codeHeads == nil {
			t.Skip("the family has none")
		}
		rng := rand.New(rand.NewPCG(41, 42))
		const dim, blocks, scale = generic.CodedHead, 2, 0.4
		for i := range 4 * 130 {
			n, odd := i%130, i/130 // odd: something is special among the queries, or keys and values
			s := AttentionShape{1 + rng.IntN(3), dim, tensor.Q8_0, scale, false}
			if i%13 == 0 {
				s.Heads = 17 + rng.IntN(4)
			}
			ld, limit := roundUp(n, KVPanel), n+rng.IntN(3)*KVPanel
			k, v := guarded(t, s.KeyBytes(limit)), guarded(t, s.ValueBytes(limit))
			for _, b := range [][]byte{k, v} {
				for j := range b {
					b[j] = [...]byte{0xff, 0x7b}[i%2] // after the last: NaN, or what is larger than the others
				}
			}
			step := len(k) / s.Heads
			q, key, value := make([]generic.Block, s.Heads*blocks), make([]generic.Block, blocks), make([]generic.Block, blocks)
			x := random(rng, s.Heads*dim)
			if odd == 1 {
				special(rng, x)
			}
			generic.Quantize(q, x, s.DType)
			for at := range s.Heads * n {
				h, pos := at/n, at%n
				for j, b := range [][]generic.Block{key, value} {
					x := random(rng, dim)
					if odd == 2+j && pos%37 == n%37 {
						special(rng, x)
					}
					generic.Quantize(b, x, s.DType)
				}
				g.putCodes(k[h*step:], v[h*step:], key, value, pos)
			}
			got, twin := guardedFloats(t, random(rng, s.Heads*dim)), random(rng, s.Heads*dim)
			for _, y := range [][]float32{got, twin} {
				a := generic.CodeHeads{
					Out: y, S: guardedFloats(t, random(rng, s.Heads*ld)), Q: q, K: k, V: v, StepK: step, StepV: step,
					N: n, Heads: s.Heads, Scale: scale, NextK: k[:min(len(k), 1)], NextV: v[:min(len(v), 1)],
				}
				if &y[0] == &got[0] {
					o.codeHeads(&a)
				} else {
					g.codeHeads(&a)
				}
			}
			for h := range s.Heads {
				parts := make([]float32, dim)
				if n > 0 {
					p, panels := make([]float32, ld), ceilDiv(n, panelOuts)
					o.codeScores(p, q[h*blocks:][:blocks], k[h*step:], panels, nil)
					sum := o.expSum(p[:n], o.scaleMax(p[:n], scale))
					o.codeValues(parts, p[:n], v[h*step:], dim, nil)
					o.scale(parts, 1/sum)
				}
				if at := same(got[h*dim:][:dim], parts); at >= 0 {
					t.Fatalf("%d positions, odd %d, head %d: result %d is %v, want %v", n, odd, h, at, got[h*dim+at], parts[at])
				}
			}
			near(t, "heads", got, twin, 1e-2) // weights may be rounded to another eighth bit
		}
	})
}

// Codes of a position are stored among those of others, which stay.
func TestTwinPutCodes(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		if o.putCodes == nil {
			t.Skip("the family has none")
		}
		rng := rand.New(rand.NewPCG(39, 40))
		const positions = 3 * KVPanel
		for n := range 6 {
			s := AttentionShape{1, 32 * n, tensor.Q8_0, 1, false}
			key, value := make([]generic.Block, n), make([]generic.Block, n)
			for pos := range positions {
				for _, b := range [][]generic.Block{key, value} {
					x := random(rng, s.HeadDim)
					if pos%5 == 0 {
						special(rng, x)
					}
					generic.Quantize(b, x, s.DType)
					for i := range b {
						b[i].Scale *= float32(math.Exp2(float64(rng.IntN(60) - 30))) // beyond float16, too
					}
				}
				var got, want [2][]byte
				for i, bytes := range []int{s.KeyBytes(pos + 1), s.ValueBytes(pos + 1)} {
					got[i], want[i] = guarded(t, bytes), make([]byte, bytes)
					for j := range want[i] {
						want[i][j] = byte(rng.Uint32())
					}
					copy(got[i], want[i])
				}
				o.putCodes(got[0], got[1], key, value, pos)
				g.putCodes(want[0], want[1], key, value, pos)
				if !bytes.Equal(got[0], want[0]) || !bytes.Equal(got[1], want[1]) {
					t.Fatalf("%d blocks, position %d: other bytes", n, pos)
				}
			}
		}
	})
}

// Numbers of codes are exact.
func TestTwinWidenCodes(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		if o.widenKeys == nil {
			t.Skip("the family has none")
		}
		rng := rand.New(rand.NewPCG(35, 36))
		for dim := 32; dim <= 160; dim += 32 {
			s := AttentionShape{1, dim, tensor.Q8_0, 1, false}
			k, v := guarded(t, s.KeyBytes(KVPanel)), guarded(t, s.ValueBytes(KVPanel))
			for pos := range KVPanel {
				b, x := make([]generic.Block, dim/32), random(rng, dim)
				if pos == 3 {
					special(rng, x)
				}
				generic.Quantize(b, x, s.DType)
				o.putPosition(k, v, b, b, pos)
			}
			for i, f := range [][2]func([]float32, []byte, int){{o.widenKeys, g.widenKeys}, {o.widenValues, g.widenValues}} {
				got, want := guardedFloats(t, make([]float32, KVPanel*dim)), make([]float32, KVPanel*dim)
				f[0](got, [][]byte{k, v}[i], dim)
				f[1](want, [][]byte{k, v}[i], dim)
				if at := same(got, want); at >= 0 {
					t.Fatalf("dim %d: element %d is %v, want %v", dim, at, got[at], want[at])
				}
			}
		}
	})
}

// What is rounded to 16 bits, and widened again, is the same bit for bit.
func TestTwinNarrowWiden(t *testing.T) {
	assembly(t, func(t *testing.T, o, _ *ops) {
		rng := rand.New(rand.NewPCG(19, 20))
		for _, d := range []tensor.DType{tensor.F16, tensor.BF16} {
			eachLength(t, 0, func(t *testing.T, n int) {
				v := special(rng, random(rng, n))
				for i := range v {
					if n > 300 { // every exponent
						v[i] = math.Float32frombits(rng.Uint32())
					}
				}
				src, got, want := guardedFloats(t, v), guarded(t, 2*n), make([]byte, 2*n)
				o.narrow(d, got, src)
				tensor.FromFloat32(want, d, v)
				if !bytes.Equal(got, want) {
					t.Fatalf("%v, %d numbers: rounded to something else", d, n)
				}
				wide := guardedFloats(t, make([]float32, n))
				tensor.ToFloat32(v, d, want)
				o.widen(d, wide, got)
				if at := same(wide, v); at >= 0 {
					t.Fatalf("%v: %v widened to %v", d, v[at], wide[at])
				}
			}, 100_000)
		}
	})
}

func TestTwinTriangle(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		if o.triangle == nil {
			t.Skip("has none")
		}
		rng := rand.New(rand.NewPCG(21, 22))
		for range 20 {
			lda, ldb, ldc := o.mr+3, o.nr+2, o.nr+1
			a := guardedFloats(t, random(rng, o.mr*lda-4))
			b := guardedFloats(t, special(rng, random(rng, (o.mr-1)*ldb-2)))
			want := random(rng, o.mr*ldc-1)
			c := guardedFloats(t, want)
			o.triangle(c, ldc, a, lda, b, ldb)
			for i := 1; i < o.mr; i++ {
				o.multiply(want[i*ldc:], ldc, a[i*lda:], lda, b, ldb, 1, i, true)
			}
			near(t, "triangle", c, want, 0)
		}
	})
}

// What attention of many rows has of its own has the bits of its parts. NaN and Inf do
// not reach rows that do not attend to them.
func TestTwinMany(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		if o.crossMax == nil {
			t.Skip("has none")
		}
		rng := rand.New(rand.NewPCG(27, 28))
		for dim := o.nr; dim <= 4*o.nr; dim += o.nr {
			for panels := range 4 {
				ld, ldq := panels*KVPanel+rng.IntN(5), dim+rng.IntN(5)
				q := guardedFloats(t, special(rng, random(rng, o.mr*ldq-ldq+dim)))
				k := guardedFloats(t, special(rng, random(rng, panels*dim*KVPanel)))
				got, want := guardedFloats(t, make([]float32, o.mr*ld)), make([]float32, o.mr*ld)
				most := guardedFloats(t, random(rng, 16*o.mr))
				walks := make([]generic.Walk, panels)
				for i := range walks {
					walks[i] = generic.Walk{At: uintptr(rng.Uint64()), Step: uintptr(rng.Uint64())} // a hint
				}
				o.crossMax(got, ld, q, ldq, k, dim, panels, 0.3, most, walks)
				for j := 0; j < panels*KVPanel; j += o.nr {
					o.multiply(want[j:], ld, q, ldq, k[j/KVPanel*dim*KVPanel+j%KVPanel:], KVPanel, o.mr, dim, false)
				}
				for i := range o.mr {
					row := want[i*ld:][:panels*KVPanel]
					if m := o.scaleMax(row, 0.3); m != most[i] {
						t.Fatalf("dim %d, %d panels: the largest of row %d is %v, want %v", dim, panels, i, most[i], m)
					}
					if at := sameNumbers(got[i*ld:][:len(row)], row); at >= 0 {
						t.Fatalf("dim %d, %d panels: score %d of row %d differs", dim, panels, at, i)
					}
				}
			}
		}
		for n := range 70 {
			ldp, ldv, ldy := n+o.mr-1+rng.IntN(4), o.nr+rng.IntN(3), o.nr+rng.IntN(3)
			p, by := guardedFloats(t, random(rng, o.mr*ldp)), guardedFloats(t, random(rng, o.mr))
			v := guardedFloats(t, special(rng, random(rng, (n+o.mr-1)*ldv)))
			got, want := guardedFloats(t, random(rng, o.mr*ldy)), random(rng, o.mr*ldy)
			o.weigh(got, ldy, p, ldp, v, ldv, n, by)
			for i := range o.mr {
				row := want[i*ldy:][:o.nr]
				o.multiply(row, o.nr, p[i*ldp:], ldp, v, ldv, 1, n+i, false)
				o.scale(row, by[i])
				if at := sameNumbers(got[i*ldy:][:o.nr], row); at >= 0 {
					t.Fatalf("%d positions: result %d of row %d differs", n, at, i)
				}
			}
		}
	})
}
