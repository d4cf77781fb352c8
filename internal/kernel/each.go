package kernel

import (
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/tensor"
)

// eachClaim is how many items of Each a member takes at a time.
const eachClaim = 16

// Each has the members call f for runs of 0 … n-1, for what takes about so many
// operations and is no kernel's. f must not call methods of c, but Widen.
func (c *CPU) Each(n, operations int, f func(first, end int)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.share(&eachTask{n: n, f: f}, operations)
}

// Widen is tensor.ToFloat32 by the family's instructions.
func (c *CPU) Widen(dst []float32, d tensor.DType, src []byte) {
	if v := c.ops.floats(dst, d, src); len(v) > 0 && &v[0] != &dst[0] {
		copy(dst, v)
	}
}

type eachTask struct {
	n    int
	f    func(first, end int)
	next atomic.Int64
}

// Run claims runs until none is left.
func (t *eachTask) Run(int) {
	for {
		first := int(t.next.Add(eachClaim)) - eachClaim
		if first >= t.n {
			return
		}
		t.f(first, min(first+eachClaim, t.n))
	}
}
