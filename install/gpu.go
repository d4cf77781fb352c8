package install

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/machine"
)

var (
	driverPackage = regexp.MustCompile(`^(nvidia-driver(-.*)?|nvidia-open(-.*)?|nvidia-gfxG.*|cuda-drivers(-.*)?|nvidia-kernel-.*|kmod-nvidia.*|akmod-nvidia.*|linux-modules-nvidia-.*|nvidia-dkms-.*|nvidia-driver-G0.*|libnvidia-compute-.*)$`)
	cudaPackage   = regexp.MustCompile(`^cuda-(toolkit|runtime|libraries|compiler|cudart).*$`)
	cudnnPackage  = regexp.MustCompile(`^(lib)?cudnn.*$`)
)

// workingDriver is the version of the loaded driver if its library is there
// and of the same version, "" otherwise. Under WSL2 the driver is Windows'.
func (b *builder) workingDriver() string {
	d := b.driver
	if b.wsl == 2 && b.host.Library("libcuda.so.1") != "" {
		return orElse(orElse(d.Version, d.Library), "580")
	}
	if d.Version != "" && (d.Library == d.Version || d.Library == "" && b.host.Library("libnvidia-ml.so.1") != "") {
		return d.Version
	}
	return ""
}

// gpuLess deals with driver, cuda and cudnn on a machine without a GPU: only
// what was asked for by name is planned, and a driver never.
func (b *builder) gpuLess(component string) bool {
	if component != "driver" && !b.explicit(component) && len(b.devices) > 0 && b.anyDriver() == "" && len(b.plan.Blocked) == 0 {
		b.satisfied(component+".packages", component, titles[component], "nothing here could use it without a driver: nothing to do")
		return true
	}
	if len(b.devices) > 0 || b.workingDriver() != "" {
		return false
	}
	if component != "driver" && b.explicit(component) {
		return false
	}
	why := "there is no NVIDIA GPU on the PCI bus: nothing to do"
	if b.noPCI != nil {
		why = "no NVIDIA GPU can be seen (" + b.noPCI.Error() + "): nothing is done"
	}
	b.satisfied(component+".packages", component, titles[component], "%s", why)
	return true
}

var titles = map[string]string{
	"driver": "NVIDIA driver",
	"cuda":   "CUDA toolkit",
	"cudnn":  "cuDNN",
}

func (b *builder) driverStep() error {
	if !b.wanted["driver"] {
		return nil
	}
	const id, component = "driver.packages", "driver"
	satisfied := func(why string, args ...any) error {
		b.satisfied(id, component, titles[component], why, args...)
		return nil
	}
	// What belongs to somebody else stops a plan only if it was asked for.
	elsewhere := func(reason string, hints ...string) error {
		if b.explicit(component) {
			b.block(component, reason, hints...)
			return nil
		}
		b.note("driver: %s; %s", reason, strings.Join(hints, "; "))
		return satisfied("%s", reason)
	}
	d := b.driver
	working := b.workingDriver()
	switch {
	case b.wsl == 1:
		return elsewhere("WSL 1 cannot reach a GPU", "in Windows: wsl --set-version <distribution> 2")
	case b.wsl == 2 && working != "":
		return satisfied("Windows' driver is used; a Linux driver must not be installed under WSL2")
	case b.wsl == 2:
		return elsewhere("under WSL2 the driver is Windows', and it is not there (no libcuda.so.1)", "install NVIDIA's driver in Windows, then: wsl --shutdown")
	case working != "":
		b.oldDriverNote(working)
		return satisfied("driver %s works and is left as it is", working)
	case b.cage != "" && (d.Version != "" || len(b.devices) > 0):
		return elsewhere("this is a container ("+b.cage+"): the driver belongs to the host, which did not pass the GPU in",
			"start the container with --gpus all (NVIDIA Container Toolkit on the host)")
	case b.gpuLess(component):
		return nil
	case d.Version != "" && d.Library != "":
		b.block(component, fmt.Sprintf("the loaded driver is %s, its libraries are %s: the machine was not restarted after an update", d.Version, d.Library), "restart the machine")
		return nil
	}
	if held := b.held(regexp.MustCompile(`nvidia|cuda-drivers`)); len(held) > 0 {
		b.block(component, "packages are held back: "+strings.Join(held, ", "), "release them if that is wanted: sudo apt-mark unhold, dnf versionlock delete, zypper removelock")
		return nil
	}
	if there := b.installed(driverPackage); len(there) > 0 {
		hints := []string{"restart the machine; if the driver still does not load, look at `dkms status` and `dmesg | grep -i nvidia`",
			"or remove these packages and run this again"}
		if b.host.SecureBoot() == machine.SecureBootOn {
			hints = append(hints, "Secure Boot refuses modules whose key is not enrolled: `mokutil --list-enrolled`")
		}
		b.block(component, "driver packages are installed, but no driver is loaded: "+strings.Join(firstFew(there), ", "), hints...)
		return nil
	}
	if b.recipe == nil {
		return b.unknown()
	}
	return b.newDriver()
}

