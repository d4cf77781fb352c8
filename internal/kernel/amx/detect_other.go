//go:build !emulatedamx && (!linux || !amd64 || noasm)

package amx

// Available returns ErrNone: only Linux lends tiles on request.
func Available() error { return ErrNone }
