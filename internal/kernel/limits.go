package kernel

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Limits is what this machine can do at most with the threads of a CPU.
type Limits struct {
	ReadGBs    float64 // all threads reading memory, 10⁹ bytes a second
	F32GFLOPs  float64 // float32 multiply-adds in registers, 10⁹ operations a second (two to a multiply-add)
	BF16GFLOPs float64 // the same for products of bf16, 0 where the family has none
	Int8GOPs   float64 // the same for products of bytes
}

const (
	readBytes  = 256 << 20 // much larger than a last-level cache
	readClaim  = 1 << 20
	peakRounds = 1 << 14
	peakClaims = 64
)

// MeasureLimits takes the best of a few short runs, about a third of a second
// in all. It takes 256 MB of memory meanwhile. What is judged by a limit needs
// one of the same moment: see Meter.
func (c *CPU) MeasureLimits(ctx context.Context) (Limits, error) {
	var best Limits
	m := c.NewMeter()
	defer m.Close()
	for i := range 10 {
		v, err := m.Read(ctx)
		if err != nil {
			return Limits{}, err
		}
		best.ReadGBs = max(best.ReadGBs, v)
		if i >= 6 {
			continue
		}
		for _, p := range []struct {
			best *float64
			kind Number
		}{{&best.F32GFLOPs, Float32}, {&best.BF16GFLOPs, BFloat16}, {&best.Int8GOPs, Int8}} {
			if v, err = m.Peak(ctx, p.kind); err != nil {
				return Limits{}, err
			}
			*p.best = max(*p.best, v)
		}
	}
	return best, nil
}

// Number is what a multiply-add multiplies.
type Number int

// The numbers that families multiply.
const (
	Float32 Number = iota
	BFloat16
	Int8
)

// Multiplies says what many rows are multiplied by a weight of this type in.
func (c *CPU) Multiplies(d tensor.DType) Number {
	switch {
	case d != tensor.F32 && c.ops.tiles != nil, d == tensor.BF16 && c.ops.pairs != nil:
		return BFloat16
	case d.IsQuantized():
		return Int8
	}
	return Float32
}

// Meter measures limits in slices of some ten milliseconds, between the runs
// that they judge. A machine that is shared reads by a half slower or faster
// from one second to the next, whatever is read: what counts is the same moment.
type Meter struct {
	c      *CPU
	t      limitTask
	memory *mapped.Memory
}

// NewMeter takes 256 MB of memory until Close, no two pages of the same content,
// on huge pages as a device's weights are.
func (c *CPU) NewMeter() *Meter {
	m := &Meter{c: c, memory: mapped.Anonymous(readBytes)}
	m.t = limitTask{ops: c.ops, buf: m.memory.Data}
	for i := 0; i < len(m.t.buf); i += 4096 {
		binary.LittleEndian.PutUint32(m.t.buf[i:], uint32(i/4096+1))
	}
	return m
}

// Close gives the memory back. The Meter is not used afterwards.
func (m *Meter) Close() {
	m.t.buf = nil
	_ = m.memory.Free()
}

// Read returns the rate at which all threads read memory, in 10⁹ bytes a
// second, and takes about 10 ms.
func (m *Meter) Read(ctx context.Context) (float64, error) {
	s, err := m.time(ctx, nil)
	return float64(len(m.t.buf)) / s / 1e9, err
}

// Peak returns the rate of multiply-adds in registers, in 10⁹ operations a
// second, and takes about 10 ms. It is 0 for a kind that the family has no
// instruction for.
func (m *Meter) Peak(ctx context.Context, kind Number) (float64, error) {
	peak := m.c.ops.peak
	switch kind {
	case Int8:
		peak = m.c.ops.peakInt8
	case BFloat16:
		peak = m.c.ops.peakBF16
	}
	if peak == nil {
		return 0, ctx.Err()
	}
	s, err := m.time(ctx, peak)
	return float64(m.t.flops.Load()) / s / 1e9, err
}

func (m *Meter) time(ctx context.Context, peak func(int) int) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 1, err
	}
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	t := &m.t
	t.peak = peak
	t.next.Store(0)
	t.flops.Store(0)
	start := time.Now()
	m.c.team.Run(t)
	return time.Since(start).Seconds(), nil
}

type limitTask struct {
	ops   *ops
	buf   []byte
	peak  func(n int) (flops int) // nil: read
	next  atomic.Int64
	flops atomic.Int64
	sink  atomic.Uint32
}

// Run claims parts until none is left.
func (t *limitTask) Run(int) {
	for {
		i := int(t.next.Add(1)) - 1
		switch {
		case t.peak != nil && i < peakClaims:
			t.flops.Add(int64(t.peak(peakRounds)))
		case t.peak == nil && i < len(t.buf)/readClaim:
			t.sink.Add(uint32(t.ops.read(t.buf[i*readClaim:][:readClaim])))
		default:
			return
		}
	}
}
