package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/doctor/nvidia"
	"github.com/gptctl/gptctl/internal/machine"
)

// gpuHealthChecks are those of what is around the GPUs: links, power, firmware,
// errors that the kernel wrote down, and the way of the driver's module.
func gpuHealthChecks() []Check {
	checks := []Check{
		{ID: "gpu.pcie", Title: "PCIe link", needsDriver: true, Probe: gpuPCIe,
			Why: "a slow link makes all copies to the GPU slow"},
		{ID: "gpu.bar1", Title: "BAR1 window", needsDriver: true, Probe: gpuBAR1,
			Why: "memory of the GPU that others see goes through it; when it is full, mappings fail"},
		{ID: "gpu.power", Title: "Power limit", needsDriver: true, Probe: gpuPower,
			Why: "a board that may not take its power computes more slowly"},
		{ID: "gpu.virtualization", Title: "GPU virtualization", needsDriver: true, Probe: gpuVirtualization,
			Why: "a virtual GPU has a part of the memory, needs a licence and a driver of its own"},
		{ID: "gpu.numa", Title: "Memory node of the GPU", needsDriver: true, Probe: gpuNUMA,
			Why: "copies from the memory of another socket are slower"},
		{ID: "gpu.gsp", Title: "Firmware of the GPU", needsDriver: true, Probe: gpuGSP,
			Why: "driver and firmware must be of one version"},
		{ID: "gpu.nvlink", Title: "NVLink", needsDriver: true, Probe: gpuNVLink,
			Why: "a link that is down slows down work on several GPUs"},
		{ID: "gpu.fabric", Title: "NVSwitch fabric", Probe: gpuFabric,
			Why: "on machines with NVSwitch CUDA starts only after the fabric manager has set it up"},
		{ID: "gpu.xid", Title: "Errors the driver reported", Probe: gpuXid,
			Why: "Xid errors tell of broken memory, links and boards, and of programs that failed"},
		{ID: "gpu.dkms", Title: "DKMS", Probe: gpuDKMS,
			Why: "after an update of the kernel the driver's module must be built again"},
		{ID: "gpu.charlinks", Title: "Device links for containers", Probe: gpuCharLinks,
			Why: "without links in /dev/char a running container loses its GPU when systemd reloads"},
		{ID: "cuda.library", Title: "libcuda", Probe: cudaLibrary,
			Why: "all programs that compute on the GPU go through it"},
		{ID: "cuda.compat", Title: "CUDA compatibility folder", Probe: cudaCompat,
			Why: "its libcuda comes before the driver's own and must fit the module"},
	}
	for i := range checks {
		checks[i].Group, checks[i].needsGPU = groupOf(checks[i].ID), true
	}
	return checks
}

// busyPercent is how much of the last sample period a GPU must have worked for
// its PCIe link to be judged: an idle GPU lowers it.
const busyPercent = 20

func gpuPCIe(_ context.Context, e *Env) Finding {
	return ofEach(e, func(d nvidia.GPU) Finding {
		p := d.PCIe
		if p.Generation == nil || p.MaxGeneration == nil || p.Width == nil || p.MaxWidth == nil {
			return skipped("the device does not tell")
		}
		found := fmt.Sprintf("generation %d of %d, %d of %d lanes", *p.Generation, *p.MaxGeneration, *p.Width, *p.MaxWidth)
		switch {
		case *p.Generation >= *p.MaxGeneration && *p.Width >= *p.MaxWidth:
			return passed("%s", found)
		case d.UtilizationGPU == nil:
			return skipped("%s; whether it is idle is not told", found)
		case *d.UtilizationGPU < busyPercent:
			return skipped("%s, and idle: the link is raised under load, so look again then", found)
		}
		return judged(e.Need.GPU.Link, "%s, at %d %% load", found, *d.UtilizationGPU).needs("the full link").
			mend("nvidia-smi -q -d PERFORMANCE", "see to the slot, the riser and the firmware's settings")
	})
}

func gpuBAR1(_ context.Context, e *Env) Finding {
	return ofEach(e, func(d nvidia.GPU) Finding {
		if d.BAR1Total == nil || d.BAR1Used == nil || *d.BAR1Total == 0 {
			return skipped("the device does not tell")
		}
		used := 100 * float64(*d.BAR1Used) / float64(*d.BAR1Total)
		return atLeast(used <= e.Need.GPU.BAR1, Warn, "%s, %s used", gb(*d.BAR1Total), gb(*d.BAR1Used)).needs("at most %.3g %% used", e.Need.GPU.BAR1).
			mend("", "end programs that map memory of the GPU, or switch on Resizable BAR in the firmware")
	})
}

