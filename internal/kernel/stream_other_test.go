//go:build !amd64 || noasm

package kernel

// streamVariants are the kernels that makers of processors differ in.
func streamVariants(o *ops) map[string]*ops { return map[string]*ops{"only": o} }
