// Package doctor judges whether a machine is ready for work with GPT-2: checks
// as data (probe, finding, verdict, remedy), run side by side, and a report
// for people and for programs.
//
// A check never changes the machine, but for disk.speed, disk.locks and
// disk.links, which write something small where the models go and remove it. What cannot be known is Skip with the reason, never Pass.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/doctor/nvidia"
	"github.com/gptctl/gptctl/internal/machine"
)

// Verdict is the outcome of a check.
type Verdict string

// The verdicts. Skip is for what cannot be known or does not matter here.
const (
	Pass Verdict = "pass"
	Warn Verdict = "warn"
	Fail Verdict = "fail"
	Skip Verdict = "skip"
)

// Remedy is what mends a finding.
type Remedy struct {
	Text    string `json:"text"`
	Command string `json:"command"`
	// Component is what `gptctl install` would have to install, "" if it
	// cannot mend this.
	Component string `json:"component,omitempty"`
}

// Finding is what a check found.
type Finding struct {
	ID      string  `json:"id"`
	Title   string  `json:"title"`
	Group   string  `json:"group"`
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`
	Needed  string  `json:"needed"`
	Why     string  `json:"why"`    // why it matters, or why it was skipped
	Remedy  *Remedy `json:"remedy"` // null if nothing is to be mended
	// Demoted says what the verdict would have been, had the caller not asked
	// to let it pass.
	Demoted Verdict `json:"demoted_from,omitempty"`
}

// Check is one question to a machine.
type Check struct {
	ID    string // group.what; never changes its meaning
	Title string
	Group string
	Why   string // why it matters, one sentence
	// Probe fills in Verdict, Found, Needed and Remedy, and Why where the
	// check's own does not fit.
	Probe func(context.Context, *Env) Finding

	timeout     time.Duration // probeTimeout if zero
	deep        time.Duration // timeout with Options.Deep, where it is another
	reference   bool          // of the reference set-up with Python: no purpose of gptctl needs it
	needsGPU    bool          // skipped where no NVIDIA GPU is
	needsDriver bool          // skipped where the driver does not answer
	network     bool          // only with Options.Network
}

// Options says what is judged, and by which measure.
type Options struct {
	Profile *Profile // Reference if nil
	Only    []string // ids or groups; all if empty
	Skip    []string // ids or groups whose failures and warnings do not count
	Strict  bool     // warnings are failures
	Work    *Work    // judge what this work needs, not the reference requirements
	Deep    bool     // gpu.work takes all free memory
	Network bool     // ask the Hub, too
	Model   string   // of the Hub: may it be read? The name of Work's if ""

	ModelsDir string // where models go; the Hugging Face cache if ""
	Addr      string // that serve would listen on; 127.0.0.1:8080 if ""
	// Devices are those that this program computes on; the CPU alone if nil.
	Devices []fit.Device
	// Threads and Kernels are what work on the CPU is estimated with.
	Threads int
	Kernels fit.Kernels
	Program int64 // see fit.Work

	Host        *machine.Host // machine.Local() if nil
	Instruments Instruments
}

// Work is the purpose of --for with its settings.
type Work struct {
	fit.Work
	Name string // of the model in a report, where Work.Model is none
	// Required: the work is to be done on Work.Device. Else any will do.
	Required bool
}

const (
	probeTimeout = 1500 * time.Millisecond
	netTimeout   = 6 * time.Second
)

// UnknownCheckError says that a name is neither a check's nor a group's.
type UnknownCheckError struct {
	Name    string
	Nearest string // the name that may have been meant, "" if none is like it
}

func (e *UnknownCheckError) Error() string {
	if e.Nearest != "" {
		return fmt.Sprintf("there is no check %q: did you mean %s?", e.Name, e.Nearest)
	}
	return fmt.Sprintf("there is no check %q", e.Name)
}

// Checks lists all checks in the order of a report.
func Checks() []Check {
	all := slices.Concat(systemChecks(), memoryChecks(), processorChecks(), kernelChecks(), diskChecks(), placeChecks(), pythonChecks(),
		gpuChecks(), gpuStateChecks(), gpuHealthChecks(), cudaChecks(), networkChecks())
	// A group stays together, whoever lists its checks.
	order := []string{groupSystem, groupMemory, groupProcessor, groupDisk, groupPython, groupGPU, "cuda", "cudnn", "network"}
	slices.SortStableFunc(all, func(a, b Check) int { return slices.Index(order, a.Group) - slices.Index(order, b.Group) })
	return all
}

// Chosen lists the checks that ids or groups select, all if there are none. The
// error is an UnknownCheckError.
func Chosen(only []string) ([]Check, error) {
	all := Checks()
	chosen, err := choose(all, only)
	if err != nil || len(only) == 0 {
		return all, err
	}
	return slices.DeleteFunc(all, func(c Check) bool { return !chosen[c.ID] }), nil
}

// choose returns the checks that names select; a group's name, with or without
// ".*", is all of it.
func choose(all []Check, names []string) (map[string]bool, error) {
	chosen := map[string]bool{}
	for _, name := range names {
		group := strings.TrimSuffix(name, ".*")
		known := false
		for _, c := range all {
			if strings.EqualFold(c.ID, name) || strings.EqualFold(groupOf(c.ID), group) {
				chosen[c.ID] = true
				known = true
			}
		}
		if !known {
			var names []string
			for _, c := range all {
				names = append(names, c.ID, groupOf(c.ID))
			}
			return nil, &UnknownCheckError{name, nearest(name, names)}
		}
	}
	return chosen, nil
}

func groupOf(id string) string {
	group, _, _ := strings.Cut(id, ".")
	return group
}

// Run judges the machine. The error is a wrong option (UnknownCheckError, or
// work that makes no sense) or the context's; an unready machine is none.
func Run(ctx context.Context, o Options) (*Report, error) {
	all := Checks()
	only, err := choose(all, o.Only)
	if err != nil {
		return nil, err
	}
	skip, err := choose(all, o.Skip)
	if err != nil {
		return nil, err
	}
	if o.Work != nil {
		if err := o.Work.Check(); err != nil {
			return nil, err
		}
	}
	env, err := newEnv(ctx, o)
	if err != nil {
		return nil, err
	}
	if len(only) > 0 {
		all = slices.DeleteFunc(all, func(c Check) bool { return !only[c.ID] })
	}
	findings := make([]Finding, len(all))
	var running sync.WaitGroup
	for i, c := range all {
		running.Go(func() { findings[i] = c.run(ctx, env) })
	}
	running.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for i := range findings {
		f := &findings[i]
		if o.Strict && f.Verdict == Warn {
			f.Verdict = Fail
		}
		if skip[f.ID] && (f.Verdict == Fail || f.Verdict == Warn) {
			f.Demoted, f.Verdict = f.Verdict, Warn
		}
		env.redact(f)
	}
	return newReport(env, findings), nil
}

// run asks one check, at most for its timeout. A probe that hangs is left
// behind.
func (c Check) run(ctx context.Context, env *Env) Finding {
	timeout := c.timeout
	if timeout == 0 {
		timeout = probeTimeout
	}
	if env.options.Deep && c.deep > 0 {
		timeout = c.deep
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer := make(chan Finding, 1)
	go func() { answer <- c.ask(ctx, env) }()
	var f Finding
	select {
	case f = <-answer:
	case <-ctx.Done():
		f = skipped("no answer within %v", timeout)
	}
	f.ID, f.Title, f.Group = c.ID, c.Title, c.Group
	if f.Why == "" {
		f.Why = c.Why
	}
	return f
}

func (c Check) ask(ctx context.Context, env *Env) Finding {
	switch {
	case c.network && !env.options.Network:
		return skipped("the network is not asked in this run")
	case c.reference && env.work != nil:
		return skipped("not needed to %s: gptctl does without", verbOf(env.work.Purpose))
	}
	if c.needsGPU || c.needsDriver {
		switch inv := env.gpus(); {
		case inv.State == nvidia.StateTimeout && !inv.present():
			return skipped("the driver did not answer in time, so whether there is a GPU is not known")
		case inv.pciUnknown != nil && len(inv.GPUs) == 0:
			return skipped("no NVIDIA GPU answers, and %v", inv.pciUnknown)
		case !inv.present():
			return skipped("there is no NVIDIA GPU")
		case c.needsDriver && len(inv.GPUs) == 0:
			return skipped("the driver does not answer: see gpu.driver")
		}
	}
	f := c.Probe(ctx, env)
	if ctx.Err() != nil && f.Verdict != Pass {
		return skipped("no answer in time")
	}
	return f
}

func verbOf(p fit.Purpose) string {
	switch p {
	case fit.Finetune:
		return "fine-tune"
	case fit.Serve:
		return "serve"
	}
	return "run"
}

// What a probe answers with.

func passed(format string, args ...any) Finding {
	return Finding{Verdict: Pass, Found: fmt.Sprintf(format, args...)}
}

func warned(format string, args ...any) Finding {
	return Finding{Verdict: Warn, Found: fmt.Sprintf(format, args...)}
}

func failed(format string, args ...any) Finding {
	return Finding{Verdict: Fail, Found: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) Finding {
	return Finding{Verdict: Skip, Why: fmt.Sprintf(format, args...)}
}

// judged is v with what was found: Skip has the words as its reason, too.
func judged(v Verdict, format string, args ...any) Finding {
	f := Finding{Verdict: v, Found: fmt.Sprintf(format, args...)}
	if v == Skip {
		f.Why = f.Found
	}
	return f
}

// atLeast passes if ok, and has the verdict v otherwise.
func atLeast(ok bool, v Verdict, format string, args ...any) Finding {
	if ok {
		v = Pass
	}
	return judged(v, format, args...)
}

func (f Finding) needs(format string, args ...any) Finding {
	f.Needed = fmt.Sprintf(format, args...)
	return f
}

func (f Finding) because(format string, args ...any) Finding {
	f.Why = fmt.Sprintf(format, args...)
	return f
}

// mend says what helps; a finding that passed or was skipped needs no help.
func (f Finding) mend(command, format string, args ...any) Finding {
	if f.Verdict == Warn || f.Verdict == Fail {
		f.Remedy = &Remedy{Text: fmt.Sprintf(format, args...), Command: command}
	}
	return f
}

// install is mend with a component of `gptctl install`.
func (f Finding) install(component, format string, args ...any) Finding {
	f = f.mend("gptctl install "+component, format, args...)
	if f.Remedy != nil {
		f.Remedy.Component = component
	}
	return f
}
