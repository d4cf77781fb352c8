package install

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// undo plans to take back what the journal names, the last first.
func (b *builder) undo() error {
	left := 0
	for n, r := range slices.Backward(b.journal.records) {
		if r.undone {
			continue
		}
		s, err := b.undoRecord(n, r)
		switch {
		case err != nil:
			return err
		case b.wanted[r.begin.Component]:
			b.add(s)
		case len(s.Commands) > 0:
			left++
		}
	}
	switch {
	case !b.journal.exists:
		b.note("there is nothing to undo: no journal in %s", b.plan.Prefix)
	case left == 0:
		b.add(&Step{ID: "undo.journal", Component: "system", Title: "remove the journal", Why: "nothing of ours is left; " + b.plan.Prefix + " goes too if it is empty and was made for this", undoes: -1})
	}
	return nil
}

// undoRecord makes the step that takes a record back; it has no commands if
// nothing is left of it.
func (b *builder) undoRecord(n int, r *record) (*Step, error) {
	w := r.begin.Watch
	s := &Step{ID: "undo." + r.begin.Step, Component: r.begin.Component, Title: "undo: " + r.begin.Title, undoes: n}
	var why []string
	if r.done == nil {
		why = append(why, "that step was interrupted")
	}
	if w.Packages {
		if err := b.undoPackages(s, r, &why); err != nil {
			return nil, err
		}
	}
	var paths []string
	for _, p := range w.Paths {
		if !b.ours(p, w.Root) {
			return nil, fmt.Errorf("%s: record %d names %s, which is no file of ours", b.journal.path, n, p)
		}
		if b.host.Exists(p) && !slices.Contains(r.begin.Existed, p) {
			paths = append(paths, p)
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
	if w.Venv != "" && !b.journal.madePath(w.Venv) {
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
			why = append(why, fmt.Sprintf("it added %d packages to %s, which was there before", len(added), w.Venv))
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

// undoPackages plans to remove the packages that a step added and that are
// still there.
func (b *builder) undoPackages(s *Step, r *record, why *[]string) error {
	if b.manager == nil {
		return b.unknown()
	}
	var added []string
	if r.done != nil {
		added = slices.DeleteFunc(slices.Clone(r.done.Added), func(p string) bool { return !b.packages[p].Installed })
		for _, name := range slices.Sorted(maps.Keys(r.done.Changed)) {
			b.note("%s had been updated from %s on the way and stays as it is", name, r.done.Changed[name])
		}
	} else {
		now := map[string]string{}
		for name, p := range b.packages {
			now[name] = p.Version // the half-installed ones, too
		}
		added, _ = compare(r.begin.Packages, now)
	}
	if len(added) == 0 {
		return nil
	}
	if others := b.alsoRemoved(added); len(others) > 0 {
		b.block(r.begin.Component, fmt.Sprintf("removing what was added would also remove %s, installed since", strings.Join(firstFew(others), ", ")),
			"remove these first if they are no longer needed")
		return nil
	}
	s.Commands = append(s.Commands, b.root(fill(b.manager.Remove, added)...))
	s.locked = b.manager.Locked
	*why = append(*why, fmt.Sprintf("it added %d packages", len(added)))
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
