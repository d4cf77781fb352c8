package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gptctl/gptctl/install"
	"github.com/gptctl/gptctl/internal/machine"
)

// installOptions are what `gptctl install` was asked for.
type installOptions struct {
	components                []string
	dryRun, script, yes, undo bool
	prefix                    string
	lockWait                  time.Duration // 0 is two minutes
}

const installHelp = `Install what gptctl doctor finds missing.

Components: system (package lists), python (python3, venv, pip), driver, cuda,
cudnn, venv (a virtual environment), torch (torch, torchvision and transformers
in it), all. The plan is always shown first; --dry-run stops there, --script
prints it as a shell script to read and run, --yes carries it out without asking.

A working driver, toolkit or environment is left alone. Every step is verified,
and a journal of what was there before makes --undo exact. An interrupted
installation goes on when it is called again. Root is needed only for some steps,
which are announced; sudo is used for them.`

func newInstall(t *terminal, start func(context.Context, *terminal, installOptions) error) *cobra.Command {
	if start == nil {
		start = runInstall
	}
	var o installOptions
	cmd := &cobra.Command{
		Use:   "install [COMPONENT…]",
		Short: "Install what gptctl doctor finds missing",
		Long:  installHelp,
		Example: `  gptctl install python venv torch --dry-run
  gptctl install all --yes
  gptctl install --undo`,
		ValidArgs: append(install.Components(), "all"),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.dryRun, "dry-run", false, "show the plan and stop")
	f.BoolVar(&o.script, "script", false, "print the plan as a shell script")
	f.BoolVar(&o.yes, "yes", false, "carry the plan out without asking")
	f.BoolVar(&o.undo, "undo", false, "take back what gptctl install did, or only COMPONENT…")
	f.StringVar(&o.prefix, "prefix", "", "put the virtual environment and the journal into `DIR`")
	f.DurationVar(&o.lockWait, "lock-wait", 2*time.Minute, "wait so long for another package manager or gptctl to end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.components = args
		if err := o.contradiction(t.json); err != nil {
			return err
		}
		if len(args) == 0 && !o.undo {
			return withHints(usagef("there is no component: want some of %s, or all", strings.Join(install.Components(), ", ")),
				"gptctl doctor says which are missing", "gptctl install all --dry-run shows the whole plan")
		}
		return start(cmd.Context(), t, o)
	}
	return cmd
}

// contradiction says which flags cannot be meant together.
func (o installOptions) contradiction(asJSON bool) error {
	var given []string
	for _, f := range []struct {
		name string
		set  bool
	}{{"--dry-run", o.dryRun}, {"--script", o.script}, {"--yes", o.yes}} {
		if f.set {
			given = append(given, f.name)
		}
	}
	switch {
	case len(given) > 1:
		return withHints(usagef("%s contradict each other: want one of them", strings.Join(given, " and ")),
			"--dry-run shows the plan, --script prints it for a shell, --yes carries it out")
	case o.script && asJSON:
		return usagef("--script and --json contradict each other: a plan is printed as one or the other")
	case o.lockWait < 0:
		return usagef("--lock-wait is %v, want a time such as 90s", o.lockWait)
	}
	return nil
}

func runInstall(ctx context.Context, t *terminal, o installOptions) error {
	if o.prefix != "" {
		abs, err := filepath.Abs(o.prefix)
		if err != nil {
			return err
		}
		o.prefix = abs
	}
	plan, err := install.MakePlan(ctx, machine.Local(), install.Options{Components: o.components, Prefix: o.prefix, Undo: o.undo})
	if err != nil {
		return planHints(err)
	}
	if o.script {
		script, err := install.Script(plan)
		if err != nil {
			return planHints(err)
		}
		_, err = io.WriteString(t.out, script)
		return err
	}
	if !t.json {
		if err := printInstallPlan(t, plan); err != nil {
			return err
		}
	}
	if len(plan.Blocked) > 0 {
		if t.json {
			_ = t.printJSON(plan)
		}
		return planHints(&install.BlockedError{Blocked: plan.Blocked})
	}
	if o.dryRun || plan.Pending() == 0 {
		if t.json {
			return t.printJSON(plan)
		}
		return nil
	}
	if !o.yes {
		if err := confirm(t, "carry out this plan?", "nothing was changed"); err != nil {
			return err
		}
	}
	if err := canBeRoot(ctx, t, plan); err != nil {
		return err
	}
	err = install.Apply(ctx, plan, install.ApplyOptions{Output: detailWriter{t}, LockWait: o.lockWait, Event: func(e install.Event) { showInstall(t, e) }})
	if t.json {
		if err := t.printJSON(plan); err != nil {
			return err
		}
	}
	return planHints(err)
}

