package kernel

import (
	"context"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/tensor"
)

// gpt2 is the arithmetic of GPT-2 124M on weights that lie in one buffer, as
// in a model file.
type gpt2 struct {
	c                                *CPU
	layers                           [12]struct{ qkv, proj, up, down *Weight }
	head                             *Weight
	x, n, qkv, att, hid, gain, bias  []float32
	k, v                             [12][]byte
	shape                            AttentionShape
	rows                             []AttentionRow
	weightBytes, limit, heads, width int
}

// huge is memory as a device has it for weights, keys and values.
func huge(b *testing.B, n int) []byte {
	m := mapped.Anonymous(n)
	b.Cleanup(func() { _ = m.Free() })
	return m.Data
}

func newGPT2(b *testing.B, d, kv tensor.DType, limit int) *gpt2 {
	m := &gpt2{limit: limit, heads: 12, width: 768, shape: AttentionShape{12, 64, kv, 0.125, false}}
	threads, _ := strconv.Atoi(os.Getenv("THREADS"))
	c, err := New(Options{Family: os.Getenv("GPTCTL_CPU"), Threads: threads})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	m.c = c
	const w, vocab = 768, 50257
	tiles := c.InTiles(d)
	if tiles {
		d = tensor.BF16
	}
	size := func(in, out int) int {
		switch {
		case d.IsQuantized():
			return PackedBytes(d, in, out)
		case tiles:
			return TileBytes(out, in)
		}
		return in * out * d.Size()
	}
	noise := make([]float32, 4096)
	for i := range noise {
		noise[i] = float32(i%61-30) / 1000
	}
	pattern := make([]byte, size(w, 64)) // for all widths, as a panel of 4·w is four of w
	n := &Weight{In: w, Out: 64, DType: tensor.F32, Data: make([]byte, w*64*4)}
	for i := 0; i < w*64; i += len(noise) {
		tensor.FromFloat32(n.Data[4*i:], tensor.F32, noise)
	}
	if !d.IsQuantized() {
		c.Convert(pattern, d, n.Data, tensor.F32)
	} else if err := c.PackWeight(pattern, n, d); err != nil {
		b.Fatal(err)
	}
	buf := huge(b, 12*(size(w, 3*w)+size(w, w)+size(w, 4*w)+size(4*w, w))+size(w, vocab))
	for i := 0; i < len(buf); i += len(pattern) {
		copy(buf[i:], pattern)
	}
	m.weightBytes = len(buf)
	take := func(in, out int, outMajor bool) *Weight {
		data := buf[:size(in, out)]
		buf = buf[len(data):]
		return &Weight{In: in, Out: out, OutMajor: outMajor, DType: d, Data: data, Tiles: tiles}
	}
	for i := range m.layers {
		l := &m.layers[i]
		l.qkv, l.proj = take(w, 3*w, false), take(w, w, false)
		l.up, l.down = take(w, 4*w, false), take(4*w, w, false)
		m.k[i], m.v[i] = huge(b, m.shape.KeyBytes(limit)), huge(b, m.shape.ValueBytes(limit))
		kv := make([]byte, 4096*m.shape.DType.Size())
		tensor.FromFloat32(kv, m.shape.DType, noise)
		for j := 0; j < len(m.k[i]); j += copy(m.k[i][j:], kv) {
		}
		for j := 0; j < len(m.v[i]); j += copy(m.v[i][j:], kv[:len(kv)-24]) {
		}
	}
	m.head = take(w, vocab, true)
	m.x, m.n, m.att = alignedFloats(limit*w), alignedFloats(limit*w), alignedFloats(limit*w)
	m.qkv, m.hid = alignedFloats(limit*3*w), alignedFloats(max(limit*4*w, vocab*16))
	m.gain, m.bias = alignedFloats(4*w), alignedFloats(4*w)
	for i := range m.x {
		m.x[i] = noise[i%4096]
	}
	for i := range m.gain {
		m.gain[i], m.bias[i] = 1, 0.01
	}
	m.rows = make([]AttentionRow, limit)
	return m
}

// pass runs rows tokens, each after depth others (batched decode), or one
// after the other (prefill).
func (m *gpt2) pass(rows, depth int, prefill, head bool) {
	const w = 768
	c := m.c
	for i := range m.layers {
		l := &m.layers[i]
		c.LayerNorm(m.n, m.x, m.gain, m.bias, rows, w, 1e-5)
		c.Linear(m.qkv, m.n, rows, l.qkv, Epilogue{Bias: m.bias})
		for r := range rows {
			m.rows[r] = AttentionRow{K: m.k[i], V: m.v[i], Cap: m.limit, Len: depth + 1}
			if prefill {
				m.rows[r].Len += r
			}
		}
		c.Attention(m.att, m.qkv, m.rows[:rows], m.shape)
		c.Linear(m.x, m.att, rows, l.proj, Epilogue{Bias: m.bias, Add: true})
		c.LayerNorm(m.n, m.x, m.gain, m.bias, rows, w, 1e-5)
		c.Linear(m.hid, m.n, rows, l.up, Epilogue{Bias: m.bias, Activation: GELUTanh})
		c.Linear(m.x, m.hid, rows, l.down, Epilogue{Bias: m.bias, Add: true})
	}
	c.LayerNorm(m.n, m.x, m.gain, m.bias, rows, w, 1e-5)
	if head {
		c.Linear(m.hid, m.n, rows, m.head, Epilogue{})
	}
}

// meter is one that is closed at the end.
func (m *gpt2) meter(b *testing.B) *Meter {
	l := m.c.NewMeter()
	b.Cleanup(l.Close)
	return l
}

