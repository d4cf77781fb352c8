package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gptctl/gptctl/internal/machine"
	"github.com/gptctl/gptctl/internal/machine/machinetest"
)

// toy is a machine that packages and an environment can be installed on: what
// a machine description says, over that real folders for the prefix, and dpkg's
// status.
type toy struct {
	fs.FS
	dir      string // of real files
	packages map[string]string
	ran      []string
	// stopAt ends the run in the middle of that command, counted from 1.
	stopAt int
	half   bool // the command has done half of its work by then
	locked int  // so many calls of apt-get find the lock taken
	fail   string
}

const toyMachine = "testdata/machines/cpu.txtar"

func newToy(t *testing.T) (*toy, *machine.Host) {
	t.Helper()
	data, err := os.ReadFile(toyMachine)
	if err != nil {
		t.Fatal(err)
	}
	host := machinetest.Host(t, string(data))
	y := &toy{FS: host.FS, dir: t.TempDir(), packages: map[string]string{"base-files": "12"}}
	host.FS = y
	return y, host
}

func (y *toy) real(name string) (string, bool) {
	return "/" + name, strings.HasPrefix("/"+name, y.dir)
}

func (y *toy) Open(name string) (fs.File, error) {
	if file, ok := y.real(name); ok {
		return os.Open(file)
	}
	if name == "var/lib/dpkg/status" {
		file := filepath.Join(y.dir, "status")
		if err := os.WriteFile(file, []byte(y.status()), 0o644); err != nil {
			return nil, err
		}
		return os.Open(file)
	}
	if lib, ok := strings.CutPrefix(name, "usr/lib/python3.11/ensurepip/"); ok && y.packages["python3-venv"] != "" {
		return y.FS.Open("usr/lib/python3.11/venv/" + lib)
	}
	if _, ok := strings.CutPrefix(name, "usr/lib/python3/dist-packages/pip/"); ok && y.packages["python3-pip"] != "" {
		return y.FS.Open("usr/lib/python3.11/venv/__init__.py")
	}
	return y.FS.Open(name)
}

func (y *toy) ReadLink(name string) (string, error) {
	if file, ok := y.real(name); ok {
		return os.Readlink(file)
	}
	return fs.ReadLink(y.FS, name)
}

func (y *toy) Lstat(name string) (fs.FileInfo, error) {
	if file, ok := y.real(name); ok {
		return os.Lstat(file)
	}
	return fs.Lstat(y.FS, name)
}

func (y *toy) status() string {
	var s strings.Builder
	for _, name := range slices.Sorted(maps.Keys(y.packages)) {
		version, half := strings.CutSuffix(y.packages[name], "!")
		state := "installed"
		if half {
			state = "half-configured"
		}
		fmt.Fprintf(&s, "Package: %s\nStatus: install ok %s\nArchitecture: amd64\nVersion: %s\n\n", name, state, version)
	}
	return s.String()
}

// needs is what comes along with a package.
var needs = map[string][]string{"python3-venv": {"python3-venv", "python3.11-venv", "python3-pip-whl"}, "python3-pip": {"python3-pip", "python3-setuptools"}}

var errKilled = errors.New("killed")

