//go:build amd64 && !noasm && asamd

package kernel

// vendor is AMD's, whose choice of kernels this build tests on Intel's processors.
func vendor() string { return "AuthenticAMD" }
