//go:build !linux

package mapped

import "errors"

func mapAnonymous(int) (data []byte, unmap func() error, err error) {
	return nil, nil, errors.ErrUnsupported
}

func forget([]byte)     {}
func smallPages([]byte) {}
func hugePages([]byte)  {}

func forgetAt(address, size uintptr) {}
