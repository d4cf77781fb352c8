package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/doctor/nvidia"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/machine"
)

const groupGPU = "gpu"

// gpuChecks are those of the way from the PCI bus to the driver.
func gpuChecks() []Check {
	checks := []Check{
		{ID: "gpu.present", Title: "NVIDIA GPU", Probe: gpuPresent,
			Why: "a GPU trains and generates many times faster than a CPU"},
		{ID: "gpu.driver", Title: "Driver", needsGPU: true, Probe: gpuDriver,
			Why: "nothing uses the GPU without it"},
		{ID: "gpu.library", Title: "Driver and its library", needsGPU: true, Probe: gpuLibrary,
			Why: "module and library must be of one version"},
		{ID: "gpu.nouveau", Title: "nouveau", needsGPU: true, Probe: gpuNouveau,
			Why: "the free driver holds the GPU, so that NVIDIA's cannot"},
		{ID: "gpu.uvm", Title: "Unified memory module", needsGPU: true, Probe: gpuUVM,
			Why: "CUDA starts only with nvidia_uvm"},
		{ID: "gpu.nodes", Title: "Device files", needsGPU: true, Probe: gpuNodes,
			Why: "programs reach the driver through /dev/nvidia*"},
		{ID: "gpu.secureboot", Title: "Secure Boot", needsGPU: true, Probe: gpuSecureBoot,
			Why: "with Secure Boot the kernel loads only modules that are signed with a key it knows"},
		{ID: "gpu.headers", Title: "Kernel headers", needsGPU: true, Probe: gpuHeaders, reference: true,
			Why: "DKMS builds the driver's module with them"},
		{ID: "gpu.modules", Title: "Open or closed modules", needsGPU: true, Probe: gpuModules,
			Why: "drivers from 620 on have open modules only, which need Turing or newer"},
		{ID: "gpu.visible", Title: "CUDA_VISIBLE_DEVICES", needsGPU: true, Probe: gpuVisible,
			Why: "it hides GPUs from CUDA"},
	}
	for i := range checks {
		checks[i].Group = groupGPU
	}
	return checks
}

// wantsGPU tells whether the work of --for must have a GPU.
func (e *Env) wantsGPU() bool {
	return e.work != nil && e.work.Required && e.work.Device == fit.CUDA
}

// driverVerdict is how bad a GPU is that does not work.
func (e *Env) driverVerdict() Verdict {
	if e.work != nil && !e.wantsGPU() {
		return Warn
	}
	return Fail
}

// limitsSoon are the limits, if they are known soon: on a machine that is busy
// they may take longer than a verdict that only mentions them.
func (e *Env) limitsSoon() (kernel.Limits, error) {
	type answer struct {
		limits kernel.Limits
		err    error
	}
	c := make(chan answer, 1)
	go func() {
		l, err := e.limits()
		c <- answer{l, err}
	}()
	select {
	case a := <-c:
		return a.limits, a.err
	case <-time.After(probeTimeout / 2):
		return kernel.Limits{}, context.DeadlineExceeded
	}
}

func gpuPresent(_ context.Context, e *Env) Finding {
	if devices, err := e.Host.NVIDIADevices(); err != nil || len(devices) == 0 {
		go e.limits() // will be wanted; both together would take too long
	}
	g := e.gpus()
	var names []string
	for _, d := range g.GPUs {
		if d.Name != "" {
			names = append(names, d.Name)
		}
	}
	switch {
	case len(names) > 0:
		return passed("%s", count(names))
	case len(g.GPUs) > 0:
		return passed("%d, which tell no name", len(g.GPUs))
	case len(g.devices) > 0:
		for _, d := range g.devices {
			name := fmt.Sprintf("device %04x", d.ID)
			if gen := d.Generation(); gen != "" {
				name = gen + " " + name
			}
			names = append(names, name)
		}
		return passed("%s, on the PCI bus", count(names))
	}
	if g.State == nvidia.StateTimeout {
		return skipped("the driver did not answer in time, so whether there is a GPU is not known")
	}
	bad := e.Need.GPU.Missing
	if e.work != nil {
		bad = Skip
		if e.wantsGPU() {
			bad = Fail
		}
	}
	found := "none"
	if g.pciUnknown != nil {
		found = "none answers; the PCI bus cannot be seen"
	}
	f := judged(bad, "%s", found).needs("one with %.3g GB", e.Need.GPU.MemoryGB)
	if l, err := e.limitsSoon(); err == nil {
		if decode, _ := cpuTokens(e.options.modelName(), l.ReadGBs, l.F32GFLOPs); decode > 0 {
			f.Why = fmt.Sprintf("without it the CPU does the work: up to %s tokens/s of %s in F32 here", number(decode), e.options.modelName())
		}
	}
	return f.mend("", "the CPU will do for small models; to fine-tune larger ones use a machine with a GPU")
}

