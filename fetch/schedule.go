package fetch

import (
	"sync"
	"time"
)

// take waits for a range that is to be brought next; nil means that there will
// be none.
func (t *transfer) take() *part {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		if t.failed != nil || t.state.done.from(0) == t.blob.size {
			return nil
		}
		if from, to, ok := t.given.gap(t.hashed, min(t.blob.size, t.hashed+window)); ok && (!t.single || len(t.flying) == 0) {
			if !t.single {
				to = min(to, from+t.pace.rangeBytes(cap(t.seats), t.limit != nil))
			} else {
				to = t.blob.size
			}
			t.given.add(from, to)
			return t.fly(from, to)
		}
		if len(t.seats) < cap(t.seats) && !t.single {
			if p := t.steal(); p != nil {
				return p
			}
		}
		t.changed.Wait()
	}
}

func (t *transfer) fly(from, to int64) *part {
	p := &part{pos: from, end: to}
	t.flying[p] = true
	return p
}

// steal gives a free connection half of what the busiest one still has to do,
// or, where that is too little to share, has a connection that crawls replaced.
func (t *transfer) steal() *part {
	var most *part
	for p := range t.flying {
		if most == nil || p.end-p.pos > most.end-most.pos {
			most = p
		}
		if !p.asked.IsZero() && t.pace.crawls(p.pos-p.from, time.Since(p.asked), t.timing.Silence) {
			p.asked = time.Time{}
			p.cancel(errSlow)
		}
	}
	if most == nil || most.asked.IsZero() || most.end-most.pos < 2*leastSteal {
		return nil
	}
	// What the server has sent already of the other half is wasted: it must be
	// worth more than a second.
	took := time.Since(most.asked).Seconds()
	if took < 0.1 || took*float64(most.end-most.pos) < float64(most.pos-most.from) {
		return nil
	}
	middle := most.pos + (most.end-most.pos)/2
	p := t.fly(middle, most.end)
	most.end = middle
	return p
}

// pace is what the connections have measured, over all files.
type pace struct {
	mu    sync.Mutex
	asked int           // how often a delay was measured
	delay time.Duration // the least from a question to the first byte of the answer
	rate  float64       // bytes per second of one connection, recently
}

func (p *pace) note(delay time.Duration, bytes int64, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if delay > 0 {
		if p.asked++; p.asked == 1 || delay < p.delay {
			p.delay = delay
		}
	}
	if rate := float64(bytes) / max(took, time.Millisecond).Seconds(); p.rate == 0 {
		p.rate = rate
	} else {
		p.rate = 0.8*p.rate + 0.2*rate
	}
}

// rangeBytes is how much to ask for at once: little where asking costs nothing;
// on a long line enough that waiting for answers takes at most a tenth.
func (p *pace) rangeBytes(connections int, limited bool) int64 {
	small := max(leastRange, int64(flightBytes/connections))
	if limited {
		return small
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked < leastAsked || p.delay < leastDelay { // a busy machine is slow to answer at times
		return small
	}
	return min(max(small, int64(9*p.delay.Seconds()*p.rate)), mostRange) &^ (leastRange - 1)
}

// crawls tells a connection that brought bytes in a time from one that does its
// part: it had that long, and is ten times slower than others are.
func (p *pace) crawls(bytes int64, took, least time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes > 0 && took > least && float64(bytes)*10 < p.rate*took.Seconds()
}
