//go:build linux && (amd64 || arm64) && !nogpu

package sys

import (
	"fmt"

	"github.com/ebitengine/purego"
)

// Open opens the library, Name if the name is empty. It stays open: drivers do
// not like to be unloaded.
func Open(name string) (*Library, error) {
	if name == "" {
		name = Name
	}
	handle, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	var l Library
	for _, s := range l.symbols() {
		address, err := purego.Dlsym(handle, s.name)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", name, err)
		}
		purego.RegisterFunc(s.fn, address)
	}
	return &l, nil
}