// canBeRoot fails before anything is done where sudo would ask for a password
// and nobody could answer.
func canBeRoot(ctx context.Context, t *terminal, plan *install.Plan) error {
	commands := plan.RootCommands()
	if len(commands) == 0 || commands[0].Argv[0] != "sudo" || t.in != nil && term.IsTerminal(int(t.in.Fd())) {
		return nil
	}
	out, err := exec.CommandContext(ctx, "sudo", "-n", "true").CombinedOutput()
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	return withHints(fmt.Errorf("%d commands need root, and sudo cannot be used here: %s", len(commands), oneLine(strings.TrimSpace(string(out)))),
		"call it from a terminal, where sudo can ask for the password", "or as root, with --prefix to say where the environment goes", "nothing was changed")
}

// detailWriter passes on what commands print, for those who asked to see it.
type detailWriter struct{ t *terminal }

func (w detailWriter) Write(p []byte) (int, error) {
	if w.t.verbose {
		return w.t.err.Write(p)
	}
	return len(p), nil
}

func printInstallPlan(t *terminal, plan *install.Plan) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, into %s\n", plan.System, plan.Prefix)
	for _, n := range plan.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	var download, disk int64
	for _, s := range plan.Steps {
		fmt.Fprintf(&b, "\n%-10s %s\n", s.State, s.Title)
		if s.Why != "" {
			fmt.Fprintf(&b, "           %s\n", t.dim(s.Why))
		}
		for _, c := range s.Commands {
			fmt.Fprintf(&b, "           $ %s\n", c)
		}
		for _, c := range s.Verify {
			fmt.Fprintf(&b, "           %s\n", t.dim("verified by "+c.String()))
		}
		for _, c := range s.Undo {
			fmt.Fprintf(&b, "           %s\n", t.dim("undone by   "+c.String()))
		}
		if s.State == install.Planned {
			download += s.DownloadBytes
			disk += s.DiskBytes
		}
	}
	for _, blocked := range plan.Blocked {
		fmt.Fprintf(&b, "\nblocked    %s: %s\n", blocked.Component, blocked.Reason)
	}
	b.WriteString("\n")
	switch n := plan.Pending(); {
	case n == 0 && plan.Undo && len(plan.Blocked) == 0:
		b.WriteString("nothing to do\n")
	case n == 0 && len(plan.Blocked) == 0:
		b.WriteString("nothing to do: everything is in place\n")
	case n > 0:
		fmt.Fprintf(&b, "%s to do", count(n, "step"))
		if download > 0 {
			fmt.Fprintf(&b, ", about %s to download, %s on the disk", size(download), size(disk))
		}
		if root := plan.RootCommands(); len(root) > 0 {
			verb := map[bool]string{true: "needs", false: "need"}[len(root) == 1]
			fmt.Fprintf(&b, "; %s %s root", count(len(root), "command"), verb)
			if root[0].Argv[0] == "sudo" {
				b.WriteString(", through sudo")
			}
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(t.out, b.String())
	return err
}

// count says 1 step, 2 steps.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func showInstall(t *terminal, e install.Event) {
	switch e.Kind {
	case install.EventStep:
		t.note("%s: %s", e.Step.ID, e.Step.Title)
	case install.EventCommand:
		t.note("  $ %s", *e.Command)
	case install.EventWait:
		t.note("waiting: %s", e.Text)
	case install.EventDone:
		t.note("%s: done", e.Step.ID)
	case install.EventFailed:
		t.note("%s: failed", e.Step.ID)
	}
}

// planHints adds what mends a plan that cannot be made or carried out.
func planHints(err error) error {
	var (
		unknown *install.UnknownComponentError
		system  *install.UnknownSystemError
		blocked *install.BlockedError
		locked  *install.LockedError
		step    *install.StepError
	)
	switch {
	case errors.As(err, &unknown):
		if near := unknown.Nearest(); near != "" {
			return withHints(&usageError{err}, "did you mean "+near+"?")
		}
		return &usageError{err}
	case errors.As(err, &system):
		return withHints(err, system.ByHand...)
	case errors.As(err, &blocked):
		var hints []string
		for _, b := range blocked.Blocked {
			hints = append(hints, b.Hints...)
		}
		return withHints(err, hints...)
	case errors.As(err, &locked):
		return withHints(err, "call gptctl install again when the other one has ended", "or let it wait longer: --lock-wait 15m")
	case errors.As(err, &step):
		return withHints(err, "call gptctl install again to go on, or with --undo to take back what was done", "-v shows what the commands print")
	case errors.Is(err, context.Canceled):
		return withHints(fmt.Errorf("interrupted (%w)", err), "call gptctl install again to go on, or with --undo to take back what was done")
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return withHints(err, "choose a folder that you may write to: --prefix DIR")
	case errors.Is(err, syscall.ENOSPC):
		return withHints(err, "make room, then call gptctl install again to go on", "or choose another disk with --prefix")
	}
	return err
}
