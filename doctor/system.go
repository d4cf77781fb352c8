package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/machine"
)

const (
	groupSystem    = "system"
	groupMemory    = "memory"
	groupProcessor = "processor"
)

func systemChecks() []Check {
	return []Check{
		{ID: "os.release", Title: "Operating system", Group: groupSystem, Probe: osRelease,
			Why: "drivers, CUDA and Python wheels are made for certain releases"},
		{ID: "os.kernel", Title: "Kernel", Group: groupSystem, Probe: osKernel,
			Why: "a driver's module is built for one kernel"},
		{ID: "os.container", Title: "Container", Group: groupSystem, Probe: osContainer,
			Why: "a container has limits of its own and gets its driver from the host"},
		{ID: "pkg.sources", Title: "Package sources", Group: groupSystem, Probe: pkgSources, reference: true,
			Why: "two suppliers of one driver break each other's updates"},
		{ID: "pkg.held", Title: "Held packages", Group: groupSystem, Probe: pkgHeld, reference: true,
			Why: "a held package stops an installation that wants it newer"},
	}
}

func osRelease(_ context.Context, e *Env) Finding {
	h := e.Host
	if h.GOOS != "linux" {
		f := warned("%s on %s", h.GOOS, h.GOARCH).needs("Linux")
		if e.work != nil {
			f.Verdict = Pass
			return f.needs("")
		}
		return f.mend("", "CUDA set-ups are for Linux; gptctl itself runs here on the CPU")
	}
	o, err := h.OSRelease()
	switch {
	case err != nil:
		return skipped("%v", err)
	case o.Name == "" && o.VersionID == "":
		return skipped("there is no os-release file that names the distribution")
	}
	name := o.Name
	if name == "" {
		name = strings.TrimSpace(o.ID + " " + o.VersionID)
	}
	if e.work != nil { // gptctl is one static binary
		return passed("%s, %s", name, h.GOARCH)
	}
	n := e.Need.OS
	family, oldest, version := "", "", o.VersionID
	switch {
	case o.ID == "ubuntu":
		family, oldest = "Ubuntu", n.Ubuntu
	case o.ID == "debian":
		family, oldest = "Debian", n.Debian
	case o.ID == "fedora":
		family, oldest = "Fedora", n.Fedora
	case o.ID == "amzn":
		family, oldest = "Amazon Linux", n.Amazon
	case o.Like("suse", "opensuse", "sles") || strings.HasPrefix(o.ID, "opensuse") || o.ID == "sles":
		family, oldest = "openSUSE or SLES", n.SUSE
		if o.ID == "opensuse-tumbleweed" {
			version = ""
		}
	case o.Like("rhel", "centos"):
		family, oldest = "RHEL or an equal", n.RHEL
	default:
		return warned("%s", name).needs("a release that NVIDIA and PyTorch know, such as Ubuntu %s or newer", n.Ubuntu).
			mend("", "%s is not one that `gptctl install` knows: it may work, by hand", name)
	}
	if version == "" { // rolling, or a testing release
		return passed("%s, %s", name, h.GOARCH).needs("%s %s or newer", family, oldest)
	}
	return atLeast(machine.CompareVersions(version, oldest) >= 0, Fail, "%s, %s", name, h.GOARCH).
		needs("%s %s or newer", family, oldest).
		mend("", "upgrade the distribution; newer drivers and wheels are not made for this one")
}

func osKernel(_ context.Context, e *Env) Finding {
	if e.Host.GOOS != "linux" {
		return skipped("not Linux")
	}
	k := e.Host.Kernel()
	switch {
	case k == "":
		return skipped("/proc does not tell the kernel's release")
	case e.Host.WSL() == 1:
		return failed("%s (WSL 1)", k).needs("WSL 2").because("WSL 1 has no GPU and no Linux kernel of its own").
			mend("wsl --set-version <distribution> 2", "change the distribution to WSL 2, in Windows")
	case e.Host.WSL() == 2:
		return passed("%s (WSL 2)", k).because("under WSL 2 the driver is Windows'; no Linux driver must be installed here")
	}
	return passed("%s", k)
}

func osContainer(_ context.Context, e *Env) Finding {
	kind := e.Host.Container()
	if kind == "" {
		return passed("none seen")
	}
	f := passed("%s", kind)
	if g := e.gpus(); len(g.GPUs) == 0 && len(g.devices) > 0 && !e.Host.Exists("/dev/nvidiactl") {
		f = warned("%s, without the host's GPU", kind).needs("the GPU handed to the container").
			mend("", "start the container with --gpus all (NVIDIA Container Toolkit on the host); no driver goes inside")
	}
	return f
}

// cudaDistro is this distribution in the words of NVIDIA's repositories, ""
// if they have none for it.
func cudaDistro(o machine.OS) string {
	switch {
	case o.ID == "ubuntu":
		return "ubuntu" + strings.ReplaceAll(o.VersionID, ".", "")
	case o.ID == "debian", o.ID == "fedora":
		return o.ID + o.Major()
	case o.ID == "amzn":
		return "amzn" + o.VersionID
	case o.ID == "sles", o.ID == "sled":
		return "sles" + o.Major()
	case o.ID == "opensuse-leap":
		return "opensuse" + o.Major()
	case o.Like("rhel"):
		return "rhel" + o.Major()
	}
	return ""
}

func pkgSources(_ context.Context, e *Env) Finding {
	h := e.Host
	if h.GOOS != "linux" {
		return skipped("not Linux")
	}
	if h.PackageManager() == "" {
		return skipped("no package manager that is known here")
	}
	o, _ := h.OSRelease()
	repos := h.Repositories()
	if conflicts := machine.NVIDIAConflicts(repos, cudaDistro(o)); len(conflicts) > 0 {
		c := conflicts[0]
		return warned("%s (%s)", c.Why, strings.Join(c.Files, ", ")).needs("one supplier, for this distribution").
			mend("", "remove or disable one of: %s", strings.Join(c.Files, ", "))
	}
	var from []string
	for _, r := range repos {
		if who := r.NVIDIA(); who != "" && !slices.Contains(from, who) {
			from = append(from, who)
		}
	}
	if len(from) == 0 {
		return passed("%d, none with NVIDIA's driver beside the distribution's own", len(repos))
	}
	return passed("%d, NVIDIA's driver from %s", len(repos), strings.Join(from, ", "))
}

func pkgHeld(_ context.Context, e *Env) Finding {
	packages, err := e.packages()
	if err != nil {
		return skipped("%v", err)
	}
	if len(packages) == 0 {
		return skipped("neither dpkg nor rpm tells what is installed")
	}
	var held []string
	for name, p := range packages {
		if p.Held && (strings.Contains(name, "nvidia") || strings.HasPrefix(name, "cuda") || strings.Contains(name, "cudnn") || strings.HasPrefix(name, "python3")) {
			held = append(held, name)
		}
	}
	slices.Sort(held)
	if len(held) == 0 {
		return passed("none of NVIDIA's or Python's")
	}
	return warned("%s", list(held, 4)).needs("none held").
		mend("", "they stay as they are until released: apt-mark unhold, dnf versionlock delete or zypper removelock")
}

// list joins the first few of names.
func list(names []string, most int) string {
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
