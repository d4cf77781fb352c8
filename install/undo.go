package install

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// undo plans to take back what the journal names, the last first. Packages go
// all at once in the end: one may need another that a different step brought.
func (b *builder) undo() error {
	b.extras()
	left := 0
	all := &Step{ID: "undo.packages", Title: "remove the packages that were added"}
	var packages []string
	for n, r := range slices.Backward(b.journal.records) {
		if r.undone {
			continue
		}
		// A repair finished what a step of ours had begun.
		wanted := b.wanted[r.begin.Component] || r.begin.Step == "system.repair"
		s, err := b.undoRecord(n, r)
		if err != nil {
			return err
		}
		added := b.addedPackages(r, wanted)
		switch {
		case !wanted && len(s.Commands)+len(added) > 0:
			left++
		case !wanted:
		case len(added) == 0:
			b.add(s)
		default:
			if len(s.Commands) > 0 {
				s.undoes = nil // it is undone only once its packages are, too
				b.add(s)
			}
			all.undoes = append(all.undoes, n)
			all.Component = r.begin.Component
			packages = append(packages, added...)
		}
	}
	if len(packages) > 0 {
		if b.manager == nil {
			return b.unknown()
		}
		if b.repair("undo.repair") != nil {
			all.prepare = func() error { return b.afterRepair(all) }
		}
		b.removePackages(all, packages)
	}
	switch {
	case !b.journal.exists:
		b.note("there is nothing to undo: no journal in %s", b.plan.Prefix)
	case left == 0:
		b.add(&Step{
			ID: "undo.journal", Component: "system", Title: "remove the journal",
			Why: "nothing of ours is left; " + b.plan.Prefix + " goes too if it is empty and was made for this",
		}).last = true
	}
	return nil
}

// forgetKey is a shell script: it takes the key $1 from those that rpm trusts.
const forgetKey = `keys=$(rpm -qa "gpg-pubkey-*$1*")
[ -z "$keys" ] || rpm -e $keys`

// undoRecord makes the step that takes a record back; it has no commands if
// nothing is left of it.
func (b *builder) undoRecord(n int, r *record) (*Step, error) {
	w := r.begin.Watch
	s := &Step{ID: "undo." + r.begin.Step, Component: r.begin.Component, Title: "undo: " + r.begin.Title, undoes: []int{n}}
	var why []string
	if r.done == nil {
		why = append(why, "that step was interrupted")
	}
	var paths []string
	for _, p := range w.Paths {
		if !b.ours(p, w.Root) {
			return nil, fmt.Errorf("%s: record %d names %s, which is no file of ours", b.journal.path, n, p)
		}
		if !b.host.Exists(p) || slices.Contains(r.begin.Existed, p) {
			continue
		}
		if r.done != nil && r.done.Sums[p] != "" && r.done.Sums[p] != sums(b.host, []string{p})[p] {
			if b.wanted[r.begin.Component] {
				b.note("%s was changed since and stays as it is", p)
			}
			continue
		}
		paths = append(paths, p)
	}
	if id := w.RPMKey; id != "" && !slices.Contains(r.begin.Existed, id) {
		if !rpmKeyID.MatchString(id) {
			return nil, fmt.Errorf("%s: record %d names the key %q, want 8 hexadecimal digits", b.journal.path, n, id)
		}
		if trustsRPMKey(b.ctx, b.host, id) {
			s.Commands = append(s.Commands, b.root("sh", "-c", forgetKey, "sh", id))
			why = append(why, "rpm trusts the key "+id+" because of it")
		}
	}
	if len(paths) > 0 {
		if w.Root {
			s.Commands = append(s.Commands, b.root(append([]string{"rm", "-f"}, paths...)...))
			if b.manager != nil && len(w.After) > 0 {
				s.Commands = append(s.Commands, b.root(b.manager.Refresh...))
				s.locked = b.manager.Locked
			}
		} else {
			s.Commands = append(s.Commands, Command{Argv: append([]string{"rm", "-rf"}, paths...)})
		}
		why = append(why, "it made "+strings.Join(paths, ", "))
	}
	if w.Venv != "" && b.host.Exists(w.Venv) && (!b.journal.madePath(w.Venv) || !b.wanted["venv"]) {
		if !b.ours(w.Venv, false) {
			return nil, fmt.Errorf("%s: record %d names %s, which is no folder of ours", b.journal.path, n, w.Venv)
		}
		now := distributions(b.host, w.Venv)
		var added []string
		if r.done != nil {
			added = slices.DeleteFunc(slices.Clone(r.done.AddedDists), func(d string) bool { return now[d] == "" })
		} else {
			added, _ = compare(r.begin.Dists, now)
		}
		if len(added) > 0 {
			s.Commands = append(s.Commands, Command{Argv: append([]string{w.Venv + "/bin/python", "-m", "pip", "--no-input", "uninstall", "-y"}, added...)})
			why = append(why, fmt.Sprintf("it added %d packages to %s, which stays", len(added), w.Venv))
		}
	}
	if r.begin.Step == "driver.packages" && b.release != nil && len(b.release.DriverBefore) > 0 && len(s.Commands) > 0 {
		s.Commands = append(s.Commands, b.root(moduleReset...))
	}
	if len(s.Commands) == 0 {
		why = append(why, "nothing of it is left on the machine")
	}
	s.Why = strings.Join(why, "; ")
	return s, nil
}

