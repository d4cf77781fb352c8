package kernel

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

var quantTypes = []tensor.DType{tensor.Q8_0, tensor.Q4_0}

// packedRandom returns a packed weight with every code and some odd scales, in
// memory that ends where it ends.
func packedRandom(t *testing.T, rng *rand.Rand, in, out int, d tensor.DType) *Weight {
	n := PackedBytes(d, in, out)
	w := &Weight{In: in, Out: out, DType: d, Data: guarded(t, n+1)[:n:n]} // at an odd address
	size := generic.PanelBlock(d)
	for i := range w.Data {
		w.Data[i] = byte(rng.Uint32())
		if i%7 == 0 {
			w.Data[i] = 0x80 // -128
		}
	}
	for i := 0; i < len(w.Data); i += size {
		for o := range panelOuts {
			copy(w.Data[i+2*o:], tensor.Bytes([]uint16{tensor.Float32ToF16(float32(rng.NormFloat64()))}))
		}
	}
	return w
}

// spoil puts what is not a plain number into some blocks of x.
func spoil(rng *rand.Rand, x []float32) {
	for _, v := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 1e-40, math.MaxFloat32} {
		x[rng.IntN(len(x))] = v
	}
	clear(x[:min(32, len(x))])
}

func TestTwinQuantize(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		rng := rand.New(rand.NewPCG(21, 1))
		for n := range 40 {
			for _, d := range quantTypes {
				x := guardedFloats(t, random(rng, n*32))
				for i := range n {
					s := float32(math.Ldexp(1, rng.IntN(250)-130))
					for k := range 32 {
						x[i*32+k] *= s
					}
				}
				if n > 3 {
					spoil(rng, x)
				}
				if n > 8 { // halves
					for k := range 32 {
						x[96+k] = float32(k) - 15.5
					}
					x[96] = 127
				}
				got, want := make([]generic.Block, n), make([]generic.Block, n)
				o.quantize(got, x, d)
				g.quantize(want, x, d)
				for i := range want {
					a, b := got[i], want[i]
					if math.Float32bits(a.Scale) != math.Float32bits(b.Scale) || a.Offset != b.Offset || a.Q != b.Q {
						t.Fatalf("%v, block %d of %d:\n got %v\nwant %v\nof %v", d, i, n, a, b, x[i*32:][:32])
					}
				}
			}
		}
	})
}

// The product agrees with plain Go, and bit for bit with a fused sum.
func TestTwinProducts(t *testing.T) {
	assembly(t, func(t *testing.T, o, _ *ops) {
		rng := rand.New(rand.NewPCG(22, 1))
		for _, d := range quantTypes {
			for _, n := range []int{1, 2, 5, 24, 60} {
				for _, panels := range []int{1, 2, 3} {
					for rows := 1; rows <= 26; rows++ {
						if n > 2 && (rows > 17 || rows%3 != panels%3) {
							continue
						}
						w := packedRandom(t, rng, n*32, panels*panelOuts, d)
						x := random(rng, rows*n*32)
						if rows%3 == 0 {
							spoil(rng, x)
						}
						blocks := make([]generic.Block, rows*n)
						generic.Quantize(blocks, x, d)
						ld := panels*panelOuts + rows%3
						got := guardedFloats(t, make([]float32, rows*ld-rows%3))
						o.products(d, got, ld, blocks, rows, w.Data, panels)
						for r := range rows {
							want := fusedProducts(d, blocks[r*n:][:n], w.Data, panels)
							if i := sameNumbers(got[r*ld:][:len(want)], want); i >= 0 {
								t.Fatalf("%v, %d blocks, %d panels, row %d of %d, output %d: got %v, want %v", d, n, panels, r, rows, i, got[r*ld+i], want[i])
							}
						}
					}
				}
			}
		}
	})
}

// fusedProducts is generic.Products of one row with fused multiply-adds.
func fusedProducts(d tensor.DType, x []generic.Block, w []byte, panels int) []float32 {
	y := make([]float32, panels*panelOuts)
	size := generic.PanelBlock(d)
	var gguf [40]byte
	for o := range y {
		for i, b := range x {
			block := w[(o/panelOuts*len(x)+i)*size:][:size]
			generic.GetBlock(d, gguf[:], block, o%panelOuts)
			scale := tensor.F16ToFloat32(uint16(gguf[0]) | uint16(gguf[1])<<8)
			var dot int
			for k, q := range b.Q {
				c := int(int8(gguf[2+k%32]))
				if d == tensor.Q4_0 {
					c = int(gguf[2+k%16]>>(k/16*4)&15) - 8
				}
				dot += c * int(q)
			}
			y[o] = fma32(float32(dot), scale*b.Scale, y[o])
		}
	}
	return y
}

