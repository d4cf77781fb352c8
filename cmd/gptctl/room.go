package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/machine"
	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/run"
)

// checkRoom refuses a generation that cannot fit into memory before it begins,
// rather than let the system end the program in the middle. What fits only if the
// system can drop the weights stays in their file. Where the memory cannot be told
// everything passes.
func checkRoom(ctx context.Context, m *run.Model, s run.Settings) error {
	available, ok := freeMemory(ctx, machine.Local())
	if !ok {
		return nil
	}
	w := work(m, s)
	if fit.Estimate(w).Total() > available {
		m.StayInFile()
	}
	return roomFor(w, available)
}

// work describes a generation to the estimate. The prompt is not yet tokens, so
// that it counts as one: what is refused would not fit with a longer one either.
func work(m *run.Model, s run.Settings) fit.Work {
	length := m.Config.Positions
	switch {
	case s.MaxNewTokens != run.Unset:
		length = min(length, 1+s.MaxNewTokens)
	case s.MaxLength != run.Unset:
		length = min(length, s.MaxLength)
	}
	return fit.Work{
		Purpose: fit.Run, Config: m.Config, DType: fit.DType(strings.ToLower(m.DType)), FileMapped: true, KVDType: fit.DType(strings.ToLower(m.KVDType)),
		Batch: max(s.Samples, s.Beams), Context: length, Prompt: 1, Threads: m.Threads, Kernels: fit.Kernels(kernel.TraitsOf(m.Family)),
		Program: mapped.Program(),
	}
}

// roomFor compares what the work takes beside the weights with what is free.
// The weights lie in a mapped file, of which the system can drop and read again
// what it has no room for.
func roomFor(w fit.Work, available int64) error {
	if w.Check() != nil {
		return nil // nothing that the estimate knows about
	}
	own := func(w fit.Work) int64 {
		e := fit.Estimate(w)
		return e.Total() - e.Weights - e.FileRest
	}
	needed := own(w)
	if needed <= available {
		return nil
	}
	need := "need"
	if w.Batch == 1 {
		need = "needs"
	}
	err := fmt.Errorf("%s of up to %d tokens %s %s of memory beside the weights, and %s are free", count(w.Batch, "text"), w.Context, need, size(needed), size(available))
	fewer := w
	for fewer.Batch > 1 && own(fewer) > available {
		fewer.Batch /= 2
	}
	if own(fewer) <= available {
		return withHints(err, fmt.Sprintf("%d at a time would fit: --samples %d", fewer.Batch, fewer.Batch), "fewer tokens take less: --max-tokens")
	}
	return withHints(err, "gptctl doctor --for run says which model would fit")
}

// freeMemory is what the machine and the container, if there is one, have left.
func freeMemory(ctx context.Context, host *machine.Host) (int64, bool) {
	memory, err := host.Memory(ctx)
	if err != nil || memory.Available == 0 {
		return 0, false
	}
	free := memory.Available
	if c := host.Cgroup(); c.MemoryLimit > 0 {
		free = min(free, c.MemoryLimit-min(c.MemoryUsed, c.MemoryLimit))
	}
	return int64(free), true
}
