// Package drv is a safe face of the CUDA driver library: errors instead of
// codes, lengths checked, and one locked OS thread per context, since the
// current context belongs to a thread.
package drv

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/gptctl/gptctl/internal/cuda/sys"
)

// ErrNoLibrary means that the driver library could not be opened; no NVIDIA
// driver is installed, as a rule.
var ErrNoLibrary = errors.New("CUDA driver library not found")

// ErrUnsupported means that this build cannot open the library.
var ErrUnsupported = sys.ErrUnsupported

// Error is an error code of the library.
type Error struct {
	Op   string // the function that failed, such as cuMemAlloc
	Code sys.Result
	Name string // such as CUDA_ERROR_OUT_OF_MEMORY
}

func (e *Error) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("%s: CUDA error %d", e.Op, e.Code)
	}
	return fmt.Sprintf("%s: %s", e.Op, e.Name)
}

// Driver is the initialised library.
type Driver struct{ lib *sys.Library }

// Open opens and initialises the library, libcuda.so.1 if the name is empty.
// The error wraps ErrNoLibrary, ErrUnsupported or an *Error; that a machine
// has no GPU is the *Error with sys.NoDevice.
func Open(library string) (*Driver, error) {
	lib, err := sys.Open(library)
	if errors.Is(err, ErrUnsupported) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoLibrary, err)
	}
	d := &Driver{lib}
	return d, d.check("cuInit", lib.Init(0))
}

// check turns a code into an error, nil for success.
func (d *Driver) check(op string, r sys.Result) error {
	if r == sys.Success {
		return nil
	}
	e := &Error{Op: op, Code: r}
	var name *byte
	if d.lib.GetErrorName(r, &name) == sys.Success && name != nil {
		for len(e.Name) < 100 && *name != 0 {
			e.Name += string(rune(*name))
			name = (*byte)(unsafe.Add(unsafe.Pointer(name), 1))
		}
	}
	return e
}

// Version is the CUDA version of the library, 1000 × major + 10 × minor.
func (d *Driver) Version() (int, error) {
	var v int32
	err := d.check("cuDriverGetVersion", d.lib.DriverGetVersion(&v))
	return int(v), err
}

// Count is the number of devices, after CUDA_VISIBLE_DEVICES.
func (d *Driver) Count() (int, error) {
	var n int32
	err := d.check("cuDeviceGetCount", d.lib.DeviceGetCount(&n))
	return int(n), err
}

// Info describes a device.
type Info struct {
	Name         string
	Major, Minor int    // compute capability
	BusID        string // "0000:19:00.0"
	Integrated   bool   // shares the machine's memory
}

// Info describes device i.
func (d *Driver) Info(i int) (Info, error) {
	device, err := d.device(i)
	if err != nil {
		return Info{}, err
	}
	name := make([]byte, 256)
	if err := d.check("cuDeviceGetName", d.lib.DeviceGetName(&name[0], int32(len(name)), device)); err != nil {
		return Info{}, err
	}
	name, _, _ = bytes.Cut(name, []byte{0})
	info := Info{Name: string(name)}
	var values [6]int32
	for i, a := range []sys.Attribute{sys.AttributeMajor, sys.AttributeMinor, sys.AttributePCIDomain, sys.AttributePCIBus, sys.AttributePCIDevice, sys.AttributeIntegrated} {
		if err := d.check("cuDeviceGetAttribute", d.lib.DeviceGetAttribute(&values[i], a, device)); err != nil {
			return Info{}, err
		}
	}
	info.Major, info.Minor = int(values[0]), int(values[1])
	info.BusID = fmt.Sprintf("%04x:%02x:%02x.0", uint32(values[2]), uint8(values[3]), uint8(values[4]))
	info.Integrated = values[5] != 0
	return info, nil
}

func (d *Driver) device(i int) (sys.Device, error) {
	n, err := d.Count()
	if err != nil {
		return 0, err
	}
	if i < 0 || i >= n {
		return 0, &Error{Op: fmt.Sprintf("device %d of %d", i, n), Code: sys.InvalidDevice, Name: "CUDA_ERROR_INVALID_DEVICE"}
	}
	var device sys.Device
	err = d.check("cuDeviceGet", d.lib.DeviceGet(&device, int32(i)))
	return device, err
}

