package kernel

import (
	"bufio"
	"flag"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/tensor"
)

var update = flag.Bool("update", false, "write testdata/bits.txt anew from the results of avx2")

// fused names the families that give the same bits (BF16 weights widened).
var fused = []string{"avx2", "avx512", "neon"}

// uniform gives numbers in -1 … 1. They are exact in every step, so that they
// are the same on processors where Go fuses multiplications and additions.
func uniform(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.Uint32()>>8)/(1<<23) - 1
	}
	return v
}

// hash is that of the bits, all NaN being one.
func hash(v []float32) string {
	h := fnv.New64a()
	for _, x := range v {
		b := math.Float32bits(x)
		if x != x {
			b = 0x7fc00000
		}
		_, _ = h.Write([]byte{byte(b), byte(b >> 8), byte(b >> 16), byte(b >> 24)})
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// everyExponent samples all the float32 there are, NaN and Inf included.
func everyExponent() []float32 {
	var x []float32
	for b := uint64(0); b < 1<<32; b += 199967 {
		x = append(x, math.Float32frombits(uint32(b)))
	}
	return x
}

// bits calls note with the results of many computations.
func bits(t *testing.T, family string, note func(what string, v []float32)) {
	c, err := New(Options{Threads: 2, Family: family, Wide: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	o := c.ops
	rng := rand.New(rand.NewPCG(21, 22))
	for _, d := range weightTypes {
		for _, s := range [][2]int{{1, 3}, {21, 53}, {64, 192}, {333, 129}} {
			for _, major := range []bool{false, true} {
				w := &Weight{In: s[0], Out: s[1], OutMajor: major, DType: d, Data: make([]byte, s[0]*s[1]*d.Size())}
				tensor.FromFloat32(w.Data, d, uniform(rng, s[0]*s[1]))
				for _, rows := range []int{1, 2, 7, 16, 29} {
					x, bias, y := uniform(rng, rows*s[0]), uniform(rng, s[1]), uniform(rng, rows*s[1])
					for _, e := range []Epilogue{{Add: true}, {Bias: bias, Activation: GELUTanh}, {Activation: SiLU}, {Activation: QuickGELU}} {
						got := slices.Clone(y)
						c.Linear(got, x, rows, w, e)
						note(fmt.Sprintf("linear-%v-%dx%d-%v-%d-%d", d, s[0], s[1], major, rows, e.Activation), got)
					}
				}
			}
		}
	}
	for _, d := range quantTypes {
		for _, s := range [][2]int{{32, 1}, {96, 53}, {416, 129}} {
			blocks := make([]byte, s[1]*d.Bytes(s[0]))
			tensor.FromFloat32(blocks, d, uniform(rng, s[0]*s[1]))
			w := &Weight{In: s[0], Out: s[1], DType: d, Data: make([]byte, PackedBytes(d, s[0], s[1]))}
			if err := c.PackBlocks(w.Data, d, s[0], s[1], blocks); err != nil {
				t.Fatal(err)
			}
			for _, rows := range []int{1, 2, 7, 29} {
				y := make([]float32, rows*s[1])
				c.Linear(y, uniform(rng, rows*s[0]), rows, w, Epilogue{})
				note(fmt.Sprintf("linear-%v-%dx%d-%d", d, s[0], s[1], rows), y)
			}
		}
	}
	for _, n := range []int{1, 2, 3, 4, 7, 8, 11, 13, 16, 21, 35, 100, 768} {
		x, gain, bias, y := uniform(rng, n), uniform(rng, n), uniform(rng, n), uniform(rng, n)
		got := slices.Clone(y)
		c.LayerNorm(got, x, gain, bias, 1, n, 1e-5)
		note(fmt.Sprintf("norm-%d", n), got)
		s := slices.Clone(x)
		m := o.scaleMax(s, 3.7)
		sum := o.expSum(s, m)
		o.scale(s, 1/sum)
		note(fmt.Sprintf("softmax-%d", n), append(s, m, sum))
		note(fmt.Sprintf("sums-%d", n), []float32{o.sum(x), o.sumSquares(x, 0.3)})
	}
	for _, dim := range []int{3, 16, 21, 64, 80} {
		for _, d := range kvTypes {
			const heads, tokens = 2, 77
			shape := AttentionShape{heads, dim, d, 0.3, false}
			cache := newCache(t, shape, tokens, nil)
			qkv, y := uniform(rng, tokens*3*heads*dim), make([]float32, tokens*heads*dim)
			rows := make([]AttentionRow, tokens)
			for i := range rows {
				rows[i] = cache.at(i + 1)
			}
			// Forty rows at once, then one after the other.
			c.Attention(y, qkv, rows[:40], shape)
			for i := 40; i < tokens; i++ {
				at := i * heads * dim
				c.Attention(y[at:], qkv[3*at:], rows[i:i+1], shape)
			}
			note(fmt.Sprintf("attention-%v-%d", d, dim), y)
		}
	}
	for mr := 1; mr <= 6; mr++ {
		for _, k := range []int{1, 2, 3, 4, 9, 64} {
			dst := make([]float32, k*o.nr)
			o.packTransposed(dst, uniform(rng, 16*k)[:min(o.nr, 16)*k], min(o.nr, 16), k)
			got, a := make([]float32, mr*o.nr), uniform(rng, mr*k)
			o.multiply(got, o.nr, a, k, dst, o.nr, mr, k, false)
			o.multiply(got, o.nr, a, k, dst, o.nr, mr, k, true)
			var v []float32
			for i := range mr {
				v = append(v, got[i*o.nr:][:16]...)
			}
			note(fmt.Sprintf("tile-%d-%d", mr, k), v)
		}
	}
	for _, f := range []Activation{GELUTanh, SiLU, QuickGELU} {
		x := everyExponent()
		o.activate(x, f)
		note(fmt.Sprintf("activation-%d", f), x)
	}
	x := everyExponent()
	o.expSum(x, 0)
	note("exp", x)
}

// A family that no processor at hand has besides avx2 is run under an emulator;
// the recorded results of avx2 show that it gives the same bits.
func TestRecordedBits(t *testing.T) {
	const file = "testdata/bits.txt"
	if *update {
		var b strings.Builder
		b.WriteString("# Hashes of results of package kernel's avx2, which the other families must give too.\n" +
			"# Written by go test ./internal/kernel -run TestRecordedBits -update\n")
		bits(t, "avx2", func(what string, v []float32) { fmt.Fprintln(&b, what, hash(v)) })
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	recorded := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if what, h, ok := strings.Cut(s.Text(), " "); ok && what != "#" {
			recorded[what] = h
		}
	}
	for _, family := range Families() {
		if !slices.Contains(fused, family) {
			continue
		}
		t.Run(family, func(t *testing.T) {
			n := 0
			bits(t, family, func(what string, v []float32) {
				n++
				if got := hash(v); got != recorded[what] {
					t.Errorf("%s: got %s, want %s", what, got, recorded[what])
				}
			})
			if n != len(recorded) {
				t.Errorf("results: got %d, want %d", n, len(recorded))
			}
		})
	}
}
