package kernel

import (
	"context"
	"sync/atomic"
	"time"
)

// Limits is what this machine can do at most with the threads of a CPU.
type Limits struct {
	ReadGBs   float64 // all threads reading memory, 10⁹ bytes a second
	F32GFLOPs float64 // float32 multiply-adds in registers, 10⁹ operations a second (two to a multiply-add)
	Int8GOPs  float64 // multiply-adds of bytes into 32 bits in registers, counted the same way
}

const (
	readBytes  = 256 << 20 // much larger than a last-level cache
	readClaim  = 1 << 20
	peakRounds = 1 << 14
	peakClaims = 64
)

// MeasureLimits takes the best of a few short runs, about a third of a second in all. It
// takes 256 MB of memory meanwhile.
func (c *CPU) MeasureLimits(ctx context.Context) (Limits, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var best Limits
	t := &limitTask{ops: c.ops, buf: alignedBytes(readBytes)}
	for i := range t.buf {
		if i%4096 == 0 {
			t.buf[i] = 1 // the pages exist from here on
		}
	}
	for range 10 {
		if err := ctx.Err(); err != nil {
			return Limits{}, err
		}
		s := t.time(c.team, nil)
		best.ReadGBs = max(best.ReadGBs, readBytes/s/1e9)
	}
	for range 6 {
		if err := ctx.Err(); err != nil {
			return Limits{}, err
		}
		s := t.time(c.team, c.ops.peak)
		best.F32GFLOPs = max(best.F32GFLOPs, float64(t.done.Load())/s/1e9)
		s = t.time(c.team, c.ops.peakInt8)
		best.Int8GOPs = max(best.Int8GOPs, float64(t.done.Load())/s/1e9)
	}
	return best, nil
}

type limitTask struct {
	ops  *ops
	buf  []byte
	peak func(n int) (ops int) // nil: read buf
	next atomic.Int64
	done atomic.Int64 // operations
	sink atomic.Uint32
}

func (t *limitTask) time(team *Team, peak func(int) int) float64 {
	t.peak = peak
	t.next.Store(0)
	t.done.Store(0)
	start := time.Now()
	team.Run(t)
	return time.Since(start).Seconds()
}

// Run claims parts until none is left.
func (t *limitTask) Run(int) {
	for {
		i := int(t.next.Add(1)) - 1
		switch {
		case t.peak != nil && i < peakClaims:
			t.done.Add(int64(t.peak(peakRounds)))
		case t.peak == nil && i < len(t.buf)/readClaim:
			t.sink.Add(uint32(t.ops.read(t.buf[i*readClaim:][:readClaim])))
		default:
			return
		}
	}
}
