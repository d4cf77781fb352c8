package kernel

// While members wait for each other, and between products, memory would rest. So each
// asks for the beginning of what it will read next.

// expected is how much of each stream is asked for: more than the time between two
// products suffices for; all members' shares fit the second-level cache.
const (
	expected     = 128 << 10
	expectedStep = 512 // at a time, so that who waits is not late
)

// expect says that a member reads w next, in two streams.
func (c *CPU) expect(member int, w *Weight) {
	next := &c.members[member].next
	if *next = [2][]byte{}; w == nil || !c.ops.streamsAhead || !c.ops.streamed(1, w) {
		return
	}
	cols, bytes := w.panel()
	from, to := part(ceilDiv(w.Out, cols), member, len(c.members))
	half := from + ceilDiv(to-from, 2)
	next[0], next[1] = w.Data[from*bytes:half*bytes], w.Data[half*bytes:to*bytes]
	for i := range next {
		next[i] = next[i][:min(len(next[i]), expected)]
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
