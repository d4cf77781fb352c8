package kernel

import "sync/atomic"

// claim is a member's part of the items; others help when they are done.
type claim struct {
	next atomic.Int64
	end  int64
	_    [48]byte // members do not share a cache line
}

// take claims n of what is left, most at the most and fewer towards the end, so that
// members finish together.
func (c *claim) take(most int) (at, n int) {
	for {
		at = int(c.next.Load())
		n = min(most, ceilDiv(int(c.end)-at, 2))
		if n <= 0 || c.next.CompareAndSwap(int64(at), int64(at+n)) {
			return at, n
		}
	}
}

// shareOut cuts n items into a run for each member.
func shareOut(claims []claim, n, members int) []claim {
	if len(claims) < members {
		claims = make([]claim, members)
	}
	for i := range claims {
		claims[i].next.Store(int64(i * n / members))
		claims[i].end = int64((i + 1) * n / members)
	}
	return claims
}
