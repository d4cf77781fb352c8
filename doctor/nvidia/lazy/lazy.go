//go:build linux && cgo && amd64

package lazy

// #cgo LDFLAGS: -ldl
import "C"
