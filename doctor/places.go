package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/internal/machine"
)

// placeChecks are of the folders beside that of the models, and of what the
// file system of the models can do.
func placeChecks() []Check {
	return []Check{
		{ID: "disk.wheels", Title: "Room for Python's packages", Group: groupDisk, Probe: diskWheels, reference: true,
			Why: "torch and what it brings take gigabytes, where the environment is"},
		{ID: "disk.checkpoints", Title: "Room for checkpoints", Group: groupDisk, Probe: diskCheckpoints,
			Why: "a checkpoint holds the weights and twice as much of the optimizer's state"},
		{ID: "disk.quota", Title: "Quota", Group: groupDisk, Probe: diskQuota,
			Why: "a quota ends a download while the disk still has room"},
		{ID: "disk.locks", Title: "File locks", Group: groupDisk, Probe: diskLocks,
			Why: "without locks two downloads of one model disturb each other"},
		{ID: "disk.links", Title: "Symbolic links", Group: groupDisk, Probe: diskLinks,
			Why: "the Hub's cache keeps a file once and links to it; without links it is moved or copied"},
	}
}

// room judges what is free in the nearest folder that exists above dir.
func room(e *Env, dir string, need uint64, bad Verdict, remedy, text string) Finding {
	at := e.existing(dir)
	if mounts, err := e.mounts(); err == nil {
		if m, ok := machine.MountOf(mounts, e.Host.Resolve(at)); ok && m.ReadOnly {
			return judged(bad, "%s on %s is read-only", m.Type, m.Target).needs("a file system that can be written").mend(remedy, "%s", text)
		}
	}
	u, err := e.Host.Usage(at)
	if err != nil {
		return skipped("%v", err)
	}
	return atLeast(u.FreeBytes >= need, bad, "%s free for %s", gb(u.FreeBytes), dir).needs("%s", gb(need)).mend(remedy, "%s", text)
}

// environment is the active one, or the one that `gptctl install` makes. Its Dir is "" if
// there is no place for that.
func (e *Env) environment() machine.Environment {
	env := e.active()
	if env.Dir != "" {
		return env
	}
	dir := ""
	switch data, home := e.Host.Getenv("XDG_DATA_HOME"), e.Host.Getenv("HOME"); {
	case path.IsAbs(data):
		dir = path.Join(data, "gptctl", "venv")
	case path.IsAbs(home):
		dir = path.Join(home, ".local", "share", "gptctl", "venv")
	default:
		return env
	}
	env, _ = e.Host.Environment(dir)
	env.Dir = dir
	return env
}

func diskWheels(_ context.Context, e *Env) Finding {
	env := e.environment()
	if env.Dir == "" {
		return skipped("there is no folder for an environment: HOME is not set")
	}
	if env.SitePackages != "" {
		if t, ok := e.Host.Torch(env.SitePackages); ok {
			return passed("torch %s is installed", t.Version)
		}
	}
	return room(e, env.Dir, uint64(e.Need.Disk.WheelsGB*1e9), Warn, "gptctl install venv torch --prefix <folder on a larger disk>", "make the environment on a larger disk")
}

func diskCheckpoints(_ context.Context, e *Env) Finding {
	if e.work == nil || e.work.Purpose != fit.Finetune {
		return skipped("only fine-tuning makes them")
	}
	dir := e.workDir()
	if dir == "" {
		return skipped("the current folder is not known")
	}
	if e.sameFileSystem(dir, e.modelsDir) {
		return skipped("they go to the disk of the models: see disk.free")
	}
	return room(e, dir, e.checkpointNeed(), Fail, "cd <folder on a larger disk>", "write them to a larger disk")
}

// workDir is the folder in which gptctl was started.
func (e *Env) workDir() string {
	if dir := e.Host.Getenv("PWD"); path.IsAbs(dir) && e.Host.Exists(dir) {
		return dir
	}
	return ""
}

func (e *Env) sameFileSystem(a, b string) bool {
	mounts, err := e.mounts()
	if err != nil || a == "" || b == "" {
		return false
	}
	x, ok1 := machine.MountOf(mounts, e.Host.Resolve(e.existing(a)))
	y, ok2 := machine.MountOf(mounts, e.Host.Resolve(e.existing(b)))
	return ok1 && ok2 && x.Device == y.Device
}

// isNetwork tells whether another machine keeps such a file system.
func isNetwork(kind string) bool {
	switch kind {
	case "nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "ceph", "9p", "fuse.sshfs", "fuse.glusterfs", "beegfs", "afs":
		return true
	}
	return false
}

