// Package sys holds the symbols of the CUDA driver library, as the library has
// them: no checks, no types beyond its own. Use internal/cuda/drv.
//
// The library is opened by Open, never at start. Source of names, signatures
// and numbers: NVIDIA's CUDA Driver API reference and cuda.h.
package sys

import (
	"errors"
	"unsafe"
)

// Name is the library's name for the dynamic loader. libcuda.so without the
// number is a link-time stub of the tool kit on many machines.
const Name = "libcuda.so.1"

// ErrUnsupported means that this build cannot open the library.
var ErrUnsupported = errors.New("this build cannot use the CUDA driver library")

// Result is a CUresult.
type Result int32

// Results that callers tell apart.
const (
	Success            Result = 0
	OutOfMemory        Result = 2
	StubLibrary        Result = 34
	DeviceUnavailable  Result = 46 // exclusive and taken, or prohibited
	NoDevice           Result = 100
	InvalidDevice      Result = 101
	SystemNotReady     Result = 802
	SystemDriverDiffer Result = 803
)

// Attribute is a CUdevice_attribute.
type Attribute int32

const (
	AttributePCIBus     Attribute = 33
	AttributePCIDevice  Attribute = 34
	AttributePCIDomain  Attribute = 50
	AttributeMajor      Attribute = 75
	AttributeMinor      Attribute = 76
	AttributeIntegrated Attribute = 18
)

type (
	Device    int32   // CUdevice
	Context   uintptr // CUcontext
	DevicePtr uint64  // CUdeviceptr
)

// Library is the open library. A current context belongs to an OS thread.
type Library struct {
	Init                    func(flags uint32) Result
	DriverGetVersion        func(version *int32) Result
	GetErrorName            func(r Result, name **byte) Result
	DeviceGetCount          func(count *int32) Result
	DeviceGet               func(device *Device, ordinal int32) Result
	DeviceGetName           func(name *byte, length int32, device Device) Result
	DeviceGetAttribute      func(value *int32, attribute Attribute, device Device) Result
	DevicePrimaryCtxRetain  func(context *Context, device Device) Result
	DevicePrimaryCtxRelease func(device Device) Result
	CtxSetCurrent           func(context Context) Result
	CtxSynchronize          func() Result
	MemGetInfo              func(free, total *uint64) Result
	MemAlloc                func(p *DevicePtr, size uint64) Result
	MemFree                 func(p DevicePtr) Result
	MemcpyHtoD              func(to DevicePtr, from unsafe.Pointer, size uint64) Result
	MemcpyDtoH              func(to unsafe.Pointer, from DevicePtr, size uint64) Result
	MemsetD8                func(to DevicePtr, value uint8, size uint64) Result
}

// symbols pairs each function with its versioned name.
func (l *Library) symbols() []symbol {
	return []symbol{
		{"cuInit", &l.Init},
		{"cuDriverGetVersion", &l.DriverGetVersion},
		{"cuGetErrorName", &l.GetErrorName},
		{"cuDeviceGetCount", &l.DeviceGetCount},
		{"cuDeviceGet", &l.DeviceGet},
		{"cuDeviceGetName", &l.DeviceGetName},
		{"cuDeviceGetAttribute", &l.DeviceGetAttribute},
		{"cuDevicePrimaryCtxRetain", &l.DevicePrimaryCtxRetain},
		{"cuDevicePrimaryCtxRelease_v2", &l.DevicePrimaryCtxRelease},
		{"cuCtxSetCurrent", &l.CtxSetCurrent},
		{"cuCtxSynchronize", &l.CtxSynchronize},
		{"cuMemGetInfo_v2", &l.MemGetInfo},
		{"cuMemAlloc_v2", &l.MemAlloc},
		{"cuMemFree_v2", &l.MemFree},
		{"cuMemcpyHtoD_v2", &l.MemcpyHtoD},
		{"cuMemcpyDtoH_v2", &l.MemcpyDtoH},
		{"cuMemsetD8_v2", &l.MemsetD8},
	}
}

type symbol struct {
	name string
	fn   any // pointer to a function variable
}
