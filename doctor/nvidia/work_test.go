//go:build linux && (amd64 || arm64) && !nogpu

package nvidia

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A library reads its environment as C does, so each state is a process of its own.
const workLibrary, workDeep = "FAKE_CUDA_LIBRARY", "FAKE_CUDA_DEEP"

func TestWorkChild(t *testing.T) {
	path := os.Getenv(workLibrary)
	if path == "" {
		t.Skip("runs in the processes of TestWork")
	}
	opt := WorkOptions{Library: path, Timeout: time.Minute, Deep: os.Getenv(workDeep) != ""}
	if os.Getenv("FAKE_CUDA") == "hang" {
		opt.Timeout = 100 * time.Millisecond
	}
	w := Work(context.Background(), Inventory{}, opt)
	t.Logf("state=%s detail=%s device=%s bus=%s capability=%s cuda=%s bytes=%d wrong=%d", w.State, w.Detail, w.Device, w.BusID, w.Capability, w.CUDA, w.Bytes, w.WrongAt)
}

func TestWork(t *testing.T) {
	library := buildLibrary(t, "../../internal/cuda/drv/testdata/fakecuda.c", "libcuda.so.1")
	const device = "device=Fake GPU bus=0000:19:00.0 capability=9.0 cuda=12.4"
	for _, test := range []struct{ name, state, want string }{
		{"half of what is free", "", "state=ok detail= " + device + " bytes=33554432"},
		{"all that is free", "deep", "state=ok detail= " + device + " bytes=67108864"}, // 320 MB less the spare 256
		{"less than was said", "liar", "state=no-memory detail=take 67108864 bytes of device memory: cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY"},
		{"nothing free", "full", "state=no-memory detail=0 bytes"},
		{"a bad bit", "bad-bit", "state=wrong-data detail=byte 1234567: got "},
		{"copies nothing", "lazy", "state=wrong-data detail=byte 0: got 0x00 back"},
		{"dies", "dying", "state=failed detail=cuMemcpyHtoD: CUDA error 700"},
		{"exclusive", "exclusive", "state=busy detail=cuDevicePrimaryCtxRetain: CUDA error 46"},
		{"no device", "no-device", "state=no-device detail=cuInit: CUDA_ERROR_NO_DEVICE"},
		{"stub", "stub", "state=stub-library"},
		{"hangs", "hang", "state=timeout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestWorkChild$", "-test.v")
			cmd.Env = append(os.Environ(), "FAKE_CUDA="+test.state, workLibrary+"="+library)
			if test.state == "deep" || test.state == "liar" {
				cmd.Env = append(cmd.Env, workDeep+"=1")
			}
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), test.want) {
				t.Errorf("want %s, got %v\n%s", test.want, err, out)
			}
		})
	}
}

func TestWorkSkips(t *testing.T) {
	if w := Work(t.Context(), Inventory{}, WorkOptions{Library: filepath.Join(t.TempDir(), "absent.so")}); w.State != WorkNoLibrary || w.Detail == "" {
		t.Errorf("no library: got %+v", w)
	}
	library := buildLibrary(t, "../../internal/cuda/drv/testdata/fakecuda.c", "libcuda.so.1")
	busy := []Process{{PID: 1, Compute: true}}
	for _, test := range []struct {
		name string
		gpus []GPU
		want WorkState
	}{
		{"others compute on it", []GPU{{BusID: "0000:19:00.0", Processes: busy}}, WorkBusy},
		{"others compute beside it", []GPU{{BusID: "0000:19:00.0"}, {BusID: "0000:20:00.0", Processes: busy}}, WorkOK},
		{"others compute somewhere", []GPU{{BusID: "0000:20:00.0", Processes: busy}}, WorkBusy},
		{"a desktop draws", []GPU{{BusID: "0000:19:00.0", Processes: []Process{{PID: 1, Graphics: true}}}}, WorkOK},
		{"only this process", []GPU{{BusID: "0000:19:00.0", Processes: []Process{{PID: os.Getpid(), Compute: true}}}}, WorkOK},
	} {
		if w := Work(t.Context(), Inventory{GPUs: test.gpus}, WorkOptions{Library: library, Bytes: 1 << 20, Timeout: time.Minute}); w.State != test.want {
			t.Errorf("%s: got %s (%s), want %s", test.name, w.State, w.Detail, test.want)
		}
	}
}
