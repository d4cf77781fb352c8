package kernel

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

var (
	kvTypes    = []tensor.DType{tensor.F32, tensor.F16, tensor.BF16}
	allKVTypes = append(slices.Clone(kvTypes), tensor.Q8_0)
)

// cache is the keys and values of a sequence, plain and as the kernels want them.
type cache struct {
	k, v   [][]float32 // [position][heads·dim], as the type rounds them
	scales [][]float32 // of values in codes, [position][heads·dim/32]
	row    AttentionRow
}

// newCache makes room, filled with NaN, for positions of which the first ones are
// taken from qkv [tokens][3·width].
func newCache(t testing.TB, s AttentionShape, positions int, qkv []float32) *cache {
	t.Helper()
	width := s.Heads * s.HeadDim
	tokens := len(qkv) / (3 * width)
	c := &cache{row: AttentionRow{K: alignedBytes(s.KeyBytes(positions)), V: alignedBytes(s.ValueBytes(positions)), Cap: positions, ByRows: slices.Repeat([]int32{-1}, s.Heads)}}
	for i := range c.row.K {
		c.row.K[i] = 0xff
	}
	for i := range c.row.V {
		c.row.V[i] = 0xff
	}
	round := func(v []float32) []float32 {
		if s.coded() {
			return rounded(v, true)
		}
		b := make([]byte, len(v)*s.DType.Size())
		tensor.FromFloat32(b, s.DType, v)
		r := make([]float32, len(v))
		tensor.ToFloat32(r, s.DType, b)
		return r
	}
	for i := range tokens {
		c.k = append(c.k, round(qkv[(3*i+1)*width:][:width]))
		c.v = append(c.v, round(qkv[(3*i+2)*width:][:width]))
		if s.coded() {
			c.scales = append(c.scales, scales(qkv[(3*i+2)*width:][:width]))
		}
		for h := range s.Heads {
			if s.coded() {
				b := make([]generic.Block, s.HeadDim/32)
				k, v := c.row.K[h*s.KeyBytes(positions)/s.Heads:], c.row.V[h*s.ValueBytes(positions)/s.Heads:]
				generic.Quantize(b, qkv[(3*i+1)*width+h*s.HeadDim:], s.DType)
				w := make([]generic.Block, len(b))
				generic.Quantize(w, qkv[(3*i+2)*width+h*s.HeadDim:], s.DType)
				generic.PutCodes(k, v, b, w, i)
				continue
			}
			for d := range s.HeadDim {
				c.put(s, i, h, d)
			}
		}
	}
	return c
}

// scales are those of the codes of v, as a cache has them.
func scales(v []float32) []float32 {
	b, f := make([]generic.Block, len(v)/32), make([]float32, len(v)/32)
	generic.Quantize(b, v, tensor.Q8_0)
	for i := range f {
		f[i] = tensor.F16ToFloat32(tensor.Float32ToF16(b[i].Scale))
	}
	return f
}

// rounded is what codes make of v, with scales of float32 or as a cache has them.
func rounded(v []float32, halves bool) []float32 {
	b, r := make([]generic.Block, len(v)/32), make([]float32, len(v))
	generic.Quantize(b, v, tensor.Q8_0)
	for i := range r {
		scale := b[i/32].Scale
		if halves {
			scale = tensor.F16ToFloat32(tensor.Float32ToF16(scale))
		}
		r[i] = scale * float32(b[i/32].Q[i%32])
	}
	return r
}

// put writes one element where the documentation of AttentionRow says.
func (c *cache) put(s AttentionShape, pos, head, d int) {
	size, panels := s.DType.Size(), (c.row.Cap+31)/32
	at := ((head*panels+pos/32)*s.HeadDim+d)*32 + pos%32
	tensor.FromFloat32(c.row.K[at*size:], s.DType, c.k[pos][head*s.HeadDim+d:][:1])
	at = (head*c.row.Cap+pos)*s.HeadDim + d
	tensor.FromFloat32(c.row.V[at*size:], s.DType, c.v[pos][head*s.HeadDim+d:][:1])
}

func (c *cache) at(length int) AttentionRow {
	r := c.row
	r.Len = length
	return r
}

