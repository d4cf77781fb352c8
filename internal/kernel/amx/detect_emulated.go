//go:build emulatedamx

package amx

// Available returns nil: this build is for the emulator in folder emulate.
func Available() error { return nil }
