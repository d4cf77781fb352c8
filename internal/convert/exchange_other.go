//go:build !linux

package convert

import "errors"

// exchange takes two steps here.
func exchange(a, b string) error { return errors.ErrUnsupported }
