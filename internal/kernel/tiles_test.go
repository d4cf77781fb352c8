package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// tiled runs f with each family that has tiles, and with plain Go in tiles: what
// splits the work and puts it together is tested on any machine.
func tiled(t *testing.T, f func(t *testing.T, o *ops)) {
	t.Run("plain", func(t *testing.T) { f(t, twinOps()) })
	for _, o := range families() {
		if o.tiles != nil {
			t.Run(o.name, func(t *testing.T) { f(t, o) })
		}
	}
}

func cpuOf(t *testing.T, o *ops, threads int) *CPU {
	c := &CPU{ops: o, team: NewTeam(threads, nil), members: make([]scratch, threads)}
	t.Cleanup(c.Close)
	return c
}

// bfloat16s rounds v.
func bfloat16s(v []float32) []float32 {
	r := make([]float32, len(v))
	for i := range v {
		r[i] = tensor.BF16ToFloat32(tensor.Float32ToBF16(v[i]))
	}
	return r
}

// inTiles is w as PackTiles makes it.
func inTiles(c *CPU, w *Weight) *Weight {
	t := &Weight{In: w.In, Out: w.Out, DType: tensor.BF16, Tiles: true, Data: make([]byte, TileBytes(w.Out, w.In))}
	c.PackTiles(t.Data, w)
	return t
}

// The product of rows is that of the numbers rounded to bfloat16, for any shape; a
// row does not depend on the others, few or many, nor on the threads.
func TestLinearTiles(t *testing.T) {
	shapes := [][2]int{{1, 1}, {31, 33}, {64, 16}, {100, 300}, {769, 65}, {40, 4000}}
	if testing.Short() {
		shapes = shapes[:4]
	}
	tiled(t, func(t *testing.T, o *ops) {
		c, alone := cpuOf(t, o, 2), cpuOf(t, o, 1)
		for _, s := range shapes {
			for _, d := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
				for _, major := range []bool{false, true} {
					t.Run(fmt.Sprintf("%dx%d/%v/%v", s[0], s[1], d, major), func(t *testing.T) {
						linearTilesCase(t, c, alone, s[0], s[1], major, d)
					})
				}
			}
		}
	})
}

func linearTilesCase(t *testing.T, c, alone *CPU, in, out int, major bool, d tensor.DType) {
	const rows = 53
	rng := rand.New(rand.NewPCG(uint64(in), uint64(out)))
	w, wf := weight(rng, in, out, major, d)
	x, before := random(rng, rows*in), random(rng, rows*out)
	tiles := inTiles(c, w)
	row, want := make([]float32, in), bfloat16s(wf)
	for o := range out {
		tiles.TileRow(row, o)
		for k, v := range row {
			at := k*out + o
			if major {
				at = o*in + k
			}
			if v != want[at] {
				t.Fatalf("weight %d of output %d is %v, want %v", k, o, v, want[at])
			}
		}
	}
	for i, e := range []Epilogue{{}, {Bias: random(rng, out), Activation: GELUTanh}, {Bias: random(rng, out), Add: true}} {
		y := append([]float32(nil), before...)
		c.Linear(y, x, rows, tiles, e)
		limit := 1e-6
		if e.Activation != None && c.ops.name == "amx" {
			limit = 2e-5 // its gate is exact enough for bfloat16
		}
		if e := distance(y, reference(bfloat16s(x), want, rows, w, e, before)); !(e < limit) {
			t.Errorf("epilogue %d: off by %g", i, e)
		}
		for _, cpu := range []*CPU{c, alone} {
			for _, n := range []int{1, 2, 7, 8, 15, 16, 17, 32, 47} {
				first := rows - n
				part := append([]float32(nil), before[first*out:]...)
				cpu.Linear(part, x[first*in:], n, tiles, e)
				if at := same(part, y[first*out:]); at >= 0 {
					t.Fatalf("epilogue %d, rows %d+%d: element %d is %v alone, %v among others", i, first, n, at, part[at], y[first*out+at])
				}
			}
		}
	}
}

// More rows than a block has, and NaN and Inf that stay in their rows.
func TestLinearTilesManyRows(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		const in, out, rows = 40, 48, rowBlock + 21
		c := cpuOf(t, o, 2)
		rng := rand.New(rand.NewPCG(31, 32))
		w, wf := weight(rng, in, out, false, tensor.BF16)
		tiles := inTiles(c, w)
		x := random(rng, rows*in)
		y, again := make([]float32, rows*out), make([]float32, rows*out)
		c.Linear(y, x, rows, tiles, Epilogue{})
		if e := distance(y, reference(bfloat16s(x), wf, rows, w, Epilogue{}, nil)); !(e < 1e-6) {
			t.Errorf("off by %g", e)
		}
		const odd = rowBlock + 3
		special(rng, x[odd*in:][:in])
		c.Linear(again, x, rows, tiles, Epilogue{})
		few := make([]float32, 3*out)
		c.Linear(few, x[(odd-1)*in:], 3, tiles, Epilogue{})
		if sameNumbers(few, again[(odd-1)*out:][:3*out]) >= 0 {
			t.Error("three rows with NaN and Inf have other products")
		}
		for r := range rows {
			changed := same(again[r*out:][:out], y[r*out:][:out]) >= 0
			if changed != (r == odd) {
				t.Errorf("row %d: changed %v", r, changed)
			}
		}
		for _, v := range again[odd*out:][:out] {
			if v == v {
				t.Errorf("NaN among the inputs gives %v", v)
			}
		}
	})
}