func diskQuota(ctx context.Context, e *Env) Finding {
	m, err := e.modelsMount()
	if err != nil {
		return skipped("%v", err)
	}
	// Project quotas are in what the file system says is free.
	counted := m.Has("usrquota", "uquota", "uqnoenforce", "quota", "usrjquota", "grpquota", "gquota", "grpjquota")
	remote := isNetwork(m.Type)
	if !counted && !remote {
		return passed("none on %s", m.Target)
	}
	said, err := e.Host.Run(ctx, "quota", "-w", "-p") // it fails when a limit is passed, and says it all the same
	if machine.MissingCommand(err) {
		return skipped("%s on %s may have quotas, and the program quota is not installed", m.Type, m.Target)
	}
	q, ok := machine.ParseQuota(said, m.Source)
	switch {
	case !ok && err != nil:
		return skipped("%v", err)
	case !ok && remote:
		return skipped("the server of %s does not tell", m.Target)
	case !ok, q.Limit == 0:
		return passed("none for this user")
	}
	need := uint64(e.Need.Disk.FreeGB * 1e9)
	if e.work != nil {
		need = e.diskNeed()
	}
	left := q.Limit - min(q.Used, q.Limit)
	return atLeast(left >= need, Fail, "%s left of %s", gb(left), gb(q.Limit)).needs("%s", gb(need)).
		mend("export HF_HOME=<folder on another disk>", "remove what is not needed, ask for more, or keep models elsewhere")
}

// FileTraits says what a folder's file system can do; nil is that it can.
type FileTraits struct{ Lock, Link error }

func (e *Env) traits(ctx context.Context) (FileTraits, error) {
	if e.modelsDir == "" {
		return FileTraits{}, errors.New("there is no folder for models")
	}
	t, err := e.tools.FileTraits(ctx, e.existing(e.modelsDir))
	if errors.Is(err, fs.ErrPermission) {
		return t, errors.New("the folder cannot be written: see disk.speed")
	}
	return t, err
}

func diskLocks(ctx context.Context, e *Env) Finding {
	t, err := e.traits(ctx)
	switch {
	case err != nil:
		return skipped("%v", err)
	case errors.Is(t.Lock, errors.ErrUnsupported) && e.Host.GOOS == "windows":
		return skipped("not looked at on Windows")
	case t.Lock != nil:
		return judged(e.Need.Disk.Locks, "flock fails: %v", t.Lock).needs("flock").
			mend("export HF_HOME=<folder on a local disk>", "keep models on a local disk, or fetch them one at a time")
	}
	if m, err := e.modelsMount(); err == nil {
		switch m.Type {
		case "lustre":
			if m.Has("localflock") || m.Has("noflock") {
				return judged(e.Need.Disk.Locks, "flock holds on this machine only (%s)", m.Type).needs("flock for all machines").
					mend("", "mount it with the option flock, or fetch from one machine only")
			}
		case "gpfs", "nfs", "nfs4", "9p":
			return passed("flock works here; of other machines %s does not tell", m.Type)
		}
	}
	return passed("flock works")
}

func diskLinks(ctx context.Context, e *Env) Finding {
	t, err := e.traits(ctx)
	if err != nil {
		return skipped("%v", err)
	}
	f := atLeast(t.Link == nil, e.Need.Disk.Links, "%s", yes(t.Link == nil, "work", fmt.Sprintf("fail: %v", t.Link))).needs("links that work")
	if e.Host.GOOS == "windows" {
		return f.mend("", "switch on Developer Mode in Windows; without it files are copied")
	}
	return f.mend("export HF_HOME=<folder on another disk>", "keep models on another file system; without links files are moved, not shared")
}

// tryFileTraits tries both in a folder of its own, and removes it.
func tryFileTraits(_ context.Context, dir string) (t FileTraits, err error) {
	own, err := os.MkdirTemp(dir, ".gptctl-doctor-*")
	if err != nil {
		return t, fmt.Errorf("write in %s: %w", filepath.Base(dir), withoutPath(err))
	}
	defer os.RemoveAll(own)
	f, err := os.Create(filepath.Join(own, "lock"))
	if err != nil {
		return t, withoutPath(err)
	}
	defer f.Close()
	t.Lock = lockFile(f)
	link := filepath.Join(own, "link")
	if t.Link = withoutPath(os.Symlink("lock", link)); t.Link == nil {
		if _, err := os.Stat(link); err != nil {
			t.Link = withoutPath(err)
		}
	}
	return t, nil
}

// withoutPath leaves out names of folders that are made up anyway.
func withoutPath(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &l):
		return l.Err
	}
	return err
}