func (y *toy) run(_ context.Context, c Command, out io.Writer) error {
	argv := c.Argv
	y.ran = append(y.ran, c.String())
	stop := y.stopAt > 0 && len(y.ran) == y.stopAt
	if stop && !y.half {
		return errKilled
	}
	if y.fail != "" && strings.Contains(c.String(), y.fail) {
		fmt.Fprintln(out, "E: it does not work")
		return errors.New("exit status 100")
	}
	end := error(nil)
	if stop {
		end = errKilled
	}
	for len(argv) > 0 && (argv[0] == "env" || strings.Contains(argv[0], "=")) {
		argv = argv[1:]
	}
	switch words := strings.Join(argv, " "); {
	case argv[0] == "sh":
	case argv[0] == "apt-get":
		if y.locked > 0 {
			y.locked--
			fmt.Fprintln(out, "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 12 (apt)")
			return errors.New("exit status 100")
		}
		if strings.Contains(words, "-f install") {
			for name, v := range y.packages {
				y.packages[name] = strings.TrimSuffix(v, "!")
			}
			return end
		}
		at := slices.IndexFunc(argv, func(w string) bool { return w == "install" || w == "purge" })
		for _, name := range argv[at+1:] {
			if at < 0 || stop && name == argv[len(argv)-1] && argv[at] == "purge" {
				break
			}
			if argv[at] == "purge" {
				delete(y.packages, name)
				continue
			}
			for _, n := range append(slices.Clone(needs[name]), name) {
				y.packages[n] = "1.0"
				if stop {
					y.packages[n] += "!"
				}
			}
		}
	case argv[0] == "rm":
		for _, p := range argv[2:] {
			if err := os.RemoveAll(p); err != nil {
				return err
			}
		}
	case argv[0] == "mkdir":
		return errors.Join(os.MkdirAll(argv[2], 0o755), end)
	case len(argv) > 3 && argv[1] == "-m" && argv[2] == "venv":
		dir := argv[len(argv)-1]
		if argv[3] == "--clear" {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
		y.write(dir + "/bin/python")
		if !stop {
			y.write(dir + "/pyvenv.cfg")
			y.dist(dir, "pip", false)
		}
	case strings.Contains(words, " install "):
		venv := strings.TrimSuffix(argv[0], "/bin/python")
		for _, name := range argv[slices.Index(argv, "install")+1:] {
			if strings.HasPrefix(name, "-") || strings.Contains(name, "/") {
				continue
			}
			if name == "torch" {
				y.dist(venv, "sympy", stop)
			}
			if !stop {
				y.dist(venv, name, false)
			}
		}
	case strings.Contains(words, " uninstall "):
		for _, name := range argv[slices.Index(argv, "-y")+1:] {
			os.RemoveAll(strings.TrimSuffix(argv[0], "/bin/python") + "/lib/python3.11/site-packages/" + name + "-1.0.dist-info")
		}
	}
	return end
}

func (y *toy) write(path string) {
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(path), 0o755)); err != nil {
		panic(err)
	}
}

func (y *toy) dist(venv, name string, half bool) {
	dir := venv + "/lib/python3.11/site-packages/" + name + "-1.0.dist-info"
	y.write(dir + "/METADATA")
	if !half {
		y.write(dir + "/RECORD")
	}
}

