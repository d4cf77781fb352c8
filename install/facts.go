package install

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gptctl/gptctl/internal/machine"
)

// facts is what a plan depends on.
type facts struct {
	recipes  *recipes
	os       machine.OS
	recipe   *recipe  // nil for a distribution without one
	release  *release // of recipe
	manager  *manager
	packages map[string]machine.Package
	repos    []machine.Repository
	devices  []machine.Device
	noPCI    error // the PCI bus could not be read
	driver   machine.Driver
	wsl      int
	cage     string // the kind of container, "" outside one
	site     string // site-packages of the environment, "" if there is none
}

func (b *builder) look() error {
	r, err := readRecipes()
	if err != nil {
		return err
	}
	b.recipes = r
	if b.os, err = b.host.OSRelease(); err != nil {
		return err
	}
	b.plan.System = fmt.Sprintf("%s, %s", orElse(b.os.Name, strings.TrimSpace(b.os.ID+" "+b.os.VersionID)), b.host.GOARCH)
	if b.host.GOOS != "linux" {
		b.plan.System = b.host.GOOS + ", " + b.host.GOARCH
	}
	if b.host.GOOS == "windows" {
		return &UnknownSystemError{System: b.plan.System, ByHand: []string{
			"run gptctl inside WSL2: wsl --install, then `gptctl install all` there",
			"or install Python and make an environment yourself: py -m venv venv, then venv\\Scripts\\pip install torch torchvision transformers",
		}}
	}
	if b.host.UID != 0 {
		b.plan.sudo = []string{"sudo"}
	}
	if b.host.GOOS == "linux" {
		var ok bool
		if b.recipe, b.release, ok = r.find(b.os); ok {
			m, ok := r.managers[b.recipe.Manager]
			if !ok {
				return fmt.Errorf("recipe %s: no package manager %q", b.recipe.Name, b.recipe.Manager)
			}
			b.manager = &m
		}
	}
	if b.packages, err = b.host.Packages(b.ctx); err != nil {
		return err
	}
	b.repos = b.host.Repositories()
	if b.host.GOOS == "linux" {
		b.devices, b.noPCI = b.host.NVIDIADevices()
	}
	b.driver = b.host.Driver()
	b.wsl = b.host.WSL()
	b.cage = b.host.Container()
	if env, ok := b.host.Environment(b.plan.Venv); ok {
		b.site = env.SitePackages
	}
	b.journal, err = readJournal(b.host, b.plan.Prefix)
	return err
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// unknown is the error for a step that only a recipe can describe.
func (b *builder) unknown() error {
	return &UnknownSystemError{System: b.plan.System, ByHand: []string{
		fmt.Sprintf("install Python %s or newer with venv and pip from your distribution, then run `gptctl install venv torch`", b.recipes.torch.Python),
		"install NVIDIA's driver from your distribution or from NVIDIA; the PyTorch wheels bring CUDA and cuDNN along",
		"recipes exist for " + strings.Join(b.recipes.known(), "; "),
	}}
}

// missing returns those packages that are not installed.
func (b *builder) missing(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		name, _, _ := strings.Cut(n, "=") // zypper's name=version
		return b.packages[name].Installed
	})
}