// attend is attention written from its definition, for the query of one row. Weights of
// values in codes may be rounded to eight bits, as generic.CodeValues does.
func (c *cache) attend(q []float32, length int, s AttentionShape, eight bool) []float64 {
	out := make([]float64, s.Heads*s.HeadDim)
	if q = q[:len(out)]; s.coded() {
		q = rounded(q, false)
	}
	for h := range s.Heads {
		head := h * s.HeadDim
		p := make([]float64, length)
		largest, sum := math.Inf(-1), 0.0
		for t := range p {
			for d := range s.HeadDim {
				p[t] += float64(q[head+d]) * float64(c.k[t][head+d])
			}
			p[t] *= float64(s.Scale)
			largest = math.Max(largest, p[t])
		}
		for t := range p {
			p[t] = math.Exp(p[t] - largest)
			sum += p[t]
		}
		for d := range s.HeadDim {
			w := p
			if eight {
				w = c.eightBits(p, (head+d)/32)
			}
			for t := range w {
				out[head+d] += w[t] / sum * float64(c.v[t][head+d])
			}
		}
	}
	return out
}

// eightBits rounds p·scale of a block, in steps of a 255th of the largest of 32 positions,
// and takes the scale out again.
func (c *cache) eightBits(p []float64, block int) []float64 {
	w := make([]float64, len(p))
	for first := 0; first < len(p); first += 32 {
		panel := p[first:min(first+32, len(p))]
		most := 0.0
		for i, x := range panel {
			most = max(most, x*float64(c.scales[first+i][block]))
		}
		for i, x := range panel {
			if scale := float64(c.scales[first+i][block]); scale > 0 {
				w[first+i] = math.RoundToEven(x*scale*255/most) * most / 255 / scale
			}
		}
	}
	return w
}

func TestAttention(t *testing.T) {
	type shape struct{ heads, dim, tokens int }
	shapes := []shape{{1, 1, 1}, {2, 3, 40}, {3, 16, 70}, {2, 21, 33}, {2, 32, 65}, {3, 64, 131}, {1, 80, 50}, {1, 5, 2000}, {2, 64, 257}}
	if testing.Short() {
		shapes = shapes[:5]
	}
	eachFamily(t, func(t *testing.T, c *CPU) {
		alone := newCPU(t, c.Family(), 1)
		for _, s := range shapes {
			for _, d := range allKVTypes {
				if d == tensor.Q8_0 && s.dim%32 > 0 {
					continue
				}
				t.Run(fmt.Sprintf("%dx%d/%d/%v", s.heads, s.dim, s.tokens, d), func(t *testing.T) {
					attentionCase(t, c, alone, AttentionShape{s.heads, s.dim, d, float32(1 / math.Sqrt(float64(s.dim))), false}, s.tokens)
				})
			}
		}
	})
}

