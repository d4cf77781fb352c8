//go:build !noasm

package kernel

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/cpu"

	"github.com/gptctl/gptctl/internal/kernel/amx"
	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// What packs for tiles and unpacks from them is AVX-512 code, so it is tested
// without AMX as well.
func needsPacking(t *testing.T) {
	if x := &cpu.X86; !x.HasAVX512BW || !x.HasAVX512BF16 {
		t.Skip("needs a processor with AVX512_BF16")
	}
}

func filled(t *testing.T, n int) []byte {
	b := guarded(t, n)
	for i := range b {
		b[i] = 0xa5
	}
	return b
}

func TestTwinPackRowTiles(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(21, 22))
	eachLength(t, 0, func(t *testing.T, depth int) {
		for _, rows := range []int{0, 1, 15, 16, 17, 31, 32} {
			ldx := depth + rows%3
			x := special(rng, random(rng, max(0, rows*ldx-rows%3)))
			for range min(3, len(x)) {
				x[rng.IntN(len(x))] = []float32{0, 1e-40, -1e-40, 3.4e38, 1 + 1.0/256, 1 + 3.0/256}[rng.IntN(6)]
			}
			x = guardedFloats(t, x)
			n := ceilDiv(depth, 32) * generic.StepBytes
			got, want := filled(t, n), make([]byte, n)
			amx.PackRowTiles(got, x, ldx, rows, depth)
			generic.PackRowTiles(want, x, ldx, rows, depth)
			if !bytes.Equal(got, want) {
				t.Fatalf("%d rows of %d differ", rows, depth)
			}
		}
	})
}

func TestTwinPackTiles(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(23, 24))
	for _, d := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16} {
		for _, depth := range []int{1, 2, 3, 16, 31, 32, 33, 63, 64, 95, 100} {
			eachLength(t, 1, func(t *testing.T, cols int) {
				for _, major := range []bool{false, true} {
					in, out := depth, cols+5 // a part of a wider matrix
					if major {
						in, out = depth+3, cols
					}
					v := special(rng, random(rng, in*out))
					stride := out * d.Size()
					if major {
						stride = in * d.Size()
					}
					w := encode(t, d, v)
					n := ceilDiv(depth, 32) * ceilDiv(cols, 32) * generic.StepBytes
					got, want := filled(t, n), make([]byte, n)
					amx.PackTiles(d, major, got, w, stride, depth, cols)
					generic.PackTiles(d, major, want, w, stride, depth, cols)
					if !bytes.Equal(got, want) {
						t.Fatalf("%v, outputs first %v: depth %d, %d columns differ", d, major, depth, cols)
					}
				}
			})
		}
	}
}

// Whole panels, as PackPanels lays them out.
func TestTwinPackPanelTiles(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(37, 38))
	for _, d := range []tensor.DType{tensor.F16, tensor.BF16} {
		for _, depth := range []int{1, 2, 3, 30, 32, 33, 34, 62, 64, 66, 100, 768} {
			w := guarded(t, depth*64)
			copy(w, encode(t, d, special(rng, random(rng, depth*32))))
			n := ceilDiv(depth, 32) * generic.StepBytes
			got, want := filled(t, n), make([]byte, n)
			amx.PackTiles(d, false, got, w, 64, depth, 32)
			generic.PackTiles(d, false, want, w, 64, depth, 32)
			if !bytes.Equal(got, want) {
				t.Fatalf("%v: depth %d differs", d, depth)
			}
		}
	}
}

func TestTwinPackQuantizedTiles(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(25, 26))
	for _, d := range []tensor.DType{tensor.Q8_0, tensor.Q4_0} {
		for _, depth := range []int{32, 64, 160} {
			for _, cols := range []int{1, 15, 16, 17, 31, 32, 33, 48, 49, 100} {
				in := depth + 32
				w := packedRandom(t, rng, in, cols, d).Data[generic.PanelBlock(d):] // from the second block on
				n := depth / 32 * ceilDiv(cols, 32) * generic.StepBytes
				got, want := filled(t, n), make([]byte, n)
				amx.PackTiles(d, true, got, w, PackedBytes(d, in, panelOuts), depth, cols)
				generic.PackTiles(d, true, want, w, PackedBytes(d, in, panelOuts), depth, roundUp(cols, 16))
				if !bytes.Equal(got, want) {
					t.Fatalf("%v: depth %d, %d columns differ", d, depth, cols)
				}
			}
		}
	}
}

