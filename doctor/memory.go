package doctor

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/gptctl/gptctl/doctor/fit"
)

func memoryChecks() []Check {
	return []Check{
		{ID: "ram.total", Title: "Memory", Group: groupMemory, Probe: ramTotal,
			Why: "a model, its gradients and the data must fit"},
		{ID: "ram.available", Title: "Memory that is free", Group: groupMemory, Probe: ramAvailable,
			Why: "what other programs hold cannot be used; the system ends a program that takes too much"},
		{ID: "ram.cgroup", Title: "Memory limit of the container", Group: groupMemory, Probe: ramCgroup,
			Why: "beyond this limit the program is killed, whatever the machine has"},
		{ID: "ram.shm", Title: "Shared memory /dev/shm", Group: groupMemory, Probe: ramShm, reference: true,
			Why: "PyTorch's data loaders pass batches through it; Docker gives 64 MB"},
		{ID: "limit.files", Title: "Open files", Group: groupMemory, Probe: limitFiles,
			Why: "a server has a file for each client"},
		{ID: "limit.locked", Title: "Locked memory", Group: groupMemory, Probe: limitLocked,
			Why: "pinned memory makes copies to a GPU faster"},
		{ID: "limit.address", Title: "Address space", Group: groupMemory, Probe: limitAddress,
			Why: "models are mapped into memory, CUDA reserves much more than it uses"},
		{ID: "limit.processes", Title: "Processes", Group: groupMemory, Probe: limitProcesses,
			Why: "threads count as processes"},
	}
}

// onCPU tells whether the work of --for is judged by the machine's memory.
func (e *Env) onCPU() bool {
	return e.work != nil && (e.work.Device == fit.CPU || e.work.Device == "")
}

func ramTotal(_ context.Context, e *Env) Finding {
	m, err := e.memory()
	if err != nil {
		return skipped("%v", err)
	}
	total := m.Total
	note := ""
	if c := e.cgroup(); c.MemoryLimit > 0 && c.MemoryLimit < total {
		total = c.MemoryLimit
		note = fmt.Sprintf(" (limit of the control group; the machine has %s)", gb(m.Total))
	}
	need := uint64(e.Need.RAM.TotalGB * 1e9)
	if e.work != nil {
		need = e.hostNeed()
	}
	return atLeast(total >= need, Fail, "%s%s", gb(total), note).needs("%s", gb(need)).
		mend("", "add memory, or choose a smaller model or type: see the end of the report")
}

// hostNeed is the main memory that the work of --for takes.
func (e *Env) hostNeed() uint64 {
	m := fit.Estimate(e.work.Work)
	if e.onCPU() {
		return uint64(m.Total())
	}
	return uint64(m.Host)
}

func ramAvailable(_ context.Context, e *Env) Finding {
	free, limited, err := e.freeMemory()
	if err != nil {
		return skipped("%v", err)
	}
	need, bad := uint64(e.Need.RAM.AvailableGB*1e9), Warn
	if e.work != nil {
		need, bad = e.hostNeed(), Fail
	}
	note := ""
	if limited {
		note = " (what the control group leaves)"
	}
	return atLeast(free >= need, bad, "%s%s", gb(free), note).needs("%s", gb(need)).
		mend("", "close other programs, or choose a smaller model, batch or context")
}

func ramCgroup(_ context.Context, e *Env) Finding {
	c := e.cgroup()
	switch {
	case c.Version == 0:
		return skipped("control groups cannot be seen here")
	case c.MemoryLimit == 0:
		return passed("none")
	}
	m, err := e.memory()
	if err == nil && c.MemoryLimit >= m.Total {
		return passed("%s, more than the machine has", gb(c.MemoryLimit))
	}
	need := uint64(e.Need.RAM.AvailableGB * 1e9)
	if e.work != nil {
		need = e.hostNeed()
	}
	return atLeast(c.MemoryLimit >= need, Warn, "%s, %s of it used", gb(c.MemoryLimit), gb(c.MemoryUsed)).needs("%s", gb(need)).
		mend("", "give the container or service more memory (docker run --memory, MemoryMax=)")
}

func ramShm(_ context.Context, e *Env) Finding {
	const dir = "/dev/shm"
	if e.Host.GOOS != "linux" {
		return skipped("not Linux")
	}
	if !e.Host.Exists(dir) {
		return warned("there is none").mend("", "mount a tmpfs at %s", dir)
	}
	u, err := e.Host.Usage(dir)
	if err != nil {
		return skipped("%v", err)
	}
	need := uint64(e.Need.RAM.ShmMB * 1e6)
	f := atLeast(u.TotalBytes >= need, Warn, "%s", gb(u.TotalBytes)).needs("%s", gb(need))
	return f.mend("", "start the container with --shm-size=1g or --ipc=host")
}

func limited(e *Env, name string, judge func(n int64) Finding) Finding {
	limits, err := e.Host.Limits()
	if err != nil {
		return skipped("%v", err)
	}
	n, ok := limits[name]
	if !ok {
		return skipped("the system does not tell the limit")
	}
	if n < 0 {
		return passed("unlimited")
	}
	return judge(n)
}

func limitFiles(_ context.Context, e *Env) Finding {
	return limited(e, "Max open files", func(n int64) Finding {
		return atLeast(n >= 1024, Warn, "%d", n).needs("1024").mend("ulimit -n 4096", "raise the limit")
	})
}

func limitLocked(_ context.Context, e *Env) Finding {
	if !e.gpus().present() {
		return skipped("it matters with a GPU only")
	}
	return limited(e, "Max locked memory", func(n int64) Finding {
		return atLeast(n >= 64<<10, Warn, "%s", gb(uint64(n))).needs("64 kB").
			mend("ulimit -l unlimited", "raise the limit (docker run --ulimit memlock=-1)")
	})
}

