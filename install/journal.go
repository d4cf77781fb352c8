package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/gptctl/gptctl/internal/machine"
)

const journalSchema = "gptctl.install.journal/1"

// watch names what a step may add to the machine, which the journal compares
// before and after.
type watch struct {
	Packages bool     `json:"packages,omitempty"`
	Half     bool     `json:"half,omitempty"`    // half-installed packages count as there before
	Paths    []string `json:"paths,omitempty"`   // files and folders that the step makes
	Venv     string   `json:"venv,omitempty"`    // an environment whose packages change
	Root     bool     `json:"root,omitempty"`    // Paths belong to root
	After    []string `json:"after,omitempty"`   // a command of root after Paths were taken away
	RPMKey   string   `json:"rpm_key,omitempty"` // the end of a key's fingerprint, which rpm comes to trust
}

func (w watch) empty() bool { return !w.Packages && len(w.Paths) == 0 && w.Venv == "" }

// entry is one line of the journal. A step writes begin before its first
// command and done after its verification; one that goes on after an
// interruption writes again what it expects; undone takes record N back.
type entry struct {
	Event  string `json:"event"` // open, begin, again, done, undone
	Schema string `json:"schema,omitempty"`
	N      int    `json:"n"` // of the record, from 0 in the order of begin

	Made []string `json:"made,omitempty"` // open: folders made for the prefix

	Step      string            `json:"step,omitempty"`
	Component string            `json:"component,omitempty"`
	Title     string            `json:"title,omitempty"`
	Watch     *watch            `json:"watch,omitempty"`
	Packages  map[string]string `json:"packages,omitempty"` // begin: the versions of all that were installed
	Expected  []string          `json:"expected,omitempty"` // begin, again: packages that the package manager says it will add; nil if it does not say
	Existed   []string          `json:"existed,omitempty"`  // begin: those of Watch.Paths that were there, and Watch.RPMKey
	Dists     map[string]string `json:"dists,omitempty"`    // begin: the packages of Watch.Venv

	Added      []string          `json:"added,omitempty"`       // done: packages
	Changed    map[string]string `json:"changed,omitempty"`     // done: packages that have another version now: the version before
	AddedDists []string          `json:"added_dists,omitempty"` // done: packages of Watch.Venv
	Sums       map[string]string `json:"sums,omitempty"`        // done: SHA-256 of those of Watch.Paths that are files
	Fact       string            `json:"fact,omitempty"`        // done
}

// record is what the journal says of one run of a step.
type record struct {
	begin  entry // with what again expects, too
	done   *entry
	undone bool
}

// ours leaves of packages that are new since the record began those that its
// step may have brought: somebody else may have added others after an
// interruption.
func (r *record) ours(added []string) []string {
	if r.begin.Expected == nil {
		return added
	}
	return slices.DeleteFunc(added, func(name string) bool { return !slices.Contains(r.begin.Expected, name) })
}

type journal struct {
	path    string
	exists  bool
	made    []string
	records []*record
}

func journalPath(prefix string) string { return filepath.Join(prefix, "install.journal") }

func readJournal(host *machine.Host, prefix string) (*journal, error) {
	j := &journal{path: journalPath(prefix)}
	data, err := host.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return j, nil
	}
	if err != nil {
		return nil, err
	}
	j.exists = true
	if err := j.parse(data); err != nil {
		return nil, fmt.Errorf("%s: %w", j.path, err)
	}
	return j, nil
}

