package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/randomtest"
	"github.com/gptctl/gptctl/internal/tensor"
)

// The checks of .ci/slow random: products of any shape are those of float64, in every
// family, and the same bits with any number of threads.

const (
	randomThreads = 3
	randomWork    = 20_000_000 // multiplications of a product at most
)

// side draws the length of a matrix's side: small ones, and those about which what is
// kept in a cache ends.
func side(rng *rand.Rand) int {
	switch rng.IntN(8) {
	case 0, 1, 2:
		return 1 + rng.IntN(40)
	case 3, 4, 5:
		return 1 + rng.IntN(400)
	case 6:
		return 1 + rng.IntN(1800)
	}
	return 3000 + rng.IntN(2500)
}

// randomRows draws rows, few or many, of a product that is not too large.
func randomRows(rng *rand.Rand, in, out int) int {
	most := max(1, min(700, randomWork/(in*out)))
	if rng.IntN(2) == 0 {
		most = min(most, 40)
	}
	return 1 + rng.IntN(most)
}

// randomCPUs are those of a family, with one thread and more.
func randomCPUs(t *testing.T, family string, wide bool) (all []*CPU) {
	for threads := 1; threads <= randomThreads; threads++ {
		c, err := New(Options{Family: family, Threads: threads, Wide: wide})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		all = append(all, c)
	}
	return all
}

// terms is x·w in float64 (w by outputs), and for each sum how large it is expected to be
// if its terms have random signs: √Σ(x·w)². An error is held against this.
func terms(x, w []float32, rows, in, out int) (sums, sizes []float64) {
	sums, sizes = make([]float64, rows*out), make([]float64, rows*out)
	for r := range rows {
		for o := range out {
			var sum, square float64
			for k, v := range w[o*in:][:in] {
				p := float64(x[r*in+k]) * float64(v)
				sum += p
				square += p * p
			}
			sums[r*out+o], sizes[r*out+o] = sum, math.Sqrt(square)
		}
	}
	return sums, sizes
}

// closeTo fails if any element is off by more than the limit, in units of its size, and
// by a bit of what is added to the sum, about 1.
func closeTo(t *testing.T, what string, y []float32, want, sizes []float64, limit, bit float64) {
	t.Helper()
	for i, w := range want {
		if e := math.Abs(float64(y[i]) - w); !(e <= limit*sizes[i]+bit*(math.Abs(w)+1)) {
			t.Fatalf("%s: element %d is %v, want %v: off by %.2g of %.3g", what, i, y[i], w, e, sizes[i])
		}
	}
}

// transposed is m [rows][cols] the other way.
func transposed(m []float32, rows, cols int) []float32 {
	other := make([]float32, len(m))
	for r := range rows {
		for c := range cols {
			other[c*rows+r] = m[r*cols+c]
		}
	}
	return other
}

func TestRandomLinear(t *testing.T) {
	randomtest.Rounds(t, func(t *testing.T, rng *rand.Rand) {
		in, out := side(rng), side(rng)
		for in*out > randomWork {
			in, out = side(rng), side(rng)
		}
		d := []tensor.DType{tensor.F32, tensor.F16, tensor.BF16, tensor.Q8_0, tensor.Q4_0}[rng.IntN(5)]
		if d.IsQuantized() {
			in = roundUp(in, tensor.QuantBlock)
		}
		rows := randomRows(rng, in, out)
		x, w := random(rng, rows*in), random(rng, in*out) // w by outputs
		rounded := make([]byte, d.Bytes(len(w)))
		tensor.FromFloat32(rounded, d, w)
		tensor.ToFloat32(w, d, rounded)
		sums, sizes := terms(x, w, rows, in, out)
		e := Epilogue{Activation: []Activation{None, None, ReLU, GELUTanh}[rng.IntN(4)], Add: rng.IntN(2) == 0}
		if rng.IntN(2) == 0 {
			e.Bias = random(rng, out)
		}
		before := random(rng, rows*out)
		for i := range sums {
			if e.Bias != nil {
				sums[i] += float64(e.Bias[i%out])
			}
			sums[i] = activation(sums[i], e.Activation)
			if e.Add {
				sums[i] += float64(before[i])
			}
		}
		t.Logf("%d rows, %d × %d in %v, activation %d, added %v, bias %v", rows, in, out, d, e.Activation, e.Add, e.Bias != nil)
		for _, family := range Families() {
			wide := rng.IntN(4) == 0
			cpus := randomCPUs(t, family, wide)
			for _, w := range randomWeights(t, rng, cpus[0], d, w, in, out) {
				name := fmt.Sprintf("%s, wide %v, by outputs %v, panels %v, tiles %v", family, wide, w.OutMajor, w.Panels, w.Tiles)
				want := slices.Clone(before)
				for _, c := range cpus {
					y := slices.Clone(before)
					c.Linear(y, x, rows, w, e)
					if c.Threads() == 1 {
						limit, bit := linearLimits(w)
						closeTo(t, name, y, sums, sizes, limit, bit)
						want = y
					}
					if i := same(y, want); i >= 0 {
						t.Fatalf("%s: element %d is %v with %d threads, %v with one", name, i, y[i], c.Threads(), want[i])
					}
				}
				randomForms(t, name, rng, cpus[rng.IntN(len(cpus))], want, before, x, rows, w, e)
			}
		}
	})
}

