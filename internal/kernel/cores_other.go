//go:build !linux

package kernel

import "runtime"

// usableCores: the system tells only of logical processors.
func usableCores() int { return runtime.GOMAXPROCS(0) }
