package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/fetch"
	"github.com/gptctl/gptctl/internal/machine"
)

const groupDisk = "disk"

func diskChecks() []Check {
	return []Check{
		{ID: "disk.free", Title: "Room for models", Group: groupDisk, Probe: diskFree,
			Why: "models, checkpoints and Python's packages take gigabytes"},
		{ID: "disk.inodes", Title: "Room for files", Group: groupDisk, Probe: diskInodes,
			Why: "without inodes no file can be made, however many bytes are free"},
		{ID: "disk.temp", Title: "Room for temporary files", Group: groupDisk, Probe: diskTemp, reference: true,
			Why: "pip unpacks wheels of several gigabytes there"},
		{ID: "disk.type", Title: "Kind of disk", Group: groupDisk, Probe: diskType,
			Why: "a spinning disk reads a model ten times slower"},
		{ID: "disk.filesystem", Title: "File system", Group: groupDisk, Probe: diskFileSystem,
			Why: "network file systems lock files in ways of their own, and memory is no place to keep models"},
		{ID: "disk.speed", Title: "Writing to disk", Group: groupDisk, Probe: diskSpeed,
			Why: "downloads and checkpoints wait for it"},
	}
}

func diskFree(_ context.Context, e *Env) Finding {
	if e.modelsDir == "" {
		return skipped("there is no folder for models: neither HF_HOME nor HOME is set")
	}
	dir := e.existing(e.modelsDir)
	u, err := e.Host.Usage(dir)
	if err != nil {
		return skipped("%v", err)
	}
	need, what := uint64(e.Need.Disk.FreeGB*1e9), ""
	if e.work != nil {
		need = e.diskNeed()
		if e.work.Purpose == fit.Finetune {
			what = " for the model and three checkpoints of its training"
		}
	}
	return atLeast(u.FreeBytes >= need, Fail, "%s free for %s", gb(u.FreeBytes), e.modelsDir).needs("%s%s", gb(need), what).
		mend("export HF_HOME=<folder on a larger disk>", "free some room, or keep models on a larger disk")
}

// diskNeed is the model's file, and for training a few checkpoints with the
// optimizer's state: weights and two moments in float32.
func (e *Env) diskNeed() uint64 {
	w := e.work.Work
	file := 4 * int64(w.Config.Parameters())
	if m, ok := fit.Lookup(w.Model); ok {
		file = m.HubFileBytes
	}
	if w.FileBytes > 0 {
		file = w.FileBytes
	}
	if e.cached() {
		file = 0
	}
	need := uint64(file)
	if w.Purpose == fit.Finetune && (e.workDir() == "" || e.sameFileSystem(e.workDir(), e.modelsDir)) {
		need += e.checkpointNeed()
	}
	return need
}

// checkpointNeed is three checkpoints with the optimizer's state, and the
// model that comes out.
func (e *Env) checkpointNeed() uint64 {
	c := e.work.Config
	if m, ok := fit.Lookup(e.work.Model); ok {
		c = m.Config
	}
	return (3*12 + 4) * uint64(c.Parameters())
}

// cached tells whether the model of --for is on this machine already.
func (e *Env) cached() bool {
	if e.work == nil {
		return false
	}
	if e.work.Model == "" {
		return true // its config was read, so it is here
	}
	id, err := fetch.ParseModelID(e.work.Model)
	if err != nil {
		return false
	}
	snapshots := "/" + strings.Trim(filepath.ToSlash(e.modelsDir), "/") + "/models--" + strings.ReplaceAll(id.Repo, "/", "--") + "/snapshots"
	for _, file := range []string{"model.safetensors", "pytorch_model.bin"} {
		if found, err := fs.Glob(e.Host.FS, strings.TrimPrefix(snapshots, "/")+"/*/"+file); err == nil && len(found) > 0 {
			return true
		}
	}
	return false
}

func diskInodes(_ context.Context, e *Env) Finding {
	if e.modelsDir == "" {
		return skipped("there is no folder for models")
	}
	u, err := e.Host.Usage(e.existing(e.modelsDir))
	if err != nil {
		return skipped("%v", err)
	}
	if u.TotalInodes == 0 {
		return skipped("this file system does not count them")
	}
	return atLeast(u.FreeInodes >= e.Need.Disk.Inodes, Fail, "%d free", u.FreeInodes).needs("%d", e.Need.Disk.Inodes).
		mend("", "remove small files that are not needed, such as old caches")
}

