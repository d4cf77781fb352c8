//go:build !unix

package doctor

import (
	"errors"
	"os"
)

func lockFile(*os.File) error { return errors.ErrUnsupported }