// judge runs f between measurements of a limit, b.N times, and returns the
// median of its seconds, of the limit, and of the share of work ÷ seconds. What
// b itself reports, allocations among it, is of f alone.
func judge(b *testing.B, limit func(context.Context) (float64, error), work float64, f func()) (seconds, most, share float64) {
	measure := func() float64 {
		v, err := limit(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
	f()
	measure()
	var s, l, q []float64
	before := measure()
	b.ResetTimer()
	b.StopTimer()
	for range b.N {
		b.StartTimer()
		start := time.Now()
		f()
		took := time.Since(start).Seconds()
		b.StopTimer()
		after := measure()
		now := (before + after) / 2
		s, l, q = append(s, took), append(l, now), append(q, work/took/1e9/now)
		before = after
	}
	return median(s), median(l), median(q)
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func BenchmarkDecode(b *testing.B) {
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16, tensor.Q8_0, tensor.Q4_0} {
		for _, kv := range kvTypes {
			for _, depth := range []int{0, 128, 512, 1000} {
				if depth == 0 && kv != tensor.F32 {
					continue
				}
				for _, rows := range []int{1, 4, 8} {
					b.Run(d.String()+"/kv="+kv.String()+"/depth="+strconv.Itoa(depth)+"/rows="+strconv.Itoa(rows), func(b *testing.B) {
						m := newGPT2(b, d, kv, 1024)
						// What has to be read: weights, and K and V of one sequence
						// (here all rows share it, as the cache does).
						bytes := float64(m.weightBytes + 12*(m.shape.KeyBytes(depth+1)+m.shape.ValueBytes(depth+1)))
						seconds, limit, share := judge(b, m.meter(b).Read, bytes, func() { m.pass(rows, depth, false, true) })
						b.ReportMetric(float64(rows)/seconds, "tok/s")
						b.ReportMetric(100*share, "%read")
						b.ReportMetric(limit, "GB/s-limit")
					})
				}
			}
		}
	}
}

// BenchmarkBatch compares eight sequences with one, interleaved.
func BenchmarkBatch(b *testing.B) {
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16, tensor.Q8_0, tensor.Q4_0} {
		b.Run(d.String(), func(b *testing.B) {
			m := newGPT2(b, d, tensor.F32, 1024)
			m.pass(8, 64, false, true) // makes room for what is kept from call to call
			q := make([]float64, 0, b.N+1)
			b.ResetTimer()
			for range b.N + 1 {
				start := time.Now()
				m.pass(1, 64, false, true)
				one := time.Since(start)
				start = time.Now()
				m.pass(8, 64, false, true)
				eight := time.Since(start)
				start = time.Now()
				m.pass(1, 64, false, true)
				one += time.Since(start)
				q = append(q, 8*float64(one)/2/float64(eight))
			}
			b.ReportMetric(median(q), "×one")
		})
	}
}

func BenchmarkPrefill(b *testing.B) {
	for _, outMajor := range []bool{false, true} {
		for _, d := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16, tensor.Q8_0, tensor.Q4_0} {
			if outMajor && d.IsQuantized() {
				continue
			}
			name := d.String()
			if outMajor {
				name += "/OutMajor"
			}
			b.Run(name, func(b *testing.B) {
				const rows = 512
				m := newGPT2(b, d, tensor.F32, rows)
				for i := range m.layers {
					l := &m.layers[i]
					for _, w := range []*Weight{l.qkv, l.proj, l.up, l.down} {
						w.OutMajor = outMajor
					}
				}
				kind := m.c.Multiplies(d)
				meter := m.meter(b)
				peak := func(ctx context.Context) (float64, error) { return meter.Peak(ctx, kind) }
				seconds, limit, share := judge(b, peak, rows*170e6, func() { m.pass(rows, 0, true, false) })
				b.ReportMetric(rows/seconds, "tok/s")
				b.ReportMetric(100*share, "%peak")
				b.ReportMetric(limit, "GFLOP/s-limit")
			})
		}
	}
}

// BenchmarkParts times what a prefill of 512 rows consists of.
func BenchmarkParts(b *testing.B) {
	const rows, w = 512, 768
	m := newGPT2(b, tensor.F32, tensor.F32, rows)
	l := &m.layers[0]
	for r := range rows {
		m.rows[r] = AttentionRow{K: m.k[0], V: m.v[0], Cap: m.limit, Len: r + 1}
	}
	for _, p := range []struct {
		name string
		run  func()
	}{
		{"norm", func() { m.c.LayerNorm(m.n, m.x, m.gain, m.bias, rows, w, 1e-5) }},
		{"qkv", func() { m.c.Linear(m.qkv, m.n, rows, l.qkv, Epilogue{Bias: m.bias}) }},
		{"attention", func() { m.c.Attention(m.att, m.qkv, m.rows, m.shape) }},
		{"proj", func() { m.c.Linear(m.n, m.att, rows, l.proj, Epilogue{Bias: m.bias}) }},
		{"up", func() { m.c.Linear(m.hid, m.n, rows, l.up, Epilogue{Bias: m.bias}) }},
		{"up+gelu", func() { m.c.Linear(m.hid, m.n, rows, l.up, Epilogue{Bias: m.bias, Activation: GELUTanh}) }},
		{"down", func() { m.c.Linear(m.n, m.hid, rows, l.down, Epilogue{Bias: m.bias}) }},
	} {
		b.Run(p.name, func(b *testing.B) {
			p.run()
			b.ResetTimer()
			b.ReportMetric(1e6*m.best(b, p.run), "best-µs")
		})
	}
}

// best is the shortest of b.N runs, in seconds.
func (m *gpt2) best(b *testing.B, run func()) float64 {
	best := math.Inf(1)
	for range b.N {
		start := time.Now()
		run()
		best = min(best, time.Since(start).Seconds())
	}
	return best
}
