package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// EventKind says what an Event tells.
type EventKind string

// What Apply tells.
const (
	EventSatisfied EventKind = "satisfied" // the step has nothing to do
	EventStep      EventKind = "step"      // the step begins
	EventCommand   EventKind = "command"   // Command begins
	EventReplanned EventKind = "replanned" // what we waited for changed the machine: the Plan was made anew
	EventWait      EventKind = "wait"      // somebody else holds a lock: Text says who
	EventDone      EventKind = "done"      // the step is done and verified
	EventFailed    EventKind = "failed"    // the step failed: Text says why
)

// Event is told while a plan is carried out.
type Event struct {
	Kind    EventKind
	Step    *Step // nil while waiting for another gptctl
	Command *Command
	Text    string
}

// ApplyOptions says how a plan is carried out.
type ApplyOptions struct {
	Output   io.Writer     // what the commands print; nil drops it
	Event    func(Event)   // may be nil
	LockWait time.Duration // for another package manager to end; 0 is 2 minutes

	// run replaces the running of commands in tests.
	run func(ctx context.Context, c Command, out io.Writer) error
	// pause is the time between two tries; 0 is 3 s.
	pause time.Duration
}

// BlockedError is returned for a plan that has Blocked.
type BlockedError struct{ Blocked []Blocked }

func (e *BlockedError) Error() string {
	var reasons []string
	for _, b := range e.Blocked {
		reasons = append(reasons, b.Component+": "+b.Reason)
	}
	return strings.Join(reasons, "; ")
}

// LockedError is returned when another process did not end in time.
type LockedError struct {
	What   string // "the package manager"
	Waited time.Duration
	Said   string // what it printed
}

func (e *LockedError) Error() string {
	s := fmt.Sprintf("%s is in use by another process, waited %v", e.What, e.Waited.Round(time.Second))
	if e.Said != "" {
		s += ": " + e.Said
	}
	return s
}

// StepError is returned for a command that failed.
type StepError struct {
	Step    *Step
	Command Command
	Verify  bool   // the command was to verify the step
	Tail    string // the last lines it printed
	Err     error
}

func (e *StepError) Error() string {
	what := "failed"
	if e.Verify {
		what = "was carried out, but is not right"
	}
	s := fmt.Sprintf("step %s %s: %s: %v", e.Step.ID, what, strings.Join(e.Command.Argv[:min(4, len(e.Command.Argv))], " "), e.Err)
	if e.Tail != "" {
		s += ": " + lastLine(e.Tail)
	}
	return s
}

func (e *StepError) Unwrap() error { return e.Err }

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}

// Apply carries a plan out and sets the states of its steps. It stops at the
// first step that fails (*StepError, *LockedError) and can be interrupted
// through ctx at any time: a new plan goes on from there. A plan with Blocked
// is refused (*BlockedError), one without pending steps changes nothing. If
// another run had to end first, the plan is made anew, in place.
func Apply(ctx context.Context, plan *Plan, opt ApplyOptions) error {
	if len(plan.Blocked) > 0 {
		return &BlockedError{plan.Blocked}
	}
	a := &applier{plan: plan, opt: opt}
	if a.opt.Output == nil {
		a.opt.Output = io.Discard
	}
	if a.opt.LockWait == 0 {
		a.opt.LockWait = 2 * time.Minute
	}
	if a.opt.pause == 0 {
		a.opt.pause = 3 * time.Second
	}
	if a.opt.run == nil {
		a.opt.run = a.exec
	}
	j, err := readJournal(plan.host, plan.Prefix)
	if err != nil {
		return err
	}
	if plan.Pending() == 0 && !slices.ContainsFunc(j.records, func(r *record) bool { return r.done == nil && !r.undone }) {
		for _, s := range plan.Steps {
			a.tell(Event{Kind: EventSatisfied, Step: s})
		}
		return nil
	}
	waited := time.Duration(0)
	a.journal, err = openJournal(ctx, plan.Prefix, j, func() error {
		if waited >= a.opt.LockWait {
			return &LockedError{What: plan.Prefix, Waited: waited}
		}
		waited += a.opt.pause
		return a.wait(ctx, nil, "another gptctl install, or a command of an interrupted one, is still at work in "+plan.Prefix)
	})
	if err != nil {
		return err
	}
	defer a.journal.file.Close()
	if waited > 0 && plan.again != nil {
		fresh, err := plan.again(ctx)
		if err != nil {
			return err
		}
		*plan = *fresh
		a.tell(Event{Kind: EventReplanned, Text: "the machine changed meanwhile: the plan was made anew"})
		if len(plan.Blocked) > 0 {
			return &BlockedError{plan.Blocked}
		}
	}
	for _, s := range plan.Steps {
		if err := a.step(ctx, s); err != nil {
			if s.State == Failed {
				a.tell(Event{Kind: EventFailed, Step: s, Text: err.Error()})
			}
			return err
		}
	}
	return nil
}

type applier struct {
	plan    *Plan
	opt     ApplyOptions
	journal *writer
}

func (a *applier) tell(e Event) {
	if a.opt.Event != nil {
		a.opt.Event(e)
	}
}

func (a *applier) wait(ctx context.Context, s *Step, why string) error {
	a.tell(Event{Kind: EventWait, Step: s, Text: why})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(a.opt.pause):
		return nil
	}
}