// fma32 rounds a·b+c once. The product is exact in float64; the sum is rounded
// to odd before the last rounding, so that it is not rounded twice.
func fma32(a, b, c float32) float32 {
	p, q := float64(a)*float64(b), float64(c)
	s := p + q
	if math.IsNaN(s) || math.IsInf(s, 0) {
		return float32(s)
	}
	v := s - p
	rest := (p - (s - v)) + (q - v)
	if rest != 0 && math.Float64bits(s)&1 == 0 {
		if (rest > 0) == (s > 0) {
			s = math.Float64frombits(math.Float64bits(s) + 1)
		} else {
			s = math.Float64frombits(math.Float64bits(s) - 1)
		}
	}
	return float32(s)
}

// sameNumbers is same, but one NaN is as good as another.
func sameNumbers(a, b []float32) int {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) && (a[i] == a[i] || b[i] == b[i]) {
			return i
		}
	}
	return -1
}

func TestTwinPackTile(t *testing.T) {
	assembly(t, func(t *testing.T, o, g *ops) {
		rng := rand.New(rand.NewPCG(23, 1))
		for round := range 300 {
			for _, d := range quantTypes {
				ld := o.nr
				tile := guardedFloats(t, random(rng, 31*ld+16))
				for i := range tile {
					switch round % 4 {
					case 1:
						tile[i] = float32(rng.IntN(9)-4) * 0.5 // ties of magnitude and halves
					case 2:
						tile[i] *= float32(math.Ldexp(1, rng.IntN(250)-140))
					}
				}
				if round%4 == 3 {
					spoil(rng, tile)
				}
				got, want := guarded(t, generic.PanelBlock(d)), make([]byte, generic.PanelBlock(d))
				o.packTile(d, got, tile, ld)
				g.packTile(d, want, tile, ld)
				if !bytes.Equal(got, want) {
					t.Fatalf("%v, round %d: packed tiles differ", d, round)
				}
			}
		}
	})
}

// Whatever the layout and the type, packing an output is quantising its inputs.
func TestPackWeight(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		rng := rand.New(rand.NewPCG(24, 1))
		for _, s := range [][2]int{{32, 0}, {32, 1}, {64, 15}, {96, 16}, {32, 17}, {32, 33}, {160, 70}, {64, 257}} {
			for _, from := range weightTypes {
				for _, major := range []bool{false, true} {
					for _, d := range quantTypes {
						in, out := s[0], s[1]
						w, v := weight(rng, in, out, major, from)
						dst := make([]byte, PackedBytes(d, in, out))
						if err := c.PackWeight(dst, w, d); err != nil {
							t.Fatal(err)
						}
						packed := &Weight{In: in, Out: out, DType: d, Data: dst}
						column, got := make([]float32, in), make([]float32, in)
						block, rows := make([]byte, d.Bytes(in)), []byte(nil)
						for o := range out {
							for k := range column {
								if major {
									column[k] = v[o*in+k]
								} else {
									column[k] = v[k*out+o]
								}
							}
							tensor.FromFloat32(block, d, column)
							rows = append(rows, block...)
							tensor.ToFloat32(column, d, block)
							packed.PackedRow(got, o)
							if i := same(got, column); i >= 0 {
								t.Fatalf("%v to %v, %d×%d, major %v: output %d, input %d: got %v, want %v", from, d, in, out, major, o, i, got[i], column[i])
							}
						}
						again := bytes.Repeat([]byte{0xaa}, len(dst))
						if err := c.PackBlocks(again, d, in, out, rows); err != nil {
							t.Fatal(err)
						}
						if !bytes.Equal(again, dst) {
							t.Errorf("%v, %d×%d: packed blocks differ from a packed weight", d, in, out)
						}
					}
				}
			}
		}
	})
	c := newCPU(t, "", 1)
	w := &Weight{In: 48, Out: 2, DType: tensor.F32, Data: make([]byte, 48*2*4)}
	if err := c.PackWeight(nil, w, tensor.Q8_0); err == nil || !strings.Contains(err.Error(), "In is 48") {
		t.Errorf("In of 48: got %v", err)
	}
	if err := c.PackWeight(nil, w, tensor.F16); err == nil {
		t.Error("packed as F16")
	}
	if err := c.PackBlocks(nil, tensor.F16, 32, 1, nil); err == nil {
		t.Error("packed blocks of F16")
	}
}

