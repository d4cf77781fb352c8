//go:build !linux

package kernel

import "runtime"

// Cores: the system tells only of logical processors.
func Cores() int { return runtime.GOMAXPROCS(0) }