func gpuPower(_ context.Context, e *Env) Finding {
	return ofEach(e, func(d nvidia.GPU) Finding {
		if d.PowerLimit == nil || *d.PowerLimit <= 0 {
			return skipped("the device does not tell")
		}
		found := fmt.Sprintf("%.0f W", *d.PowerLimit)
		if d.PowerDefault != nil && *d.PowerDefault > 0 {
			found += fmt.Sprintf(" of %.0f W", *d.PowerDefault)
		}
		if d.PowerDraw != nil {
			found += fmt.Sprintf(", %.0f W drawn", *d.PowerDraw)
		}
		if d.PowerDefault == nil || *d.PowerDefault <= 0 {
			return passed("%s", found)
		}
		return atLeast(*d.PowerLimit >= *d.PowerDefault*e.Need.GPU.Power/100, Warn, "%s", found).
			needs("%.3g %% of %.0f W", e.Need.GPU.Power, *d.PowerDefault).
			mend(fmt.Sprintf("sudo nvidia-smi -i %d -pl %.0f", d.Index, *d.PowerDefault), "raise it, if it was not lowered on purpose")
	})
}

func gpuVirtualization(_ context.Context, e *Env) Finding {
	return ofEach(e, func(d nvidia.GPU) Finding {
		switch d.Virtualization {
		case "":
			return skipped("the device does not tell")
		case "none":
			return passed("none")
		case "passthrough":
			return passed("handed to this virtual machine as a whole")
		case "vgpu":
			return warned("a virtual GPU").needs("a whole GPU, or a licence").
				mend("nvidia-smi -q -d VGPU", "without a licence it becomes slow after a while; the driver must be the guest driver of the host's version, so leave it as it is")
		}
		return judged(e.driverVerdict(), "shared out to virtual machines (%s)", d.Virtualization).needs("a GPU for programs").
			mend("", "compute in a virtual machine that has a part of it, or take the host's vGPU driver off")
	})
}

func gpuNUMA(_ context.Context, e *Env) Finding {
	nodes := e.Host.NUMANodes()
	return ofEach(e, func(d nvidia.GPU) Finding {
		switch {
		case nodes == 1:
			return passed("there is one")
		case d.NUMANode == nil:
			return skipped("the firmware does not tell")
		}
		node := *d.NUMANode
		near, known := e.Host.NodeCPUs(node)
		if !known {
			return passed("%d", node)
		}
		return atLeast(near, Warn, "%d%s", node, yes(near, "", ", and this process may not run there")).needs("processors of node %d", node).
			mend(fmt.Sprintf("numactl --cpunodebind=%d --membind=%d gptctl …", node, node), "let it run near the GPU, if the container's cpuset allows")
	})
}

func gpuGSP(_ context.Context, e *Env) Finding {
	driver := e.gpus().Driver
	return ofEach(e, func(d nvidia.GPU) Finding {
		v := asVersion(d.GSPFirmware)
		switch {
		case v.IsZero():
			return skipped("none runs on it, or the device does not tell")
		case driver.IsZero():
			return passed("%s", v)
		}
		return atLeast(v.Compare(driver) == 0, Warn, "%s, driver %s", v, driver).needs("%s", driver).
			install("driver", "install driver and firmware of one version again")
	})
}

func gpuNVLink(_ context.Context, e *Env) Finding {
	most := 0
	for _, d := range e.gpus().GPUs {
		if d.NVLink != nil {
			most = max(most, d.NVLink.Active)
		}
	}
	return ofEach(e, func(d nvidia.GPU) Finding {
		switch {
		case d.NVLink == nil:
			return skipped("this GPU has none, or does not tell")
		case most == 0:
			return passed("not connected")
		case len(e.gpus().GPUs) == 1:
			return passed("%d links up", d.NVLink.Active) // what else there should be is not known
		}
		return atLeast(d.NVLink.Active == most, Warn, "%d links up", d.NVLink.Active).needs("%d, as the other GPUs have", most).
			mend("nvidia-smi nvlink --status", "see which is down; a restart or reset trains them again")
	})
}