// attentionCase reads the later part of one text, a short second text, and one
// token of a third, all together and in parts.
func attentionCase(t *testing.T, c, alone *CPU, s AttentionShape, tokens int) {
	rng := rand.New(rand.NewPCG(uint64(s.HeadDim), uint64(tokens)))
	width := s.Heads * s.HeadDim
	var rows []AttentionRow
	var qkv []float32
	var want []float64
	var caches, filled []*cache
	tiles := c.ops.tiles != nil && s.DType != tensor.F32
	for _, part := range [][2]int{{max(0, tokens-140), tokens}, {0, min(5, tokens)}, {tokens - 1, tokens}} {
		all := random(rng, part[1]*3*width)
		full := newCache(t, s, part[1]+3, all)
		begun := newCache(t, s, part[1]+3, all[:part[0]*3*width])
		filled, caches = append(filled, full), append(caches, begun)
		eight := s.coded() && c.ops.codeValues != nil && !(tiles && part[1]-part[0] > fewRows)
		for i := part[0]; i < part[1]; i++ {
			rows = append(rows, begun.at(i+1))
			want = append(want, full.attend(all[3*i*width:], i+1, s, eight)...)
		}
		qkv = append(qkv, all[part[0]*3*width:]...)
	}
	out := make([]float32, len(rows)*width)
	c.Attention(out, qkv, rows, s)
	// A matrix unit rounds queries, keys, values and probabilities to bf16, of more
	// rows of a text than a few.
	most := 1e-6
	if long := min(140, tokens); tiles && long > fewRows {
		if most = 3e-3; s.coded() {
			most = 1e-2 // queries are no codes
		}
		end := long * width
		if e := distance(out[end:], want[end:]); !(e < 1e-6) {
			t.Errorf("few rows: off by %g", e)
		}
	}
	if e := distance(out, want); !(e < most) {
		t.Errorf("off by %g", e)
	}
	many := func(first, n, row int) bool { // rows of the same text
		same := 0
		for i := first; i < first+n; i++ {
			if sameCache(&rows[i], &rows[row]) {
				same++
			}
		}
		return same > fewRows
	}
	for i := range caches {
		if !bytes.Equal(caches[i].row.K, filled[i].row.K) || !bytes.Equal(caches[i].row.V, filled[i].row.V) {
			t.Errorf("text %d: keys or values were not stored as they should be", i)
		}
	}
	for _, cpu := range []*CPU{c, alone} {
		for _, n := range []int{1, 2, 7, 13, 17, 50} {
			for first := 0; first+n <= len(rows); first += n + 2 {
				part := make([]float32, n*width)
				cpu.Attention(part, qkv[first*3*width:], rows[first:first+n], s)
				for r := range n {
					if tiles && many(first, n, first+r) != many(0, len(rows), first+r) {
						continue
					}
					if at := same(part[r*width:][:width], out[(first+r)*width:]); at >= 0 {
						t.Fatalf("rows %d+%d: element %d of row %d differs from the whole", first, n, at, r)
					}
				}
			}
		}
	}
}

// A NaN or infinite key or value reaches those rows that attend to it, and no
// others: these stay what they were, bit for bit.
func TestAttentionNaN(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		for _, d := range allKVTypes {
			for _, odd := range []float64{math.NaN(), math.Inf(1)} {
				for _, inKey := range []bool{true, false} {
					for _, bad := range []int{5, 37} {
						oddAttention(t, c, AttentionShape{1, 64, d, 0.125, false}, float32(odd), inKey, bad)
					}
				}
			}
		}
	})
}

func oddAttention(t *testing.T, c *CPU, s AttentionShape, odd float32, inKey bool, bad int) {
	const tokens, element = 50, 3
	dim := s.HeadDim
	qkv := random(rand.New(rand.NewPCG(1, 2)), tokens*3*dim)
	rows := make([]AttentionRow, tokens)
	cache := newCache(t, s, tokens, nil)
	for i := range rows {
		rows[i] = cache.at(i + 1)
		// A positive score of infinity is NaN after the softmax.
		qkv[3*i*dim+element] = 1
	}
	clean, out := make([]float32, tokens*dim), make([]float32, tokens*dim)
	c.Attention(clean, qkv, rows, s)
	at := (3*bad+2)*dim + element
	if inKey {
		at -= dim
	}
	qkv[at] = odd
	c.Attention(out, qkv, rows, s)
	for r := range tokens {
		for d := range dim {
			want := r >= bad && (inKey || d == element || s.coded() && d/32 == element/32)
			got := float64(out[r*dim+d])
			switch is := math.IsNaN(got) || math.IsInf(got, 0); {
			case is != want:
				t.Fatalf("%v %v in key %v: row %d element %d is %v", s.DType, odd, inKey, r, d, got)
			case !want && out[r*dim+d] != clean[r*dim+d]:
				t.Fatalf("%v %v in key %v: row %d element %d is %v, without %v", s.DType, odd, inKey, r, d, got, clean[r*dim+d])
			}
		}
	}
}

func TestAttentionOfNothing(t *testing.T) {
	c := newCPU(t, "", 2)
	out := []float32{1, 2}
	c.Attention(out, make([]float32, 6), []AttentionRow{{}}, AttentionShape{1, 2, tensor.F32, 1, false})
	if out[0] != 0 || out[1] != 0 {
		t.Errorf("row of length zero: got %v, want zeros", out)
	}
}