// linearLimits are how much an element may be off, as closeTo has it.
func linearLimits(w *Weight) (limit, bit float64) {
	switch {
	case w.DType.IsQuantized(): // x is quantised too; and activations may be those of a matrix unit
		return 0.07, 1e-4
	case w.DType == tensor.BF16 || w.Tiles: // it may be rounded to bfloat16, and w with it
		return 0.03, 1e-4
	}
	return 1e-4, 1e-6
}

// randomWeights are w [out][in], numbers that type d has, in the forms that a model may
// have them in.
func randomWeights(t *testing.T, rng *rand.Rand, c *CPU, d tensor.DType, w []float32, in, out int) (all []*Weight) {
	if d.IsQuantized() {
		p := &Weight{In: in, Out: out, DType: d, Data: make([]byte, PackedBytes(d, in, out))}
		if err := c.PackWeight(p.Data, &Weight{In: in, Out: out, OutMajor: true, DType: tensor.F32, Data: tensor.Bytes(w)}, d); err != nil {
			t.Fatal(err)
		}
		return []*Weight{p}
	}
	bytes := func(v []float32) []byte {
		odd := rng.IntN(2) // an address that is no multiple of the element's size
		b := make([]byte, odd+len(v)*d.Size())[odd:]
		tensor.FromFloat32(b, d, v)
		return b
	}
	byOutputs := &Weight{In: in, Out: out, DType: d, OutMajor: true, Data: bytes(w)}
	byInputs := &Weight{In: in, Out: out, DType: d, Data: bytes(transposed(w, out, in))}
	panels := &Weight{In: in, Out: out, DType: d, Panels: true, Data: make([]byte, PanelBytes(d, in, out))}
	part := rng.IntN(in + 1)
	c.PackPanels(panels.Data, byInputs, d, 0, part)
	c.PackPanels(panels.Data, byInputs, d, part, in)
	all = []*Weight{byOutputs, byInputs, panels}
	if c.ops.pairs != nil && d == tensor.BF16 {
		all = append(all, inPairs(c, byInputs))
	}
	if c.InTiles(d) {
		all = append(all, inTiles(c, byInputs))
	}
	return all
}

// randomForms checks that x and y as codes, tiles and blocks give the same numbers.
func randomForms(t *testing.T, name string, rng *rand.Rand, c *CPU, want, before, x []float32, rows int, w *Weight, e Epilogue) {
	t.Helper()
	equal := func(what string, y []float32) {
		t.Helper()
		if i := same(y, want); i >= 0 {
			t.Fatalf("%s, %s: element %d is %v, want %v", name, what, i, y[i], want[i])
		}
	}
	if w.DType.IsQuantized() && c.TakesCodes(rows, w.DType) {
		q := Codes{w.DType, NewBlocks(CodeBlocks(rows, w.In))}
		for r := range rows {
			q.put(c.ops, x[r*w.In:][:w.In], r, w.In, 0)
		}
		y := slices.Clone(before)
		c.LinearCodes(y, q, rows, w, e)
		equal("codes", y)
	}
	if !c.Tiled(rows, w) {
		return
	}
	tiles := make([]byte, TileBytes(rows, w.In))
	for r := 0; r < rows; r += generic.TileStep {
		c.ops.tiles.packRows(tiles[TileBytes(r, w.In):], x[r*w.In:], w.In, min(generic.TileStep, rows-r), w.In)
	}
	if rng.IntN(2) == 0 {
		y := slices.Clone(before)
		c.LinearTiles(y, tiles, rows, w, e)
		equal("tiles", y)
		return
	}
	blocks := blocksOf(before, rows, w.Out)
	e.Blocks = true
	c.LinearTiles(blocks, tiles, rows, w, e)
	y := make([]float32, len(want))
	for i := range y {
		y[i] = blocks[BlockAt(i/w.Out, i%w.Out, w.Out)+i%w.Out%BlockCols]
	}
	equal("blocks", y)
}

