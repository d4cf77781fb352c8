package nvidia

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gptctl/gptctl/internal/cuda/drv"
	"github.com/gptctl/gptctl/internal/cuda/sys"
)

// WorkOptions directs [Work].
type WorkOptions struct {
	Device  int           // CUDA device number
	Bytes   uint64        // to use at most; 256 MB if zero; never more than half of what the GPU says is free
	Deep    bool          // use all that is said to be free, in parts; Bytes is ignored
	Timeout time.Duration // 30 s if zero, 5 min if Deep
	Library string        // instead of libcuda.so.1, for tests
}

// WorkState says how a real-work check ended.
type WorkState string

const (
	WorkOK          WorkState = "ok"
	WorkNoLibrary   WorkState = "no-library"   // libcuda.so.1 is not there or not whole
	WorkStub        WorkState = "stub-library" // the tool kit's link-time stub stands before the driver's library
	WorkNoDevice    WorkState = "no-device"    // no such device for this process (see CUDA_VISIBLE_DEVICES)
	WorkUnsupported WorkState = "unsupported"  // this build cannot open libcuda (not Linux, or tag nogpu)
	WorkBusy        WorkState = "busy"         // skipped: other processes compute, or the GPU is exclusive and taken
	WorkNoMemory    WorkState = "no-memory"    // what was said to be free could not be taken
	WorkWrong       WorkState = "wrong-data"   // what came back is not what was sent
	WorkTimeout     WorkState = "timeout"
	WorkFailed      WorkState = "failed" // anything else, Detail has the words
)

// WorkResult is what a real-work check found.
type WorkResult struct {
	State  WorkState
	Detail string // one line, when State is not WorkOK

	Device      string // name
	BusID       string
	Capability  Capability
	CUDA        Version // of the driver library
	MemoryTotal uint64  // bytes, as the driver library tells
	MemoryFree  uint64

	Devices int // that the driver library shows this process; set by [Library] only

	Bytes    uint64        // that were sent, fetched back and found equal
	ToDevice time.Duration // spent copying to the device, from pageable memory
	ToHost   time.Duration // spent copying back
	WrongAt  uint64        // first wrong byte, with WorkWrong
}

const (
	workBytes = 256 << 20
	workPart  = 256 << 20 // one allocation
	workPiece = 16 << 20  // one copy
	workSkew  = 64 << 10  // pieces of the pattern start this much apart at most
	workSpare = 256 << 20 // of the free memory a deep check leaves to others' contexts
)

// Work allocates memory on a GPU, copies a pattern there, all of it before
// any is read again, copies it back, compares and times it. It is skipped
// (WorkBusy) if inv shows another process computing on that GPU, or on any if
// inv does not know that GPU. Like [Probe] it returns in time even if the
// driver hangs.
func Work(ctx context.Context, inv Inventory, opt WorkOptions) WorkResult {
	if opt.Timeout <= 0 {
		opt.Timeout = 30 * time.Second
		if opt.Deep {
			opt.Timeout = 5 * time.Minute
		}
	}
	return workInTime(ctx, opt.Timeout, func(ctx context.Context, w *WorkResult) error { return w.run(ctx, inv, opt) })
}

// Library opens the driver library and asks it how many GPUs it shows, without
// taking any memory: it may work where NVML does not, and the other way round.
// Of opt Timeout and Library are used.
func Library(ctx context.Context, opt WorkOptions) WorkResult {
	return workInTime(ctx, cmp.Or(opt.Timeout, 5*time.Second), func(_ context.Context, w *WorkResult) error {
		driver, err := drv.Open(opt.Library)
		if err != nil {
			return err
		}
		if n, err := driver.Version(); err == nil && n > 0 {
			w.CUDA, _ = ParseVersion(fmt.Sprintf("%d.%d", n/1000, n%1000/10))
		}
		w.Devices, err = driver.Count()
		if err == nil && w.Devices == 0 {
			err = &stateError{WorkNoDevice, "the driver library shows no GPU"}
		}
		return err
	})
}

// workInTime runs what may hang in the driver.
func workInTime(ctx context.Context, limit time.Duration, work func(context.Context, *WorkResult) error) WorkResult {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer := make(chan WorkResult, 1) // room for an answer that nobody waits for any more
	go func() {
		var w WorkResult
		if err := work(ctx, &w); err != nil {
			w.State, w.Detail = workState(err), oneLine(err.Error())
		} else {
			w.State = WorkOK
		}
		answer <- w
	}()
	select {
	case w := <-answer:
		return w
	case <-ctx.Done():
		return WorkResult{State: WorkTimeout, Detail: "the GPU gave no answer: " + context.Cause(ctx).Error()}
	}
}

// stateError is an error that already knows its state.
type stateError struct {
	state WorkState
	text  string
}

func (e *stateError) Error() string { return e.text }