// count joins equal names: "2 × A, B".
func count(names []string) string {
	var parts []string
	for i, n := range names {
		if slices.Index(names, n) < i {
			continue
		}
		k := 0
		for _, other := range names {
			if other == n {
				k++
			}
		}
		if k > 1 {
			n = fmt.Sprintf("%d × %s", k, n)
		}
		parts = append(parts, n)
	}
	return strings.Join(parts, ", ")
}

func gpuDriver(_ context.Context, e *Env) Finding {
	g, bad := e.gpus(), e.driverVerdict()
	inContainer, wsl := e.Host.Container() != "", e.Host.WSL() == 2
	install := func(f Finding) Finding {
		switch {
		case wsl:
			return f.mend("", "install or update NVIDIA's driver in Windows; none goes into WSL")
		case inContainer:
			return f.mend("", "install the driver on the host, and start the container with --gpus all")
		}
		return f.install("driver", "install NVIDIA's driver")
	}
	restart := func(f Finding) Finding {
		if inContainer {
			return f.mend("", "restart the container; if it comes back, use CDI instead of the legacy runtime")
		}
		return f.mend("sudo reboot", "restart the machine")
	}
	switch g.State {
	case nvidia.StateOK, nvidia.StateNoDevice:
		v := g.Driver
		if v.IsZero() {
			v = g.KernelModule
		}
		if len(g.GPUs) == 0 {
			return judged(bad, "%s runs, and shows no GPU", v).needs("a GPU that it can drive").
				mend("", "this GPU needs another branch of the driver, or it failed to start: see dmesg")
		}
		for _, d := range g.GPUs {
			if d.State != nvidia.StateOK {
				f := judged(bad, "%s; GPU %d: %s %s", v, d.Index, d.State, d.Detail).needs("GPUs that answer")
				return restart(f)
			}
		}
		return passed("%s, for CUDA up to %s", v, g.CUDA)
	case nvidia.StateNoLibrary:
		d := e.Host.Driver()
		if d.Version != "" {
			return install(judged(bad, "module %s without its library", d.Version).needs("driver and library"))
		}
		return install(judged(bad, "none").needs("NVIDIA's driver"))
	case nvidia.StateNoDriver:
		modules, _ := e.Host.Modules()
		f := judged(bad, "installed, but its module is not loaded").needs("the module nvidia")
		switch {
		case modules["nouveau"]:
			return f.mend("", "nouveau holds the GPU: see gpu.nouveau")
		case e.Host.SecureBoot() == machine.SecureBootOn:
			return f.mend("", "Secure Boot is on: the module's key may not be enrolled, see gpu.secureboot")
		case wsl || inContainer:
			return install(f)
		}
		return f.mend("sudo modprobe nvidia", "load it; if that fails, dmesg says why")
	case nvidia.StateMismatch:
		return restart(judged(bad, "module %s, library %s", g.KernelModule, g.Library).needs("one version").
			because("the driver was updated and the old module is still loaded"))
	case nvidia.StateNoAccess:
		return judged(bad, "its device files may not be opened").needs("access").
			mend("ls -l /dev/nvidia*", "let this user open them (group video or render), or the container")
	case nvidia.StateLost:
		return restart(judged(bad, "the GPU is lost: %s", g.Detail).needs("a GPU on the bus"))
	case nvidia.StateTimeout:
		return skipped("the driver did not answer in time")
	}
	return judged(bad, "%s", g.Detail).needs("a driver that answers").mend("nvidia-smi", "see what the driver says")
}

func gpuLibrary(_ context.Context, e *Env) Finding {
	d := e.Host.Driver()
	switch {
	case e.Host.WSL() == 2:
		return skipped("under WSL 2 both are Windows'")
	case d.Version == "" || d.Library == "":
		return skipped("the module's version or the library's is not to be seen")
	case machine.CompareVersions(d.Version, d.Library) != 0:
		return judged(e.driverVerdict(), "module %s, library %s", d.Version, d.Library).needs("one version").
			mend("sudo reboot", "restart, so that the module is that of the library")
	}
	return passed("both %s", d.Version)
}

func gpuNouveau(_ context.Context, e *Env) Finding {
	modules, err := e.Host.Modules()
	switch {
	case err != nil:
		return skipped("%v", err)
	case modules == nil:
		return skipped("loaded modules cannot be seen")
	case modules["nouveau"]:
		return judged(e.driverVerdict(), "loaded").needs("not loaded").
			install("driver", "NVIDIA's driver keeps it out from the next start on")
	}
	return passed("not loaded")
}

