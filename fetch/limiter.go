package fetch

import (
	"context"
	"sync"
	"time"
)

// limiter keeps all connections together below a rate. A nil limiter has no
// limit.
type limiter struct {
	rate float64 // bytes per second

	mu   sync.Mutex
	free time.Time // when the bytes granted so far are paid for
}

func newLimiter(rate int64) *limiter {
	if rate <= 0 {
		return nil
	}
	return &limiter{rate: float64(rate)}
}

// piece is how much to read at once, so that a slow limit is an even trickle
// and not a stop that looks like a stall.
func (l *limiter) piece(most int) int {
	if l == nil {
		return most
	}
	return min(most, max(1<<10, int(l.rate/10)))
}

// wait pays for n bytes that were read.
func (l *limiter) wait(ctx context.Context, n int) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	wait := l.free.Sub(now)
	l.mu.Unlock()
	return sleep(ctx, wait)
}
