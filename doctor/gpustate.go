package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/doctor/nvidia"
)

// gpuStateChecks are those of GPUs that answer.
func gpuStateChecks() []Check {
	checks := []Check{
		{ID: "gpu.vram", Title: "GPU memory", Probe: gpuVRAM,
			Why: "model, cache and gradients must fit"},
		{ID: "gpu.capability", Title: "Compute capability", Probe: gpuCapability,
			Why: "it decides which arithmetic is fast, and which CUDA still supports the GPU"},
		{ID: "gpu.mig", Title: "MIG", Probe: gpuMIG,
			Why: "a GPU in MIG mode is used in slices only"},
		{ID: "gpu.ecc", Title: "Memory errors", Probe: gpuECC,
			Why: "uncorrectable errors end programs or change results"},
		{ID: "gpu.remap", Title: "Rows to remap", Probe: gpuRemap,
			Why: "broken memory rows are replaced at the next reset only"},
		{ID: "gpu.processes", Title: "Other programs on the GPU", Probe: gpuProcesses,
			Why: "they take memory and time"},
		{ID: "gpu.mode", Title: "Compute mode", Probe: gpuMode,
			Why: "it may forbid or limit programs"},
		{ID: "gpu.throttle", Title: "Throttling", Probe: gpuThrottle,
			Why: "heat or power holds the clocks down"},
		{ID: "gpu.persistence", Title: "Persistence mode", Probe: gpuPersistence,
			Why: "without it the first program waits seconds for the driver"},
		{ID: "gpu.work", Title: "Real work on the GPU", Probe: gpuWork, timeout: 2 * time.Second, deep: 5 * time.Minute,
			Why: "what is said to work may not"},
	}
	for i := range checks {
		checks[i].Group, checks[i].needsGPU, checks[i].needsDriver = groupGPU, true, true
	}
	return checks
}

// ofEach judges every GPU that answers by itself. The worst verdict is that of
// all; a value that no GPU tells is Skip.
func ofEach(e *Env, judge func(d nvidia.GPU) Finding) Finding {
	order := []Verdict{Skip, Pass, Warn, Fail}
	var all []Finding
	var who []string
	gpus := e.gpus().GPUs
	for _, d := range gpus {
		if d.State == nvidia.StateOK {
			all = append(all, judge(d))
			who = append(who, fmt.Sprintf("GPU %d: ", d.Index))
		}
	}
	if len(all) == 0 {
		return skipped("no GPU answers: see gpu.driver")
	}
	worst := slices.MaxFunc(all, func(a, b Finding) int { return slices.Index(order, a.Verdict) - slices.Index(order, b.Verdict) })
	if len(gpus) == 1 {
		return worst
	}
	same := !slices.ContainsFunc(all, func(f Finding) bool { return f.Found != all[0].Found })
	if same {
		if all[0].Found != "" {
			worst.Found = "each: " + all[0].Found
		}
		return worst
	}
	var parts []string
	for i, f := range all {
		said := f.Found
		if said == "" {
			said = "unknown"
		}
		parts = append(parts, who[i]+said)
	}
	worst.Found = list(parts, 8)
	return worst
}

func gpuVRAM(_ context.Context, e *Env) Finding {
	need := e.Need.vram()
	bad := Fail
	free := false
	if e.work != nil {
		w := e.work.Work
		w.Device = fit.CUDA
		need = uint64(fit.Estimate(w).Total())
		bad, free = e.driverVerdict(), true
	}
	return ofEach(e, func(d nvidia.GPU) Finding {
		if d.MemoryTotal == nil {
			return skipped("the device tells no memory of its own: it shares the machine's, or is hidden")
		}
		have, note := *d.MemoryTotal, ""
		if d.MemoryFree != nil {
			note = fmt.Sprintf(", %s free", gb(*d.MemoryFree))
			if free {
				have = *d.MemoryFree
			}
		}
		return atLeast(have >= need, bad, "%s%s", gb(*d.MemoryTotal), note).needs("%s", gb(need)).
			mend("", "use a smaller model or type, or a larger GPU: see the end of the report")
	})
}

func gpuCapability(_ context.Context, e *Env) Finding {
	return ofEach(e, func(d nvidia.GPU) Finding {
		if d.Capability == nil {
			return skipped("the device does not tell")
		}
		c := *d.Capability
		a := nvidia.AbilityOf(c)
		var can []string
		for _, x := range []struct {
			has  bool
			name string
		}{{a.FP16Tensor, "fp16 tensor cores"}, {a.BF16, "bf16"}, {a.TF32, "TF32"}, {a.FP8, "fp8"}, {a.FP4, "fp4"}} {
			if x.has {
				can = append(can, x.name)
			}
		}
		what := "float32 only"
		if len(can) > 0 {
			what = strings.Join(can, ", ")
		}
		if e.work != nil && (e.work.DType == fit.BF16 || e.work.Precision == fit.MixedBF16) && !c.AtLeast(8, 0) {
			return warned("%s (%s)", c, what).needs("8.0 for bf16").mend("", "use f16, or f32: this GPU only imitates bf16")
		}
		return atLeast(c.AtLeast(7, 5), Warn, "%s (%s)", c, what).needs("7.5").
			mend("", "CUDA 13, cuDNN 9.11 and torch's default wheels have left this GPU out: use CUDA 12 and driver 580")
	})
}

