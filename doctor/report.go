package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Schema names the form of a report in JSON.
const Schema = "gptctl.doctor/1"

// Report is what a run found, as in `gptctl doctor --json`. It holds no serial
// numbers, names of users or paths of their homes.
type Report struct {
	Schema   string             `json:"schema"`
	Profile  string             `json:"profile"`
	Ready    bool               `json:"ready"` // no check failed, and the work of --for fits
	ReadyFor map[string]Purpose `json:"ready_for"`
	Summary  Summary            `json:"summary"`
	Fit      []Place            `json:"fit,omitempty"` // with --for
	Checks   []Finding          `json:"checks"`

	work *Work
}

// Summary counts the verdicts.
type Summary struct {
	Pass int `json:"pass"`
	Warn int `json:"warn"`
	Fail int `json:"fail"`
	Skip int `json:"skip"`
}

func newReport(e *Env, findings []Finding) *Report {
	r := &Report{Schema: Schema, Profile: e.options.Profile.Name, Checks: findings, ReadyFor: e.purposes(findings), Fit: e.fitting(), work: e.work}
	for _, f := range findings {
		switch f.Verdict {
		case Pass:
			r.Summary.Pass++
		case Warn:
			r.Summary.Warn++
		case Fail:
			r.Summary.Fail++
		default:
			r.Summary.Skip++
		}
	}
	r.Ready = r.Summary.Fail == 0
	if e.work != nil && len(e.options.Only) == 0 {
		r.Ready = r.Ready && r.ReadyFor[string(e.work.Purpose)].Ready
	}
	return r
}

// ReadReport reads a report that was written as JSON.
func ReadReport(src io.Reader) (*Report, error) {
	const most = 16 << 20
	data, err := io.ReadAll(io.LimitReader(src, most+1))
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	if len(data) > most {
		return nil, fmt.Errorf("read report: it has more than %d MiB", most>>20)
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("read report: its schema is %q, want %q", r.Schema, Schema)
	}
	for _, f := range r.Checks {
		if !slices.Contains([]Verdict{Pass, Warn, Fail, Skip}, f.Verdict) || f.ID == "" {
			return nil, errors.New("read report: it has a check without id or verdict")
		}
	}
	return &r, nil
}

// Change is a check whose outcome is another than before.
type Change struct {
	ID     string   `json:"id"`
	Title  string   `json:"title"`
	Before *Finding `json:"before"` // nil: it was not asked
	After  *Finding `json:"after"`  // nil: it is not asked any more
}

// measured are checks whose words differ at every run; only their verdict
// counts as a change.
var measured = []string{"ram.available", "ram.cgroup", "cpu.speed", "disk.free", "disk.inodes", "disk.temp", "disk.speed", "gpu.processes", "gpu.throttle", "gpu.vram", "gpu.work", "gpu.present",
	"gpu.pcie", "gpu.bar1", "gpu.power", "disk.wheels", "disk.checkpoints", "disk.quota", "ram.overcommit", "net.dns", "net.tcp", "net.tls", "net.rate"}

// Compare returns what changed from one report to another, in the order of
// the newer one.
func Compare(before, after *Report) []Change {
	old := map[string]*Finding{}
	for i, f := range before.Checks {
		old[f.ID] = &before.Checks[i]
	}
	var changes []Change
	for i := range after.Checks {
		now := &after.Checks[i]
		was := old[now.ID]
		delete(old, now.ID)
		if was != nil && was.Verdict == now.Verdict && (was.Found == now.Found || slices.Contains(measured, now.ID)) {
			continue
		}
		changes = append(changes, Change{now.ID, now.Title, was, now})
	}
	for i := range before.Checks {
		if f := &before.Checks[i]; old[f.ID] == f {
			changes = append(changes, Change{f.ID, f.Title, f, nil})
		}
	}
	return changes
}

// TextOptions direct WriteText.
type TextOptions struct {
	Color bool
	// All shows what passed or was skipped in full; by default what was
	// skipped is counted only.
	All bool
}

type painter bool

