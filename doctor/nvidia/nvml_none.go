//go:build !linux || !cgo

package nvidia

import "context"

// go-nvml needs cgo, and is a Linux matter to us.
func probeNVML(context.Context, Options) Inventory {
	return Inventory{State: StateNoLibrary, Source: SourceNVML}
}