// state is what undo has to give back.
func (y *toy) state(t *testing.T) string {
	t.Helper()
	var s strings.Builder
	s.WriteString(y.status())
	err := filepath.WalkDir(y.dir, func(path string, _ fs.DirEntry, err error) error {
		if filepath.Base(path) != "status" {
			s.WriteString(path + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}

func (y *toy) plan(t *testing.T, host *machine.Host, undo bool) *Plan {
	t.Helper()
	p, err := MakePlan(context.Background(), host, Options{
		Components: []string{"python", "venv", "torch"}, Prefix: y.dir + "/a/prefix", Undo: undo,
		Reach: func(context.Context, string) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (y *toy) apply(p *Plan) error {
	y.ran = nil
	return Apply(context.Background(), p, ApplyOptions{run: y.run, pause: time.Millisecond, LockWait: 20 * time.Millisecond})
}

// However often and wherever it is killed, the next run completes, the one
// after that has nothing to do, and undo gives back what was there.
func TestKilledAnywhere(t *testing.T) {
	y, host := newToy(t)
	if err := y.apply(y.plan(t, host, false)); err != nil {
		t.Fatal(err)
	}
	commands := len(y.ran)
	if commands < 10 {
		t.Fatalf("only %d commands: %q", commands, y.ran)
	}
	for at := 1; at <= commands; at++ {
		for _, half := range []bool{false, true} {
			for _, undoAtOnce := range []bool{false, true} {
				if !half && undoAtOnce != (at%2 == 0) {
					continue // as good as the end of the command before
				}
				y, host := newToy(t)
				before := y.state(t)
				y.stopAt, y.half = at, half
				err := y.apply(y.plan(t, host, false))
				if !errors.Is(err, errKilled) {
					t.Fatalf("killed at %d: %v", at, err)
				}
				y.stopAt = 0
				where := fmt.Sprintf("killed at %q, half %v", y.ran[at-1], half)
				if !undoAtOnce {
					if err := y.apply(y.plan(t, host, false)); err != nil {
						t.Fatalf("%s: again: %v", where, err)
					}
					p := y.plan(t, host, false)
					if p.Pending() != 0 || len(p.Blocked) > 0 {
						t.Fatalf("%s: then still to do: %s", where, words(p))
					}
					if err := y.apply(p); err != nil || len(y.ran) > 0 {
						t.Fatalf("%s: with nothing to do it ran %q, %v", where, y.ran, err)
					}
				}
				if err := y.apply(y.plan(t, host, true)); err != nil {
					t.Fatalf("%s: undo: %v", where, err)
				}
				if after := y.state(t); after != before {
					t.Fatalf("%s: undo left\n%s\nwant\n%s", where, after, before)
				}
			}
		}
	}
}

func TestUndoKilledAnywhere(t *testing.T) {
	for at := 1; at < 4; at++ {
		for _, half := range []bool{false, true} {
			y, host := newToy(t)
			before := y.state(t)
			if err := y.apply(y.plan(t, host, false)); err != nil {
				t.Fatal(err)
			}
			y.stopAt, y.half = at, half
			if err := y.apply(y.plan(t, host, true)); len(y.ran) >= at && !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			y.stopAt = 0
			if err := y.apply(y.plan(t, host, true)); err != nil {
				t.Fatal(err)
			}
			if after := y.state(t); after != before {
				t.Errorf("killed at %d: left\n%s\nwant\n%s", at, after, before)
			}
		}
	}
}

// Packages and files that came after us are not ours to take away.
func TestUndoIsExact(t *testing.T) {
	y, host := newToy(t)
	if err := y.apply(y.plan(t, host, false)); err != nil {
		t.Fatal(err)
	}
	y.packages["vim"] = "9"
	y.write(y.dir + "/a/prefix/notes.txt")
	if err := y.apply(y.plan(t, host, true)); err != nil {
		t.Fatal(err)
	}
	after := y.state(t)
	if !strings.Contains(after, "Package: vim") || !strings.Contains(after, "notes.txt") || strings.Contains(after, "python3-venv") || strings.Contains(after, "venv") {
		t.Errorf("undo left\n%s", after)
	}
	p := y.plan(t, host, true)
	if len(p.Steps) != 0 || len(p.Notes) != 1 {
		t.Errorf("a second undo plans %s", words(p))
	}
}

// What is added to the user's own environment is taken from it one by one.
func TestUndoInUsersEnvironment(t *testing.T) {
	y, host := newToy(t)
	venv := y.dir + "/a/prefix/venv"
	y.write(venv + "/bin/python")
	y.write(venv + "/pyvenv.cfg")
	y.dist(venv, "pip", false)
	y.dist(venv, "numpy", false)
	before := y.state(t)
	if err := y.apply(y.plan(t, host, false)); err != nil {
		t.Fatal(err)
	}
	if s := y.state(t); !strings.Contains(s, "torch-1.0") {
		t.Fatalf("no torch in\n%s", s)
	}
	if err := y.apply(y.plan(t, host, true)); err != nil {
		t.Fatal(err)
	}
	if after := y.state(t); after != before {
		t.Errorf("left\n%s\nwant\n%s", after, before)
	}
}

func TestUndoStopsForOthers(t *testing.T) {
	y, host := newToy(t)
	if err := y.apply(y.plan(t, host, false)); err != nil {
		t.Fatal(err)
	}
	host.Run = func(_ context.Context, name string, args ...string) ([]byte, error) {
		return []byte("Purg python3-venv [1.0]\nRemv blender [4.0]\n"), nil
	}
	p := y.plan(t, host, true)
	if len(p.Blocked) != 1 || !strings.Contains(p.Blocked[0].Reason, "blender") {
		t.Errorf("blocked: %v", p.Blocked)
	}
	var blocked *BlockedError
	if err := y.apply(p); !errors.As(err, &blocked) || len(y.ran) > 0 {
		t.Errorf("got %v", err)
	}
}

func TestLockedPackages(t *testing.T) {
	y, host := newToy(t)
	y.locked = 2
	var waits []string
	p := y.plan(t, host, false)
	err := Apply(context.Background(), p, ApplyOptions{run: y.run, pause: time.Millisecond, Event: func(e Event) {
		if e.Kind == EventWait {
			waits = append(waits, e.Text)
		}
	}})
	if err != nil || len(waits) != 2 || !strings.Contains(waits[0], "process 12") {
		t.Errorf("got %v, waited %q", err, waits)
	}
	y, host = newToy(t)
	y.locked = 1 << 30
	var locked *LockedError
	if err := y.apply(y.plan(t, host, false)); !errors.As(err, &locked) || !strings.Contains(err.Error(), "process 12") {
		t.Errorf("got %v", err)
	}
}

// A package manager that waits by itself is heard, too.
func TestWaitingPackageManager(t *testing.T) {
	y, host := newToy(t)
	p := y.plan(t, host, false)
	p.waits = "Waiting for process with pid"
	var waits []string
	run := func(ctx context.Context, c Command, out io.Writer) error {
		if c.Root {
			fmt.Fprint(out, "Last check\nWaiting for pro")
			fmt.Fprint(out, "cess with pid 7 to finish.\nWaiting for process with pid 7 to finish.\n")
		}
		return y.run(ctx, c, out)
	}
	err := Apply(context.Background(), p, ApplyOptions{run: run, Event: func(e Event) {
		if e.Kind == EventWait {
			waits = append(waits, e.Text)
		}
	}})
	roots := 0
	for _, s := range p.Steps {
		for _, c := range s.Commands {
			if c.Root {
				roots++
			}
		}
	}
	if err != nil || len(waits) != roots || roots == 0 || waits[0] != "another package manager is at work: Waiting for process with pid 7 to finish." {
		t.Errorf("got %v, waited %q for %d commands", err, waits, roots)
	}
}

func TestFailedStep(t *testing.T) {
	y, host := newToy(t)
	y.fail = "--index-url"
	p := y.plan(t, host, false)
	err := y.apply(p)
	var step *StepError
	if !errors.As(err, &step) || step.Step.ID != "torch.packages" || step.Verify || !strings.Contains(err.Error(), "it does not work") {
		t.Errorf("got %v", err)
	}
	if s := p.Steps[slices.IndexFunc(p.Steps, func(s *Step) bool { return s.ID == "torch.packages" })]; s.State != Failed {
		t.Errorf("the step is %s", s.State)
	}
}

// Real commands: output, input, a missing command, an interruption.
func TestRealCommands(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("no /bin/sh")
	}
	_, host := newToy(t)
	run := func(ctx context.Context, c Command) (string, error) {
		var out bytes.Buffer
		plan := &Plan{Prefix: t.TempDir(), host: host, Steps: []*Step{{ID: "x", State: Planned, Commands: []Command{c}}}}
		err := Apply(ctx, plan, ApplyOptions{Output: &out})
		return out.String(), err
	}
	out, err := run(context.Background(), Command{Argv: []string{"cat"}, Stdin: "héllo\n"})
	if err != nil || out != "héllo\n" {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err := run(context.Background(), Command{Argv: []string{"/bin/sh", "-c", "echo no; exit 3"}}); err == nil || !strings.Contains(err.Error(), "exit status 3: no") {
		t.Errorf("got %v", err)
	}
	if _, err := run(context.Background(), Command{Argv: []string{"no-such-command-at-all"}}); err == nil || !strings.Contains(err.Error(), "no command") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := run(ctx, Command{Argv: []string{"sleep", "60"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Two runs do not work in one prefix; the second says what it waits for.
func TestLockedPrefix(t *testing.T) {
	if len(inherited(os.Stdin)) == 0 {
		t.Skip("no locks on this system")
	}
	y, host := newToy(t)
	first := y.plan(t, host, false)
	j, err := readJournal(host, first.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	w, err := openJournal(context.Background(), first.Prefix, j, func() error { return errors.New("locked") })
	if err != nil {
		t.Fatal(err)
	}
	var locked *LockedError
	if err := y.apply(y.plan(t, host, false)); !errors.As(err, &locked) || len(y.ran) > 0 {
		t.Errorf("got %v", err)
	}
	w.file.Close()
	if err := y.apply(y.plan(t, host, false)); err != nil {
		t.Errorf("got %v", err)
	}
}
