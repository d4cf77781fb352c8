package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

// halved is v as bfloat16, and v becomes what that holds.
func halved(v []float32) Numbers {
	h := make([]uint16, len(v))
	for i := range v {
		h[i] = tensor.Float32ToBF16(v[i])
		v[i] = tensor.BF16ToFloat32(h[i])
	}
	return Numbers{BF16: h}
}

// wide is n as float32.
func (n Numbers) wide() []float32 {
	v := make([]float32, n.len())
	tensor.ToFloat32(v, n.dtype(), n.bytes())
	return v
}

// What lies as bfloat16 is computed as if it were float32, and rounded.
func TestHalves(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		c, rng := cpuOf(t, o, 2), rand.New(rand.NewPCG(41, 42))
		check := func(name string, half Numbers, want []float32) {
			t.Helper()
			generic.Round(tensor.BF16, want)
			if at := same(half.wide(), want); at >= 0 {
				t.Errorf("%s: %v at %d, want %v", name, half.wide()[at], at, want[at])
			}
		}
		const rows, width = 70, 45
		n := rows * width
		x, y := random(rng, n), random(rng, n)
		half, other := halved(x), halved(y)
		plain := func(v []float32) Numbers { return Floats(append([]float32(nil), v...)) }

		a, b := plain(x), plain(y)
		c.Activate(other, half, GELUTanh, tensor.BF16)
		c.Activate(b, a, GELUTanh, tensor.BF16)
		check("activation", other, b.F32)
		c.ActivateGrad(other, half, GELUTanh, tensor.BF16)
		c.ActivateGrad(b, a, GELUTanh, tensor.BF16)
		check("activation's gradient", other, b.F32)

		for _, share := range []float64{0, 0.3} {
			d := Dropout{Key: 5, Share: share}
			v := random(rng, n)
			c.Copy(other, v, d)
			c.Copy(b, v, d)
			check("copy", other, b.F32)
		}
		gain, bias := random(rng, width), random(rng, width)
		v := random(rng, n)
		c.LayerNormOf(other, v, gain, bias, rows, width, 1e-5)
		c.LayerNormOf(b, v, gain, bias, rows, width, 1e-5)
		check("norm", other, b.F32)

		sums, want := random(rng, width), make([]float32, width)
		copy(want, sums)
		c.AddRows(sums, half, rows, width)
		c.AddRows(want, a, rows, width)
		if at := same(sums, want); at >= 0 {
			t.Errorf("rows added: %v at %d, want %v", sums[at], at, want[at])
		}
		var grads [2][3][]float32
		for i, dy := range []Numbers{half, a} {
			grads[i] = [3][]float32{make([]float32, n), make([]float32, width), make([]float32, width)}
			c.NormGrad(grads[i][0], grads[i][1], grads[i][2], dy, v, gain, rows, width, 1e-5)
		}
		for i := range 3 {
			if at := same(grads[0][i], grads[1][i]); at >= 0 {
				t.Errorf("norm's gradient %d: %v at %d, want %v", i, grads[0][i][at], at, grads[1][i][at])
			}
		}
		labels := make([]int32, rows)
		for i := range labels {
			labels[i] = int32(rng.IntN(width+5) - 5)
		}
		var losses [2][]float64
		for i, logits := range []Numbers{half, a} {
			losses[i] = make([]float64, rows)
			c.CrossEntropy(losses[i], logits, labels, width, 0.25, tensor.BF16)
		}
		check("loss's gradient", half, a.F32)
		for i := range rows {
			if losses[0][i] != losses[1][i] {
				t.Errorf("loss %d: %v, want %v", i, losses[0][i], losses[1][i])
			}
		}
	})
}

// Attention by tiles is that of float32, up to the roundings on the way.
func TestTileAttention(t *testing.T) {
	tiled(t, func(t *testing.T, o *ops) {
		for _, a := range []TrainAttention{
			{Sequences: 2, Context: 70, Heads: 2, HeadDim: 40},
			{Sequences: 2, Context: 70, Heads: 4, HeadDim: 40},
			{Sequences: 1, Context: 32, Heads: 1, HeadDim: 64},
			{Sequences: 1, Context: 1, Heads: 3, HeadDim: 8},
			{Sequences: 1, Context: 45, Heads: 2, HeadDim: 16, Dropout: Dropout{Key: 3, Share: 0.4}},
		} {
			t.Run(fmt.Sprintf("%+v", a), func(t *testing.T) {
				a.Scale = 0.2
				rng := rand.New(rand.NewPCG(43, 44))
				checkTileAttention(t, rng, cpuOf(t, o, 2), []*CPU{cpuOf(t, o, 2), cpuOf(t, o, 1)}, a)
			})
		}
	})
}

// checkTileAttention holds attention of bfloat16, and its gradient, against plain's of
// float32: the same bits on all of cpus.
func checkTileAttention(t *testing.T, rng *rand.Rand, plain *CPU, cpus []*CPU, a TrainAttention) {
	t.Helper()
	rows, width := a.Sequences*a.Context, a.Heads*a.HeadDim
	qkv, dout := random(rng, rows*3*width), random(rng, rows*width)
	halfQKV, halfDout := halved(qkv), halved(dout)
	out, dqkv, lse := make([]float32, rows*width), make([]float32, rows*3*width), make([]float32, rows*a.Heads)
	plain.TrainAttention(out, lse, qkv, a)
	plain.TrainAttentionGrad(dqkv, dout, qkv, out, lse, a)
	var first [2][]float32
	for i, c := range cpus {
		got, slope := Numbers{BF16: make([]uint16, len(out))}, Numbers{BF16: make([]uint16, len(dqkv))}
		sums := make([]float32, len(lse))
		c.TrainAttentionOf(got, sums, halfQKV, a)
		c.TrainAttentionGradOf(slope, halfDout, halfQKV, got, sums, a)
		near(t, "log-sums", sums, lse, 1e-4)
		if e := distance(got.wide(), float64s(out)); !(e < 0.01) {
			t.Errorf("output off by %g", e)
		}
		if e := distance(slope.wide(), float64s(dqkv)); !(e < 0.02) {
			t.Errorf("gradient off by %g", e)
		}
		if cols := 3 * width; cols%generic.TileStep == 0 {
			tiles := tilesOf(slope, rows, cols)
			clear(tiles.BF16)
			c.TrainAttentionGradOf(tiles, halfDout, halfQKV, got, sums, a)
			if want := tilesOf(slope, rows, cols); !slices.EqualFunc(tiles.BF16, want.BF16, func(v, w uint16) bool { return v == w || w == 0x7fc0 }) {
				t.Error("other bits as tiles")
			}
		}
		if i == 0 {
			first = [2][]float32{got.wide(), slope.wide()}
		} else if same(got.wide(), first[0]) >= 0 || same(slope.wide(), first[1]) >= 0 {
			t.Errorf("other bits with %d threads", c.Threads())
		}
	}
}

func float64s(v []float32) []float64 {
	w := make([]float64, len(v))
	for i, x := range v {
		w[i] = float64(x)
	}
	return w
}