// Quantised weights, as their panels say.
func TestLinearTilesQuantized(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		rng := rand.New(rand.NewPCG(33, 34))
		c := cpuOf(t, o, 2)
		for _, d := range []tensor.DType{tensor.Q8_0, tensor.Q4_0} {
			for _, s := range [][2]int{{32, 1}, {64, 33}, {416, 100}} {
				const rows = 19
				in, out := s[0], s[1]
				w := &Weight{In: in, Out: out, OutMajor: true, DType: d, Data: packedRandom(t, rng, in, out, d).Data}
				plain := make([]float32, in*out)
				for o := range out {
					for k := range in {
						plain[o*in+k] = panelValue(w, k, o)
					}
				}
				x, bias := random(rng, rows*in), random(rng, out)
				y := make([]float32, rows*out)
				c.linearTiles(y, x, rows, w, Epilogue{Bias: bias})
				if e := distance(y, reference(bfloat16s(x), bfloat16s(plain), rows, w, Epilogue{Bias: bias}, nil)); !(e < 1e-6) {
					t.Errorf("%v %v: off by %g", d, s, e)
				}
			}
		}
	})
}

// panelValue reads one weight of the panels.
func panelValue(w *Weight, k, o int) float32 {
	block := generic.PanelBlock(w.DType)
	b := w.Data[(o/16*w.In/32+k/32)*block:][:block]
	var scale [1]float32
	tensor.ToFloat32(scale[:], tensor.F16, b[o%16*2:])
	k %= 32
	if w.DType == tensor.Q8_0 {
		return scale[0] * float32(int8(b[32+k/4*64+o%16*4+k%4]))
	}
	v := b[32+k%16/4*64+o%16*4+k%4]
	if k >= 16 {
		v >>= 4
	}
	return scale[0] * float32(int(v&15)-8)
}

// What is written as tiles is what would be packed, bit for bit, and multiplied
// gives the same.
func TestTilesAsResults(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		const rows, in, out = 53, 64, 96
		c := cpuOf(t, o, 2)
		rng := rand.New(rand.NewPCG(35, 36))
		x, gain, bias := random(rng, rows*in), random(rng, in), random(rng, max(in, out))
		plain, tiles := make([]float32, rows*in), make([]byte, TileBytes(rows, in))
		c.LayerNorm(plain, x, gain, bias, rows, in, 1e-5)
		c.LayerNormTiles(tiles, x, gain, bias, rows, in, 1e-5)
		sameTiles(t, o, "norm", tiles, plain, rows, in)
		c.LayerNormBlocks(tiles, blocksOf(x, rows, in), gain, bias, rows, in, 1e-5)
		sameTiles(t, o, "norm of blocks", tiles, plain, rows, in)

		w, _ := weight(rng, in, out, false, tensor.BF16)
		w = inTiles(c, w)
		before := random(rng, rows*out)
		for _, f := range []Activation{None, GELUTanh, ReLU} {
			e := Epilogue{Bias: bias, Activation: f}
			y, z := make([]float32, rows*out), make([]float32, rows*out)
			c.Linear(y, plain, rows, w, e)
			c.LinearTiles(z, tiles, rows, w, e)
			if at := same(z, y); at >= 0 {
				t.Errorf("activation %d: element %d is %v of tiles, %v of numbers", f, at, z[at], y[at])
			}
			blocks := blocksOf(before, rows, out)
			e.Blocks, e.Add = true, true
			c.LinearTiles(blocks, tiles, rows, w, e)
			for i, v := range before {
				if want := v + y[i]; blocks[BlockAt(i/out, i%out, out)+i%out%32] != want {
					t.Fatalf("activation %d: element %d is %v in blocks, want %v", f, i, blocks[BlockAt(i/out, i%out, out)+i%out%32], want)
				}
			}
			e.Blocks, e.Add = false, false
			e.Tiles = make([]byte, TileBytes(rows, out))
			c.LinearTiles(nil, tiles, rows, w, e)
			sameTiles(t, o, fmt.Sprintf("activation %d", f), e.Tiles, y, rows, out)
		}

		s := AttentionShape{2, 32, tensor.F16, 0.2, false}
		qkv := random(rng, rows*3*64)
		text := make([]AttentionRow, rows)
		cache := newCache(t, s, rows, nil)
		for i := range text {
			text[i] = cache.at(i + 1)
		}
		if c.Attention(plain, qkv, text, s); !c.AttentionTiles(tiles, plain, QKV{Floats: qkv}, text, s) {
			t.Fatal("attention gave no tiles")
		}
		sameTiles(t, o, "attention", tiles, plain, rows, in)
		if c.AttentionTiles(tiles, plain, QKV{Floats: qkv}, text[:16], s) {
			t.Error("attention of a few rows gave tiles")
		}
	})
}

