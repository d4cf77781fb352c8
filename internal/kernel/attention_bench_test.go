package kernel

import (
	"context"
	"math"
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
// memory, not in a cache: what a token's weights would push out is.
func BenchmarkAttentionDecode(b *testing.B) {
	for _, kv := range kvTypes {
		for _, depth := range []int{511, 999} {
			b.Run(kv.String()+"/depth="+strconv.Itoa(depth), func(b *testing.B) {
				m := newGPT2(b, tensor.BF16, kv, 1024)
				flush := m.head.Data
				bytes := float64(12 * (m.shape.KeyBytes(depth+1) + m.shape.ValueBytes(depth+1)))
				meter := m.meter(b)
				best := math.Inf(1)
				_, limit, _ := judge(b, meter.Read, bytes, func() {
					for i := 0; i < len(flush); i += 1 << 20 {
						m.c.ops.reads[0](flush[i:][:min(1<<20, len(flush)-i)])
					}
					start := time.Now()
					m.attend(1, depth, false)
					best = min(best, time.Since(start).Seconds())
				})
				b.ReportMetric(100*bytes/best/1e9/limit, "%read-best")
				b.ReportMetric(1e6*best, "best-µs")
			})
		}
	}
}

// BenchmarkAttentionPrefill is the attention of a prompt.
func BenchmarkAttentionPrefill(b *testing.B) {
	for _, kv := range kvTypes {
		for _, rows := range []int{128, 512, 1024} {
			b.Run(kv.String()+"/"+strconv.Itoa(rows), func(b *testing.B) {
				m := newGPT2(b, tensor.BF16, kv, rows)
				flops := 12 * 4 * 768 * float64(rows) * float64(rows+1) / 2
				meter := m.meter(b)
				peak := func(ctx context.Context) (float64, error) { return meter.Peak(ctx, Float32) }
				seconds, _, share := judge(b, peak, flops, func() { m.attend(rows, 0, true) })
				b.ReportMetric(flops/seconds/1e9, "GFLOP/s")
				b.ReportMetric(100*share, "%peak")
			})
		}
	}
}