func limitAddress(_ context.Context, e *Env) Finding {
	return limited(e, "Max address space", func(n int64) Finding {
		return atLeast(n >= 64<<30, Warn, "%s", gb(uint64(n))).needs("unlimited").mend("ulimit -v unlimited", "lift the limit")
	})
}

func limitProcesses(_ context.Context, e *Env) Finding {
	return limited(e, "Max processes", func(n int64) Finding {
		return atLeast(n >= 512, Warn, "%d", n).needs("512").mend("ulimit -u 4096", "raise the limit")
	})
}

func processorChecks() []Check {
	return []Check{
		{ID: "cpu.model", Title: "Processor", Group: groupProcessor, Probe: cpuModel,
			Why: "wide vector instructions make arithmetic several times faster"},
		{ID: "cpu.cores", Title: "Cores that may be used", Group: groupProcessor, Probe: cpuCores,
			Why: "a container's limit counts, not the machine's cores"},
		{ID: "cpu.numa", Title: "Memory nodes", Group: groupProcessor, Probe: cpuNUMA,
			Why: "reading the memory of another socket is slower"},
		{ID: "cpu.speed", Title: "Speed of the CPU", Group: groupProcessor, Probe: cpuSpeed,
			Why: "it is what generation takes without a GPU"},
	}
}

func cpuModel(_ context.Context, e *Env) Finding {
	p := e.Host.Processor()
	if len(p.Flags) == 0 {
		return skipped("the system does not tell the processor's instruction sets")
	}
	model := p.Model
	if model == "" {
		model = e.Host.GOARCH
	}
	if e.Host.GOARCH != "amd64" {
		return passed("%s", model)
	}
	sets := []string{}
	for _, s := range []struct{ flag, name string }{
		{"avx2", "AVX2"}, {"fma", "FMA"}, {"f16c", "F16C"}, {"avx512f", "AVX-512"}, {"avx512_bf16", "AVX-512 BF16"},
		{"avx512_vnni", "VNNI"}, {"amx_bf16", "AMX BF16"}, {"amx_int8", "AMX INT8"},
	} {
		if p.Has(s.flag) {
			sets = append(sets, s.name)
		}
	}
	if !p.Has("avx2", "fma", "f16c") {
		return warned("%s, without AVX2, FMA or F16C", model).needs("AVX2, FMA and F16C").
			mend("", "gptctl runs, slowly; a virtual machine may hide them: let it pass the host's CPU through")
	}
	return passed("%s: %s", model, strings.Join(sets, ", ")).needs("AVX2, FMA and F16C")
}

func cpuCores(_ context.Context, e *Env) Finding {
	p, c := e.Host.Processor(), e.cgroup()
	if p.Logical == 0 {
		return skipped("the system does not tell the number of processors")
	}
	n := float64(p.Logical)
	found := fmt.Sprintf("%d logical", p.Logical)
	if c.CPUs > 0 && c.CPUs < n {
		n = c.CPUs
		found = fmt.Sprintf("%.3g of %d logical (limit of the control group)", n, p.Logical)
	}
	return atLeast(n >= float64(e.Need.CPU.Cores), Warn, "%s", found).needs("%d", e.Need.CPU.Cores).
		mend("", "give the machine or container more processors")
}

func cpuNUMA(_ context.Context, e *Env) Finding {
	switch n := e.Host.NUMANodes(); n {
	case 0:
		return skipped("the system does not tell")
	case 1:
		return passed("1")
	default:
		return passed("%d", n).because("with threads on one node memory is nearest: numactl --cpunodebind=0 --membind=0 gptctl …")
	}
}

func cpuSpeed(_ context.Context, e *Env) Finding {
	free, _, err := e.freeMemory()
	if err == nil && free < 600e6 {
		return skipped("too little memory is free to measure")
	}
	l, err := e.limits()
	if err != nil {
		return skipped("measure: %v", err)
	}
	decode, prefill := cpuTokens(e.options.modelName(), l.ReadGBs, l.F32GFLOPs)
	if !(decode > 0) || math.IsInf(decode, 0) {
		return skipped("the measurement gave no number")
	}
	return atLeast(decode >= e.Need.CPU.TokensPerSecond, Warn, "up to %s tokens/s of %s in F32, prompts at %s (%.3g GB/s, %.3g GFLOP/s)",
		number(decode), e.options.modelName(), number(prefill), l.ReadGBs, l.F32GFLOPs).
		needs("%.3g tokens/s", e.Need.CPU.TokensPerSecond).
		mend("", "use a GPU, or a machine with faster memory")
}

// modelName is the model that speed is told of: the smallest GPT-2 with the
// reference requirements.
func (o Options) modelName() string {
	if o.Work != nil {
		if m, ok := fit.Lookup(o.Work.Model); ok {
			return m.Name
		}
	}
	return "gpt2"
}

// cpuTokens turns a machine's limits into tokens a second: to decode one all
// weights are read once, and each takes a multiplication and an addition.
func cpuTokens(model string, readGBs, gflops float64) (decode, prefill float64) {
	m, ok := fit.Lookup(model)
	if !ok {
		return 0, 0
	}
	weights := float64(m.Config.Parameters())
	byMemory, byArithmetic := readGBs*1e9/(4*weights), gflops*1e9/(2*weights)
	return min(byMemory, byArithmetic), byArithmetic
}

func number(x float64) string {
	if x >= 10 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.1f", x)
}
