package kernel

import (
	"context"
	"encoding/binary"
	"slices"
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
	readLeast  = readBytes / 2
	readClaim  = 2 << 20 // a smaller part costs: each begins with the cache's predictor knowing nothing
	peakRounds = 1 << 14
	peakClaims = 64
	warming    = 8   // the part of a measurement that comes before it, untimed
	patience   = 100 // parts that a late thread is waited for, about 10 ms
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
//
// What ran before has left the threads parked and the caches full of something
// else, so that each measurement begins with an eighth of it that is not timed,
// or more until all threads have come.
type Meter struct {
	c      *CPU
	t      limitTask
	memory *mapped.Memory
	chosen bool // which loop reads
}

// NewMeter takes 256 MB of memory until Close, no two pages of the same content,
// on huge pages as a device's weights are.
func (c *CPU) NewMeter() *Meter {
	m := &Meter{c: c, memory: mapped.Anonymous(readBytes)}
	m.t = limitTask{buf: m.memory.Data, read: c.ops.read}
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
func (m *Meter) Read(ctx context.Context) (float64, error) { return m.ReadCycle(ctx, readBytes) }

// ReadCycle is Read for one who reads the same n bytes over and over: what the
// caches keep of few bytes comes faster. From 128 MB on it is Read.
func (m *Meter) ReadCycle(ctx context.Context, n int) (float64, error) {
	if err := m.choose(ctx); err != nil {
		return 0, err
	}
	return m.read(ctx, n)
}

func (m *Meter) read(ctx context.Context, n int) (float64, error) {
	t := &m.t
	t.peak, t.cycle, t.parts = nil, readBytes, readBytes/warming/readClaim
	if n < readLeast {
		t.cycle = max(n, readClaim)
		t.parts = parts(t.cycle) // all of it: the caches keep what they would
	}
	if err := m.warm(ctx); err != nil {
		return 0, err
	}
	t.parts = parts(t.cycle) * max(1, readLeast/t.cycle)
	s, err := m.time(ctx)
	return float64(t.parts/parts(t.cycle)*t.cycle) / s / 1e9, err
}

func parts(n int) int { return (n + readClaim - 1) / readClaim }

// choose takes the loop that reads faster here: of one maker's processors those
// with two streams that the hardware foresees, of another's those with four
// that are asked for ahead.
func (m *Meter) choose(ctx context.Context) error {
	loops := []func([]byte) float32{m.c.ops.read, m.c.ops.readTwo}
	if m.chosen || loops[1] == nil {
		return ctx.Err()
	}
	const rounds, few = 7, 64 << 20
	var rates [2][]float64
	for range rounds {
		for i, loop := range loops {
			m.t.read = loop
			v, err := m.read(ctx, few)
			if err != nil {
				return err
			}
			rates[i] = append(rates[i], v)
		}
	}
	best := 0
	for i := range rates {
		slices.Sort(rates[i])
		if rates[i][rounds/2] > rates[best][rounds/2] {
			best = i
		}
	}
	m.t.read, m.chosen = loops[best], true
	return nil
}

// Peak returns the rate of multiply-adds in registers, in 10⁹ operations a
// second, and takes about 10 ms. It is 0 for a kind that the family has no
// instruction for.
func (m *Meter) Peak(ctx context.Context, kind Number) (float64, error) {
	t := &m.t
	t.peak = m.c.ops.peak
	switch kind {
	case Int8:
		t.peak = m.c.ops.peakInt8
	case BFloat16:
		t.peak = m.c.ops.peakBF16
	}
	if t.peak == nil {
		return 0, ctx.Err()
	}
	t.parts = peakClaims / warming
	if err := m.warm(ctx); err != nil {
		return 0, err
	}
	t.parts = peakClaims
	s, err := m.time(ctx)
	return float64(t.flops.Load()) / s / 1e9, err
}

// warm runs the parts that are not timed.
func (m *Meter) warm(ctx context.Context) error {
	m.t.missing.Store(int64(m.c.team.Size()))
	m.t.patience.Store(patience)
	defer m.t.missing.Store(0)
	_, err := m.time(ctx)
	return err
}

func (m *Meter) time(ctx context.Context) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 1, err
	}
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	m.t.next.Store(0)
	m.t.flops.Store(0)
	start := time.Now()
	m.c.team.Run(&m.t)
	return time.Since(start).Seconds(), nil
}

type limitTask struct {
	peak  func(n int) (flops int) // nil: read
	read  func([]byte) float32
	buf   []byte
	cycle int // bytes of buf that are read again and again
	parts int
	next  atomic.Int64
	flops atomic.Int64
	sink  atomic.Uint32

	missing  atomic.Int64 // threads that are waited for
	patience atomic.Int64 // parts that they are waited for
}

// Run claims parts until none is left.
func (t *limitTask) Run(int) {
	t.missing.Add(-1)
	for {
		i := int(t.next.Add(1)) - 1
		if i >= t.parts && (t.missing.Load() <= 0 || t.patience.Add(-1) < 0) {
			return
		}
		if t.peak != nil {
			t.flops.Add(int64(t.peak(peakRounds)))
			continue
		}
		from := i % parts(t.cycle) * readClaim
		t.sink.Add(uint32(t.read(t.buf[from:min(from+readClaim, t.cycle)])))
	}
}