func gpuFabric(ctx context.Context, e *Env) Finding {
	const start = "sudo systemctl enable --now nvidia-fabricmanager"
	switches := e.Host.NVSwitches()
	worst := skipped("there is no NVSwitch here")
	known := false
	for _, d := range e.gpus().GPUs {
		if d.Fabric == nil {
			continue
		}
		known = true
		switch f := *d.Fabric; {
		case f.State != nvidia.FabricCompleted:
			return judged(e.driverVerdict(), "GPU %d: %s", d.Index, strings.ToLower(string(f.State))).needs("completed").
				mend(start, "start the fabric manager of the driver's version; while it is in progress, wait a minute")
		case f.Failed:
			worst = judged(e.driverVerdict(), "GPU %d: completed with an error", d.Index).needs("completed without").
				mend("sudo systemctl restart nvidia-fabricmanager", "restart the fabric manager and look at its log, /var/log/fabricmanager.log")
		case worst.Verdict == Skip:
			worst = passed("set up")
		}
	}
	if known || switches == 0 {
		return worst
	}
	// Boards before Hopper do not tell of the fabric.
	if e.Host.Container() != "" {
		return skipped("%d NVSwitches; the fabric manager runs on the host and cannot be seen from here", switches)
	}
	said, err := e.Host.Run(ctx, "systemctl", "is-active", "nvidia-fabricmanager")
	switch state := strings.TrimSpace(string(said)); {
	case state == "active":
		return passed("%d NVSwitches, the fabric manager runs", switches)
	case state == "":
		return skipped("%d NVSwitches; whether the fabric manager runs is not told (%v)", switches, err)
	default:
		return judged(e.driverVerdict(), "%d NVSwitches, the fabric manager is %s", switches, state).needs("active").
			mend(start, "install nvidia-fabricmanager of the driver's version and start it")
	}
}

// brokenXids tell of the board, its memory or its links, after which results
// cannot be trusted or the GPU is gone; the others come from programs or can be
// recovered from (docs.nvidia.com/deploy/xid-errors, "Xid error listing").
var brokenXids = map[int]string{
	48: "uncorrectable memory error", 62: "internal microcontroller halt", 64: "memory could not be remapped", 74: "NVLink error", 79: "fell off the bus",
	95: "uncontained memory error", 119: "GSP does not answer", 120: "GSP error", 140: "unrecovered memory error", 143: "initialization failed",
}

func gpuXid(ctx context.Context, e *Env) Finding {
	if e.Host.GOOS != "linux" || e.Host.WSL() != 0 {
		return skipped("this kernel does not keep them")
	}
	log, err := e.Host.KernelLog(ctx)
	if errors.Is(err, machine.ErrKernelLog) {
		return skipped("not permitted: %v (sudo dmesg | grep Xid shows them)", err)
	}
	if err != nil {
		return skipped("%v", err)
	}
	var said []string
	broken := false
	for _, x := range machine.ParseXids(log) {
		words := fmt.Sprintf("Xid %d", x.Code)
		if why, ok := brokenXids[x.Code]; ok {
			words += " (" + why + ")"
			broken = true
		}
		if x.Count > 1 {
			words += fmt.Sprintf(" %d times", x.Count)
		}
		said = append(said, words+" on "+x.BusID)
	}
	switch {
	case len(said) == 0:
		return passed("none, as far as the kernel's messages go back")
	case broken:
		return judged(e.driverVerdict(), "%s", list(said, 4)).needs("none").
			mend("sudo reboot", "restart; if they come back, have the board, its power and its seat looked at")
	}
	return warned("%s", list(said, 4)).needs("none").mend("sudo dmesg", "programs failed on the GPU; see which, and when")
}

func gpuDKMS(_ context.Context, e *Env) Finding {
	h := e.Host
	switch {
	case h.GOOS != "linux", h.WSL() != 0, h.Container() != "":
		return skipped("no module is built here")
	case h.Kernel() == "":
		return skipped("/proc does not tell the kernel's release")
	}
	all := h.NVIDIADKMS()
	if len(all) == 0 {
		return skipped("DKMS does not build the driver's module here")
	}
	var names []string
	for _, d := range all {
		name := d.Module + " " + d.Version
		if slices.Contains(d.Kernels, h.Kernel()) {
			return passed("%s is built for %s", name, h.Kernel())
		}
		names = append(names, name)
	}
	bad := e.driverVerdict()
	if h.Driver().Version != "" { // it came from elsewhere
		bad = Warn
	}
	text := "build it; that needs the kernel's headers (gpu.headers)"
	if log := all[len(all)-1].Log; log != "" {
		text += "; the last build's log is " + log
	}
	return judged(bad, "%s, not built for %s", list(names, 2), h.Kernel()).needs("a module for the running kernel").
		mend("sudo dkms autoinstall", "%s", text)
}

