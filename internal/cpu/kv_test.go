package cpu

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

var kvShape = gpt2.KVShape{Layers: 2, Heads: 3, HeadDim: 5}

func newDevice(t *testing.T, kvType tensor.DType) *Device {
	t.Helper()
	c, err := kernel.New(kernel.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return New(c, Options{KVType: kvType})
}

func newKV(t *testing.T, d *Device, capacity int) *kv {
	t.Helper()
	c, err := d.NewKV(kvShape, capacity)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*kv)
}

// read has the device read rows of queries, keys and values at positions from … on.
func read(d *Device, c *kv, qkv []float32, from int) []float32 {
	embd := kvShape.Heads * kvShape.HeadDim
	n := len(qkv) / (3 * embd)
	rows := make([]gpt2.Row, n)
	for i := range rows {
		rows[i] = gpt2.Row{Pos: from + i, KV: c}
	}
	out := make(buffer, n*embd)
	for layer := range kvShape.Layers {
		d.Attention(out, buffer(qkv), layer, rows, 0.5)
	}
	return out
}

func random(n int) []float32 {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

// A copy of some positions is what was read at these positions.
func TestKVCopyFrom(t *testing.T) {
	for _, dim := range []int{5, 32} { // in heads of 32 single rows are stored in another way
		before := kvShape.HeadDim
		kvShape.HeadDim = dim
		copyFrom(t)
		kvShape.HeadDim = before
	}
}

func copyFrom(t *testing.T) {
	width := 3 * kvShape.Heads * kvShape.HeadDim
	for _, kvType := range []tensor.DType{tensor.Invalid, tensor.F32, tensor.F16, tensor.BF16, tensor.Q8_0} {
		if kvType == tensor.Q8_0 && kvShape.HeadDim != 32 {
			continue
		}
		d := newDevice(t, kvType)
		for _, span := range [][2]int{{0, 0}, {0, 1}, {0, 100}, {31, 33}, {32, 64}, {5, 20}, {40, 100}, {99, 100}} {
			from, to := span[0], span[1]
			t.Run(fmt.Sprint(kvShape.HeadDim, kvType, from, to), func(t *testing.T) {
				qkv := random(100 * width)
				other := slices.Clone(qkv)
				for i := from * width; i < to*width; i++ {
					other[i] = -3 // what the copy must replace
				}
				source, target, want := newKV(t, d, 110), newKV(t, d, 103), newKV(t, d, 103)
				read(d, source, qkv[:90*width], 0)
				for i := 90; i < 100; i++ { // one at a time, as texts are decoded
					read(d, source, qkv[:(i+1)*width][i*width:], i)
				}
				read(d, target, other, 0)
				read(d, want, qkv, 0)
				target.CopyFrom(source, from, to)
				for l := range target.k {
					if !bytes.Equal(target.k[l], want.k[l]) || !bytes.Equal(target.v[l], want.v[l]) {
						t.Fatalf("layer %d differs", l)
					}
				}
			})
		}
	}
}

// 16 bits of keys and values change the outcome by about what they round off.
func TestKVTypes(t *testing.T) {
	qkv := random(90 * 3 * kvShape.Heads * kvShape.HeadDim)
	exact := newDevice(t, tensor.F32)
	want := read(exact, newKV(t, exact, 90), qkv, 0)
	for kvType, most := range map[tensor.DType]float64{tensor.F16: 5e-4, tensor.BF16: 4e-3} {
		d := newDevice(t, kvType)
		got := read(d, newKV(t, d, 90), qkv, 0)
		var diff, norm float64
		for i, w := range want {
			diff += float64(got[i]-w) * float64(got[i]-w)
			norm += float64(w) * float64(w)
		}
		if e := math.Sqrt(diff / norm); e > most || e == 0 {
			t.Errorf("%v: off by %g, want up to %g", kvType, e, most)
		}
	}
	for _, kvType := range []tensor.DType{tensor.Q4_0, tensor.Q8_0} { // of Q8_0 a head is not whole blocks
		if _, err := newDevice(t, kvType).NewKV(kvShape, 10); err == nil {
			t.Errorf("keys and values of %v: no error", kvType)
		}
	}
}
