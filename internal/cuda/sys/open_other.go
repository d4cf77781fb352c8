//go:build !linux || !(amd64 || arm64) || nogpu

package sys

// Open is not built in: purego's loader is used on Linux only, and the tag
// nogpu leaves it out so that a binary without cgo stays static.
func Open(string) (*Library, error) { return nil, ErrUnsupported }