// Context is the primary context of a device, current on a thread of its own.
// Its methods may be called from any goroutine; they take turns.
type Context struct {
	*Driver
	work chan func()
	once sync.Once
	end  chan error
}

// Context retains the primary context of device i. Close it.
func (d *Driver) Context(i int) (*Context, error) {
	device, err := d.device(i)
	if err != nil {
		return nil, err
	}
	c := &Context{Driver: d, work: make(chan func()), end: make(chan error, 1)}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine, and its context with it
		var handle sys.Context
		if err := d.check("cuDevicePrimaryCtxRetain", d.lib.DevicePrimaryCtxRetain(&handle, device)); err != nil {
			ready <- err
			return
		}
		err := d.check("cuCtxSetCurrent", d.lib.CtxSetCurrent(handle))
		ready <- err
		if err == nil {
			for f := range c.work {
				f()
			}
			d.lib.CtxSetCurrent(0)
		}
		c.end <- d.check("cuDevicePrimaryCtxRelease", d.lib.DevicePrimaryCtxRelease(device))
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	return c, nil
}

// Close releases the context. Nothing of it may be used after.
func (c *Context) Close() (err error) {
	c.once.Do(func() {
		close(c.work)
		err = <-c.end
	})
	return err
}

// do runs f on the context's thread.
func (c *Context) do(op string, f func() sys.Result) error {
	answer := make(chan sys.Result, 1)
	c.work <- func() { answer <- f() }
	return c.check(op, <-answer)
}

// Memory gives the device's free and total memory in bytes.
func (c *Context) Memory() (free, total uint64, err error) {
	err = c.do("cuMemGetInfo", func() sys.Result { return c.lib.MemGetInfo(&free, &total) })
	return free, total, err
}

// Synchronize waits until the device has done all it was told.
func (c *Context) Synchronize() error { return c.do("cuCtxSynchronize", c.lib.CtxSynchronize) }

// Buffer is device memory.
type Buffer struct {
	context *Context
	address sys.DevicePtr
	size    uint64
}

// Alloc takes size bytes of device memory. Free it.
func (c *Context) Alloc(size uint64) (*Buffer, error) {
	b := &Buffer{context: c, size: size}
	if err := c.do("cuMemAlloc", func() sys.Result { return c.lib.MemAlloc(&b.address, size) }); err != nil {
		return nil, fmt.Errorf("take %d bytes of device memory: %w", size, err)
	}
	return b, nil
}

// Size in bytes; zero once freed.
func (b *Buffer) Size() uint64 { return b.size }

// Free gives the memory back.
func (b *Buffer) Free() error {
	if b.address == 0 {
		return nil
	}
	address := b.address
	b.address, b.size = 0, 0
	return b.context.do("cuMemFree", func() sys.Result { return b.context.lib.MemFree(address) })
}

func (b *Buffer) within(at, n uint64) error {
	if at > b.size || n > b.size-at {
		return fmt.Errorf("device memory [%d, +%d): buffer has %d bytes", at, n, b.size)
	}
	return nil
}

// Write copies data to the buffer at an offset.
func (b *Buffer) Write(at uint64, data []byte) error {
	if err := b.within(at, uint64(len(data))); err != nil || len(data) == 0 {
		return err
	}
	return b.context.do("cuMemcpyHtoD", func() sys.Result {
		return b.context.lib.MemcpyHtoD(b.address+sys.DevicePtr(at), unsafe.Pointer(&data[0]), uint64(len(data)))
	})
}

// Read copies from the buffer at an offset, as much as data is long.
func (b *Buffer) Read(at uint64, data []byte) error {
	if err := b.within(at, uint64(len(data))); err != nil || len(data) == 0 {
		return err
	}
	return b.context.do("cuMemcpyDtoH", func() sys.Result {
		return b.context.lib.MemcpyDtoH(unsafe.Pointer(&data[0]), b.address+sys.DevicePtr(at), uint64(len(data)))
	})
}

// Fill sets n bytes at an offset.
func (b *Buffer) Fill(at, n uint64, value byte) error {
	if err := b.within(at, n); err != nil || n == 0 {
		return err
	}
	return b.context.do("cuMemsetD8", func() sys.Result {
		return b.context.lib.MemsetD8(b.address+sys.DevicePtr(at), value, n)
	})
}