func needsTiles(t *testing.T) {
	if err := amx.Available(); err != nil {
		t.Skip(err)
	}
}

// guardedSteps returns steps of bfloat16 numbers about as large as activations.
func guardedSteps(t *testing.T, rng *rand.Rand, n int) []byte {
	b := guarded(t, n*generic.StepBytes)
	copy(b, encode(t, tensor.BF16, random(rng, len(b)/2)))
	return b
}

// Every number of rows, columns and steps in which the assembly goes another way;
// what is written, where, and nothing beside it.
func TestTwinProduct(t *testing.T) {
	needsTiles(t)
	rng := rand.New(rand.NewPCG(27, 28))
	for _, rows := range []int{1, 16, 17, 32, 33, 48, 49, 64, 79, 96} {
		for _, steps := range []int{1, 2, 15, 16, 17, 24} {
			for _, cols := range []int{1, 15, 16, 17, 31, 32} {
				if rows+steps+cols > 90 && cols != 32 {
					continue
				}
				p := generic.Product{
					A: guardedSteps(t, rng, ceilDiv(rows, 32)*steps), AStride: steps * generic.StepBytes, B: guardedSteps(t, rng, steps),
					Steps: steps, Rows: rows, Start: guardedFloats(t, random(rng, 32)), Cols: cols,
					GateA: 1.5957691, GateB: 0.07135481,
				}
				if rows%16 != 0 {
					p.Next = [2][]byte{p.A, p.B}
				}
				twinProduct(t, rng, p)
			}
		}
	}
}

func twinProduct(t *testing.T, rng *rand.Rand, p generic.Product) {
	const apart = 5000 // bytes from a step to the next
	tall := roundUp(p.Rows, 16)
	for form := range 10 {
		got := p
		got.Gate = form%2 == 1
		switch form / 2 {
		case 0: // sums that stay, on one row or, below, on others
			got.C = guardedFloats(t, make([]float32, tall*32))
		case 1:
			got.Start, got.Ld = guardedFloats(t, random(rng, tall*32)), 32
			got.C = guardedFloats(t, make([]float32, tall*32))
		case 2, 3:
			got.LdY, got.Add = p.Cols+3, form/2 == 3
			got.YStride = 32*got.LdY + 5*(form/2-2)
			got.Y = guardedFloats(t, random(rng, (p.Rows-1)/32*got.YStride+(p.Rows-1)%32*got.LdY+p.Cols))
			got.C = guardedFloats(t, make([]float32, workFloats))
		case 4: // the work lies on the sums
			got.Start, got.Ld = guardedFloats(t, random(rng, max(tall*32, workFloats))), 32
			got.C = got.Start
			got.Tiles, got.TileStride = filled(t, ceilDiv(p.Rows, 32)*apart), apart
		}
		want := got
		want.Start = append([]float32(nil), got.Start...)
		want.C = make([]float32, len(got.C))
		want.Y = append([]float32(nil), got.Y...)
		want.Tiles = append([]byte(nil), got.Tiles...)
		amx.Product(&got)
		generic.MultiplyProduct(&want)
		name := fmt.Sprintf("%d rows, %d steps, %d columns, form %d", p.Rows, p.Steps, p.Cols, form)
		switch {
		case got.Y != nil:
			near(t, name, got.Y, want.Y, 1e-3)
		case got.Tiles != nil:
			for i := 0; i < len(got.Tiles); i += apart {
				tail := 64 * min(32, p.Rows-i/apart*32)
				if !bytes.Equal(got.Tiles[i+tail:i+apart], want.Tiles[i+tail:i+apart]) {
					t.Fatalf("%s: bytes beside the rows were written", name)
				}
				nearBF16(t, name, got.Tiles[i:][:tail], want.Tiles[i:][:tail])
			}
		default:
			near(t, name, got.C, want.C, 1e-4)
		}
	}
}

