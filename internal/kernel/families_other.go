//go:build (!amd64 && !arm64) || noasm

package kernel

func families() []*ops { return []*ops{genericOps()} }

func refusals() []refusal { return nil }

// pause, prefetchRows and claimRows are hints to the processor; here there are none.
func pause() {}

func prefetchRows(*byte, uintptr, int, int) {}

func claimRows(*byte, uintptr, int, int) {}
