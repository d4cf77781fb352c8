package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/doctor/nvidia"
	"github.com/gptctl/gptctl/internal/machine"
)

func cudaChecks() []Check {
	checks := []Check{
		{ID: "cuda.driver", Title: "CUDA of the driver", Group: "cuda", needsDriver: true, Probe: cudaDriver,
			Why: "the driver sets the newest CUDA that programs can use"},
		{ID: "cuda.toolkit", Title: "CUDA toolkit", Group: "cuda", reference: true, Probe: cudaToolkit,
			Why: "programs that are compiled here need it; torch's wheels bring their own"},
		{ID: "cuda.match", Title: "Toolkit and driver", Group: "cuda", reference: true, needsDriver: true, Probe: cudaMatch,
			Why: "programs made with a newer CUDA than the driver's may not start"},
		{ID: "cuda.several", Title: "Several toolkits", Group: "cuda", reference: true, Probe: cudaSeveral,
			Why: "compiler, headers and libraries must be of one toolkit"},
		{ID: "cuda.stubs", Title: "Stubs on LD_LIBRARY_PATH", Group: "cuda", Probe: cudaStubs,
			Why: "a stub of libcuda is for linking and finds no GPU"},
		{ID: "cuda.torch", Title: "torch and driver", Group: "cuda", reference: true, needsDriver: true, Probe: cudaTorch,
			Why: "torch's wheels need a driver as new as their CUDA"},
		{ID: "cudnn.version", Title: "cuDNN", Group: "cudnn", reference: true, Probe: cudnnVersion,
			Why: "the reference set-up has it; torch's wheels bring their own"},
		{ID: "cudnn.match", Title: "cuDNN and CUDA", Group: "cudnn", reference: true, Probe: cudnnMatch,
			Why: "cuDNN is made for one major version of CUDA"},
		{ID: "cudnn.path", Title: "cuDNN on LD_LIBRARY_PATH", Group: "cudnn", reference: true, Probe: cudnnPath,
			Why: "it comes before the one of torch's wheels, whose parts then do not fit together"},
	}
	for i := range checks {
		checks[i].needsGPU = true
	}
	return checks
}

func cudaDriver(_ context.Context, e *Env) Finding {
	g := e.gpus()
	if g.CUDA.IsZero() {
		return skipped("the driver does not tell")
	}
	need := e.Need.CUDA.Version
	return atLeast(machine.CompareVersions(g.CUDA.String(), need) >= 0, e.driverVerdict(), "up to %s", g.CUDA).needs("%s", need).
		install("driver", "install a newer driver")
}

func cudaToolkit(_ context.Context, e *Env) Finding {
	need, bad := e.Need.CUDA.Version, e.Need.CUDA.Missing
	all := e.Host.Toolkits()
	if len(all) == 0 {
		return judged(bad, "none").needs("%s", need).install("cuda", "install it, if programs are to be compiled here")
	}
	best := all[0]
	for _, t := range all {
		if t.Active || !best.Active && machine.CompareVersions(t.Version, best.Version) > 0 {
			best = t
		}
	}
	if best.Version == "" {
		return skipped("the toolkit in %s does not tell its version", best.Dir)
	}
	return atLeast(machine.CompareVersions(best.Version, need) >= 0, bad, "%s in %s", best.Version, best.Dir).needs("%s", need).
		install("cuda", "install a newer toolkit beside it")
}

func major(version string) string {
	m, _, _ := strings.Cut(version, ".")
	return m
}

// driverSuits judges whether the driver runs programs of a CUDA version.
func driverSuits(e *Env, what, cuda, component, advice string) Finding {
	driver := e.gpus().Driver
	if driver.IsZero() {
		return skipped("the driver does not tell its version")
	}
	v, err := nvidia.ParseVersion(cuda)
	need, ok := nvidia.MinDriver(v, e.Host.GOOS)
	if err != nil || !ok {
		return skipped("no driver is known for CUDA %s", cuda)
	}
	return atLeast(driver.AtLeast(need), Warn, "%s, driver %s", what, driver).needs("driver %s", need).
		install(component, "%s", advice)
}

func cudaMatch(_ context.Context, e *Env) Finding {
	newest := newestToolkit(e.Host.Toolkits())
	if newest == "" {
		return skipped("there is no toolkit")
	}
	for _, c := range e.conflicts("toolkit") {
		if slices.Contains(c.Between[:], "gpu") {
			return warned("%s", c.Why).needs("a toolkit for this GPU").install("cuda", "install that toolkit beside it")
		}
	}
	return driverSuits(e, "CUDA "+newest, newest, "driver", "install a newer driver")
}