// What is packed beside a product, in as many steps or few.
func TestTwinPackMeanwhile(t *testing.T) {
	needsTiles(t)
	rng := rand.New(rand.NewPCG(39, 40))
	for _, d := range []tensor.DType{tensor.Q8_0, tensor.Q4_0} {
		for _, rows := range []int{1, 16, 33, 70} {
			for _, steps := range []int{1, 3, 20} {
				for _, packed := range []int{1, 2, 5, 24} {
					p := generic.Product{
						A: guardedSteps(t, rng, ceilDiv(rows, 32)*steps), AStride: steps * generic.StepBytes, B: guardedSteps(t, rng, steps),
						Steps: steps, Rows: rows, Start: guardedFloats(t, random(rng, 32)), C: guardedFloats(t, make([]float32, roundUp(rows, 16)*32)),
						Pack: generic.Packing{DType: d, Dst: filled(t, packed*generic.StepBytes), Steps: packed},
					}
					p.Pack.Stride = PackedBytes(d, packed*32, panelOuts)
					src := packedRandom(t, rng, packed*32, 32, d).Data
					p.Pack.Src = guarded(t, len(src))
					copy(p.Pack.Src, src)
					want := p
					want.Pack.Dst, want.C = make([]byte, len(p.Pack.Dst)), make([]float32, len(p.C))
					amx.Product(&p)
					generic.MultiplyProduct(&want)
					name := fmt.Sprintf("%v, %d rows, %d steps, %d packed", d, rows, steps, packed)
					if !bytes.Equal(p.Pack.Dst, want.Pack.Dst) {
						t.Fatalf("%s: packed differently", name)
					}
					near(t, name, p.C, want.C, 1e-4)
				}
			}
		}
	}
}

func TestTwinTurnTile(t *testing.T) {
	needsPacking(t)
	src := guardedSteps(t, rand.New(rand.NewPCG(45, 46)), 1)
	got, want := filled(t, generic.StepBytes), make([]byte, generic.StepBytes)
	amx.TurnTile(got, src)
	generic.TurnTile(want, src)
	if !bytes.Equal(got, want) {
		t.Error("turned differently")
	}
}

// Results in float16, as conversions round them.
func TestTwinHalfTiles(t *testing.T) {
	needsTiles(t)
	rng := rand.New(rand.NewPCG(47, 48))
	for _, rows := range []int{1, 17, 40} {
		p := generic.Product{
			A: guardedSteps(t, rng, 2*ceilDiv(rows, 32)), AStride: 2 * generic.StepBytes, B: guardedSteps(t, rng, 2),
			Steps: 2, Rows: rows, Start: guardedFloats(t, random(rng, 32)), Cols: 32, C: guardedFloats(t, make([]float32, workFloats)),
			TileStride: generic.StepBytes, Half: true,
		}
		n := rows/32*generic.StepBytes + rows%32*64
		p.Tiles = filled(t, n)
		want := p
		want.Tiles = make([]byte, n)
		amx.Product(&p)
		generic.MultiplyProduct(&want)
		g, w := make([]float32, n/2), make([]float32, n/2)
		tensor.ToFloat32(g, tensor.F16, p.Tiles)
		tensor.ToFloat32(w, tensor.F16, want.Tiles)
		for i := range w {
			near(t, fmt.Sprintf("%d rows", rows), g[i:i+1], w[i:i+1], max(1e-6, math.Abs(float64(w[i]))/1000))
		}
	}
}

func TestTwinGate(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(43, 44))
	eachLength(t, 0, func(t *testing.T, n int) {
		for _, b := range []float32{0, 0.07135481} {
			x := random(rng, n)
			for i := range x {
				x[i] *= 6
			}
			if n > 3 {
				x[0], x[1], x[2] = float32(math.NaN()), -30, 40
			}
			got, want := guardedFloats(t, x), append([]float32(nil), x...)
			amx.Gate(got, 1.5957691, b)
			generic.Gate(want, 1.5957691, b)
			for i, w := range want {
				if g := got[i]; !(math.Abs(float64(g-w)) <= 1.5e-4*math.Abs(float64(w))+1e-30) && (w == w || g == g) {
					t.Fatalf("%d numbers: %v gives %v, want %v", n, x[i], g, w)
				}
			}
		}
	})
}

