//go:build !unix && !windows

package mapped

import (
	"errors"
	"os"
)

func mapFile(*os.File, int) (data []byte, unmap func() error, err error) {
	return nil, nil, errors.ErrUnsupported
}

func canPopulate([]byte) bool { return false }
func populate([]byte) bool    { return false }
func willNeed([]byte)         {}
