package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

// room is memory at address 0.
type room []byte

func (m room) read(p []byte, at uint64) error {
	if at+uint64(len(p)) > uint64(len(m)) {
		return fmt.Errorf("nothing at %d", at)
	}
	copy(p, m[at:])
	return nil
}

func (m room) write(at uint64, p []byte) error {
	if at+uint64(len(p)) > uint64(len(m)) {
		return fmt.Errorf("nothing at %d", at)
	}
	copy(m[at:], p)
	return nil
}

func configuration(rows, bytes [tileCount]int) (b [64]byte) {
	b[0] = 1
	for i := range tileCount {
		binary.LittleEndian.PutUint16(b[16+2*i:], uint16(bytes[i]))
		b[48+i] = byte(rows[i])
	}
	return b
}

func TestConfigure(t *testing.T) {
	good := configuration([8]int{16, 5, 1}, [8]int{64, 12, 3})
	for name, c := range map[string]struct {
		change func(b *[64]byte)
		want   string
	}{
		"good":           {func(b *[64]byte) {}, ""},
		"palette 0":      {func(b *[64]byte) { b[0] = 0 }, ""},
		"palette 2":      {func(b *[64]byte) { b[0] = 2 }, "palette 2"},
		"reserved":       {func(b *[64]byte) { b[9] = 1 }, "byte 9"},
		"a ninth tile":   {func(b *[64]byte) { b[33] = 1 }, "byte 33"},
		"a ninth height": {func(b *[64]byte) { b[56] = 1 }, "byte 56"},
		"wide":           {func(b *[64]byte) { b[16] = 65 }, "tile 0"},
		"high":           {func(b *[64]byte) { b[49] = 17 }, "tile 1"},
		"no rows":        {func(b *[64]byte) { b[50] = 0 }, "tile 2"},
	} {
		b := good
		c.change(&b)
		var s tiles
		err := s.configure(b)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "good" {
			if back := s.configuration(); back != b {
				t.Errorf("stored as % x", back)
			}
		}
	}
}

// Loads, a product and a store of shapes with tails, against exact arithmetic.
func TestProducts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		m, n, k := 1+rng.IntN(16), 1+rng.IntN(16), 1+rng.IntN(16) // k groups of four bytes
		for _, op := range []operation{tdpbf16ps, tdpbssd, tdpbsud, tdpbusd, tdpbuud} {
			product(t, rng, op, m, n, k)
		}
	}
}

