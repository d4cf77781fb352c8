package install

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/machine"
)

// python chooses the interpreter that makes the environment: one that is
// there, the distribution's own, or a newer one beside it; the newest torch
// asks for recipes.torch.Python.
func (b *builder) python() error {
	env := b.wanted["venv"] || b.wanted["torch"]
	if !b.wanted["python"] && (!env || b.venvWorks()) {
		return nil
	}
	const title = "Python with venv and pip"
	need := b.recipes.torch.Python
	usable := slices.DeleteFunc(b.host.Pythons(b.ctx), func(p machine.Python) bool {
		return !p.Venv || b.wanted["python"] && !p.Pip
	})
	for _, p := range usable {
		if machine.CompareVersions(p.Version, need) >= 0 {
			b.interpreter, b.pythonIs = p.Path, p.Version
			b.satisfied("python.packages", "python", title, "%s is Python %s with venv", p.Path, p.Version)
			return nil
		}
	}
	if b.recipe == nil {
		if len(usable) == 0 {
			return b.unknown()
		}
		b.interpreter, b.pythonIs = usable[0].Path, usable[0].Version
		b.satisfied("python.packages", "python", title, "%s is Python %s with venv", usable[0].Path, usable[0].Version)
		return nil
	}
	choice, newer := b.release.Python, false
	why := "the environment is made with it"
	if machine.CompareVersions(choice.Version, need) < 0 && b.release.Newer.Version != "" {
		own := choice.Version
		choice, newer = b.release.Newer, true
		why = fmt.Sprintf("the newest torch needs Python %s; %s, the newest that this distribution has, comes beside its own %s, which stays as it is", need, choice.Version, own)
	}
	b.interpreter, b.pythonIs = choice.interpreter(newer), choice.Version
	if held := b.heldAmong(choice.Packages); len(held) > 0 {
		b.block("python", "packages are held back: "+strings.Join(held, ", "), "release them, or install Python yourself")
		return nil
	}
	b.packageStep("python.packages", "python", title, why, choice.Packages)
	return nil
}

func (b *builder) heldAmong(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !b.packages[n].Held || b.packages[n].Installed })
}

// olderTorch is the newest torch for a Python below what the newest needs, ""
// if nothing is known of it.
func (b *builder) olderTorch(python string) string {
	newest := ""
	if !strings.Contains(python, ".") || machine.CompareVersions(python, b.recipes.torch.Python) >= 0 {
		return "" // the newest, or not known, as in an environment that was there before
	}
	for _, o := range b.recipes.torch.Older {
		if machine.CompareVersions(o.Python, python) <= 0 {
			newest = o.Torch
		}
	}
	return newest
}

// venvWorks tells whether there is an environment with an interpreter and a
// complete pip that no interrupted run of ours left behind.
func (b *builder) venvWorks() bool {
	return b.site != "" && b.host.Exists(b.plan.Venv+"/bin/python") && b.hasDist("pip") && !b.journal.open("venv.create")
}

// hasDist tells whether pip finished installing a package: it writes RECORD
// last.
func (b *builder) hasDist(name string) bool {
	v := b.host.Distribution(b.site, name)
	if v == "" {
		return false
	}
	found, _ := fs.Glob(b.host.FS, strings.TrimPrefix(b.site, "/")+"/*-"+v+".dist-info/RECORD")
	return slices.ContainsFunc(found, func(f string) bool {
		base, _, _ := strings.Cut(filepath.Base(filepath.Dir(f)), "-")
		return strings.ReplaceAll(strings.ToLower(base), "-", "_") == name
	})
}

// pip is a command of the environment's pip that fetches packages. Its cache
// and its temporary files lie below the prefix: an interrupted run goes on
// from there, /tmp is often too small for torch, and nothing is left behind.
func (b *builder) pip(args ...string) Command {
	scratch := b.scratch()
	return Command{Argv: append([]string{
		"env", "PIP_CACHE_DIR=" + scratch, "TMPDIR=" + scratch, "PIP_DISABLE_PIP_VERSION_CHECK=1",
		b.plan.Venv + "/bin/python", "-m", "pip", "--no-input", "install", "--progress-bar=off",
	}, args...)}
}

func (b *builder) scratch() string { return b.plan.Prefix + "/pip" }

func (b *builder) venv() error {
	dir := b.plan.Venv
	title := "virtual environment " + dir
	if !b.wanted["venv"] && !b.wanted["torch"] {
		return nil
	}
	if b.venvWorks() {
		b.satisfied("venv.create", "venv", title, "it works and is left as it is")
		return nil
	}
	if b.interpreter == "" {
		return nil // Python is blocked
	}
	const room = 150e6 // with a second pip meanwhile
	if free, ok := b.free(); ok && free < room {
		b.block("venv", fmt.Sprintf("%s has %s free, an environment takes about %s", b.plan.Prefix, size(free), size(room)),
			"free some room", "or choose another disk with --prefix")
		return nil
	}
	create := []string{b.interpreter, "-m", "venv", dir}
	if b.occupied(dir) {
		if !b.journal.madePath(dir) {
			b.block("venv", dir+" is there already and is no working virtual environment",
				"move it away", "or choose another place with --prefix")
			return nil
		}
		create = []string{b.interpreter, "-m", "venv", "--clear", dir}
	}
	b.add(&Step{
		ID: "venv.create", Component: "venv", Title: title,
		Why: fmt.Sprintf("torch goes there, so that the system's own Python %s stays as it is", b.pythonIs),
		Commands: []Command{
			{Argv: create},
			{Argv: []string{"mkdir", "-p", b.scratch()}},
			b.pip("--upgrade", "pip"),
			{Argv: []string{"rm", "-rf", b.scratch()}},
		},
		Verify: []Command{{Argv: []string{dir + "/bin/python", "-m", "pip", "--version"}}},
		Undo:   []Command{{Argv: []string{"rm", "-rf", dir, b.scratch()}}},
		watch:  watch{Paths: []string{dir, b.scratch()}},
	})
	b.site = "" // what was there is cleared
	return nil
}

// occupied tells whether there is anything at dir but an empty folder.
func (b *builder) occupied(dir string) bool {
	entries, err := fs.ReadDir(b.host.FS, strings.TrimPrefix(dir, "/"))
	if err != nil {
		return b.host.Exists(dir)
	}
	return len(entries) > 0
}