func (a *applier) step(ctx context.Context, s *Step) error {
	if s.State == Satisfied || s.State == Done {
		a.tell(Event{Kind: EventSatisfied, Step: s})
		if !a.plan.Undo && a.journal.open(s.ID) {
			return a.close(ctx, s) // an interrupted run had come that far
		}
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	a.tell(Event{Kind: EventStep, Step: s})
	if !a.plan.Undo {
		if err := a.begin(ctx, s); err != nil {
			return err
		}
	}
	if err := a.work(ctx, s); err != nil {
		s.State = Failed
		return err
	}
	var err error
	switch {
	case s.last:
		err = a.journal.remove(a.plan.Prefix)
	case a.plan.Undo:
		for _, n := range s.undoes {
			err = errors.Join(err, a.journal.append(entry{Event: "undone", N: n}))
		}
	default:
		err = a.close(ctx, s)
	}
	if err != nil {
		s.State = Failed
		return err
	}
	s.State = Done
	a.tell(Event{Kind: EventDone, Step: s})
	return nil
}

func (a *applier) work(ctx context.Context, s *Step) error {
	if s.prepare != nil {
		if err := s.prepare(); err != nil {
			return err
		}
	}
	for i := range s.Commands {
		if err := a.command(ctx, s, &s.Commands[i], false); err != nil {
			return err
		}
	}
	for i := range s.Verify {
		if err := a.command(ctx, s, &s.Verify[i], true); err != nil {
			return err
		}
	}
	if s.finish != nil {
		return s.finish()
	}
	return nil
}

// begin records what is there before. After an interruption the first record
// counts, not what the interrupted run left.
func (a *applier) begin(ctx context.Context, s *Step) error {
	var expected []string
	if s.expect != nil {
		expected = s.expect(ctx)
	}
	if r, n := a.journal.last(s.ID); r != nil && r.done == nil {
		if s.expect == nil {
			return nil
		}
		return a.journal.append(entry{Event: "again", N: n, Expected: expected})
	}
	if s.watch.empty() {
		return nil
	}
	packages, existed, dists, err := snapshot(ctx, a.plan.host, s.watch)
	if err != nil {
		return err
	}
	return a.journal.append(entry{
		Event: "begin", N: len(a.journal.records), Step: s.ID, Component: s.Component, Title: s.Title,
		Watch: &s.watch, Packages: packages, Expected: expected, Existed: existed, Dists: dists,
	})
}

// close records what the step added.
func (a *applier) close(ctx context.Context, s *Step) error {
	r, n := a.journal.last(s.ID)
	if r == nil || r.done != nil {
		return nil // it adds nothing
	}
	packages, _, dists, err := snapshot(ctx, a.plan.host, *r.begin.Watch)
	if err != nil {
		return err
	}
	e := entry{Event: "done", N: n}
	e.Added, e.Changed = compare(r.begin.Packages, packages)
	e.Added = r.ours(e.Added)
	e.AddedDists, _ = compare(r.begin.Dists, dists)
	e.Sums = sums(a.plan.host, r.begin.Watch.Paths)
	if s.fact != nil {
		e.Fact = s.fact()
	}
	return a.journal.append(e)
}

// command runs a command, again and again while another package manager holds
// the lock.
func (a *applier) command(ctx context.Context, s *Step, c *Command, verify bool) error {
	a.tell(Event{Kind: EventCommand, Step: s, Command: c})
	for start, waited := time.Now(), time.Duration(0); ; {
		tail := &tail{}
		out := io.MultiWriter(a.opt.Output, tail)
		if a.plan.waits != "" && c.Root {
			out = io.MultiWriter(out, &waiting{text: a.plan.waits, tell: func(line string) {
				a.tell(Event{Kind: EventWait, Step: s, Text: "another package manager is at work: " + line})
			}})
		}
		err := a.opt.run(ctx, *c, out)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		said := tail.String()
		holder := lockLine(said, s.locked)
		if holder == "" {
			return &StepError{Step: s, Command: *c, Verify: verify, Tail: said, Err: err}
		}
		if waited = max(waited, time.Since(start)); waited >= a.opt.LockWait {
			return &LockedError{What: "the package manager", Waited: waited, Said: holder}
		}
		waited += a.opt.pause
		if err := a.wait(ctx, s, "another package manager is at work: "+holder); err != nil {
			return err
		}
	}
}

// waiting tells of a line with a text, once.
type waiting struct {
	text string
	tell func(line string)
	line []byte
	told bool
}

func (w *waiting) Write(p []byte) (int, error) {
	for _, c := range p {
		if c != '\n' {
			if len(w.line) < 1<<10 {
				w.line = append(w.line, c)
			}
			continue
		}
		if line := string(w.line); !w.told && strings.Contains(line, w.text) {
			w.told = true
			w.tell(strings.TrimSpace(line))
		}
		w.line = w.line[:0]
	}
	return len(p), nil
}

// lockLine returns the line that says that a lock is held, "" if none does.
func lockLine(said string, texts []string) string {
	for line := range strings.Lines(said) {
		if slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(line, t) }) {
			return strings.TrimPrefix(strings.TrimSpace(line), "E: ")
		}
	}
	return ""
}

func (a *applier) exec(ctx context.Context, c Command, out io.Writer) error {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8") // lockLine reads English
	cmd.Stdin = strings.NewReader(c.Stdin)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = inherited(a.journal.file)
	// A package manager that is asked to stop does so at a safe point.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if !c.Root { // which is no package manager, and may be killed
		cmd.WaitDelay = 30 * time.Second
	}
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("there is no command %s", c.Argv[0])
	}
	return err
}

// tail keeps the last part of what a command printed.
type tail struct{ b bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	const most = 16 << 10
	t.b.Write(p)
	if over := t.b.Len() - most; over > most {
		t.b.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string { return t.b.String() }
