package kernel

// While members wait for each other, and between products, memory would rest. So each
// asks for the beginning of what it will read next.

// expected is how much of all streams is asked for: more than the time between two
// products suffices for; all members' shares fit the second-level cache.
const (
	expected     = 256 << 10
	expectedStep = 512 // at a time, so that who waits is not late
)

// expect says that a member reads w next, for that many rows, in two streams or in four.
func (c *CPU) expect(member int, w *Weight, rows int) {
	next := &c.members[member].next
	if *next = [4][]byte{}; w == nil || !c.ops.streamsAhead {
		return
	}
	four := c.ops.fours(rows, w)
	if !four && !c.ops.streamed(rows, w) {
		return
	}
	cols, bytes := w.panel()
	from, to := part(ceilDiv(w.Out, cols), member, len(c.members))
	streams, length := 2, ceilDiv(to-from, 2)
	if four {
		streams, length = 4, max(1, (to-from)/4) // of fewer panels each is read alone
		if w.near() {
			length = min(fourStep(bytes), ceilDiv(length, 2)) // of the first claim
		}
	}
	for i := range streams {
		first, end := min(from+i*length, to)*bytes, min(from+(i+1)*length, to)*bytes
		next[i] = w.Data[first:min(end, first+expected/streams)]
	}
}

// streamAhead asks for a little of what a member expects; false: for no more.
func (c *CPU) streamAhead(member int) bool {
	more := false
	for i, p := range c.members[member].next {
		if n := min(len(p), expectedStep); n > 0 {
			prefetchRows(&p[0], 0, 1, n)
			c.members[member].next[i] = p[n:]
			more = true
		}
	}
	return more
}
