package install

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	neturl "net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gptctl/gptctl/internal/machine"
)

// Schema is the version of a plan's JSON form.
const Schema = "gptctl.install/1"

// Components lists what can be installed, in the order in which it is done.
// "all" stands for all of them.
func Components() []string {
	return []string{"system", "python", "driver", "cuda", "cudnn", "venv", "torch"}
}

// State is how far a step is.
type State string

// The states of a step.
const (
	Satisfied State = "satisfied" // nothing to do
	Planned   State = "planned"
	Done      State = "done"
	Failed    State = "failed"
)

// Command is run as it stands, without a shell.
type Command struct {
	Argv  []string `json:"argv"`
	Root  bool     `json:"root,omitempty"`  // Argv begins with sudo where that is needed
	Stdin string   `json:"stdin,omitempty"` // what the command reads
}

// Step is one thing to do. Commands, Verify and Undo are empty for a step that
// is satisfied.
type Step struct {
	ID        string    `json:"id"` // python.packages: stable, part of the JSON contract
	Component string    `json:"component"`
	Title     string    `json:"title"`
	Why       string    `json:"why"` // also why a satisfied step is
	State     State     `json:"state"`
	Commands  []Command `json:"commands"`
	Verify    []Command `json:"verify,omitempty"` // each must succeed afterwards
	// Undo takes the step back; a package step takes back the packages that
	// came along, too, which only the journal knows.
	Undo []Command `json:"undo,omitempty"`
	// DownloadBytes and DiskBytes are estimates, 0 where they are small.
	DownloadBytes int64 `json:"download_bytes,omitempty"`
	DiskBytes     int64 `json:"disk_bytes,omitempty"`

	watch   watch
	prepare func() error                   // runs before Commands
	finish  func() error                   // runs after Verify
	expect  func(context.Context) []string // the packages that will be added, nil if that is not known
	locked  []string                       // what the package manager prints when another one works
	fact    func() string                  // what the journal keeps once the step is done; nil for nothing
	undoes  []int                          // the records that this step of an undo takes back
	last    bool                           // takes the journal itself away
}

// Blocked says why a component cannot be installed as asked.
type Blocked struct {
	Component string   `json:"component"`
	Reason    string   `json:"reason"`
	Hints     []string `json:"hints"` // what a person can do
}

// Plan is what MakePlan found out.
type Plan struct {
	Schema  string    `json:"schema"`
	System  string    `json:"system"` // Debian GNU/Linux 12 (bookworm), amd64
	Undo    bool      `json:"undo"`
	Prefix  string    `json:"prefix"`
	Venv    string    `json:"venv"`
	Notes   []string  `json:"notes"`   // for the reader, a sentence each
	Blocked []Blocked `json:"blocked"` // Apply and Script refuse a plan that has any
	Steps   []*Step   `json:"steps"`

	host  *machine.Host
	again func(context.Context) (*Plan, error) // makes the plan anew
	waits string                               // what the package manager prints while it waits by itself
	// sudo is put before commands of root, nothing if we are root.
	sudo []string
}

// Pending counts the steps that are still to be done.
func (p *Plan) Pending() int {
	n := 0
	for _, s := range p.Steps {
		if s.State == Planned || s.State == Failed {
			n++
		}
	}
	return n
}

// RootCommands lists the commands that need root, to be announced.
func (p *Plan) RootCommands() []Command {
	var commands []Command
	for _, s := range p.Steps {
		if s.State == Satisfied || s.State == Done {
			continue
		}
		for _, c := range append(slices.Clone(s.Commands), s.Verify...) {
			if c.Root {
				commands = append(commands, c)
			}
		}
	}
	return commands
}

// Options says what is wanted.
type Options struct {
	Components []string // of Components, or all; for Undo, empty is all
	// Prefix is an absolute folder for the virtual environment and the journal.
	// Empty is gptctl below $XDG_DATA_HOME or ~/.local/share.
	Prefix string
	Undo   bool
	// Reach asks whether a URL answers; nil asks over the network, at most 5 s.
	Reach func(ctx context.Context, url string) error
}

// UnknownComponentError names what Components does not.
type UnknownComponentError struct{ Name string }

func (e *UnknownComponentError) Error() string {
	return fmt.Sprintf("unknown component %q, want one of %s or all", e.Name, strings.Join(Components(), ", "))
}

// Nearest is the component that was probably meant, "" if none is near.
func (e *UnknownComponentError) Nearest() string {
	best, least := "", len(e.Name)/3+2 // a slip of the hand in every third letter
	for _, c := range append(Components(), "all") {
		if d := edits(strings.ToLower(e.Name), c); d < least && d < len(c) {
			best, least = c, d
		}
	}
	return best
}

// edits counts the letters to insert, drop or replace to make b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := corner
			if a[i] != b[j] {
				replaced++
			}
			corner = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// UnknownSystemError is returned for a distribution without a recipe.
type UnknownSystemError struct {
	System string
	ByHand []string // what to do instead, a sentence each
}

func (e *UnknownSystemError) Error() string {
	return fmt.Sprintf("no recipe for %s", e.System)
}

