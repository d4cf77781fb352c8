package bench

import (
	"context"
	"slices"

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

// MeasureAll takes each limit.
func (l *Limits) MeasureAll(ctx context.Context, m Meter) error {
	for _, limit := range AllLimits {
		v, err := m.Measure(ctx, limit)
		if err != nil {
			return err
		}
		if l.seen == nil {
			l.seen = make(map[Limit][]float64)
		}
		l.seen[limit] = append(l.seen[limit], v)
	}
	return nil
}

// CPUMeter measures the limits of the threads of a CPU.
type CPUMeter struct {
	meter *kernel.Meter
	file  *kernel.Meter // of weights in a file, nil without
}

// NewCPUMeter takes 512 MB of memory until Close.
func NewCPUMeter(c *kernel.CPU) CPUMeter { return CPUMeter{meter: c.NewMeter()} }

// ForWeights is a meter for a model: it reads the weights, as each token does. A
// cache that keeps a part of them does so for both, which no other memory
// would show. Weights in a file lie on small pages, some in small pieces, and are
// read slower than the machine could: there the faster of the two counts. Without
// any it is the same meter.
func (m CPUMeter) ForWeights(s *Subject) CPUMeter {
	var bytes int64
	for _, piece := range s.Weights {
		bytes += int64(len(piece))
	}
	switch {
	case bytes >= s.Model.TokenBytes():
		return CPUMeter{meter: m.meter.For(s.Weights)}
	case len(s.InFile) > 0:
		return CPUMeter{m.meter, m.meter.For(slices.Concat(s.Weights, s.InFile))}
	}
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
	v, err := m.meter.Read(ctx)
	if err == nil && m.file != nil {
		var w float64
		w, err = m.file.Read(ctx) // last, so that a cache has the weights again
		v = max(v, w)
	}
	return v, err
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
