package kernel

import (
	"fmt"
	"sync/atomic"

	"github.com/gptctl/gptctl/internal/tensor"
)

// Convert writes the numbers of src, of type from, to dst as type to, with all
// threads. A quantised type takes whole blocks.
func (c *CPU) Convert(dst []byte, to tensor.DType, src []byte, from tensor.DType) {
	n := elements(src, from)
	if n != elements(dst, to) {
		panic(fmt.Sprintf("kernel: convert %d bytes of %v to %d bytes of %v", len(src), from, len(dst), to))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.share(&convertTask{dst: dst, src: src, to: to, from: from, n: n}, n)
}

func elements(b []byte, d tensor.DType) int {
	return len(b) * tensor.QuantBlock / d.Bytes(tensor.QuantBlock)
}

type convertTask struct {
	dst, src []byte
	to, from tensor.DType
	n        int
	next     atomic.Int64
}

const (
	convertClaim = 1 << 16 // numbers
	convertPiece = 1 << 10 // that stay in the first-level cache in between
)

// Run claims parts until none is left.
func (t *convertTask) Run(int) {
	var piece [convertPiece]float32
	for {
		begin := (int(t.next.Add(1)) - 1) * convertClaim
		if begin >= t.n {
			return
		}
		for i := begin; i < min(begin+convertClaim, t.n); i += convertPiece {
			v := piece[:min(convertPiece, t.n-i)]
			tensor.ToFloat32(v, t.from, t.src[t.from.Bytes(i):])
			tensor.FromFloat32(t.dst[t.to.Bytes(i):], t.to, v)
		}
	}
}