func product(t *testing.T, rng *rand.Rand, op operation, m, n, k int) {
	t.Helper()
	const stride = 80
	mem := make(room, 4*16*stride)
	for i := range mem {
		mem[i] = byte(rng.Uint32())
	}
	at := func(tile, row, byte int) int { return (tile*16+row)*stride + byte }
	f32 := func(tile, row, col int) float32 {
		return math.Float32frombits(binary.LittleEndian.Uint32(mem[at(tile, row, 4*col):]))
	}
	bf16 := func(tile, row, i int) float32 {
		return math.Float32frombits(uint32(binary.LittleEndian.Uint16(mem[at(tile, row, 2*i):])) << 16)
	}
	if op == tdpbf16ps { // numbers instead of any bits
		for i := 0; i < len(mem); i += 4 {
			bits := math.Float32bits(float32(rng.NormFloat64()))
			if i >= at(1, 0, 0) { // a pair of bfloat16
				bits = bits&^0xffff | math.Float32bits(float32(rng.NormFloat64()))>>16
			}
			binary.LittleEndian.PutUint32(mem[i:], bits)
		}
	}
	before := append(room(nil), mem...)
	var s tiles
	if err := s.configure(configuration([8]int{m, m, k}, [8]int{4 * n, 4 * k, 4 * n})); err != nil {
		t.Fatal(err)
	}
	for tile := range 3 {
		if err := s.execute(instruction{op: tileloadd, dst: tile, src1: -1, src2: -1}, mem, uint64(at(tile, 0, 0)), stride); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.execute(instruction{op: op, dst: 0, src1: 1, src2: 2}, mem, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.execute(instruction{op: tilestored, dst: 0, src1: -1, src2: -1}, mem, uint64(at(3, 0, 0)), stride); err != nil {
		t.Fatal(err)
	}
	for i := range m {
		for j := range n {
			got := binary.LittleEndian.Uint32(mem[at(3, i, 4*j):])
			if op == tdpbf16ps {
				var terms [2]float32
				for g := range k {
					for p := range 2 {
						terms[p] = exact(bf16(1, i, 2*g+p), bf16(2, g, 2*j+p), terms[p])
					}
				}
				want := f32(0, i, j) + (terms[0] + terms[1])
				if g := math.Float32frombits(got); g != want {
					t.Fatalf("%s %d×%d×%d: element %d,%d is %v, want %v", op, m, n, k, i, j, g, want)
				}
				continue
			}
			want := int32(binary.LittleEndian.Uint32(mem[at(0, i, 4*j):]))
			for g := range k {
				for p := range 4 {
					a, b := int32(mem[at(1, i, 4*g+p)]), int32(mem[at(2, g, 4*j+p)])
					if op == tdpbssd || op == tdpbsud {
						a = int32(int8(a))
					}
					if op == tdpbssd || op == tdpbusd {
						b = int32(int8(b))
					}
					want += a * b
				}
			}
			if int32(got) != want {
				t.Fatalf("%s %d×%d×%d: element %d,%d is %d, want %d", op, m, n, k, i, j, int32(got), want)
			}
		}
		for b := 4 * n; b < stride; b++ {
			if mem[at(3, i, b)] != before[at(3, i, b)] {
				t.Fatalf("%s: the store changed byte %d of row %d", op, b, i)
			}
		}
	}
}

// exact is a·b+c, rounded once.
func exact(a, b, c float32) float32 {
	p := new(big.Float).SetPrec(400).SetFloat64(float64(a))
	p.Mul(p, new(big.Float).SetPrec(400).SetFloat64(float64(b)))
	p.Add(p, new(big.Float).SetPrec(400).SetFloat64(float64(c)))
	f, _ := p.Float32()
	return f
}

func TestMultiplyAdd(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range [][4]float32{
		{0x1p-100, 0x1p-100, 1, 1},
		{0x1p-100, 0x1p-100, 0, 0}, // subnormal results are zero
		{0x1p-70, 0x1p-70, 0x1p-126, 0x1.0004p-126},
		{0x1p100, 0x1p100, 1, inf},
		{0x1p100, 0x1p100, -inf, -inf},
		{0x1p64, 0x1p64, -0x1.8p127, 0x1p126}, // the product alone would overflow
		{inf, 0, 1, nan},
		{nan, 1, 1, nan},
		{3, 5, 7, 22},
	} {
		if got := multiplyAdd(c[0], c[1], c[2]); got != c[3] && (got == got || c[3] == c[3]) {
			t.Errorf("%v·%v+%v: got %v, want %v", c[0], c[1], c[2], got, c[3])
		}
	}
	if got := bfloat16([]byte{0x7f, 0x80}); got != 0 {
		t.Errorf("a subnormal operand counts as %v", got)
	}
}

func TestFaults(t *testing.T) {
	load := instruction{op: tileloadd, dst: 0, src1: -1, src2: -1}
	mul := instruction{op: tdpbf16ps, dst: 0, src1: 1, src2: 2}
	full := configuration([8]int{16, 16, 16}, [8]int{64, 64, 64})
	for name, c := range map[string]struct {
		config [64]byte
		in     instruction
		want   string
	}{
		"no configuration":   {[64]byte{}, load, "not configured"},
		"an empty tile":      {full, instruction{op: tilezero, dst: 5, src1: -1, src2: -1}, "tile 5 is not configured"},
		"no memory":          {full, load, "nothing at"},
		"unlike heights":     {configuration([8]int{16, 15, 16}, [8]int{64, 64, 64}), mul, "do not fit"},
		"unlike widths":      {configuration([8]int{16, 16, 16}, [8]int{60, 64, 64}), mul, "do not fit"},
		"unlike depths":      {configuration([8]int{16, 16, 15}, [8]int{64, 64, 64}), mul, "do not fit"},
		"a part of a group":  {configuration([8]int{16, 16, 16}, [8]int{64, 62, 64}), mul, "groups of four"},
		"a bad operand":      {full, instruction{op: tdpbf16ps, distorted: "two operands are the same tile"}, "the same tile"},
		"after tilerelease ": {full, instruction{op: tilerelease, dst: -1, src1: -1, src2: -1}, ""},
	} {
		var s tiles
		if err := s.configure(c.config); err != nil {
			t.Fatal(err)
		}
		err := s.execute(c.in, make(room, 64), 60, 64)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	var s tiles
	if err := s.configure(full); err != nil {
		t.Fatal(err)
	}
	if err := s.execute(instruction{op: tilerelease}, nil, 0, 0); err != nil || s.configured {
		t.Errorf("release: %v, configured %v", err, s.configured)
	}
}