func (p painter) paint(code, s string) string {
	if !p {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

var colors = map[Verdict]string{Pass: "32", Warn: "33", Fail: "31", Skip: "2"}

// WriteText writes a report for people: findings by group, what mends them,
// and what the machine is ready for.
func WriteText(w io.Writer, r *Report, o TextOptions) error {
	var b strings.Builder
	p := painter(o.Color)
	width := 0
	for _, f := range r.Checks {
		if f.Verdict != Skip || o.All {
			width = max(width, utf8.RuneCountInString(f.Title))
		}
	}
	group := ""
	for _, f := range r.Checks {
		if f.Verdict == Skip && !o.All {
			continue
		}
		if f.Group != group {
			if group != "" {
				b.WriteByte('\n')
			}
			group = f.Group
			b.WriteString(p.paint("1", group) + "\n")
		}
		writeFinding(&b, p, f, width)
	}
	if r.Summary.Skip > 0 && !o.All {
		fmt.Fprintf(&b, "\n%s\n", p.paint("2", fmt.Sprintf("%d checks could not be made or do not matter here", r.Summary.Skip)))
	}
	writeFit(&b, p, r)
	fmt.Fprintf(&b, "\n%s\n", p.paint("1", "ready for"))
	idle := ""
	for _, name := range []string{"run", "finetune", "serve"} {
		purpose, ok := r.ReadyFor[name]
		if !ok {
			continue
		}
		verdict, words := Pass, fmt.Sprintf("yes, on the %s, up to %s", strings.ToUpper(string(purpose.Device)), purpose.LargestModel)
		if !purpose.Ready {
			verdict, words = Fail, "no: "+purpose.Why
		} else if purpose.idle != "" {
			idle = purpose.idle
		}
		fmt.Fprintf(&b, "  %s %-8s  %s\n", p.paint(colors[verdict], string(verdict)), name, words)
	}
	if idle != "" {
		fmt.Fprintf(&b, "  %s\n", p.paint("2", idle))
	}
	b.WriteString("\n" + summary(r, p) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func writeFinding(b *strings.Builder, p painter, f Finding, width int) {
	said := f.Found
	if f.Verdict == Skip {
		said = f.Why
	}
	if f.Needed != "" && (f.Verdict == Warn || f.Verdict == Fail) {
		said += "; needed: " + f.Needed
	}
	if f.Demoted != "" {
		said += fmt.Sprintf(" (%s, let pass by --skip)", f.Demoted)
	}
	pad := strings.Repeat(" ", width-utf8.RuneCountInString(f.Title))
	fmt.Fprintf(b, "  %s %s%s  %s\n", p.paint(colors[f.Verdict], string(f.Verdict)), f.Title, pad, said)
	if f.Verdict != Warn && f.Verdict != Fail {
		return
	}
	indent := strings.Repeat(" ", width+9)
	fmt.Fprintf(b, "%s%s\n", indent, p.paint("2", f.ID+": "+f.Why))
	if m := f.Remedy; m != nil {
		line := m.Text
		if m.Command != "" {
			line += ": " + p.paint("36", m.Command)
		}
		fmt.Fprintf(b, "%s→ %s\n", indent, line)
	}
}

func writeFit(b *strings.Builder, p painter, r *Report) {
	if len(r.Fit) == 0 || r.work == nil {
		return
	}
	fmt.Fprintf(b, "\n%s\n", p.paint("1", "to "+verbOf(r.work.Purpose)+" "+target(r.work.Work, r.work.Name)))
	for _, place := range r.Fit {
		verdict := Pass
		switch {
		case !place.Fits:
			verdict = Fail
		case !place.Usable:
			verdict = Warn
		}
		fmt.Fprintf(b, "  %s %s: needs %s, %s free", p.paint(colors[verdict], string(verdict)), place.Name, gb(uint64(place.NeededBytes)), gb(uint64(place.AvailableBytes)))
		if place.LargestBatch > 0 {
			fmt.Fprintf(b, "; largest batch %d", place.LargestBatch)
		}
		if place.LargestModel != "" {
			fmt.Fprintf(b, "; largest model %s", place.LargestModel)
		}
		if !place.Usable {
			b.WriteString("; this program does not compute there yet")
		}
		b.WriteByte('\n')
		for _, s := range place.Suggestions {
			fmt.Fprintf(b, "       → with %s\n", s)
		}
	}
}

// summary is the last line: what to do, if there is something.
func summary(r *Report, p painter) string {
	counts := fmt.Sprintf("%d passed, %d warned, %d failed, %d skipped", r.Summary.Pass, r.Summary.Warn, r.Summary.Fail, r.Summary.Skip)
	components := r.Components()
	mends := map[Remedy]bool{} // one may mend several findings
	for _, f := range r.Checks {
		if f.Remedy != nil && f.Demoted == "" {
			m := *f.Remedy
			if m.Component != "" {
				m.Text = ""
			}
			mends[m] = true
		}
	}
	mend := len(mends)
	switch {
	case mend == 0 && r.Ready:
		return p.paint(colors[Pass], "ready") + ": " + counts
	case mend == 0:
		return p.paint(colors[Fail], "not ready") + ": " + counts
	}
	state := p.paint(colors[Pass], "ready")
	if !r.Ready {
		state = p.paint(colors[Fail], "not ready")
	}
	s := fmt.Sprintf("%s: %s\n%d to mend: ", state, counts, mend)
	if len(components) > 0 {
		return s + "run " + p.paint("36", "gptctl install "+strings.Join(components, " ")) + yes(mend > len(components), ", and see the arrows above", "")
	}
	return s + "see the arrows above"
}

// Components are what `gptctl install` can mend of what was found, in the order
// in which it is installed.
func (r *Report) Components() []string {
	var found []string
	for _, c := range []string{"system", "python", "driver", "cuda", "cudnn", "venv", "torch"} {
		if slices.ContainsFunc(r.Checks, func(f Finding) bool {
			return f.Remedy != nil && f.Remedy.Component == c && f.Demoted == ""
		}) {
			found = append(found, c)
		}
	}
	return found
}

// WriteChanges writes what changed since an older report.
func WriteChanges(w io.Writer, changes []Change, o TextOptions) error {
	var b strings.Builder
	p := painter(o.Color)
	state := func(f *Finding) string {
		if f == nil {
			return "not asked"
		}
		said := f.Found
		if said == "" {
			said = f.Why
		}
		return p.paint(colors[f.Verdict], string(f.Verdict)) + " " + said
	}
	if len(changes) == 0 {
		b.WriteString("nothing changed\n")
	}
	for _, c := range changes {
		fmt.Fprintf(&b, "%s (%s)\n  was %s\n  is  %s\n", c.Title, c.ID, state(c.Before), state(c.After))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
