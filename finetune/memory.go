package finetune

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/modelfiles"
)

// MemoryError says that a training does not fit into memory.
type MemoryError struct {
	Need, Free int64 // bytes
	Parts      fit.Memory
	Try        []fit.Suggestion // changes with which it would, the cheapest first
	accumulate int              // of the settings
}

// Overrides are the changes with which it would fit, the cheapest first: what to
// add to the command line, and what that costs.
func (e *MemoryError) Overrides() (words, costs []string) {
	for _, s := range e.Try {
		var pairs []string
		for _, o := range s.Settings {
			if n, err := strconv.Atoi(o.Value); o.Name == "accumulate" && err == nil {
				o.Value = strconv.Itoa(n * max(1, e.accumulate)) // parts of parts
			}
			pairs = append(pairs, o.Name+"="+o.Value)
		}
		words, costs = append(words, strings.Join(pairs, " ")), append(costs, s.Cost)
	}
	return words, costs
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("the training takes %.1f GB of memory, and %.1f GB are free", float64(e.Need)/1e9, float64(e.Free)/1e9)
}

// CheckMemory estimates what a training takes that is described by Work, and refuses
// one that does not fit into the free bytes with a *MemoryError.
func CheckMemory(s Settings, w fit.Work, free int64) (fit.Memory, error) {
	m := fit.Estimate(w)
	if err := w.Check(); err != nil {
		return m, err
	}
	if total := m.Total(); total > free {
		return m, &MemoryError{total, free, m, fit.Suggest(w, free), s.Accumulate}
	}
	return m, nil
}

// work describes a training to the estimate. The settings are those of ForModel; so
// many numbers of the model are frozen.
func work(s Settings, c gpt2.Config, frozen int) fit.Work {
	w := fit.Work{
		Purpose: fit.Finetune, Config: c, Batch: s.Batch, Context: s.Context,
		Precision: fit.Precision(s.Precision), Checkpointing: s.Checkpointing,
	}
	if s.LoRA.Rank > 0 {
		samples := len(s.SamplePrompts) > 0 && (s.SampleEvery > 0 || s.SampleEvery == Auto && s.EvalEvery != 0)
		w.LoRA = fit.LoRA{Rank: s.LoRA.Rank, Targets: s.LoRA.Targets, Apart: !s.LoRA.Merge && !samples}
	} else {
		w.Frozen = frozen
	}
	return w
}

// workOn is work on what the model's files and the kernels are.
func workOn(cpus *kernel.CPU, m *modelfiles.Model, s Settings, frozen int) fit.Work {
	w := work(s, m.Config, frozen)
	w.Threads, w.Kernels, w.Program = cpus.Threads(), fit.Kernels(cpus.Traits()), mapped.Program()
	w.FileDType, w.GGUF = fit.DType(strings.ToLower(m.DType.String())), m.OutIn
	if m.Embedded {
		w.FileMapped, w.Copied, w.FileBytes = true, true, m.FileBytes()
	}
	return w
}
