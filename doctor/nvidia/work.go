package nvidia

import (
	"context"
	"time"
)

// WorkOptions directs [Work].
type WorkOptions struct {
	Device  int           // CUDA device number
	Bytes   uint64        // to use at most; 256 MB if zero, and never more than the GPU says is free
	Deep    bool          // use all that is said to be free, in parts; Bytes is ignored
	Timeout time.Duration // 30 s if zero, 5 min if Deep
	Library string        // instead of libcuda.so.1, for tests
}

// WorkState says how a real-work check ended.
type WorkState string

const (
	WorkOK          WorkState = "ok"
	WorkNoLibrary   WorkState = "no-library"  // libcuda.so.1 is not there
	WorkNoDevice    WorkState = "no-device"   // the library is there, no device can be used (also CUDA_VISIBLE_DEVICES)
	WorkUnsupported WorkState = "unsupported" // this build cannot open libcuda (not Linux, or tag nogpu)
	WorkBusy        WorkState = "busy"        // skipped: other processes compute
	WorkNoMemory    WorkState = "no-memory"   // what was said to be free could not be taken
	WorkWrong       WorkState = "wrong-data"  // what came back is not what was sent
	WorkTimeout     WorkState = "timeout"
	WorkFailed      WorkState = "failed" // anything else, Detail has the words
)

// WorkResult is what a real-work check found.
type WorkResult struct {
	State  WorkState
	Detail string // one line, when State is not WorkOK

	Device      string // name
	Capability  Capability
	CUDA        Version // of the driver library
	MemoryTotal uint64  // bytes, as the driver library tells
	MemoryFree  uint64

	Bytes    uint64        // that were allocated, sent, fetched back and compared
	ToDevice time.Duration // spent copying to the device
	ToHost   time.Duration // spent copying back
	WrongAt  uint64        // first wrong byte, with WorkWrong
}

// Work allocates memory on a GPU, copies a pattern there and back, compares
// and times it. It is skipped (WorkBusy) if inv shows a compute process.
func Work(ctx context.Context, inv Inventory, opt WorkOptions) WorkResult {
	return WorkResult{State: WorkUnsupported, Detail: "not built yet"}
}
