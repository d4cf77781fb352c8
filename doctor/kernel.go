package doctor

import (
	"context"
	"slices"
	"strings"
)

// kernelChecks are of settings of the kernel that memory and speed depend on.
func kernelChecks() []Check {
	return []Check{
		{ID: "ram.overcommit", Title: "Memory that is only reserved", Group: groupMemory, Probe: ramOvercommit,
			Why: "mapped models and CUDA reserve much more memory than they use"},
		{ID: "ram.hugepages", Title: "Transparent huge pages", Group: groupMemory, Probe: ramHugePages,
			Why: "with small pages the processor spends some of its time on finding them"},
		{ID: "cpu.virtual", Title: "Virtual machine", Group: groupProcessor, Probe: cpuVirtual,
			Why: "a hypervisor shares the processor with others and may hide what it can do"},
		{ID: "cpu.governor", Title: "Clock of the processor", Group: groupProcessor, Probe: cpuGovernor,
			Why: "a governor that saves power keeps the clocks low"},
	}
}

func ramOvercommit(_ context.Context, e *Env) Finding {
	if e.Host.GOOS != "linux" {
		return skipped("not Linux")
	}
	o, ok := e.Host.Overcommit()
	switch {
	case !ok:
		return skipped("the kernel does not tell")
	case o.Mode == 1:
		return passed("always allowed")
	case o.Mode != 2:
		return passed("allowed within reason")
	}
	left := o.Limit - min(o.Committed, o.Limit)
	return judged(e.Need.RAM.Overcommit, "counted as used (vm.overcommit_memory = 2), %s left", gb(left)).needs("not counted").
		mend("sudo sysctl vm.overcommit_memory=0", "let the kernel judge; kept over a restart in /etc/sysctl.d")
}

func ramHugePages(_ context.Context, e *Env) Finding {
	switch thp := e.Host.THP(); thp {
	case "":
		return skipped("the kernel has none, or does not tell")
	case "never":
		return judged(e.Need.RAM.HugePages, "never given").needs("madvise or always").
			mend("echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled", "give them to programs that ask")
	case "madvise":
		return passed("given to programs that ask")
	default:
		return passed("%s", thp)
	}
}

func cpuVirtual(_ context.Context, e *Env) Finding {
	name, known := e.Host.Hypervisor()
	switch {
	case !known:
		return skipped("the processor does not tell")
	case name == "":
		return passed("no: a machine of its own")
	}
	return passed("yes, under %s", name)
}

func cpuGovernor(_ context.Context, e *Env) Finding {
	g := e.Host.Governor()
	if len(g.Names) == 0 {
		return skipped("the kernel does not choose the clocks here, or does not tell")
	}
	names := strings.Join(g.Names, ", ")
	// These two set the clocks by load themselves; their powersave is no brake.
	own := strings.HasPrefix(g.Driver, "intel_pstate") || strings.HasPrefix(g.Driver, "amd-pstate-epp") || strings.HasPrefix(g.Driver, "amd_pstate_epp")
	if slices.Contains(g.Names, "powersave") && !own {
		return judged(e.Need.CPU.Governor, "%s (%s)", names, g.Driver).needs("performance or schedutil").
			mend("sudo cpupower frequency-set -g performance", "let the clocks rise under load")
	}
	return passed("%s", names)
}