// moduleReset takes back the choice of a stream of dnf's driver module.
var moduleReset = []string{"dnf", "-y", "module", "reset", "nvidia-driver"}

func firstFew(names []string) []string {
	if len(names) > 4 {
		return append(slices.Clone(names[:4]), fmt.Sprintf("and %d more", len(names)-4))
	}
	return names
}

// oldDriverNote says what a working driver is too old for.
func (b *builder) oldDriverNote(version string) {
	if machine.CompareVersions(version, b.recipes.torch.Default.OldDriver) < 0 {
		b.note("driver %s works, so it is not touched; CUDA 13 and the newest torch wheels need %s or newer: update it the way it was installed", version, b.recipes.torch.Default.OldDriver)
	}
}

func (b *builder) newDriver() error {
	const id, component = "driver.packages", "driver"
	why := "the GPU " + b.gpuNames() + " has no driver; "
	for _, d := range b.devices {
		if g := d.Generation(); g == "" || g == "kepler" {
			b.block(component, "the GPU "+b.gpuNames()+" is too old for any driver that CUDA 12 or 13 works with", "use the CPU: gptctl install python venv torch")
			return nil
		}
	}
	old := b.oldGPU([]string{"maxwell", "pascal", "volta"})
	packages, before, signed := b.recipe.Driver, b.release.DriverBefore, b.release.Signed
	if old {
		packages, before, signed = b.recipe.DriverOld, b.release.DriverOldBefore, b.release.SignedOld
		if len(b.release.DriverOld) > 0 {
			packages = b.release.DriverOld
		}
	}
	secure := b.host.SecureBoot()
	if secure == machine.SecureBootUnknown {
		b.note("driver: whether Secure Boot is on cannot be seen here; with it, the module has to be signed")
	}
	name := b.recipe.Name
	if len(signed) > 0 {
		switch {
		case b.release.SignedFirst:
			return b.signedDriver(signed, why+"its modules come built and signed from the distribution, which Secure Boot accepts, and their libraries from NVIDIA")
		case secure == machine.SecureBootOn:
			return b.signedDriver(signed, why+"Secure Boot is on, so it is "+name+"'s own, whose modules are signed")
		case b.release.NVIDIA == "":
			return b.signedDriver(signed, why+"NVIDIA has no repository for "+b.plan.System+", so it is "+name+"'s own")
		case len(packages) == 0:
			return b.signedDriver(signed, why+"branch 580 is the last for it, and NVIDIA's repository for "+b.plan.System+" has only newer ones, so it is "+name+"'s own")
		}
	}
	if len(packages) == 0 {
		b.block(component, name+" "+b.release.Version+" has no driver package for the GPU "+b.gpuNames()+" that we know", "see NVIDIA's driver installation guide for branch 580")
		return nil
	}
	if secure == machine.SecureBootOn {
		b.block(component, "Secure Boot is on, and it refuses a module that is built here until its key is enrolled at the console",
			"enroll a key of your own (mokutil --import) and let dkms sign with it, or switch Secure Boot off in the firmware; then run this again",
			"or install the driver that your distribution signs")
		return nil
	}
	if old {
		why += "branch 580 is the last for it"
	} else {
		why += "the open kernel modules, built for this kernel by dkms"
	}
	if !b.repository(component) {
		return nil
	}
	if b.release.EPEL != "" && !b.packages["epel-release"].Installed {
		b.packageStep("driver.epel", component, "the EPEL repository", "dkms, which builds the kernel modules, comes from there", []string{b.release.EPEL})
	}
	kernel := b.host.Kernel()
	if !b.host.KernelHeaders() {
		b.packageStep("driver.headers", component, "headers of the running kernel", "the module is built for kernel "+kernel+"; the newest headers may be for another one", b.ofKernel(b.recipe.Headers))
	}
	if old && len(b.release.DriverOldPin) > 0 {
		// A transaction of its own: apt reads the pin before it chooses.
		b.packageStep("driver.pin", component, "hold the driver at branch 580", "newer branches have no module for the GPU "+b.gpuNames(), b.release.DriverOldPin)
	}
	step := b.packageStep(id, component, titles[component], why, packages)
	if step != nil {
		for i := len(before) - 1; i >= 0; i-- {
			step.Commands = append([]Command{b.root(before[i]...)}, step.Commands...)
		}
		if len(before) > 0 { // dnf keeps the choice of a stream until it is reset
			step.Undo = append(step.Undo, b.root(moduleReset...))
		}
	}
	b.afterDriver("")
	if b.recipe.DriverNote != "" {
		b.note("driver: %s", b.recipe.DriverNote)
	}
	return nil
}