func gpuCharLinks(_ context.Context, e *Env) Finding {
	h, g := e.Host, e.gpus()
	if h.GOOS != "linux" || h.WSL() != 0 {
		return skipped("there are no such files here")
	}
	nodes, unlinked := h.DeviceNodes()
	if h.Container() != "" {
		if g.State == nvidia.StateOK || nodes == 0 || g.State != nvidia.StateFailed && g.State != nvidia.StateNoAccess {
			return skipped("the links are the host's; from here they cannot be seen")
		}
		return judged(e.driverVerdict(), "the device files are here, and the driver may not be used: %s", g.Detail).needs("a container that keeps its GPU").
			mend("", "restart the container; on the host, sudo nvidia-ctk system create-dev-char-symlinks --create-all, or use CDI")
	}
	if h.LookPath("nvidia-ctk") == "" && h.LookPath("nvidia-container-runtime") == "" {
		return skipped("NVIDIA's Container Toolkit is not installed: no container needs them")
	}
	switch {
	case nodes == 0:
		return skipped("there are no device files: see gpu.nodes")
	case len(unlinked) == 0:
		return passed("there for %d GPUs", nodes)
	}
	return warned("none for %s", list(unlinked, 3)).needs("a link for each device file").
		mend("sudo nvidia-ctk system create-dev-char-symlinks --create-all", "make them, and let udev do so at every start; CDI does without")
}

func cudaLibrary(ctx context.Context, e *Env) Finding {
	g := e.gpus()
	r := e.tools.CUDA(ctx)
	bad := e.driverVerdict()
	switch r.State {
	case nvidia.WorkOK:
		f := passed("shows %d, CUDA up to %s", r.Devices, r.CUDA)
		if len(g.GPUs) == 0 && g.State != nvidia.StateOK {
			f.Found += "; NVML and nvidia-smi do not answer, CUDA does"
		}
		return f
	case nvidia.WorkUnsupported, nvidia.WorkTimeout, nvidia.WorkBusy:
		return skipped("%s", yes(r.Detail != "", r.Detail, string(r.State)))
	case nvidia.WorkStub:
		return judged(bad, "a stub for linking stands before it").needs("the driver's own").mend("unset LD_LIBRARY_PATH", "take the toolkit's stubs off it: see cuda.stubs")
	case nvidia.WorkNoLibrary:
		f := judged(bad, "libcuda.so.1 is not found").needs("the driver's own")
		if e.Host.Container() != "" {
			return f.mend("", "start the container with --gpus all and NVIDIA_DRIVER_CAPABILITIES=compute,utility")
		}
		return f.install("driver", "install the driver's library for CUDA, which some distributions have in a package of its own")
	case nvidia.WorkNoDevice:
		return judged(bad, "%s", yes(r.Detail != "", r.Detail, "it shows no GPU")).needs("a GPU").mend("", "see gpu.visible, gpu.uvm and gpu.fabric")
	}
	return judged(bad, "%s", yes(r.Detail != "", r.Detail, string(r.State))).needs("a library that starts").mend("nvidia-smi", "see gpu.driver, gpu.uvm and gpu.fabric")
}

func cudaCompat(_ context.Context, e *Env) Finding {
	all := e.Host.CompatOnLibraryPath()
	if len(all) == 0 {
		return passed("none in the way")
	}
	c, module := all[0], e.Host.Driver().Version
	found := fmt.Sprintf("libcuda %s in %s", c.Version, c.Dir)
	const out = "take it off LD_LIBRARY_PATH and out of /etc/ld.so.conf.d"
	switch {
	case module == "":
		return skipped("%s; the module's version is not to be seen", found)
	case machine.CompareVersions(c.Version, module) < 0:
		return judged(e.driverVerdict(), "%s, module %s", found, module).needs("none, or one that is newer than the module").mend("", out)
	case machine.CompareVersions(major(c.Version), major(module)) == 0:
		return passed("%s, of the module's branch", found)
	}
	for _, d := range e.gpus().GPUs {
		// Forward compatibility is for data-centre boards, and some for work stations.
		if strings.Contains(d.Name, "GeForce") {
			return judged(e.driverVerdict(), "%s, module %s, with %s", found, module, d.Name).needs("none: it does not work with this GPU").mend("", out)
		}
	}
	return passed("%s, module %s", found, module)
}