// extras blocks an undo that would take away what somebody else put into an
// environment of ours.
func (b *builder) extras() {
	venv := b.plan.Venv
	if b.site == "" || !b.wanted["venv"] || !b.journal.madePath(venv) {
		return
	}
	ours := map[string]bool{"pip": true, "setuptools": true, "wheel": true, "pkg_resources": true, "distribute": true}
	for _, r := range b.journal.records {
		if r.done == nil && !r.undone {
			return // it was interrupted: what is there may be of its making
		}
		if r.done != nil && r.begin.Watch.Venv == venv {
			for _, d := range r.done.AddedDists {
				ours[d] = true
			}
		}
	}
	var others []string
	for _, name := range slices.Sorted(maps.Keys(distributions(b.host, venv))) {
		if !ours[name] {
			others = append(others, name)
		}
	}
	if len(others) > 0 {
		b.block("venv", fmt.Sprintf("removing %s would also remove the Python packages %s, installed there since", venv, strings.Join(firstFew(others), ", ")),
			fmt.Sprintf("remove them first if they are no longer needed: %s/bin/python -m pip uninstall %s", venv, strings.Join(others, " ")),
			"or take back only the rest: gptctl install --undo driver cuda cudnn")
	}
}

// addedPackages lists what a step added and what is still there; tell notes
// what had to change beside it.
func (b *builder) addedPackages(r *record, tell bool) []string {
	if !r.begin.Watch.Packages {
		return nil
	}
	if r.done == nil {
		now := map[string]string{}
		for name, p := range b.packages {
			now[name] = p.Version // the half-installed ones, too
		}
		added, _ := compare(r.begin.Packages, now)
		return r.ours(added)
	}
	for _, name := range slices.Sorted(maps.Keys(r.done.Changed)) {
		if tell {
			b.note("%s had been updated from %s on the way and stays as it is", name, r.done.Changed[name])
		}
	}
	return slices.DeleteFunc(slices.Clone(r.done.Added), func(p string) bool { return !b.packages[p].Installed })
}

// removePackages plans to remove packages, unless others would go with them.
func (b *builder) removePackages(s *Step, packages []string) {
	slices.Sort(packages)
	packages = slices.Compact(packages)
	if others := b.alsoRemoved(packages); len(others) > 0 {
		b.block(s.Component, fmt.Sprintf("removing what was added would also remove %s, installed since", strings.Join(firstFew(others), ", ")),
			"remove these first if they are no longer needed")
		return
	}
	s.Commands = []Command{b.root(fill(b.manager.Remove, packages)...)}
	s.locked = b.manager.Locked
	s.Why = fmt.Sprintf("%d packages were not there before", len(packages))
	b.add(s)
}

// afterRepair lists the packages anew: the repair may have brought some that
// the interrupted ones need.
func (b *builder) afterRepair(s *Step) error {
	var err error
	if b.packages, err = b.host.Packages(context.WithoutCancel(b.ctx)); err != nil {
		return err
	}
	var packages []string
	for _, n := range s.undoes {
		packages = append(packages, b.addedPackages(b.journal.records[n], false)...)
	}
	slices.Sort(packages)
	s.Commands = nil
	if packages = slices.Compact(packages); len(packages) > 0 {
		s.Commands = []Command{b.root(fill(b.manager.Remove, packages)...)}
	}
	return nil
}

// alsoRemoved asks the package manager what else would go.
func (b *builder) alsoRemoved(names []string) []string {
	if len(b.manager.SimulateRemove) == 0 {
		return nil
	}
	argv := fill(b.manager.SimulateRemove, names)
	out, err := b.host.Run(b.ctx, argv[0], argv[1:]...)
	if err != nil {
		return nil // the removal itself will say what is wrong
	}
	var others []string
	for line := range strings.Lines(string(out)) {
		for _, start := range b.manager.Removes {
			if name, ok := strings.CutPrefix(line, start); ok {
				name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
				bare, _, _ := strings.Cut(name, ":")
				if !slices.Contains(names, name) && !slices.Contains(names, bare) && !slices.Contains(others, name) {
					others = append(others, name)
				}
			}
		}
	}
	return others
}

// ours tells whether a path may be taken away: one below the prefix, or a
// file that a recipe names. A journal that says otherwise was tampered with.
func (b *builder) ours(path string, root bool) bool {
	if root {
		return b.manager != nil && path != "" && slices.Contains([]string{b.manager.KeyFile, b.manager.RepoFile, b.manager.PinFile}, path)
	}
	rest, ok := strings.CutPrefix(path, b.plan.Prefix+"/")
	return ok && slices.Contains([]string{"venv", "pip", "demo"}, rest)
}
