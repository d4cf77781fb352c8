package kernel

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/gptctl/gptctl/internal/tensor"
)

// attend runs attention alone, in every layer.
func (m *gpt2) attend(rows, depth int, prefill bool) {
	for i := range m.layers {
		for r := range rows {
			m.rows[r] = AttentionRow{K: m.k[i], V: m.v[i], Cap: m.limit, Len: depth + 1}
			if prefill {
				m.rows[r].Len += r
			}
		}
		m.c.Attention(m.att, m.qkv, m.rows[:rows], m.shape)
	}
}

// BenchmarkAttentionDecode reads the keys and values of 12 layers, which lie in
// memory, not in a cache: what measures the limit pushes them out, as a token's
// weights would.
func BenchmarkAttentionDecode(b *testing.B) {
	for _, kv := range kvTypes {
		for _, depth := range []int{511, 999} {
			b.Run(kv.String()+"/depth="+strconv.Itoa(depth), func(b *testing.B) {
				m := newGPT2KV(b, tensor.BF16, kv, 1024)
				bytes := float64(12 * (m.shape.KeyBytes(depth+1) + m.shape.ValueBytes(depth+1)))
				seconds, _, share := judge(b, m.c.NewMeter().Read, bytes, func() { m.attend(1, depth, false) })
				b.ReportMetric(100*share, "%read")
				b.ReportMetric(1e6*seconds, "µs")
			})
		}
	}
}

// BenchmarkDepth compares a token after 512 and 1000 others with one at the start,
// in turns: what counts is the share of what the bytes to read allow.
func BenchmarkDepth(b *testing.B) {
	depths := []int{0, 512, 1000}
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16, tensor.Q8_0, tensor.Q4_0} {
		for _, kv := range kvTypes {
			b.Run(d.String()+"/kv="+kv.String(), func(b *testing.B) {
				m := newGPT2KV(b, d, kv, 1024)
				times := make([][]float64, len(depths))
				m.pass(1, 1000, false, true)
				b.ResetTimer()
				for range b.N {
					for i, depth := range depths {
						start := time.Now()
						m.pass(1, depth, false, true)
						times[i] = append(times[i], time.Since(start).Seconds())
					}
				}
				for i, depth := range depths {
					slices.Sort(times[i])
					if depth == 0 {
						b.ReportMetric(1/times[i][b.N/2], "tok/s")
						continue
					}
					kv := float64(12 * (m.shape.KeyBytes(depth+1) + m.shape.ValueBytes(depth+1)))
					allowed := float64(m.weightBytes) / (float64(m.weightBytes) + kv)
					b.ReportMetric(100*times[0][b.N/2]/times[i][b.N/2]/allowed, "%@"+strconv.Itoa(depth))
				}
			})
		}
	}
}

// BenchmarkAttentionPrefill is the attention of a prompt.
func BenchmarkAttentionPrefill(b *testing.B) {
	for _, kv := range kvTypes {
		for _, rows := range []int{128, 512, 1024} {
			b.Run(kv.String()+"/"+strconv.Itoa(rows), func(b *testing.B) {
				m := newGPT2KV(b, tensor.BF16, kv, rows)
				flops := 12 * 4 * 768 * float64(rows) * float64(rows+1) / 2
				meter := m.c.NewMeter()
				peak := func(ctx context.Context) (float64, error) { return meter.Peak(ctx, Float32) }
				seconds, _, share := judge(b, peak, flops, func() { m.attend(rows, 0, true) })
				b.ReportMetric(flops/seconds/1e9, "GFLOP/s")
				b.ReportMetric(100*share, "%peak")
			})
		}
	}
}
