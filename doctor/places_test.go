package doctor

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/doctor/nvidia"
)

// A GPU is a place with what is free on it, whether this program computes there
// or not; ready it is only where it does.
func TestPlaces(t *testing.T) {
	const gib = 1 << 30
	gpu := func(change func(*nvidia.GPU)) nvidia.Inventory {
		inv := card(t)
		change(&inv.GPUs[0])
		return inv
	}
	both := []fit.Device{fit.CPU, fit.CUDA}
	for _, c := range []struct {
		name     string
		inv      nvidia.Inventory
		devices  []fit.Device
		work     Work
		device   fit.Device // first place
		place    string
		free     int64
		usable   bool
		fits     bool
		ready    bool
		readyOn  fit.Device
		says     string // in the text
		gpuFault Verdict
	}{
		{name: "no GPU", work: Work{Work: fit.Work{Purpose: fit.Finetune, Model: "gpt2"}},
			device: fit.CPU, place: "CPU", free: 24 * gib, usable: true, fits: true, ready: true, readyOn: fit.CPU},
		{name: "no GPU, wanted", work: Work{Work: fit.Work{Purpose: fit.Finetune, Model: "gpt2", Device: fit.CUDA}, Required: true}, devices: both,
			device: fit.CPU, place: "CPU", free: 24 * gib, usable: true, fits: true, says: "there is no such device here", gpuFault: Fail},
		{name: "GPU, CPU only", inv: card(t), work: Work{Work: fit.Work{Purpose: fit.Finetune, Model: "gpt2", Device: fit.CUDA}, Required: true},
			device: fit.CUDA, place: "GPU 0, NVIDIA GeForce RTX 4090", free: 23 * gib, fits: true, says: "does not compute there yet"},
		{name: "GPU", inv: card(t), devices: both, work: Work{Work: fit.Work{Purpose: fit.Finetune, Model: "gpt2-medium", Device: fit.CUDA}, Required: true},
			device: fit.CUDA, place: "GPU 0, NVIDIA GeForce RTX 4090", free: 23 * gib, usable: true, fits: true, ready: true, readyOn: fit.CUDA},
		{name: "GPU, any will do", inv: card(t), devices: both, work: Work{Work: fit.Work{Purpose: fit.Run, Model: "gpt2"}},
			device: fit.CUDA, place: "GPU 0, NVIDIA GeForce RTX 4090", free: 23 * gib, usable: true, fits: true, ready: true, readyOn: fit.CUDA},
		{name: "too small", inv: gpu(func(d *nvidia.GPU) { d.MemoryFree = new(uint64(gib)) }), devices: both, work: Work{Work: fit.Work{Purpose: fit.Finetune, Model: "gpt2-xl", Device: fit.CUDA}, Required: true},
			device: fit.CUDA, place: "GPU 0, NVIDIA GeForce RTX 4090", free: gib, usable: true, says: "gpt2-xl needs", gpuFault: Fail},
		{name: "too small, the CPU does", inv: gpu(func(d *nvidia.GPU) { d.MemoryFree = new(uint64(64 << 20)) }), devices: both, work: Work{Work: fit.Work{Purpose: fit.Run, Model: "gpt2"}},
			device: fit.CUDA, place: "GPU 0, NVIDIA GeForce RTX 4090", free: 64 << 20, usable: true, ready: true, readyOn: fit.CPU, gpuFault: Warn},
		{name: "a slice", inv: gpu(func(d *nvidia.GPU) {
			d.MIG, d.MIGInstances = new(true), []nvidia.MIGInstance{{Index: 2, MemoryFree: new(uint64(10 * gib))}}
		}), devices: both, work: Work{Work: fit.Work{Purpose: fit.Run, Model: "gpt2"}},
			device: fit.CUDA, place: "GPU 0, slice 2, NVIDIA GeForce RTX 4090", free: 10 * gib, usable: true, fits: true, ready: true, readyOn: fit.CUDA},
		{name: "shared memory", inv: nvidia.Inventory{State: nvidia.StateOK, GPUs: []nvidia.GPU{{State: nvidia.StateOK, Name: "NVIDIA GB10"}}}, devices: both, work: Work{Work: fit.Work{Purpose: fit.Run, Model: "gpt2"}},
			device: fit.CUDA, place: "GPU 0, NVIDIA GB10, in the machine's memory", free: 24 * gib, usable: true, fits: true, ready: true, readyOn: fit.CUDA},
		{name: "prohibited", inv: gpu(func(d *nvidia.GPU) { d.ComputeMode = new(nvidia.ComputeProhibited) }), devices: both, work: Work{Work: fit.Work{Purpose: fit.Run, Model: "gpt2"}},
			device: fit.CPU, place: "CPU", free: 24 * gib, usable: true, fits: true, ready: true, readyOn: fit.CPU},
	} {
		t.Run(c.name, func(t *testing.T) {
			archive := withGPU
			if len(c.inv.GPUs) == 0 {
				archive = debian
			}
			o := options(t, archive, c.inv)
			o.Work, o.Devices = &c.work, c.devices
			r := run(t, o)
			p := r.Fit[0]
			if p.Device != c.device || p.Name != c.place || p.AvailableBytes != c.free || p.Usable != c.usable || p.Fits != c.fits {
				t.Errorf("got %+v", p)
			}
			ready := r.ReadyFor[string(c.work.Purpose)]
			if r.Ready != c.ready || ready.Ready != c.ready || c.ready && ready.Device != c.readyOn {
				t.Errorf("ready: %v, %+v", r.Ready, ready)
			}
			var text bytes.Buffer
			if err := WriteText(&text, r, TextOptions{}); err != nil || !strings.Contains(text.String(), c.says) {
				t.Errorf("%v\n%s", err, text.String())
			}
			if c.gpuFault == "" {
				return
			}
			for _, id := range []string{"gpu.present", "gpu.vram"} {
				if f := finding(t, r, id); f.Verdict == c.gpuFault {
					return
				}
			}
			t.Errorf("neither gpu.present nor gpu.vram is %s", c.gpuFault)
		})
	}
}

// Under a purpose that does without, what ails the GPU is a warning.
func TestGPUFaultsUnderRun(t *testing.T) {
	ill := card(t)
	d := &ill.GPUs[0]
	d.ECC, d.VolatileUncorrected = new(true), new(uint64(3))
	d.Remap = &nvidia.RowRemap{Failed: true}
	d.Fabric = &nvidia.Fabric{State: nvidia.FabricNotStarted}
	d.ComputeMode = new(nvidia.ComputeProhibited)
	for _, work := range []*Work{nil, {Work: fit.Work{Purpose: fit.Run, Model: "gpt2"}}, {Work: fit.Work{Purpose: fit.Run, Model: "gpt2", Device: fit.CUDA}, Required: true}} {
		o := options(t, "env CUDA_VISIBLE_DEVICES=\n"+withGPU, ill)
		o.Work = work
		want := Fail
		if work != nil && !work.Required {
			want = Warn
		}
		r := run(t, o)
		for _, id := range strings.Fields("gpu.ecc gpu.remap gpu.fabric gpu.mode gpu.visible") {
			if f := finding(t, r, id); f.Verdict != want {
				t.Errorf("%+v: %s is %s, want %s", work, id, f.Verdict, want)
			}
		}
		if r.Ready != (want == Warn) {
			t.Errorf("%+v: ready %v", work, r.Ready)
		}
	}
}
