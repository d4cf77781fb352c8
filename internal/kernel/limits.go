package kernel

import (
	"context"
	"encoding/binary"
	"math"
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
	readAway   = 512 << 20 // memory that a cache keeps little of, though some have hundreds of megabytes
	readShort  = 256 << 20 // what a look at a machine's limits takes
	readLeast  = 128 << 20 // bytes of one measurement
	readClaim  = 2 << 20   // a smaller part costs: each begins with the cache's predictor knowing nothing
	readRounds = 5         // in which the loops that read are compared
	changed    = 0.1       // from here on another rate is a reason to compare them again
	peakRounds = 1 << 14
	peakClaims = 64
	warming    = 8   // the part of reading that comes before it, untimed
	patience   = 100 // parts that a late thread is waited for, about 10 ms
)

// MeasureLimits takes the best of a few short runs, about a third of a second
// in all. It takes 256 MB of memory meanwhile. What is judged by a limit needs
// one of the same moment: see Meter.
func (c *CPU) MeasureLimits(ctx context.Context) (Limits, error) {
	var best Limits
	m := c.newMeter(readShort)
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

// Multiplies says what many rows are multiplied in by a weight of this type that is held
// as Traits.Held says.
func (c *CPU) Multiplies(d tensor.DType) Number {
	switch {
	case d != tensor.F32 && c.ops.tiles != nil, c.Traits().Held(d) == tensor.BF16 && c.ops.pairs != nil:
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
// What ran before has left the threads parked, so that each measurement begins
// with a part that is not timed, until all threads have come at least.
type Meter struct {
	c      *CPU
	t      limitTask
	memory *mapped.Memory // of its own, if it has any
	parts  [][]byte       // what is read, again and again
	bytes  int            // of them
	loop   func([]byte) float32
	rate   float64 // at which that read when it was chosen
}

// NewMeter takes 512 MB of memory until Close, no two pages of the same content,
// on huge pages as a device's weights are.
func (c *CPU) NewMeter() *Meter { return c.newMeter(readAway) }

func (c *CPU) newMeter(bytes int) *Meter {
	memory := mapped.Anonymous(bytes)
	for i := 0; i < len(memory.Data); i += 4096 {
		binary.LittleEndian.PutUint32(memory.Data[i:], uint32(i/4096+1))
	}
	m := c.newMeterOf([][]byte{memory.Data})
	m.memory = memory
	return m
}

func (c *CPU) newMeterOf(memory [][]byte) *Meter {
	m := &Meter{c: c}
	for _, piece := range memory {
		m.bytes += len(piece)
		for len(piece) > 0 {
			n := min(readClaim, len(piece))
			m.parts = append(m.parts, piece[:n])
			piece = piece[n:]
		}
	}
	return m
}

// For returns a meter of reading this memory and no other, over and over: what a
// cache keeps of it comes faster, for whoever else reads it as well. It needs no
// Close.
func (m *Meter) For(memory [][]byte) *Meter { return m.c.newMeterOf(memory) }

// Close gives the memory back. The Meter is not used afterwards.
func (m *Meter) Close() {
	if m.memory != nil {
		m.parts = nil
		_ = m.memory.Free()
	}
}

// Read returns the rate at which all threads read memory, in 10⁹ bytes a
// second, and takes 5 to 20 ms.
func (m *Meter) Read(ctx context.Context) (float64, error) {
	if m.bytes == 0 {
		return 0, ctx.Err()
	}
	if m.loop != nil {
		if v, err := m.read(ctx); err != nil || math.Abs(v/m.rate-1) < changed {
			return v, err
		}
	}
	if err := m.choose(ctx); err != nil {
		return 0, err
	}
	return m.read(ctx)
}

func (m *Meter) read(ctx context.Context) (float64, error) {
	n := len(m.parts) * ceilDiv(readLeast, m.bytes) // whole rounds
	t := &m.t
	t.peak, t.read, t.memory = nil, m.loop, m.parts
	before := ceilDiv(n, warming)
	if m.memory != nil {
		before = len(m.parts) // nobody has read it meanwhile: what caches keep of it comes back first
	}
	t.begin(0, before)
	if err := m.warm(ctx); err != nil {
		return 0, err
	}
	t.begin(t.end(), n)
	s, err := m.time(ctx)
	return float64(t.done.Load()) / s / 1e9, err
}

// choose takes the loop that reads this memory faster here: of one maker's
// processors that with four streams that are asked for ahead, of another's
// one that follows the hardware, and it also depends on what the caches keep, and on
// where a hypervisor has put the threads (Zen 5: on one complex all loops read alike, on two
// those that ask ahead by 8 to 20 % less). So it is done again when the rate has changed.
func (m *Meter) choose(ctx context.Context) error {
	loops := m.c.ops.reads
	rates := make([][]float64, len(loops))
	for range readRounds {
		for i, loop := range loops {
			m.loop = loop
			v, err := m.read(ctx)
			if err != nil {
				return err
			}
			rates[i] = append(rates[i], v)
		}
	}
	best := 0
	for i := range rates {
		slices.Sort(rates[i])
		if rates[i][readRounds/2] > rates[best][readRounds/2] {
			best = i
		}
	}
	m.loop, m.rate = loops[best], rates[best][readRounds/2]
	return nil
}

// Peak returns the rate of multiply-adds in registers, in 10⁹ operations a
// second, and takes about 20 ms. It is 0 for a kind that the family has no
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
	t.begin(0, peakClaims/4) // the clock takes milliseconds to follow
	if err := m.warm(ctx); err != nil {
		return 0, err
	}
	t.begin(0, peakClaims)
	s, err := m.time(ctx)
	return float64(t.done.Load()) / s / 1e9, err
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
	start := time.Now()
	m.c.team.Run(&m.t)
	return time.Since(start).Seconds(), nil
}

type limitTask struct {
	peak   func(n int) (flops int) // nil: read
	read   func([]byte) float32
	memory [][]byte // parts, which are read in a circle
	first  int      // of them
	parts  int      // so many are read, or measured
	next   atomic.Int64
	done   atomic.Int64 // operations, or bytes
	sink   atomic.Uint32

	missing  atomic.Int64 // threads that are waited for
	patience atomic.Int64 // parts that they are waited for
}

func (t *limitTask) begin(first, parts int) {
	t.first, t.parts = first, parts
	t.next.Store(0)
	t.done.Store(0)
}

// end is the part after the last one that was read.
func (t *limitTask) end() int { return t.first + int(t.next.Load()) }

// Run claims parts until none is left.
func (t *limitTask) Run(int) {
	t.missing.Add(-1)
	for {
		i := int(t.next.Add(1)) - 1
		if i >= t.parts && (t.missing.Load() <= 0 || t.patience.Add(-1) < 0) {
			return
		}
		if t.peak != nil {
			t.done.Add(int64(t.peak(peakRounds)))
			continue
		}
		part := t.memory[(t.first+i)%len(t.memory)]
		t.sink.Add(uint32(t.read(part)))
		t.done.Add(int64(len(part)))
	}
}
