//go:build amd64 && !noasm

package kernel

func families() []*ops { return []*ops{genericOps()} }

// pause tells the core for about a microsecond that it is waiting.
func pause()