// A row's result is that of the specification: it does not depend on the other
// rows, the threads or how the work is split.
func TestLinearQuantized(t *testing.T) {
	for _, family := range Families() {
		t.Run(family, func(t *testing.T) {
			cpus := []*CPU{newCPU(t, family, 1), newCPU(t, family, 2), newCPU(t, family, 5), byBlocks(t, family, 2)}
			rng := rand.New(rand.NewPCG(25, 1))
			for _, s := range [][2]int{{0, 5}, {32, 1}, {32, 257}, {96, 100}, {64, 600}, {416, 33}} {
				for _, d := range quantTypes {
					for _, rows := range []int{1, 2, 3, 5, 7, 8, 11, 13, 16, 17, 29, 48, 49, 75, 202, 515} {
						if family == "generic" && rows > 16 {
							continue
						}
						in, out := s[0], s[1]
						w := packedRandom(t, rng, in, out, d)
						if cpus[0].ops.tiled(rows, w) {
							continue // TestLinearTilesQuantized has these
						}
						x, bias := guardedFloats(t, random(rng, rows*in)), random(rng, out)
						if in > 0 && rows == 5 {
							spoil(rng, x)
						}
						e := Epilogue{Bias: bias, Activation: GELUTanh, Add: rows%2 == 1}
						var first []float32
						start := random(rng, rows*out)
						for _, c := range cpus {
							y := append([]float32(nil), start...)
							c.Linear(y, x, rows, w, e)
							if first == nil {
								first = y
								want := specified(c, w, x, rows, e, start)
								if i := sameNumbers(y, want); i >= 0 {
									t.Fatalf("%v %d×%d, %d rows: element %d: got %v, want %v", d, in, out, rows, i, y[i], want[i])
								}
							}
							if i := sameNumbers(y, first); i >= 0 {
								t.Fatalf("%v %d×%d, %d rows, %d threads: element %d: got %v, want %v", d, in, out, rows, c.Threads(), i, y[i], first[i])
							}
						}
					}
				}
			}
		})
	}
}

// byBlocks multiplies more than fewRows with a block of W that stays in a cache.
func byBlocks(t *testing.T, family string, threads int) *CPU {
	c := newCPU(t, family, threads)
	o := *c.ops
	o.moreFew = false
	c.ops = &o
	return c
}

// Every number of outputs, with y that ends where it ends.
func TestLinearQuantizedTails(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		rng := rand.New(rand.NewPCG(27, 1))
		for out := range 258 {
			for i, rows := range []int{1, 3, 7} {
				w := packedRandom(t, rng, 32, out, quantTypes[(out+i)%2])
				x, start := guardedFloats(t, random(rng, rows*32)), random(rng, rows*out)
				e := Epilogue{Add: out%3 == 0}
				got, want := guardedFloats(t, start), specified(c, w, x, rows, e, start)
				c.Linear(got, x, rows, w, e)
				if i := sameNumbers(got, want); i >= 0 {
					t.Fatalf("%v, %d outputs, %d rows: element %d: got %v, want %v", w.DType, out, rows, i, got[i], want[i])
				}
			}
		}
	})
}

// specified computes one row after the other, as the family rounds.
func specified(c *CPU, w *Weight, x []float32, rows int, e Epilogue, start []float32) []float32 {
	n := w.In / 32
	y := append([]float32(nil), start...)
	blocks := make([]generic.Block, n)
	panels := ceilDiv(w.Out, panelOuts)
	for r := range rows {
		acc := make([]float32, panels*panelOuts)
		if n > 0 {
			generic.Quantize(blocks, x[r*w.In:][:w.In], w.DType)
			if c.Family() == "generic" {
				generic.Products(w.DType, acc, len(acc), blocks, 1, w.Data, panels)
			} else {
				acc = fusedProducts(w.DType, blocks, w.Data, panels)
			}
		}
		e.finish(c.ops, y[r*w.Out:][:w.Out], acc[:w.Out], 0)
	}
	return y
}

func TestLinearQuantizedDoesNotAllocate(t *testing.T) {
	eachFamily(t, func(t *testing.T, c *CPU) {
		rng := rand.New(rand.NewPCG(26, 1))
		for _, rows := range []int{1, 8, 20} {
			w := packedRandom(t, rng, 64, 200, tensor.Q8_0)
			x, y := random(rng, rows*64), make([]float32, rows*200)
			if n := testing.AllocsPerRun(20, func() { c.Linear(y, x, rows, w, Epilogue{}) }); n > 0 {
				t.Errorf("%d rows: %v allocations", rows, n)
			}
		}
	})
}
