package bench

import (
	"context"

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

// Limits are the measurements of a machine, made beside those of its models.
type Limits struct {
	seen map[Limit][]float64
}

// Median returns the median of all measurements of a limit, 0 if there are none.
func (l *Limits) Median(of Limit) float64 { return median(l.seen[of]) }

// MeasureAll takes each limit that the CPU has once.
func (l *Limits) MeasureAll(c *kernel.CPU) {
	for _, limit := range AllLimits {
		l.measure(c, limit)
	}
}

func (l *Limits) measure(c *kernel.CPU, limit Limit) float64 {
	m, _ := c.MeasureLimits(context.Background())
	v := m.ReadGBs
	if limit != Read {
		v = m.F32GFLOPs
	}
	if l.seen == nil {
		l.seen = make(map[Limit][]float64)
	}
	l.seen[limit] = append(l.seen[limit], v)
	return v
}

// peakOf is the limit of the arithmetic that a CPU multiplies weights of a type with.
func peakOf(*kernel.CPU, tensor.DType) Limit { return F32 }
