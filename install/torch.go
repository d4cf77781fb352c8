package install

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/machine"
)

// wheelChoice is where torch comes from.
type wheelChoice struct {
	name       string // cpu, cu130 …
	why        string
	bound      string // on torch's version, "" if none
	index      string // "" is pip's default index
	downloadMB int64
	diskMB     int64
}

var torchPackages = []string{"torch", "torchvision", "transformers"}

func (b *builder) torch() error {
	if !b.wanted["torch"] {
		return nil
	}
	const title = "torch, torchvision and transformers"
	var missing []string
	for _, name := range torchPackages {
		if b.site == "" || !b.hasDist(name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 && !b.journal.open("torch.packages") {
		b.satisfied("torch.packages", "torch", title, "torch %s and transformers %s are in %s",
			b.host.Distribution(b.site, "torch"), b.host.Distribution(b.site, "transformers"), b.plan.Venv)
		b.generate(versionsIn(b.host, b.plan.Venv))
		return nil
	}
	if len(b.plan.Blocked) > 0 && slices.ContainsFunc(b.plan.Blocked, func(x Blocked) bool { return x.Component == "venv" || x.Component == "python" }) {
		return nil
	}
	if len(missing) == 0 {
		missing = torchPackages // an interrupted run: pip completes what is not complete
	}
	b.torchStep(title, missing)
	b.generate("")
	return nil
}

func (b *builder) torchStep(title string, missing []string) {
	w := b.chooseWheels()
	step := &Step{
		ID: "torch.packages", Component: "torch", Title: title, Why: w.why,
		DownloadBytes: w.downloadMB * 1e6, DiskBytes: w.diskMB * 1e6,
		Verify: []Command{{Argv: []string{b.plan.Venv + "/bin/python", "-c", "import torch, torchvision, transformers; print('torch', torch.__version__, 'transformers', transformers.__version__)"}}},
		Undo:   []Command{{Argv: []string{"rm", "-rf", b.plan.Venv, b.scratch()}}},
		watch:  watch{Paths: []string{b.scratch()}, Venv: b.plan.Venv},
	}
	if !slices.ContainsFunc(b.plan.Steps, func(s *Step) bool { return s.ID == "venv.create" && s.State == Planned }) && !b.journal.madePath(b.plan.Venv) {
		// The environment is the user's: only what we add can be taken away.
		step.Undo = []Command{{Argv: append([]string{b.plan.Venv + "/bin/python", "-m", "pip", "uninstall", "-y"}, missing...)}}
	}
	if half := b.halfInstalled(); len(half) > 0 {
		// Without its RECORD pip can neither use nor remove a package.
		step.Commands = append(step.Commands, Command{Argv: append([]string{"rm", "-rf"}, half...)})
	}
	step.Commands = append(step.Commands, Command{Argv: []string{"mkdir", "-p", b.scratch()}})
	args := slices.Clone(missing)
	for i, name := range args {
		if name == "torch" {
			args[i] = name + w.bound
		}
	}
	if w.index != "" { // which has torch, and little else
		fromIndex := slices.DeleteFunc(slices.Clone(args), func(n string) bool { return n == "transformers" })
		args = slices.DeleteFunc(args, func(n string) bool { return n != "transformers" })
		if len(fromIndex) > 0 {
			step.Commands = append(step.Commands, b.pip(append([]string{"--index-url", w.index}, fromIndex...)...))
		}
	}
	if len(args) > 0 {
		step.Commands = append(step.Commands, b.pip(args...))
	}
	step.Commands = append(step.Commands, Command{Argv: []string{"rm", "-rf", b.scratch()}})
	if free, ok := b.free(); ok && free < uint64(step.DownloadBytes+step.DiskBytes) {
		b.block("torch", fmt.Sprintf("%s has %s free, torch takes about %s and as much again as the %s it fetches meanwhile",
			b.plan.Prefix, size(free), size(uint64(step.DiskBytes)), size(uint64(step.DownloadBytes))),
			"free some room", "or choose another disk with --prefix")
	}
	if w.index == "" && !b.ownIndex() {
		if err := b.reach(b.ctx, b.recipes.torch.Default.Index+"/torch/"); err != nil {
			b.block("torch", fmt.Sprintf("neither PyTorch's index nor pip's default %s can be reached: %v", b.recipes.torch.Default.Index, err),
				"check the network and the proxy settings (HTTPS_PROXY)", "or name a mirror: PIP_INDEX_URL, or index-url in pip.conf")
		}
	}
	b.add(step)
}

// free is what the prefix's disk has left, in bytes.
func (b *builder) free() (uint64, bool) {
	usage, err := b.host.Usage(existing(b.host, b.plan.Prefix))
	return usage.FreeBytes, err == nil
}

func size(bytes uint64) string {
	if bytes < 1e9 {
		return fmt.Sprintf("%.0f MB", float64(bytes)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(bytes)/1e9)
}

// ownIndex tells whether pip was told where to look for packages, which is
// then not ours to judge.
func (b *builder) ownIndex() bool {
	for _, name := range []string{"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CONFIG_FILE"} {
		if b.host.Getenv(name) != "" {
			return true
		}
	}
	home := b.host.Getenv("HOME")
	config := orElse(b.host.Getenv("XDG_CONFIG_HOME"), home+"/.config")
	return slices.ContainsFunc([]string{"/etc/pip.conf", "/etc/xdg/pip/pip.conf", config + "/pip/pip.conf", home + "/.pip/pip.conf"}, b.host.Exists)
}

// existing is the deepest part of a path that exists.
func existing(h *machine.Host, dir string) string {
	for dir != "/" && !h.Exists(dir) {
		dir = dir[:max(1, strings.LastIndexByte(dir, '/'))]
	}
	return dir
}

// halfInstalled lists the folders of packages that pip did not finish.
func (b *builder) halfInstalled() []string {
	if b.site == "" {
		return nil
	}
	var half []string
	infos, _ := fs.Glob(b.host.FS, strings.TrimPrefix(b.site, "/")+"/*.dist-info")
	for _, dir := range infos {
		if !b.host.Exists("/" + dir + "/RECORD") {
			half = append(half, "/"+dir)
		}
	}
	return half
}

// chooseWheels follows the driver that is or will be there, and the GPUs.
func (b *builder) chooseWheels() wheelChoice {
	t := b.recipes.torch
	name, why := b.wheelsFor()
	w := wheelChoice{name: name, why: why, bound: t.Wheels[name].Torch, downloadMB: t.Wheels[name].Download, diskMB: t.Wheels[name].Disk}
	url := strings.ReplaceAll(t.Index, "{name}", name)
	if err := b.reach(b.ctx, url+"/torch/"); err != nil {
		w.downloadMB, w.diskMB = t.Default.Download, t.Default.Disk
		w.bound = ""
		if name != "cpu" && (machine.CompareVersions(b.anyDriver(), t.Default.OldDriver) < 0 || b.oldGPU(t.Default.OldGenerations)) {
			w.bound = t.Default.OldTorch
		}
		w.why += fmt.Sprintf("; %s cannot be reached (%v), so pip's default index is taken", url, err)
		if name == "cpu" {
			w.why += ", whose wheels bring CUDA along"
		}
	} else {
		w.index = url
	}
	w.why += fmt.Sprintf("; about %.1f GB to fetch, %.1f GB on the disk", float64(w.downloadMB)/1e3, float64(w.diskMB)/1e3)
	if b.pythonIs != "" && machine.CompareVersions(b.pythonIs, t.Python) < 0 {
		if older := b.olderTorch(b.pythonIs); older != "" {
			w.why += fmt.Sprintf("; Python %s gets torch %s, as the newest needs Python %s", b.pythonIs, older, t.Python)
		} else {
			w.why += fmt.Sprintf("; pip takes the newest torch that Python %s can use, as the newest of all needs Python %s", b.pythonIs, t.Python)
		}
	}
	return w
}

// anyDriver is the driver's version once the plan is done, "" if there is none.
func (b *builder) anyDriver() string { return orElse(b.workingDriver(), b.comingDrive) }

func (b *builder) oldGPU(generations []string) bool {
	return slices.ContainsFunc(b.devices, func(d machine.Device) bool { return slices.Contains(generations, d.Generation()) })
}

func (b *builder) wheelsFor() (name, why string) {
	driver := b.anyDriver()
	switch {
	case driver == "" && len(b.devices) == 0:
		return "cpu", "there is no NVIDIA GPU: the wheels for the CPU"
	case driver == "":
		return "cpu", "the NVIDIA GPU has no working driver: the wheels for the CPU"
	}
	older := b.olderTorch(b.pythonIs)
	best := "" // the one with the newest torch, of these the one with the newest CUDA
	newest := func(name string) string {
		return leastVersion(orElse(b.recipes.torch.Wheels[name].Last, "99"), orElse(older, "99"))
	}
	for _, n := range slices.Sorted(maps.Keys(b.recipes.torch.Wheels)) {
		w := b.recipes.torch.Wheels[n]
		fits := !slices.ContainsFunc(b.devices, func(d machine.Device) bool { return !slices.Contains(w.Generations, d.Generation()) })
		switch {
		case n == "cpu", !fits, machine.CompareVersions(driver, w.Driver) < 0:
		case older != "" && machine.CompareVersions(older, w.First) < 0: // nothing there for this Python
		case best == "" || machine.CompareVersions(newest(n), newest(best)) >= 0:
			best = n
		}
	}
	if best != "" {
		why = fmt.Sprintf("driver %s runs the wheels for CUDA %s.%s", driver, best[2:4], best[4:])
		if last := b.recipes.torch.Wheels[best].Last; last != "" && newest(best) == last && last != older {
			why += ", the last of which are of torch " + last
		}
		return best, why
	}
	return "cpu", fmt.Sprintf("no torch for this GPU runs on driver %s: the wheels for the CPU", driver)
}

func leastVersion(x, y string) string {
	if machine.CompareVersions(x, y) < 0 {
		return x
	}
	return y
}

// versionsIn names what the reference script depends on.
func versionsIn(h *machine.Host, venv string) string {
	env, _ := h.Environment(venv)
	return h.Distribution(env.SitePackages, "torch") + " " + h.Distribution(env.SitePackages, "transformers")
}

// reference is the script that has to run in the environment. Without a
// folder it makes a model of its own, of random numbers.
const reference = `import os, sys
import torch
from transformers import GPT2Config, GPT2LMHeadModel

folder = sys.argv[1]
if os.path.isdir(folder):
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = GPT2LMHeadModel.from_pretrained(folder)
    ids = tokenizer.encode("Once upon a time", return_tensors="pt")
else:
    tokenizer = None
    model = GPT2LMHeadModel(GPT2Config(vocab_size=256, n_embd=64, n_layer=2, n_head=2))
    ids = torch.arange(4).reshape(1, 4)
device = "cuda" if torch.cuda.is_available() else "cpu"
model, ids = model.to(device).eval(), ids.to(device)
output = model.generate(ids, attention_mask=torch.ones_like(ids), max_length=50, do_sample=False, pad_token_id=0)
assert ids.shape[1] < output.shape[1] <= 50, output.shape
print("torch", torch.__version__, "on", device)
print(tokenizer.decode(output[0].tolist()) if tokenizer else output[0].tolist())
`

// generate plans the reference script. versions is what the environment
// holds, "" if that is still to come; one run for each is enough.
func (b *builder) generate(versions string) {
	const id, title = "torch.generate", "the reference script generates text"
	folder := b.plan.Prefix + "/demo"
	if versions != "" && b.journal.fact(id) == versions {
		b.satisfied(id, "torch", title, "it ran with these versions")
		return
	}
	b.add(&Step{
		ID: id, Component: "torch", Title: title,
		Why: "transformers' GPT2LMHeadModel.generate(max_length=50) on the demo model shows that the environment works",
		Commands: []Command{{
			Argv:  []string{"env", "HF_HUB_OFFLINE=1", "HF_HOME=" + folder + "/home", "PYTHONDONTWRITEBYTECODE=1", b.plan.Venv + "/bin/python", "-", folder},
			Stdin: reference,
		}},
		prepare: func() error { return WriteDemo(folder) },
		finish:  func() error { return os.RemoveAll(folder) },
		watch:   watch{Paths: []string{folder}},
		fact:    func() string { return versionsIn(b.host, b.plan.Venv) },
	})
}