func sameTiles(t *testing.T, o *ops, name string, tiles []byte, y []float32, rows, width int) {
	t.Helper()
	want := make([]byte, TileBytes(rows, width))
	for r := 0; r < rows; r += generic.TileStep {
		o.tiles.packRows(want[TileBytes(r, width):], y[r*width:], width, min(generic.TileStep, rows-r), width)
	}
	bytes := TileBytes(generic.TileStep, width)
	for r := range rows {
		for s := 0; s < width; s += generic.TileStep {
			at := r/generic.TileStep*bytes + s/generic.TileStep*generic.StepBytes + r%generic.TileStep*64
			if string(tiles[at:at+64]) != string(want[at:at+64]) {
				t.Fatalf("%s: row %d from column %d on differs", name, r, s)
			}
		}
	}
}

// Queries, keys and values as tiles are stored and attended to as the same numbers are,
// wherever a text begins.
func TestAttentionOfTiles(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		const rows = 110
		c := cpuOf(t, o, 2)
		rng := rand.New(rand.NewPCG(49, 50))
		for _, d := range []tensor.DType{tensor.F16, tensor.BF16} {
			for i, before := range []int{0, 7, 7, 32} {
				s := AttentionShape{2 + 4*(i%2), 64, d, 0.2, false} // all rows in three blocks, or in one
				width := s.Heads * s.HeadDim
				v := random(rng, rows*3*width)
				tiles := make([]byte, TileBytes(rows, 3*width))
				for r := range rows {
					for col := 0; col < 3*width; col += 32 {
						part := d
						if col < width {
							part = tensor.BF16
						}
						step := tiles[BlockAt(r, col, 3*width)*2:][:64]
						tensor.FromFloat32(step, part, v[r*3*width+col:][:32])
						tensor.ToFloat32(v[r*3*width+col:][:32], part, step)
					}
				}
				history := random(rng, 40*3*width)
				var out [2][]float32
				var caches [2]*cache
				for i, qkv := range []QKV{{Floats: v}, {Tiles: tiles}} {
					caches[i] = newCache(t, s, before+rows, nil)
					text := make([]AttentionRow, rows)
					for r := range before {
						row := []AttentionRow{caches[i].at(r + 1)}
						c.Attention(make([]float32, width), history[r*3*width:], row, s)
					}
					for r := range text {
						text[r] = caches[i].at(before + r + 1)
					}
					out[i] = make([]float32, rows*width)
					c.AttentionTiles(nil, out[i], qkv, text, s)
				}
				if at := same(out[1], out[0]); at >= 0 {
					t.Errorf("%v after %d: element %d is %v of tiles, %v of numbers", d, before, at, out[1][at], out[0][at])
				}
				if a, b := caches[0].at(1), caches[1].at(1); string(a.K) != string(b.K) || string(a.V) != string(b.V) {
					t.Errorf("%v after %d: the caches differ", d, before)
				}
			}
		}
		if !c.WholeTexts([]int{64, 17}, 64) || c.WholeTexts([]int{63, 17}, 64) || c.WholeTexts([]int{64, 16}, 64) || c.WholeTexts([]int{64}, 48) {
			t.Error("whole texts are others")
		}
	})
}

// Attention is the same however the rows of a text are cut into blocks for the threads:
// the last block may be a single row.
func TestAttentionTilesThreads(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		rng := rand.New(rand.NewPCG(51, 52))
		for _, rows := range []int{17, 32, 33, 64, 65, 97} {
			s := AttentionShape{2, 21, tensor.F16, 0.2, false}
			width := s.Heads * s.HeadDim
			qkv := random(rng, rows*3*width)
			var want []float32
			for threads := 1; threads <= 8; threads++ {
				cache, text := newCache(t, s, rows, nil), make([]AttentionRow, rows)
				for i := range text {
					text[i] = cache.at(i + 1)
				}
				out := make([]float32, rows*width)
				if cpuOf(t, o, threads).Attention(out, qkv, text, s); threads == 1 {
					want = out
				}
				if at := same(out, want); at >= 0 {
					t.Errorf("%d rows, %d threads: element %d is %v, with one thread %v", rows, threads, at, out[at], want[at])
				}
			}
		}
	})
}

// blocksOf copies rows to blocks.
func blocksOf(x []float32, rows, width int) []float32 {
	b := make([]float32, BlockFloats(rows, width))
	for i, v := range x[:rows*width] {
		b[BlockAt(i/width, i%width, width)+i%width%32] = v
	}
	return b
}
