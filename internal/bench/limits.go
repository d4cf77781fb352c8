package bench

import (
	"context"
	"math"

	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Limit is what a test is bound by, by the name of the field in the JSON report.
type Limit string

// The limits.
const (
	Read Limit = "read_gb_s"    // reading memory, 10⁹ bytes a second
	F32  Limit = "f32_gflop_s"  // multiply-adds in registers, 10⁹ operations a second
	BF16 Limit = "bf16_gflop_s" // products of bfloat16 added up in float32
	Int8 Limit = "int8_gop_s"   // products of bytes added up in int32
)

// AllLimits lists them.
var AllLimits = []Limit{Read, F32, BF16, Int8}

// Meter measures a limit once, in about ten milliseconds. It is 0 where the
// machine has no instruction for it.
type Meter interface {
	Measure(ctx context.Context, l Limit) (float64, error)
}

// Limits are the measurements of a machine, made beside those of its models.
type Limits struct {
	seen map[Limit][]float64
}

// Median returns the median of all measurements of a limit, 0 if there are none.
func (l *Limits) Median(of Limit) float64 { return median(l.seen[of]) }

// MeasureAll takes each limit a few times.
func (l *Limits) MeasureAll(ctx context.Context, m Meter) error {
	const times = 5
	for range times {
		for _, limit := range AllLimits {
			if _, err := l.measure(ctx, m, limit); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Limits) measure(ctx context.Context, m Meter, limit Limit) (float64, error) {
	v, err := m.Measure(ctx, limit)
	if err != nil {
		return 0, err
	}
	if l.seen == nil {
		l.seen = make(map[Limit][]float64)
	}
	l.seen[limit] = append(l.seen[limit], v)
	return v, nil
}

// CPUMeter measures the limits of the threads of a CPU.
type CPUMeter struct {
	meter *kernel.Meter
	cycle int // bytes that are read over and over; 0: more than any cache holds
}

// NewCPUMeter takes 256 MB of memory until Close.
func NewCPUMeter(c *kernel.CPU) CPUMeter { return CPUMeter{meter: c.NewMeter()} }

// ForWeights is the same meter for a model whose tokens read this many bytes
// each: where a cache keeps part of them, so it does of what the meter reads.
func (m CPUMeter) ForWeights(bytes int64) CPUMeter {
	m.cycle = int(min(bytes, math.MaxInt32))
	return m
}

// Close gives the memory back.
func (m CPUMeter) Close() { m.meter.Close() }

// Measure implements Meter.
func (m CPUMeter) Measure(ctx context.Context, l Limit) (float64, error) {
	switch l {
	case F32:
		return m.meter.Peak(ctx, kernel.Float32)
	case BF16:
		return m.meter.Peak(ctx, kernel.BFloat16)
	case Int8:
		return m.meter.Peak(ctx, kernel.Int8)
	}
	if m.cycle > 0 {
		return m.meter.ReadCycle(ctx, m.cycle)
	}
	return m.meter.Read(ctx)
}

// peakOf is the limit of the arithmetic that a CPU multiplies weights of a type with.
func peakOf(c *kernel.CPU, d tensor.DType) Limit {
	switch c.Multiplies(d) {
	case kernel.BFloat16:
		return BF16
	case kernel.Int8:
		return Int8
	}
	return F32
}
