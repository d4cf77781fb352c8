//go:build amd64 && !noasm

package kernel

import "github.com/gptctl/gptctl/internal/kernel/avx512"

// streamVariants are the kernels that makers of processors differ in.
func streamVariants(o *ops) map[string]*ops {
	if o.stream == nil {
		return map[string]*ops{"none": o}
	}
	plain, ahead := *o, *o
	plain.stream = avx512.Stream
	if o.streamBlocks != nil {
		plain.streamBlocks = avx512.StreamBlocks
	}
	readAhead(&ahead)
	return map[string]*ops{"plain": &plain, "ahead": &ahead}
}