// parse reads the lines. The last one may be torn: whoever wrote it was
// killed, before anything was done on the strength of it.
func (j *journal) parse(data []byte) error {
	for n := 1; len(data) > 0; n++ {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		data = rest
		if !whole {
			break
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := j.take(e); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}

func (j *journal) take(e entry) error {
	if e.Event != "open" && e.Event != "begin" && (e.N < 0 || e.N >= len(j.records)) {
		return fmt.Errorf("%s of record %d, of %d", e.Event, e.N, len(j.records))
	}
	switch e.Event {
	case "open":
		if e.Schema != journalSchema {
			return fmt.Errorf("got schema %q, want %q", e.Schema, journalSchema)
		}
		j.made = append(j.made, e.Made...)
	case "begin":
		if e.N != len(j.records) || e.Watch == nil {
			return fmt.Errorf("record %d, want %d with what it watches", e.N, len(j.records))
		}
		j.records = append(j.records, &record{begin: e})
	case "again":
		r := j.records[e.N]
		if e.Expected == nil || r.begin.Expected == nil {
			r.begin.Expected = nil
		} else {
			r.begin.Expected = append(slices.Clone(r.begin.Expected), e.Expected...)
		}
	case "done":
		j.records[e.N].done = &e
	case "undone":
		j.records[e.N].undone = true
	default:
		return fmt.Errorf("unknown event %q", e.Event)
	}
	return nil
}

// last returns the newest record of a step that was not undone, and its number.
func (j *journal) last(step string) (*record, int) {
	for n, r := range slices.Backward(j.records) {
		if r.begin.Step == step && !r.undone {
			return r, n
		}
	}
	return nil, -1
}

// open tells whether a step began and did not end.
func (j *journal) open(step string) bool {
	r, _ := j.last(step)
	return r != nil && r.done == nil
}

// fact returns what a step that is done left to remember.
func (j *journal) fact(step string) string {
	if r, _ := j.last(step); r != nil && r.done != nil {
		return r.done.Fact
	}
	return ""
}

// madePath tells whether a path is there because of us.
func (j *journal) madePath(path string) bool {
	return slices.ContainsFunc(j.records, func(r *record) bool {
		return !r.undone && slices.Contains(r.begin.Watch.Paths, path) && !slices.Contains(r.begin.Existed, path)
	})
}

// writer appends to the journal, each line synced before anything else is done.
type writer struct {
	*journal
	file *os.File
}

// openJournal makes the prefix and locks the journal; wait is called while
// another process has it, and stops the wait by an error.
func openJournal(ctx context.Context, prefix string, j *journal, wait func() error) (*writer, error) {
	var made []string
	for dir := prefix; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		made = append(made, dir)
	}
	if err := os.MkdirAll(prefix, 0o755); err != nil {
		return nil, err
	}
	f, err := lockJournal(ctx, j.path, wait)
	if err != nil {
		return nil, err
	}
	// Another run may have gone on while we waited.
	data, err := io.ReadAll(f)
	fresh := &journal{path: j.path}
	if err == nil {
		err = fresh.parse(data)
	}
	whole := int64(bytes.LastIndexByte(data, '\n') + 1)
	if err == nil {
		err = f.Truncate(whole)
	}
	if err == nil {
		_, err = f.Seek(whole, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", j.path, err)
	}
	*j = *fresh
	w := &writer{j, f}
	if whole == 0 {
		if err := w.append(entry{Event: "open", Schema: journalSchema, Made: made}); err != nil {
			f.Close()
			return nil, err
		}
	}
	return w, nil
}

// lockJournal opens the file and locks it. Who had it before may have taken
// the file away, prefix and all: then it is made anew.
func lockJournal(ctx context.Context, path string, wait func() error) (*os.File, error) {
	for {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if errors.Is(err, fs.ErrNotExist) {
			continue // just taken away
		}
		if err != nil {
			return nil, err
		}
		got, err := lock(f)
		if err == nil && !got {
			if err = ctx.Err(); err == nil {
				err = wait()
			}
		}
		if err == nil && got {
			mine, _ := f.Stat()
			if there, err := os.Stat(path); err == nil && os.SameFile(mine, there) {
				return f, nil
			}
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

func (w *writer) append(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := w.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", w.path, err)
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", w.path, err)
	}
	return w.take(e)
}

// remove takes the journal away, and the folders that were made for it as far
// as they are empty.
func (w *writer) remove(prefix string) error {
	made := w.made
	if err := os.Remove(w.path); err != nil {
		return err
	}
	for _, dir := range made { // the innermost comes first
		if dir != prefix && !strings.HasPrefix(prefix, dir+"/") {
			continue
		}
		if os.Remove(dir) != nil {
			break
		}
	}
	return nil
}

// snapshot reads what a step watches.
func snapshot(ctx context.Context, host *machine.Host, w watch) (packages map[string]string, existed []string, dists map[string]string, err error) {
	if w.Packages {
		all, err := host.Packages(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		packages = map[string]string{}
		for name, p := range all {
			if p.Installed || w.Half {
				packages[name] = p.Version
			}
		}
	}
	for _, p := range w.Paths {
		if host.Exists(p) {
			existed = append(existed, p)
		}
	}
	if w.RPMKey != "" && trustsRPMKey(ctx, host, w.RPMKey) {
		existed = append(existed, w.RPMKey)
	}
	if w.Venv != "" {
		dists = distributions(host, w.Venv)
	}
	return packages, existed, dists, nil
}

var rpmKeyID = regexp.MustCompile(`^[0-9a-f]{8}$`)

// trustsRPMKey tells whether rpm has a key, given by the end of its
// fingerprint. Where rpm does not say, it is taken to have it, so that nobody
// takes it away.
func trustsRPMKey(ctx context.Context, host *machine.Host, id string) bool {
	out, err := host.Run(ctx, "rpm", "-qa", "gpg-pubkey*")
	return err != nil || strings.Contains(strings.ToLower(string(out)), id)
}

// sums are the checksums of those paths that are files.
func sums(host *machine.Host, paths []string) map[string]string {
	var all map[string]string
	for _, p := range paths {
		if data, err := host.ReadFile(p); err == nil {
			if all == nil {
				all = map[string]string{}
			}
			all[p] = fmt.Sprintf("%x", sha256.Sum256(data))
		}
	}
	return all
}

// distributions lists the Python packages of an environment.
func distributions(host *machine.Host, venv string) map[string]string {
	found := map[string]string{}
	env, _ := host.Environment(venv)
	if env.SitePackages == "" {
		return found
	}
	names, _ := fs.Glob(host.FS, strings.TrimPrefix(env.SitePackages, "/")+"/*.dist-info")
	for _, n := range names {
		name, version, _ := strings.Cut(strings.TrimSuffix(filepath.Base(n), ".dist-info"), "-")
		found[name] = version
	}
	return found
}

// compare returns what is new in now, sorted, and what has another version.
func compare(before, now map[string]string) (added []string, changed map[string]string) {
	for name, version := range now {
		old, ok := before[name]
		switch {
		case !ok:
			added = append(added, name)
		case old != version:
			if changed == nil {
				changed = map[string]string{}
			}
			changed[name] = old
		}
	}
	slices.Sort(added)
	return added, changed
}