func TestRandomProducts(t *testing.T) {
	randomtest.Rounds(t, func(t *testing.T, rng *rand.Rand) {
		n, k := side(rng), side(rng)
		for n*k > randomWork {
			n, k = side(rng), side(rng)
		}
		m := randomRows(rng, n, k)
		if rng.IntN(2) == 0 { // a gradient by the weight: K is the rows
			m, k = k, m
		}
		p := Product{M: m, N: n, K: k, TransposeA: rng.IntN(2) == 0, TransposeB: rng.IntN(2) == 0, Add: rng.IntN(2) == 0, Kept: rng.IntN(2) == 0}
		p.DType = []tensor.DType{tensor.F32, tensor.BF16, tensor.BF16, tensor.F16}[rng.IntN(4)]
		if rng.IntN(2) == 0 {
			p.Round = p.DType
		}
		if rng.IntN(2) == 0 {
			p.Bias = random(rng, n)
		}
		t.Logf("%d × %d, K %d, transposed %v and %v, in %v, rounded to %v, added %v, bias %v", m, n, k, p.TransposeA, p.TransposeB, p.DType, p.Round, p.Add, p.Bias != nil)
		a, b, before := random(rng, m*k), random(rng, n*k), random(rng, m*n)
		exact, bias := slices.Clone(b), slices.Clone(p.Bias) // rounded by the product itself
		if p.DType != tensor.F32 {
			generic.Round(p.DType, a)
			generic.Round(p.DType, exact)
			generic.Round(p.DType, bias)
		}
		left, right := a, exact
		if p.TransposeA {
			left = transposed(a, k, m)
		}
		if !p.TransposeB {
			right = transposed(exact, k, n)
		}
		sums, sizes := terms(left, right, m, k, n)
		for i := range sums {
			if bias != nil {
				sums[i] += float64(bias[i%n])
			}
			if p.Add {
				sums[i] += float64(before[i])
			}
		}
		limit := 1e-4
		if p.rounds() {
			limit = map[tensor.DType]float64{tensor.BF16: 0.02, tensor.F16: 0.0025}[p.DType]
			for i, s := range sums {
				sizes[i] += math.Abs(s) + math.Abs(s-float64(before[i]))
			}
		}
		for _, family := range Families() {
			var want []float32
			for _, c := range randomCPUs(t, family, false) {
				y := slices.Clone(before)
				squares, ok := c.ProductSquares(Floats(y), Floats(a), Floats(b), p)
				if c.Threads() == 1 {
					closeTo(t, family, y, sums, sizes, limit, 1e-6)
					want = y
				}
				if i := same(y, want); i >= 0 {
					t.Fatalf("%s: element %d is %v with %d threads, %v with one", family, i, y[i], c.Threads(), want[i])
				}
				if s, _ := c.SumSquares(y); ok && math.Abs(squares-s) > 1e-5*s {
					t.Fatalf("%s, %d threads: the sum of squares is %v, want %v", family, c.Threads(), squares, s)
				}
				randomHalves(t, family, c, want, before, a, b, p)
			}
		}
	})
}

// randomHalves checks that operands that lie as bfloat16 give the same numbers.
func randomHalves(t *testing.T, name string, c *CPU, want, before, a, b []float32, p Product) {
	if !c.StoresBF16() || p.DType != tensor.BF16 || p.M <= fewRows || p.K == 0 {
		return
	}
	halves := func(v []float32) Numbers { return halved(slices.Clone(v)) }
	y := slices.Clone(before)
	c.ProductOf(Floats(y), halves(a), halves(b), p)
	if i := same(y, want); i >= 0 {
		t.Fatalf("%s, %d threads: element %d is %v of bfloat16, want %v", name, c.Threads(), i, y[i], want[i])
	}
	if p.Add || !p.rounds() {
		return
	}
	h := halves(before)
	c.ProductOf(h, halves(a), halves(b), p)
	tensor.ToFloat32(y, tensor.BF16, tensor.Bytes(h.BF16))
	if i := same(y, want); i >= 0 {
		t.Fatalf("%s, %d threads: element %d is %v as bfloat16, want %v", name, c.Threads(), i, y[i], want[i])
	}
}

// Attention of training by tiles is that of float32 in plain Go.
func TestRandomAttention(t *testing.T) {
	if newCPU(t, "", 1).ops.tiles == nil {
		t.Skip("no matrix unit")
	}
	randomtest.Rounds(t, func(t *testing.T, rng *rand.Rand) {
		a := TrainAttention{Sequences: 1 + rng.IntN(3), Context: 1 + rng.IntN(300), Heads: 1 + rng.IntN(4), HeadDim: 1 + rng.IntN(140), Scale: 0.05 + 0.3*rng.Float32()}
		if rng.IntN(3) == 0 {
			a.Dropout = Dropout{Key: rng.Uint64(), Share: 0.6 * rng.Float64()}
		}
		t.Logf("%+v", a)
		checkTileAttention(t, rng, newCPU(t, "generic", 2), randomCPUs(t, "", false), a)
	})
}