// sameVersion is a shell script: it installs the packages $3 … of the version
// that the package $2 has, by the command $1.
const sameVersion = `manager=$1 version=$(rpm -q --queryformat '%{VERSION}\n' "$2" | cut -d _ -f 1 | tail -n 1)
shift 2
for p; do shift; set -- "$@" "$p=$version"; done
exec $manager "$@"`

// signedDriver plans the driver whose modules the distribution signs.
func (b *builder) signedDriver(signed []string, why string) error {
	const id, component = "driver.packages", "driver"
	if b.release.SignedFirst && !b.repository(component) {
		return nil
	}
	packages := b.ofKernel(signed)
	step := b.packageStep(id, component, titles[component], why, packages)
	if after := strings.Fields(b.release.SignedAfter); step != nil && len(after) > 0 {
		install := strings.Join(fill(b.manager.Install, nil), " ")
		step.Commands = append(step.Commands, b.root(append([]string{"sh", "-c", sameVersion, "sh", install, packages[0]}, after...)...))
		step.Verify = append(step.Verify, Command{Argv: fill(b.manager.Installed, after)})
		step.Undo = []Command{b.root(fill(b.manager.Remove, append(slices.Clone(packages), after...))...)}
	}
	b.ownDriver = !b.release.SignedFirst
	b.afterDriver(packageBranch(signed))
	return nil
}

// ofKernel puts the running kernel into the names of packages.
func (b *builder) ofKernel(names []string) []string {
	kernel := b.host.Kernel()
	flavour := kernel[strings.LastIndexByte(kernel, '-')+1:]
	if own := b.release.Kernel; own != "" && (flavour == "generic" || flavour == "lowlatency") && !strings.HasPrefix(kernel, own+".") {
		flavour += "-hwe-" + b.release.Version
	}
	return fill(names, nil, "{kernel}", kernel, "{kernel-version}", strings.TrimSuffix(kernel, "-default"), "{flavour}", flavour)
}

// packageBranch finds the branch in nvidia-driver-580-open, "" if there is none.
func packageBranch(names []string) string {
	return regexp.MustCompile(`[0-9]{3}`).FindString(strings.Join(names, " "))
}

// afterDriver says what follows a driver that is to come, of a branch, ""
// if only the release knows it.
func (b *builder) afterDriver(branch string) {
	b.comingDrive = orElse(branch, "580")
	if own := b.release.Branch; own != "" && strings.HasPrefix(own, branch) {
		b.comingDrive = own
	}
	if b.oldGPU([]string{"maxwell", "pascal", "volta"}) && machine.CompareVersions(b.comingDrive, "580") > 0 {
		b.comingDrive = "580"
	}
	modules, _ := b.host.Modules()
	if modules["nouveau"] {
		b.note("driver: nouveau drives the GPU now and stays in memory: restart the machine afterwards, then run `gptctl doctor`")
	} else {
		b.note("driver: it is loaded at the next start of the machine, or now by `sudo modprobe nvidia`")
	}
}