// held returns the packages that match a pattern and that the user holds back.
func (b *builder) held(pattern *regexp.Regexp) []string {
	var names []string
	for name, p := range b.packages {
		if p.Held && pattern.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// installed returns the installed packages that match a pattern.
func (b *builder) installed(pattern *regexp.Regexp) []string {
	var names []string
	for name, p := range b.packages {
		if p.Installed && pattern.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// packageStep plans to install packages, of which those that are there
// already are left out, and the refresh of the lists before.
func (b *builder) packageStep(id, component, title, why string, names []string) *Step {
	names = b.missing(names)
	if len(names) == 0 {
		b.satisfied(id, component, title, "the packages are installed")
		return nil
	}
	return b.add(&Step{
		ID: id, Component: component, Title: title, Why: why, expect: b.expect(names),
		Commands: []Command{b.root(fill(b.manager.Install, names)...)},
		Verify:   []Command{{Argv: fill(b.manager.Installed, plain(names))}},
		Undo:     []Command{b.root(fill(b.manager.Remove, plain(names))...)},
		watch:    watch{Packages: true}, locked: b.manager.Locked,
	})
}

// expect asks the package manager what the installation of packages will add.
func (b *builder) expect(names []string) func(context.Context) []string {
	if len(b.manager.SimulateInstall) == 0 {
		return nil
	}
	argv := fill(b.manager.SimulateInstall, names)
	return func(ctx context.Context) []string {
		out, err := b.host.Run(ctx, argv[0], argv[1:]...)
		if err != nil {
			return nil
		}
		expected := slices.Clone(names)
		for line := range strings.Lines(string(out)) {
			if rest, ok := strings.CutPrefix(line, b.manager.Adds); ok {
				name, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
				expected = append(expected, name)
			}
		}
		return expected
	}
}

// plain takes the version off zypper's name=version.
func plain(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i], _, _ = strings.Cut(n, "=")
		if strings.Contains(n, "://") { // a package given by its URL
			out[i] = strings.TrimSuffix(path.Base(n), ".rpm")
			out[i] = strings.Split(out[i], "-latest")[0]
		}
	}
	return out
}

var brokenStatus = regexp.MustCompile(`(?m)^Status: \S+ (reinstreq \S+|ok (half-installed|unpacked|half-configured))$`)

// brokenPackages tells whether dpkg was interrupted.
func (b *builder) brokenPackages() bool {
	if b.manager == nil || len(b.manager.Repair) == 0 {
		return false
	}
	status, err := b.host.ReadFile("/var/lib/dpkg/status")
	if err == nil && brokenStatus.Match(status) {
		return true
	}
	updates, err := fs.ReadDir(b.host.FS, "var/lib/dpkg/updates")
	return err == nil && len(updates) > 0
}

// system plans the refresh of the package lists; settleRefresh decides later
// whether it is needed.
func (b *builder) system() error {
	if b.manager == nil {
		if b.explicit("system") {
			return b.unknown()
		}
		return nil
	}
	b.repair("system.repair")
	b.refresh = b.add(&Step{ID: "system.lists", Component: "system", Title: "refresh the package lists", locked: b.manager.Locked})
	return nil
}

// repair plans to finish what dpkg was interrupted in, if it was.
func (b *builder) repair(id string) *Step {
	if !b.brokenPackages() {
		return nil
	}
	s := b.add(&Step{
		ID: id, Component: "system", Title: "finish an interrupted installation of packages",
		Why:   "dpkg was interrupted, and does nothing else before that is mended",
		watch: watch{Packages: true, Half: true}, locked: b.manager.Locked,
	})
	for _, c := range b.manager.Repair {
		s.Commands = append(s.Commands, b.root(c...))
	}
	return s
}

func (b *builder) settleRefresh() {
	if b.refresh == nil {
		return
	}
	needed := slices.ContainsFunc(b.plan.Steps, func(s *Step) bool {
		return s.State == Planned && s.watch.Packages && s.ID != "system.repair"
	})
	age, fresh := b.listsAge()
	switch {
	case needed && !fresh, b.wanted["system"] && b.explicit("system") && !fresh:
		b.refresh.State = Planned
		b.refresh.Why = orElse(age, "they are older than a day") + "; nothing is installed or changed by this"
		b.refresh.Commands = []Command{b.root(b.manager.Refresh...)}
	case b.wanted["system"]:
		b.refresh.State = Satisfied
		b.refresh.Why = "they are from today"
		if !fresh {
			b.refresh.Why = "nothing is installed from them"
		}
	default:
		b.plan.Steps = slices.DeleteFunc(b.plan.Steps, func(s *Step) bool { return s == b.refresh })
	}
}

// listsAge tells whether the package lists are from the last day and not older
// than the list of their sources, else why not.
func (b *builder) listsAge() (why string, fresh bool) {
	newest := func(patterns ...string) time.Time {
		var t time.Time
		for _, p := range patterns {
			names, _ := fs.Glob(b.host.FS, strings.TrimPrefix(p, "/"))
			for _, n := range names {
				if info, err := fs.Stat(b.host.FS, n); err == nil && info.ModTime().After(t) {
					t = info.ModTime()
				}
			}
		}
		return t
	}
	names, _ := fs.Glob(b.host.FS, strings.TrimPrefix(b.manager.Lists, "/"))
	if len(names) == 0 {
		return "there are none yet", false
	}
	// apt gives its lists the server's time; the folder it fetches them in has ours.
	lists := newest(b.manager.Lists, path.Dir(b.manager.Lists)+"/partial")
	sources := newest("/etc/apt/sources.list", "/etc/apt/sources.list.d/*", "/etc/yum.repos.d/*", "/etc/zypp/repos.d/*")
	if sources.After(lists) {
		return "the list of sources is newer than they are", false
	}
	return "", time.Since(lists) < 24*time.Hour
}