func gpuMIG(_ context.Context, e *Env) Finding {
	return ofEach(e, func(d nvidia.GPU) Finding {
		switch {
		case d.MIG == nil:
			return skipped("the device has none, or does not tell")
		case !*d.MIG && d.MIGPending != nil && *d.MIGPending:
			return warned("off, on after a reset")
		case !*d.MIG:
			return passed("off")
		case len(d.MIGInstances) == 0:
			return judged(e.driverVerdict(), "on, without a slice").needs("off, or a slice").
				mend("sudo nvidia-smi -mig 0", "make slices, or switch it off")
		}
		return warned("on, %d slices", len(d.MIGInstances)).needs("off, for the whole GPU").
			mend("", "a program sees one slice, and its memory only; choose it by CUDA_VISIBLE_DEVICES")
	})
}

func gpuECC(_ context.Context, e *Env) Finding {
	return ofEach(e, func(d nvidia.GPU) Finding {
		if d.VolatileUncorrected != nil && *d.VolatileUncorrected > 0 {
			return judged(e.driverVerdict(), "%d uncorrectable since the driver was loaded", *d.VolatileUncorrected).needs("0").
				mend("sudo nvidia-smi --gpu-reset", "reset the GPU; if errors come back, replace it")
		}
		if d.ECC == nil || !*d.ECC {
			return skipped("this GPU counts none: it has no ECC, or it is off")
		}
		if d.VolatileUncorrected == nil {
			return skipped("the device does not tell")
		}
		return passed("none, ECC is on")
	})
}

func gpuRemap(_ context.Context, e *Env) Finding {
	return ofEach(e, func(d nvidia.GPU) Finding {
		switch {
		case d.Remap != nil && d.Remap.Failed:
			return judged(e.driverVerdict(), "remapping failed: no spare rows are left").needs("none").mend("", "have the GPU replaced")
		case d.Remap != nil && d.Remap.Pending, d.RetiredPagesPending != nil && *d.RetiredPagesPending:
			return warned("some wait for a reset").needs("none").mend("sudo nvidia-smi --gpu-reset", "reset the GPU, or restart")
		case d.Remap == nil && d.RetiredPagesPending == nil:
			return skipped("the device does not tell")
		}
		return passed("none")
	})
}

func gpuProcesses(_ context.Context, e *Env) Finding {
	return ofEach(e, func(d nvidia.GPU) Finding {
		if !d.ProcessesKnown {
			return skipped("the device does not tell")
		}
		n, memory := 0, uint64(0)
		for _, p := range d.Processes {
			if p.Compute {
				n++
				if p.Memory != nil {
					memory += *p.Memory
				}
			}
		}
		if n == 0 {
			return passed("none that computes")
		}
		return warned("%d, with %s", n, gb(memory)).needs("none").mend("nvidia-smi", "wait for them, or end them")
	})
}

func gpuMode(_ context.Context, e *Env) Finding {
	return ofEach(e, func(d nvidia.GPU) Finding {
		if d.ComputeMode == nil {
			return skipped("the device does not tell")
		}
		switch *d.ComputeMode {
		case nvidia.ComputeDefault:
			return passed("default")
		case nvidia.ComputeProhibited:
			return judged(e.driverVerdict(), "prohibited").needs("default").
				mend("sudo nvidia-smi -c DEFAULT", "allow programs to compute")
		}
		return warned("%s: one program at a time", *d.ComputeMode).needs("default").
			mend("sudo nvidia-smi -c DEFAULT", "allow several programs")
	})
}

func gpuThrottle(_ context.Context, e *Env) Finding {
	return ofEach(e, func(d nvidia.GPU) Finding {
		if !d.ThrottleKnown {
			return skipped("the device does not tell")
		}
		var why []string
		for _, r := range d.Throttle {
			if r.Harmful() {
				why = append(why, string(r))
			}
		}
		at := ""
		if d.Temperature != nil {
			at = fmt.Sprintf(" at %d °C", *d.Temperature)
		}
		if len(why) == 0 {
			return passed("none%s", at)
		}
		return warned("%s%s", strings.Join(why, ", "), at).needs("none").
			mend("nvidia-smi -q -d PERFORMANCE", "see to cooling and power; a power cap may be set on purpose")
	})
}

func gpuPersistence(_ context.Context, e *Env) Finding {
	return ofEach(e, func(d nvidia.GPU) Finding {
		switch {
		case d.Persistence == nil:
			return skipped("the device does not tell")
		case *d.Persistence:
			return passed("on")
		}
		return passed("off; on a server it is better on")
	})
}

func gpuWork(ctx context.Context, e *Env) Finding {
	g := e.gpus()
	o := nvidia.WorkOptions{Deep: e.options.Deep}
	if !o.Deep {
		o.Timeout = 1500 * time.Millisecond // the whole run is to take two seconds
	}
	r := e.tools.GPUWork(ctx, g.Inventory, o)
	switch r.State {
	case nvidia.WorkOK:
		return passed("%s written, read back and compared on %s", gb(r.Bytes), r.Device)
	case nvidia.WorkBusy, nvidia.WorkUnsupported, nvidia.WorkTimeout:
		return skipped("%s", yes(r.Detail != "", r.Detail, string(r.State)))
	case nvidia.WorkWrong:
		return judged(e.driverVerdict(), "byte %d came back wrong", r.WrongAt).needs("what was sent").mend("", "the GPU's memory is broken: have it tested")
	}
	if r.State == nvidia.WorkNoLibrary || r.State == nvidia.WorkStub {
		return judged(e.driverVerdict(), "libcuda cannot be used").needs("a GPU that computes").mend("", "see cuda.library")
	}
	return judged(e.driverVerdict(), "%s: %s", r.State, r.Detail).needs("a GPU that computes").
		mend("nvidia-smi", "see gpu.driver, gpu.uvm and gpu.visible")
}
