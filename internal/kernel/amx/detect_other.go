//go:build !emulatedamx && (!linux || !amd64 || noasm || asamd)

package amx

// Available returns ErrNone: only Linux lends tiles on request, and only Intel has them (asamd).
func Available() error { return ErrNone }