func workState(err error) WorkState {
	var known *stateError
	var cuda *drv.Error
	switch {
	case errors.As(err, &known):
		return known.state
	case errors.Is(err, drv.ErrUnsupported):
		return WorkUnsupported
	case errors.Is(err, drv.ErrNoLibrary):
		return WorkNoLibrary
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return WorkTimeout
	case errors.As(err, &cuda):
		switch cuda.Code {
		case sys.StubLibrary:
			return WorkStub
		case sys.NoDevice, sys.InvalidDevice:
			return WorkNoDevice
		case sys.DeviceUnavailable:
			return WorkBusy
		case sys.OutOfMemory:
			return WorkNoMemory
		}
	}
	return WorkFailed
}

func (w *WorkResult) run(ctx context.Context, inv Inventory, opt WorkOptions) error {
	driver, err := drv.Open(opt.Library)
	if err != nil {
		return err
	}
	if n, err := driver.Version(); err == nil && n > 0 {
		w.CUDA, _ = ParseVersion(fmt.Sprintf("%d.%d", n/1000, n%1000/10))
	}
	info, err := driver.Info(opt.Device)
	if err != nil {
		return err
	}
	w.Device, w.BusID, w.Capability = oneLine(info.Name), info.BusID, Capability{info.Major, info.Minor}
	if p := computing(inv, w.BusID); p != nil {
		return &stateError{WorkBusy, fmt.Sprintf("process %d computes on the GPU", p.PID)}
	}
	gpu, err := driver.Context(opt.Device)
	if err != nil {
		return err
	}
	defer gpu.Close()
	if w.MemoryFree, w.MemoryTotal, err = gpu.Memory(); err != nil {
		return err
	}
	want := opt.Bytes
	if want == 0 {
		want = workBytes
	}
	want = min(want, w.MemoryFree/2)
	if opt.Deep {
		want = w.MemoryFree - min(w.MemoryFree, workSpare)
	}
	if want == 0 {
		return &stateError{WorkNoMemory, fmt.Sprintf("%d bytes of device memory are free", w.MemoryFree)}
	}
	parts, err := allocate(ctx, gpu, want)
	defer func() {
		for _, p := range parts {
			p.Free()
		}
	}()
	if err != nil {
		return err
	}
	return w.roundTrip(ctx, gpu, parts)
}

// computing finds a process other than this that computes on the GPU at a bus
// address, or on any GPU if the inventory has none there.
func computing(inv Inventory, bus string) *Process {
	known := false
	for _, g := range inv.GPUs {
		known = known || g.BusID == bus
	}
	for _, g := range inv.GPUs {
		if known && g.BusID != bus {
			continue
		}
		for _, p := range g.Processes {
			if p.Compute && p.PID != os.Getpid() {
				return &p
			}
		}
	}
	return nil
}

func allocate(ctx context.Context, gpu *drv.Context, want uint64) ([]*drv.Buffer, error) {
	var parts []*drv.Buffer
	for want > 0 {
		if err := ctx.Err(); err != nil {
			return parts, err
		}
		b, err := gpu.Alloc(min(want, workPart))
		if err != nil {
			return parts, err
		}
		parts = append(parts, b)
		want -= b.Size()
	}
	return parts, nil
}

// roundTrip writes every part and then reads every part.
func (w *WorkResult) roundTrip(ctx context.Context, gpu *drv.Context, parts []*drv.Buffer) error {
	pattern := workPattern()
	back := make([]byte, workPiece)
	each := func(do func(b *drv.Buffer, at, global uint64, want []byte) error) error {
		var global uint64
		for _, b := range parts {
			for at := uint64(0); at < b.Size(); at += workPiece {
				if err := ctx.Err(); err != nil {
					return err
				}
				// Another start for each piece, so that one that lands in the place of another shows.
				skew := (global / workPiece * 8191 * 8) % workSkew
				n := min(workPiece, b.Size()-at)
				if err := do(b, at, global, pattern[skew:skew+n]); err != nil {
					return err
				}
				global += n
			}
		}
		return nil
	}
	err := each(func(b *drv.Buffer, at, _ uint64, want []byte) error {
		start := time.Now()
		err := b.Write(at, want)
		w.ToDevice += time.Since(start)
		return err
	})
	if err != nil {
		return err
	}
	start := time.Now()
	if err := gpu.Synchronize(); err != nil {
		return err
	}
	w.ToDevice += time.Since(start)
	return each(func(b *drv.Buffer, at, global uint64, want []byte) error {
		got := back[:len(want)]
		clear(got) // nothing of the piece before may pass for this one
		start := time.Now()
		err := b.Read(at, got)
		w.ToHost += time.Since(start)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			i := 0
			for got[i] == want[i] {
				i++
			}
			w.WrongAt = global + uint64(i)
			return &stateError{WorkWrong, fmt.Sprintf("byte %d: got %#02x back, sent %#02x", w.WrongAt, got[i], want[i])}
		}
		w.Bytes += uint64(len(want))
		return nil
	})
}

// workPattern is a fixed sequence of SplitMix64 (Steele, Lea and Flood, 2014).
func workPattern() []byte {
	p := make([]byte, workPiece+workSkew)
	var state uint64
	for i := 0; i < len(p); i += 8 {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(p[i:], z^z>>31)
	}
	return p
}