func diskTemp(_ context.Context, e *Env) Finding {
	if e.Host.GOOS == "windows" {
		return skipped("not looked at on Windows")
	}
	dir := e.Host.Getenv("TMPDIR")
	if dir == "" {
		dir = "/tmp"
	}
	if !e.Host.Exists(dir) {
		return warned("%s does not exist", dir).needs("a folder").mend("", "make it, or set TMPDIR to one that exists")
	}
	return room(e, dir, uint64(e.Need.Disk.WheelsGB*1e9), Warn, "export TMPDIR=<folder on a larger disk>", "let temporary files go to a larger disk")
}

func (e *Env) modelsMount() (machine.Mount, error) {
	if e.modelsDir == "" {
		return machine.Mount{}, errors.New("there is no folder for models")
	}
	mounts, err := e.mounts()
	if err != nil {
		return machine.Mount{}, err
	}
	m, ok := machine.MountOf(mounts, e.Host.Resolve(e.existing(e.modelsDir)))
	if !ok {
		return machine.Mount{}, errors.New("the system does not tell what is mounted")
	}
	return m, nil
}

func diskType(_ context.Context, e *Env) Finding {
	m, err := e.modelsMount()
	if err != nil {
		return skipped("%v", err)
	}
	d, err := e.Host.DiskOf(m)
	switch {
	case err != nil:
		return skipped("%v", err)
	case d.Virtual:
		return skipped("%s is a virtual disk, which does not tell what is under it: see disk.speed", d.Name)
	case d.Rotational:
		bad := e.Need.Disk.HDD
		if e.work != nil {
			bad = Warn
		}
		return judged(bad, "%s spins", d.Name).needs("SSD").mend("export HF_HOME=<folder on an SSD>", "keep models on an SSD")
	}
	return passed("%s is an SSD", d.Name).needs("SSD")
}

func diskFileSystem(_ context.Context, e *Env) Finding {
	m, err := e.modelsMount()
	if err != nil {
		return skipped("%v", err)
	}
	const needs = "a local file system that may be written"
	switch {
	case m.ReadOnly:
		return failed("%s on %s is read-only", m.Type, m.Target).needs(needs).
			mend("export HF_HOME=<folder that can be written>", "keep models where they can be written")
	case m.Type == "tmpfs" || m.Type == "ramfs":
		return warned("%s: models would lie in memory and be gone after a restart", m.Type).needs(needs).
			mend("export HF_HOME=<folder on a disk>", "keep models on a disk")
	}
	if isNetwork(m.Type) {
		return warned("%s on %s", m.Type, m.Target).needs(needs).
			mend("", "two downloads of one model at a time may disturb each other; a local disk is safer and faster")
	}
	return passed("%s on %s", m.Type, m.Target).needs(needs)
}

func diskSpeed(ctx context.Context, e *Env) Finding {
	if e.modelsDir == "" {
		return skipped("there is no folder for models")
	}
	dir := e.existing(e.modelsDir)
	if u, err := e.Host.Usage(dir); err == nil && u.FreeBytes < 4*writeBytes {
		return skipped("too little room to measure")
	}
	speed, err := e.tools.WriteSpeed(ctx, dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return failed("%s cannot be written by this user", dir).needs("a folder that can be written").
			mend("export HF_HOME=<folder that can be written>", "keep models where they can be written")
	case err != nil:
		return skipped("measure: %v", err)
	}
	need := e.Need.Disk.WriteMBs
	return atLeast(speed >= need*1e6, Warn, "%.0f MB/s with fsync", speed/1e6).needs("%.0f MB/s", need).
		mend("", "use a faster disk for models and checkpoints")
}

const writeBytes = 64 << 20

// writeSpeed writes a file of at most writeBytes in dir, as much as a third of
// a second takes, brings it to the disk and removes it.
func writeSpeed(ctx context.Context, dir string) (float64, error) {
	f, err := os.CreateTemp(dir, ".gptctl-doctor-*")
	if err != nil {
		return 0, fmt.Errorf("write in %s: %w", filepath.Base(dir), err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4<<20)
	for i := range block {
		block[i] = byte(i * i >> 3) // a file system may pack zeros away
	}
	start, written := time.Now(), 0
	for written < writeBytes && time.Since(start) < 300*time.Millisecond {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := f.Write(block)
		if err != nil {
			return 0, err
		}
		written += n
		if err := f.Sync(); err != nil { // each, so that no long queue is left to wait for
			return 0, err
		}
	}
	return float64(written) / time.Since(start).Seconds(), nil
}