// MakePlan looks at the machine, changes nothing, and says what would be done.
// Errors are *UnknownComponentError, *UnknownSystemError, or what kept it from
// looking; what forbids a component is in Plan.Blocked.
func MakePlan(ctx context.Context, host *machine.Host, opt Options) (*Plan, error) {
	wanted, err := components(opt)
	if err != nil {
		return nil, err
	}
	prefix := opt.Prefix
	if prefix == "" {
		prefix = defaultPrefix(host)
	}
	if !filepath.IsAbs(prefix) {
		return nil, fmt.Errorf("prefix %q is not an absolute path", prefix)
	}
	prefix = filepath.Clean(prefix)
	if prefix == "/" || strings.ContainsAny(prefix, "\n\x00") {
		return nil, fmt.Errorf("%q cannot be the prefix", prefix)
	}
	reach := opt.Reach
	if reach == nil {
		reach = reachable
	}
	b := &builder{
		ctx: ctx, host: host, reach: reach, wanted: wanted,
		plan: &Plan{
			Schema: Schema, Undo: opt.Undo, Prefix: prefix, Venv: filepath.Join(prefix, "venv"),
			Notes: []string{}, Blocked: []Blocked{}, Steps: []*Step{}, host: host,
		},
	}
	if err := b.look(); err != nil {
		return nil, err
	}
	if user := host.Getenv("SUDO_USER"); user != "" && opt.Prefix == "" {
		b.note("this runs as root, so the environment goes to %s: without sudo it goes to %s's own folder, and sudo is asked for where it is needed", prefix, user)
	}
	if opt.Undo {
		err = b.undo()
	} else {
		err = b.build()
	}
	if err != nil {
		return nil, err
	}
	b.needRoot()
	if b.manager != nil {
		b.plan.waits = b.manager.Waits
	}
	b.plan.again = func(ctx context.Context) (*Plan, error) { return MakePlan(ctx, host, opt) }
	return b.plan, nil
}

func components(opt Options) (map[string]bool, error) {
	wanted := map[string]bool{}
	if opt.Undo && len(opt.Components) == 0 {
		wanted["all"] = true
	}
	for _, c := range opt.Components {
		if c != "all" && !slices.Contains(Components(), c) {
			return nil, &UnknownComponentError{c}
		}
		wanted[c] = true
	}
	if len(wanted) == 0 {
		return nil, errors.New("no component named")
	}
	if wanted["all"] {
		for _, c := range Components() {
			wanted[c] = true
		}
	}
	return wanted, nil
}

func defaultPrefix(host *machine.Host) string {
	data := host.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) {
		data = filepath.Join(host.Getenv("HOME"), ".local", "share")
	}
	return filepath.Join(data, "gptctl")
}

func reachable(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	var asked *neturl.Error
	var lookup *net.DNSError
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted) && noRoots():
		return nil // it answered; the packages that pip needs bring ca-certificates
	case errors.As(err, &lookup):
		return fmt.Errorf("no address for %s", lookup.Name)
	case errors.As(err, &asked) && asked.Timeout():
		return errors.New("no answer in time")
	case errors.As(err, &asked):
		return asked.Err // the URL is in the plan already
	case err != nil:
		return err
	}
	resp.Body.Close()
	if resp.StatusCode >= 400 {
		return fmt.Errorf("HTTP status %s", resp.Status)
	}
	return nil
}

// noRoots tells that this machine trusts no certificate at all, as a fresh
// one without ca-certificates.
func noRoots() bool {
	pool, err := x509.SystemCertPool()
	return err != nil || pool.Equal(x509.NewCertPool())
}

// builder makes one plan.
type builder struct {
	ctx    context.Context
	host   *machine.Host
	reach  func(context.Context, string) error
	wanted map[string]bool // with "all" itself
	plan   *Plan
	facts
	journal *journal // of earlier runs below the prefix, empty if none

	refresh     *Step  // the step that refreshes the package lists
	interpreter string // absolute path of the Python that makes the environment
	pythonIs    string // its version
	toolkit     string // the CUDA toolkit that is or will be there: 13.0
	comingDrive string // the driver that the plan installs, "" if none: 580
	ownDriver   bool   // that one is the distribution's
	repoDone    bool   // NVIDIA's repository is dealt with …
	repoOK      bool   // … and can be used
}

// explicit tells that a component was asked for by name.
func (b *builder) explicit(component string) bool { return b.wanted[component] && !b.wanted["all"] }

func (b *builder) note(format string, args ...any) {
	b.plan.Notes = append(b.plan.Notes, fmt.Sprintf(format, args...))
}

func (b *builder) block(component, reason string, hints ...string) {
	b.plan.Blocked = append(b.plan.Blocked, Blocked{component, reason, append([]string{}, hints...)})
}

func (b *builder) add(s *Step) *Step {
	if s.State == "" {
		s.State = Planned
	}
	if s.Commands == nil {
		s.Commands = []Command{}
	}
	b.plan.Steps = append(b.plan.Steps, s)
	return s
}

func (b *builder) satisfied(id, component, title, why string, args ...any) {
	b.add(&Step{ID: id, Component: component, Title: title, Why: fmt.Sprintf(why, args...), State: Satisfied})
}

// root makes a command that needs root.
func (b *builder) root(argv ...string) Command {
	return Command{Argv: append(slices.Clone(b.plan.sudo), argv...), Root: true}
}

// write makes a command of root that writes a file.
func (b *builder) write(path, text string) Command {
	c := b.root("tee", path)
	c.Stdin = text
	return c
}

func (b *builder) build() error {
	for _, part := range []struct {
		component string
		build     func() error
	}{
		{"system", b.system}, {"python", b.python}, {"driver", b.driverStep}, {"cuda", b.cuda}, {"cudnn", b.cudnn}, {"venv", b.venv}, {"torch", b.torch},
	} {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		if err := part.build(); err != nil {
			return err
		}
	}
	b.settleRefresh()
	return nil
}

// needRoot blocks a plan that needs root where there is no way to get it.
func (b *builder) needRoot() {
	if len(b.plan.RootCommands()) > 0 && b.host.UID != 0 && b.host.LookPath("sudo") == "" {
		b.block("system", "some steps need root, and there is no sudo", "run the same command as root")
	}
}
