//go:build !noasm

package avx512

import (
	"unsafe"

	"github.com/gptctl/gptctl/internal/kernel/generic"
	"github.com/gptctl/gptctl/internal/tensor"
)

//go:noescape
func codeHeads(a *heads)

// heads are the arguments of codeHeads.
type heads struct {
	out            *float32
	scores         *float32
	lds            uintptr // bytes, of whole panels of 32
	query          *generic.Block
	k, v           *byte
	stepK, stepV   uintptr
	n, heads       int
	aheadK, aheadV uintptr // bytes from what is read of k and v to what is asked for
	turnV          uintptr // bytes from the end of a head's values to the next one's
	factor         float32
}

// CodeHeads is generic.CodeHeads that asks for what is next meanwhile. It needs AVX-512 VNNI.
func CodeHeads(h *generic.CodeHeads) {
	if h.N <= 0 {
		clear(h.Out[:h.Heads*generic.CodedHead])
		return
	}
	const blocks = generic.CodedHead / tensor.QuantBlock
	panels := (h.N + positions - 1) / positions
	bytes := panels * positions * tensor.Q8_0.Bytes(generic.CodedHead)
	for first := 0; first < h.Heads; first += headsAtOnce {
		n := min(headsAtOnce, h.Heads-first)
		_, _, _ = h.Out[(first+n)*generic.CodedHead-1], h.S[n*panels*positions-1], h.Q[(first+n)*blocks-1]
		k, v := h.K[first*h.StepK:][:(n-1)*h.StepK+bytes], h.V[first*h.StepV:][:(n-1)*h.StepV+bytes]
		var a heads // not a literal, which would be copied: that waits for all stores before it
		a.out, a.scores, a.lds, a.query = &h.Out[first*generic.CodedHead], &h.S[0], uintptr(panels*positions*4), &h.Q[first*blocks]
		a.k, a.v, a.stepK, a.stepV = &k[0], &v[0], uintptr(h.StepK), uintptr(h.StepV)
		a.n, a.heads, a.factor = h.N, n, h.Scale
		a.turnV = a.stepV - uintptr(bytes)
		if n*bytes > nearBytes {
			a.aheadK, a.aheadV = aheadBytes, aheadBytes
		} else if len(h.NextK) > 0 && len(h.NextV) > 0 {
			a.aheadK = uintptr(unsafe.Pointer(&h.NextK[0])) - uintptr(unsafe.Pointer(&k[0]))
			a.aheadV = uintptr(unsafe.Pointer(&h.NextV[0])) - uintptr(unsafe.Pointer(&v[0]))
		}
		codeHeads(&a)
	}
}

// The next panel is asked for, aheadBytes on; but what the next heads read, if these read no
// more than nearBytes of keys: of short texts too much of a next panel lies behind the end.
const (
	aheadBytes = positions * (generic.CodedHead + generic.CodedHead/16)
	nearBytes  = 40 << 10
)

// headsAtOnce is how many codeHeads keeps sums of.
const headsAtOnce = 16