func gpuUVM(_ context.Context, e *Env) Finding {
	modules, err := e.Host.Modules()
	switch {
	case err != nil:
		return skipped("%v", err)
	case modules == nil, e.Host.WSL() == 2:
		return skipped("there are no such modules here")
	case !modules["nvidia"]:
		return skipped("the driver's module is not loaded: see gpu.driver")
	case modules["nvidia_uvm"]:
		return passed("loaded")
	}
	return warned("nvidia is loaded, nvidia_uvm is not").needs("both").
		mend("sudo modprobe nvidia_uvm", "load it; CUDA does so itself where it may")
}

func gpuNodes(_ context.Context, e *Env) Finding {
	h := e.Host
	if h.GOOS != "linux" {
		return skipped("not Linux")
	}
	if h.WSL() == 2 {
		return atLeast(h.Exists("/dev/dxg"), e.driverVerdict(), "%s", yes(h.Exists("/dev/dxg"), "/dev/dxg", "no /dev/dxg")).needs("/dev/dxg").
			mend("wsl --update", "update WSL in Windows")
	}
	if d := h.Driver(); d.Version == "" {
		return skipped("no driver is loaded: see gpu.driver")
	}
	var missing []string
	for _, node := range []string{"/dev/nvidiactl", "/dev/nvidia-uvm"} {
		if !h.Exists(node) {
			missing = append(missing, node)
		}
	}
	if len(missing) > 0 {
		f := warned("%s missing", strings.Join(missing, ", ")).needs("/dev/nvidiactl, /dev/nvidia-uvm")
		if h.Container() != "" {
			return f.mend("", "start the container with --gpus all")
		}
		return f.mend("sudo nvidia-modprobe -u -c=0", "make them")
	}
	return passed("there")
}

func yes(ok bool, a, b string) string {
	if ok {
		return a
	}
	return b
}

func gpuSecureBoot(_ context.Context, e *Env) Finding {
	loaded := e.Host.Driver().Version != ""
	switch s := e.Host.SecureBoot(); {
	case s == machine.SecureBootUnknown:
		return skipped("it cannot be seen from here")
	case s != machine.SecureBootOn:
		return passed("%s", yes(s == machine.SecureBootOff, "off", "not a UEFI machine"))
	case loaded:
		return passed("on, and the driver is loaded")
	}
	return warned("on, and no driver is loaded").needs("a signed module whose key is enrolled").
		mend("mokutil --sb-state", "enroll the key that signs the module (mokutil --import, then restart), or take the distribution's signed modules")
}

func gpuHeaders(_ context.Context, e *Env) Finding {
	h := e.Host
	switch {
	case h.GOOS != "linux", h.WSL() != 0, h.Container() != "":
		return skipped("no module is built here")
	case h.Kernel() == "":
		return skipped("/proc does not tell the kernel's release")
	case h.KernelHeaders():
		return passed("of %s", h.Kernel())
	case h.Driver().Version != "":
		return passed("none, but the driver is loaded")
	}
	return warned("none for %s", h.Kernel()).needs("those of the running kernel").
		install("driver", "they are installed before the driver")
}

func gpuModules(_ context.Context, e *Env) Finding {
	g := e.gpus()
	if e.Host.Driver().Version == "" && g.OpenModule == nil {
		return skipped("no module is loaded")
	}
	open := e.Host.Driver().Open || g.OpenModule != nil && *g.OpenModule
	var old []string
	for _, d := range g.devices {
		if !d.OpenModules() {
			old = append(old, fmt.Sprintf("%s (%s)", yes(d.Generation() != "", d.Generation(), "old"), d.Slot))
		}
	}
	if open && len(old) > 0 {
		return judged(e.driverVerdict(), "open, with %s", strings.Join(old, ", ")).needs("closed modules, driver 580 or older").
			install("driver", "these GPUs need driver 580")
	}
	for _, part := range []string{"module", "driver"} {
		for _, c := range e.conflicts(part) {
			if c.Between[1] == "gpu" {
				return judged(e.driverVerdict(), "%s", c.Why).needs("a driver that knows this GPU").
					install("driver", "install the driver of its branch")
			}
		}
	}
	if len(old) > 0 {
		return passed("closed, as %s needs; 580 is the last driver for it", strings.Join(old, ", "))
	}
	return passed("%s", yes(open, "open", "closed; drivers from 620 on have open ones"))
}