func TestTwinNormTile(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(41, 42))
	for _, width := range []int{32, 64, 768} {
		for _, rows := range []int{1, 7, 8, 9, 31, 32} {
			x, gain, bias := guardedFloats(t, random(rng, 32*width)), guardedFloats(t, random(rng, width)), guardedFloats(t, random(rng, width))
			if rows%2 == 1 {
				x[rng.IntN(32)*32] = float32(math.NaN())
			}
			got, want := filled(t, width*64), make([]byte, width*64)
			amx.NormTile(got, x, gain, bias, rows, 1e-5, 32*width)
			generic.NormTile(want, x, gain, bias, rows, 1e-5, 0)
			nearBF16(t, fmt.Sprintf("%d rows of %d", rows, width), got, want)
		}
	}
}

// nearBF16 allows for a neighbour of the bfloat16 that is expected.
func nearBF16(t *testing.T, name string, got, want []byte) {
	t.Helper()
	g, w := make([]float32, len(got)/2), make([]float32, len(want)/2)
	tensor.ToFloat32(g, tensor.BF16, got)
	tensor.ToFloat32(w, tensor.BF16, want)
	for i := range w {
		near(t, name, g[i:i+1], w[i:i+1], max(1e-5, math.Abs(float64(w[i]))/120))
	}
}

func TestTwinCrossTiles(t *testing.T) {
	needsTiles(t)
	rng := rand.New(rand.NewPCG(29, 30))
	for _, steps := range []int{1, 2, 3, 20} {
		for _, panels := range []int{1, 2, 5} {
			stride := (steps + 1) * generic.StepBytes
			a, b := guardedSteps(t, rng, steps), guardedSteps(t, rng, panels*(steps+1)-1)
			got, want := guardedFloats(t, make([]float32, panels*1024)), make([]float32, panels*1024)
			amx.CrossTiles(got, a, b, stride, steps, panels)
			generic.CrossTiles(want, a, b, stride, steps, panels)
			near(t, fmt.Sprintf("%d steps, %d panels", steps, panels), got, want, 1e-4)
		}
	}
}

func TestTwinSoftmaxTile(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(31, 32))
	all, other := 0, 0 // numbers of training, and those of other bits
	for panels := 1; panels < 4; panels++ {
		for n := 0; n <= panels*32; n++ {
			for odd := range 3 {
				lens := []int{n, panels * 32, n / 2}[:1+rng.IntN(3)]
				rows := len(lens)
				s := random(rng, (panels-1)*1024+rows*32)
				if odd > 0 && n > 0 {
					s[(n-1)/32*1024+rng.IntN((n-1)%32+1)] = []float32{0, 400, float32(math.NaN())}[odd]
				}
				if n < panels*32 { // does not count
					s[n/32*1024+n%32] = float32(math.NaN())
				}
				s = guardedFloats(t, s)
				by, wantBy := guardedFloats(t, make([]float32, rows)), make([]float32, rows)
				most, wantMost := guardedFloats(t, make([]float32, rows)), make([]float32, rows)
				if odd == 1 {
					most, wantMost = nil, nil
				}
				got, want := filled(t, (panels-1)*generic.StepBytes+rows*64), make([]byte, panels*generic.StepBytes)
				amx.SoftmaxTile(got, s, by, most, lens, panels, 0.3)
				generic.SoftmaxTile(want, s, wantBy, wantMost, lens, panels, 0.3)
				name := fmt.Sprintf("%v of %d panels, %d", lens, panels, odd)
				near(t, name, by, wantBy, 2e-4)
				if most != nil {
					near(t, name+", as torch's", by, wantBy, 1e-6)
				}
				near(t, name+", largest", most, wantMost, 1e-6)
				for i := range panels {
					nearBF16(t, name, got[i*generic.StepBytes:][:rows*64], want[i*generic.StepBytes:][:rows*64])
					for at := i * generic.StepBytes; most != nil && at < i*generic.StepBytes+rows*64; at++ {
						if all++; got[at] != want[at] {
							other++
						}
					}
				}
			}
		}
	}
	if other > all/250 {
		t.Errorf("%d of %d bytes differ", other, all)
	}
}

func TestTorchExp(t *testing.T) {
	for x := float32(0); x > -80; x -= 1.0 / 1024 {
		if got, want := float64(generic.TorchExp(x)), math.Exp(float64(x)); !(math.Abs(got-want) <= 1.12e-4*want) {
			t.Fatalf("exp(%v) is %v, want %v", x, got, want)
		}
	}
}