func cudaSeveral(_ context.Context, e *Env) Finding {
	all := e.Host.Toolkits()
	var names []string
	active := ""
	for _, t := range all {
		names = append(names, t.Version+" in "+t.Dir)
		if t.Active {
			active = t.Dir
		}
	}
	home := e.Host.Getenv("CUDA_HOME")
	switch {
	case len(all) == 0:
		return skipped("there is no toolkit")
	case len(all) == 1:
		return passed("one")
	case active != "" && home != "" && e.Host.Resolve(home) != active:
		return warned("nvcc is of %s, CUDA_HOME is %s", active, home).needs("one toolkit").
			mend("export CUDA_HOME="+active, "let both name one toolkit")
	}
	return passed("%s; nvcc is of %s", list(names, 3), yes(active != "", active, "none on the PATH"))
}

func cudaStubs(_ context.Context, e *Env) Finding {
	dirs := e.Host.StubsOnLibraryPath()
	if len(dirs) == 0 {
		return passed("none")
	}
	return judged(e.driverVerdict(), "%s", strings.Join(dirs, ", ")).needs("none").
		mend("", "take %s off LD_LIBRARY_PATH", strings.Join(dirs, " and "))
}

func cudaTorch(_ context.Context, e *Env) Finding {
	site := e.sitePackages()
	if site == "" {
		return skipped("no environment is active")
	}
	t, ok := e.Host.Torch(site)
	switch {
	case !ok:
		return skipped("there is no torch in the active environment")
	case t.CUDA == "":
		return warned("torch %s computes on the CPU only", t.Version).needs("a build with CUDA").
			install("torch", "install the build for this driver")
	}
	if f, bad := e.conflicting("torch", "torch", "install a build of torch for this driver and GPU"); bad {
		return f
	}
	return driverSuits(e, "torch with CUDA "+t.CUDA, t.CUDA, "torch", "install a build of torch for this driver")
}

func (e *Env) cudnns() []machine.CuDNN {
	packages, err := e.packages()
	if err != nil {
		packages = nil
	}
	var sites []string
	if s := e.sitePackages(); s != "" {
		sites = append(sites, s)
	}
	return e.Host.CuDNNs(packages, sites...)
}

func cudnnVersion(_ context.Context, e *Env) Finding {
	all := e.cudnns()
	if len(all) == 0 {
		return judged(e.Need.CuDNN.Missing, "none").needs("one for the CUDA that is used").
			install("cudnn", "install it, if programs beside torch are to use it")
	}
	var found []string
	for _, c := range all {
		s := c.Version
		if c.CUDA != "" {
			s += " for CUDA " + c.CUDA
		}
		found = append(found, fmt.Sprintf("%s (%s)", s, c.Path))
	}
	return passed("%s", list(found, 3))
}

func cudnnMatch(_ context.Context, e *Env) Finding {
	toolkits := e.Host.Toolkits()
	all := e.cudnns()
	if len(toolkits) == 0 || len(all) == 0 {
		return skipped("there is no toolkit or no cuDNN of the machine's own")
	}
	if f, bad := e.conflicting("cudnn", "cudnn", "install the cuDNN for the toolkit's CUDA"); bad {
		return f
	}
	known := false
	for _, c := range all {
		for _, t := range toolkits {
			if c.CUDA == "" || t.Version == "" {
				continue
			}
			known = true
			if c.CUDA == major(t.Version) {
				return passed("%s is for CUDA %s, the toolkit is %s", c.Version, c.CUDA, t.Version)
			}
		}
	}
	if !known {
		return skipped("neither tells for which CUDA it is made")
	}
	return warned("cuDNN %s for CUDA %s, toolkit %s", all[0].Version, all[0].CUDA, toolkits[0].Version).needs("one major version").
		install("cudnn", "install the cuDNN for the toolkit's CUDA")
}

func cudnnPath(_ context.Context, e *Env) Finding {
	for dir := range strings.SplitSeq(e.Host.Getenv("LD_LIBRARY_PATH"), ":") {
		if !strings.HasPrefix(dir, "/") {
			continue
		}
		for _, name := range []string{"libcudnn.so.9", "libcudnn.so.8"} {
			if e.Host.Exists(dir + "/" + name) {
				return warned("%s/%s", dir, name).needs("none").
					mend("unset LD_LIBRARY_PATH", "packaged libraries are found without it")
			}
		}
	}
	return passed("none")
}