func (b *builder) gpuNames() string {
	var names []string
	for _, d := range b.devices {
		names = append(names, fmt.Sprintf("10de:%04x (%s)", d.ID, orElse(d.Generation(), "before Kepler")))
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// repository plans NVIDIA's repository, once for all components that need it,
// and tells whether it can be used. It is asked for before it is used.
func (b *builder) repository(component string) bool {
	if b.repoDone {
		return b.repoOK
	}
	b.repoDone = true
	distro, keys := b.release.NVIDIA, b.release.Keys
	if b.inWSL() {
		distro, keys = b.recipe.WSL, b.recipe.WSLKeys
	}
	named := slices.ContainsFunc(b.repos, func(r machine.Repository) bool { return r.NVIDIA() == "nvidia" })
	switch {
	case distro != "", named:
	case b.release.ByHand != "":
		b.block(component, "NVIDIA's repository for "+b.plan.System+" cannot be verified", b.release.ByHand)
		return false
	default:
		b.block(component, "NVIDIA has no repository that we know for "+b.plan.System, "use the packages of your distribution")
		return false
	}
	if found := machine.NVIDIAConflicts(b.repos, distro); len(found) > 0 {
		c := found[0]
		hint := "remove or disable all but one of: " + strings.Join(c.Files, ", ")
		if len(c.Files) == 1 {
			hint = "remove or disable " + c.Files[0]
		}
		b.block(component, c.Why, hint)
		return false
	}
	pin := b.ownDriver || b.comingDrive == "" && (b.workingDriver() != "" || b.wsl == 2)
	for _, r := range b.repos {
		switch who := r.NVIDIA(); {
		case who == "nvidia":
			b.repoOK = true
			b.satisfied(component+".repository", component, "NVIDIA's package repository", "%s names it", r.File)
			return true
		case who != "" && !pin:
			b.block(component, "drivers on this machine come from "+who+" ("+r.File+"), which does not mix with NVIDIA's own repository",
				"install the driver from there", "or disable it, and run this again")
			return false
		}
	}
	arch := map[string]string{"amd64": "x86_64", "arm64": "sbsa"}[b.host.GOARCH]
	if arch == "" {
		b.block(component, "NVIDIA has no repository for "+b.host.GOARCH)
		return false
	}
	url := fill([]string{b.recipes.nvidia.Repository}, nil, "{distro}", distro, "{arch}", arch)[0]
	key, err := b.offeredKey(url, keys)
	if err != nil {
		b.block(component, "NVIDIA's repository "+url+" cannot be used: "+err.Error(), "check the network and the proxy settings")
		return false
	}
	b.repoOK = true
	b.repositoryStep(component, url, key, pin)
	return true
}

// inWSL tells that NVIDIA's repository is the one for WSL2.
func (b *builder) inWSL() bool { return b.wsl == 2 && b.recipe.WSL != "" }

// offeredKey returns the first of the keys that is there.
func (b *builder) offeredKey(url string, keys []string) (string, error) {
	err := fmt.Errorf("its key is not known")
	for _, key := range keys {
		if err = b.reach(b.ctx, url+key+".pub"); err == nil {
			return key, nil
		}
	}
	return "", err
}

// checkKey is a shell script: $1 is a file, $2 the fingerprint of the only key
// that may be in it, or the SHA-256 of the file without its Version line.
const checkKey = `case ${#2} in
64)
	case $(sed '/^Version/d' "$1" | sha256sum) in "$2 "*) exit 0 ;; esac
	echo "$1 is not the file with the sum $2" >&2; rm -f "$1"; exit 1 ;;
esac
home=$(mktemp -d)
keys=$(GNUPGHOME=$home gpg --batch --with-colons --show-keys "$1")
rm -rf "$home"
case $(printf '%s\n' "$keys" | grep -c '^pub:') in 1) ;; *) keys= ;; esac
case $keys in
*":$2:"*) ;;
*) echo "$1 does not hold the key $2" >&2; rm -f "$1"; exit 1 ;;
esac`

func (b *builder) repositoryStep(component, url, key string, pin bool) {
	m := b.manager
	if len(b.missing(m.Needs)) > 0 {
		b.packageStep(component+".tools", component, "what checks a repository's key", "NVIDIA's packages are signed", m.Needs)
	}
	files := []string{m.KeyFile, m.RepoFile}
	text := strings.TrimPrefix(fill([]string{m.Repo}, nil, "{url}", url, "{key}", m.KeyFile)[0], "\n")
	why := "driver, CUDA and cuDNN come from there; its key is checked against " + map[bool]string{true: "the checksum ", false: "the fingerprint "}[len(b.recipes.nvidia.Keys[key]) == 64] + b.recipes.nvidia.Keys[key]
	if pin {
		text += m.RepoPin
		if m.Pin != "" || m.RepoPin != "" {
			why += "; the driver packages there are ruled out, as the driver " + map[bool]string{true: "comes from the distribution", false: "of this machine works"}[b.ownDriver]
		}
	}
	s := b.add(&Step{
		ID: component + ".repository", Component: component, Title: "NVIDIA's package repository", Why: why, locked: m.Locked,
		Commands: []Command{
			b.root(fill(m.Download, nil, "{url}", url+key+".pub", "{file}", m.KeyFile)...),
			b.root("chmod", "0644", m.KeyFile),
			b.root("sh", "-c", checkKey, "sh", m.KeyFile, b.recipes.nvidia.Keys[key]),
		},
	})
	rpmKey := ""
	if m.Installed[0] == "rpm" { // which imports it itself where we do not
		rpmKey = strings.ToLower(key)
	}
	if len(m.Import) > 0 {
		s.Commands = append(s.Commands, b.root(fill(m.Import, nil, "{key}", m.KeyFile)...))
	}
	if pin && m.Pin != "" {
		files = append(files, m.PinFile)
		s.Commands = append(s.Commands, b.write(m.PinFile, strings.TrimPrefix(m.Pin, "\n")))
	}
	s.Commands = append(s.Commands, b.write(m.RepoFile, text), b.root(m.Refresh...))
	s.Undo = []Command{b.root(append([]string{"rm", "-f"}, files...)...), b.root(m.Refresh...)}
	s.watch = watch{Paths: files, Root: true, RPMKey: rpmKey, After: b.root(m.Refresh...).Argv}
}

func (b *builder) cuda() error {
	const component = "cuda"
	for _, t := range b.host.Toolkits() {
		if t.Version != "" && machine.CompareVersions(t.Version, "10.2") >= 0 && machine.CompareVersions(t.Version, orElse(b.toolkit, "0")) > 0 {
			b.toolkit = t.Version
		}
	}
	if !b.wanted[component] {
		return nil
	}
	if b.toolkit != "" {
		b.satisfied(component+".packages", component, titles[component], "CUDA %s is there and is left as it is", b.toolkit)
		return nil
	}
	if b.gpuLess(component) {
		return nil
	}
	if b.recipe == nil {
		return b.unknown()
	}
	if held := b.held(cudaPackage); len(held) > 0 {
		b.block(component, "packages are held back: "+strings.Join(held, ", "), "release them if that is wanted")
		return nil
	}
	version, why := b.chooseToolkit()
	if version == "" {
		b.unavailable(component, why)
		return nil
	}
	if !b.repository(component) {
		return b.refusedWith(component)
	}
	b.toolkit = version
	b.packageStep(component+".packages", component, titles[component]+" "+version, why+"; the meta-package cuda, which would bring a driver, is not used",
		[]string{"cuda-toolkit-" + strings.ReplaceAll(version, ".", "-")})
	b.note("cuda: add /usr/local/cuda-%s/bin to PATH to have nvcc at hand; the torch wheels bring their own CUDA and need none of it", version)
	return nil
}

// unavailable deals with a toolkit or cuDNN that cannot be had: torch brings its
// own, so it stops a plan only if it was asked for.
func (b *builder) unavailable(component, why string) {
	if b.explicit(component) {
		b.block(component, why, "the torch wheels bring CUDA and cuDNN along: gptctl install python venv torch")
		return
	}
	b.satisfied(component+".packages", component, titles[component], "left out: %s; the torch wheels bring their own", why)
}

// refusedWith blocks a component for the reason another one was blocked for.
func (b *builder) refusedWith(component string) error {
	if !slices.ContainsFunc(b.plan.Blocked, func(x Blocked) bool { return x.Component == component }) {
		b.block(component, "it comes from NVIDIA's repository, which cannot be used")
	}
	return nil
}

// chooseToolkit takes the newest toolkit that the driver runs, within what the
// repository has.
func (b *builder) chooseToolkit() (version, why string) {
	driver := b.anyDriver()
	if driver == "" {
		driver = "580" // for building only
	}
	for _, t := range b.recipes.nvidia.Toolkit {
		if machine.CompareVersions(driver, t.Driver) >= 0 {
			version = t.CUDA
			break
		}
	}
	why = fmt.Sprintf("the newest that driver %s runs in full", driver)
	old := b.oldGPU([]string{"maxwell", "pascal", "volta"})
	if old && machine.CompareVersions(version, "12.9") > 0 {
		version, why = "12.9", "the last that supports the GPU "+b.gpuNames()
	}
	most, least := b.release.CUDAMost, b.release.CUDALeast
	if b.inWSL() {
		most, least = "", ""
	}
	if most != "" && machine.CompareVersions(version, most) > 0 {
		version, why = most, "the newest for "+b.plan.System
	}
	if major, _, _ := strings.Cut(version, "."); strings.HasPrefix(least, major+".") && machine.CompareVersions(version, least) < 0 {
		// Within a major version any driver runs any toolkit's binaries.
		return least, fmt.Sprintf("the oldest for %s; driver %s runs what it compiles for this GPU, but no PTX of it", b.plan.System, driver)
	}
	switch {
	case version != "" && (least == "" || machine.CompareVersions(version, least) >= 0):
		return version, why
	case old:
		return "", fmt.Sprintf("CUDA 12.9 is the last that supports the GPU %s, and NVIDIA has only newer ones for %s", b.gpuNames(), b.plan.System)
	}
	return "", fmt.Sprintf("driver %s is too old for the CUDA toolkits that NVIDIA has for %s", driver, b.plan.System)
}

func (b *builder) cudnn() error {
	const component = "cudnn"
	if !b.wanted[component] {
		return nil
	}
	if found := b.host.CuDNNs(b.packages); len(found) > 0 {
		b.satisfied(component+".packages", component, titles[component], "cuDNN %s is there (%s) and is left as it is", found[0].Version, found[0].Path)
		return nil
	}
	if b.gpuLess(component) {
		return nil
	}
	if b.recipe == nil {
		return b.unknown()
	}
	if held := b.held(cudnnPackage); len(held) > 0 {
		b.block(component, "packages are held back: "+strings.Join(held, ", "), "release them if that is wanted")
		return nil
	}
	cuda := b.toolkit
	if cuda == "" {
		var why string
		if cuda, why = b.chooseToolkit(); cuda == "" {
			b.unavailable(component, why)
			return nil
		}
	}
	if b.oldGPU([]string{"maxwell", "pascal", "volta"}) {
		// docs.nvidia.com, cuDNN Support Matrix 9.10.2 and 9.11.
		b.unavailable(component, "cuDNN 9.10 is the last that supports the GPU "+b.gpuNames()+", and NVIDIA's repository installs a newer one")
		return nil
	}
	major, _, _ := strings.Cut(cuda, ".")
	if major != "12" && major != "13" {
		b.unavailable(component, "NVIDIA's cuDNN 9 is for CUDA 12 and 13, and this machine has CUDA "+cuda)
		return nil
	}
	if !b.repository(component) {
		return b.refusedWith(component)
	}
	// One name for apt, dnf and zypper: docs.nvidia.com, "Installing cuDNN Backend on Linux".
	b.packageStep(component+".packages", component, titles[component]+" 9 for CUDA "+major, "it matches CUDA "+cuda, []string{"cudnn9-cuda-" + major})
	return nil
}
