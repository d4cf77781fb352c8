//go:build amd64 && !noasm

package kernel

// streamVariants are the kernels that makers of processors differ in.
func streamVariants(o *ops) map[string]*ops {
	if o.stream == nil {
		return map[string]*ops{"none": o}
	}
	plain, ahead := *o, *o
	plain.four, plain.fourDots, plain.fourBlocks = nil, nil, nil
	readAhead(&ahead)
	ahead.pairs = nil // the other maker's
	return map[string]*ops{"plain": &plain, "ahead": &ahead}
}
