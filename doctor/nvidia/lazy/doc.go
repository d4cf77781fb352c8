// Package lazy lets a program that is linked with go-nvml start where the
// loader binds all symbols at once (LD_BIND_NOW=1, or a linker that is told
// -z now, as the hardened builds of some distributions are).
//
// go-nvml leaves NVML's functions undefined, for the loader to find them at the
// first call, after the library was opened; a loader that must find all of them
// at the start ends the program there, whatever it was to do. Here each of them is
// defined: it looks the library's own function up, among the libraries opened by
// then, and goes on there with the arguments as they are. A function that the
// library lacks gives NVML_ERROR_FUNCTION_NOT_FOUND, where go-nvml by itself would
// end the program, too.
//
// It has no effect but to be linked in (import _), and is for Linux on amd64 with
// cgo. Elsewhere go-nvml is as it was.
package lazy
