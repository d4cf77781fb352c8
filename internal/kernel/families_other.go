//go:build !amd64 || noasm

package kernel

func families() []*ops { return []*ops{genericOps()} }

func pause() {}