func TestTwinScaleTile(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(33, 34))
	for rows := range 5 {
		c, by := guardedFloats(t, random(rng, rows*32)), guardedFloats(t, random(rng, rows))
		for cols := range 33 {
			ldy := cols + 3
			y := random(rng, max(0, rows*ldy-3))
			got := guardedFloats(t, y)
			amx.ScaleTile(got, ldy, c, by, rows, cols)
			generic.ScaleTile(y, ldy, c, by, rows, cols)
			near(t, fmt.Sprintf("%d × %d", rows, cols), got, y, 0)
		}
		for cols := range 33 {
			ld := 2*cols + 6
			n := max(0, rows*ld-6)
			got := filled(t, n)
			want := bytes.Clone(got)
			amx.NarrowTile(got, ld, c, by, rows, cols)
			generic.NarrowTile(want, ld, c, by, rows, cols)
			if !bytes.Equal(got, want) {
				t.Fatalf("%d rows of %d as bfloat16 differ", rows, cols)
			}
		}
	}
}

// The loops that measure AMX run, and count what they do.
func TestPeakTiles(t *testing.T) {
	if err := amx.Available(); err != nil {
		t.Skip(err)
	}
	const perTile = 2 * 16 * 16 // a multiplication and an addition for each result
	if got, want := amx.PeakBF16(3), 3*4*32*perTile; got != want {
		t.Errorf("bf16: %d operations, want %d", got, want)
	}
	if got, want := amx.PeakInt8(3), 3*4*64*perTile; got != want {
		t.Errorf("int8: %d operations, want %d", got, want)
	}
}

// Probabilities of keys and the gradients of their scores: seen or not, some dropped.
func TestTwinSlopeTiles(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(35, 36))
	for panels := range 4 {
		for form := range 12 {
			n := panels * 1024
			s, g := random(rng, n), random(rng, n)
			if n > 0 && form >= 8 { // not seen in the diagonal's form
				s[5*32], g[7*32+2] = float32(math.NaN()), float32(math.Inf(1))
			}
			if n > 0 && form >= 4 {
				s[rng.IntN(n)], g[rng.IntN(n)], s[rng.IntN(n)] = 400, float32(math.Inf(-1)), float32(math.NaN())
			}
			s, g = guardedFloats(t, s), guardedFloats(t, g)
			lse, delta := guardedFloats(t, random(rng, panels*32)), guardedFloats(t, random(rng, panels*32))
			var keep []float32
			if form&1 > 0 {
				keep = random(rng, n)
				for i := range keep {
					keep[i] *= float32(rng.IntN(2))
				}
				keep = guardedFloats(t, keep)
			}
			p, d := filled(t, 2*n), filled(t, 2*n)
			wantP, wantD := make([]byte, 2*n), make([]byte, 2*n)
			amx.SlopeTiles(p, d, s, g, lse, delta, keep, panels, form&2 > 0, 0.3)
			generic.SlopeTiles(wantP, wantD, s, g, lse, delta, keep, panels, form&2 > 0, 0.3)
			name := fmt.Sprintf("%d panels, form %d", panels, form)
			nearBF16(t, name, p, wantP)
			nearBF16(t, name+", slopes", d, wantD)
			if panels > 0 && keep != nil {
				got, want := bytes.Clone(p[:2048]), bytes.Clone(p[:2048])
				amx.KeepTile(got, keep)
				generic.KeepTile(want, keep)
				if !bytes.Equal(got, want) {
					t.Fatalf("%s: kept otherwise", name)
				}
			}
		}
	}
}

func TestTwinHalfDots(t *testing.T) {
	needsPacking(t)
	rng := rand.New(rand.NewPCG(37, 38))
	for rows := range 4 {
		for n := range 100 {
			stride := 2*n + 6
			bytes := max(0, rows*stride-6)
			a, b := guarded(t, bytes), guarded(t, bytes)
			copy(a, encode(t, tensor.BF16, random(rng, bytes/2)))
			copy(b, encode(t, tensor.BF16, random(rng, bytes/2)))
			got, want := guardedFloats(t, make([]float32, rows)), make([]float32, rows)
			amx.HalfDots(got, a, b, stride, n)
			generic.HalfDots(want, a, b, stride, n)
			near(t, fmt.Sprintf("%d rows of %d", rows, n), got, want, 1e-4)
		}
	}
}
