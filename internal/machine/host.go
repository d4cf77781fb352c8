// Package machine reads what can be known of a machine without root and
// without changing it: distribution, kernel, containers, packages, Python,
// CUDA, disks, limits. Everything is read through Host, so that a test can
// describe any machine (package machinetest does, from a text file).
//
// A reader returns the zero value when there is nothing to find and an error
// only when something is there and cannot be read or understood.
package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Host is the seam between the readers and a machine.
type Host struct {
	FS     fs.FS  // rooted at /: proc/modules, etc/os-release
	GOOS   string // linux, darwin, windows
	GOARCH string // amd64, arm64
	UID    int    // of this process; 0 is root, -1 unknown

	Getenv func(string) string
	// LookupEnv tells an empty variable from none; without it both are none.
	LookupEnv func(string) (string, bool)
	// Run returns what a command printed on stdout. A command that does not
	// exist gives an error that is exec.ErrNotFound; one that fails, an error
	// that carries the first line of its stderr.
	Run func(ctx context.Context, name string, args ...string) ([]byte, error)
	// Usage tells how full the file system is that holds an absolute path,
	// which must exist.
	Usage func(path string) (Usage, error)
	// Memory tells of the machine's memory, without regard to cgroups.
	Memory func(ctx context.Context) (Memory, error)
}

// Usage is the room on a file system.
type Usage struct {
	TotalBytes, FreeBytes   uint64 // FreeBytes is what this user may write
	TotalInodes, FreeInodes uint64 // 0 where the file system counts none
}

// Memory is the machine's memory in bytes.
type Memory struct {
	Total, Available    uint64
	SwapTotal, SwapFree uint64
}

// Local is the machine this program runs on.
func Local() *Host {
	return &Host{
		FS:        os.DirFS("/"),
		GOOS:      runtime.GOOS,
		GOARCH:    runtime.GOARCH,
		UID:       os.Getuid(),
		Getenv:    os.Getenv,
		LookupEnv: os.LookupEnv,
		Run:       runLocal,
		Usage:     usage,
		Memory:    memory,
	}
}

func runLocal(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	// Words are parsed, so they must not be translated.
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = 100 * time.Millisecond // a grandchild may hold the pipe open
	var stdout, stderr capped
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		said, _, _ := strings.Cut(strings.TrimSpace(string(stderr.b)), "\n")
		if said != "" {
			return stdout.b, fmt.Errorf("%s: %w: %s", name, err, said)
		}
		return stdout.b, fmt.Errorf("%s: %w", name, err)
	}
	return stdout.b, nil
}

// capped keeps the first part of what a command prints.
type capped struct{ b []byte }

func (c *capped) Write(p []byte) (int, error) {
	const most = 32 << 20
	c.b = append(c.b, p[:min(len(p), most-len(c.b))]...)
	return len(p), nil
}

// Env is a variable of the environment, and whether it is set at all.
func (h *Host) Env(name string) (string, bool) {
	if h.LookupEnv != nil {
		return h.LookupEnv(name)
	}
	v := h.Getenv(name)
	return v, v != ""
}

// MissingCommand tells whether an error of Host.Run means that there is no
// such command.
func MissingCommand(err error) bool { return errors.Is(err, exec.ErrNotFound) }

// ReadFile reads a file by its absolute path, at most 64 MiB of it.
func (h *Host) ReadFile(name string) ([]byte, error) {
	f, err := h.FS.Open(rel(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 64 << 20
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > most {
		return nil, fmt.Errorf("read %s: more than %d MiB", name, most>>20)
	}
	return b, nil
}

// line reads a file of one line, "" if it cannot be read.
func (h *Host) line(name string) string {
	b, err := h.ReadFile(name)
	if err != nil {
		return ""
	}
	s, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(s)
}

// Exists tells whether there is something at an absolute path.
func (h *Host) Exists(name string) bool {
	_, err := fs.Stat(h.FS, rel(name))
	return err == nil
}

// names lists a directory, nothing if it cannot be read.
func (h *Host) names(dir string) []string {
	entries, err := fs.ReadDir(h.FS, rel(dir))
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// glob returns absolute paths in order, path.Match's patterns.
func (h *Host) glob(pattern string) []string {
	found, err := fs.Glob(h.FS, rel(pattern))
	if err != nil {
		return nil
	}
	for i, f := range found {
		found[i] = "/" + f
	}
	return found
}

// readLink returns the absolute path that a link points to, one step; "" if
// it is none.
func (h *Host) readLink(name string) string {
	to, err := fs.ReadLink(h.FS, rel(name))
	if err != nil {
		return ""
	}
	if path.IsAbs(to) {
		return path.Clean(to)
	}
	return path.Join(path.Dir(name), to)
}

// Resolve follows links at the end of an absolute path.
func (h *Host) Resolve(name string) string {
	for range 40 {
		to := h.readLink(name)
		if to == "" {
			break
		}
		name = to
	}
	return name
}

// LookPath finds a command in $PATH, and in the system's own directories,
// which a user's PATH may lack. It returns "" if there is none.
func (h *Host) LookPath(name string) string {
	for _, dir := range h.pathDirs() {
		file := path.Join(dir, name)
		info, err := fs.Stat(h.FS, rel(file))
		if err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}

func (h *Host) pathDirs() []string {
	var dirs []string
	for _, d := range append(strings.Split(h.Getenv("PATH"), ":"), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin") {
		if path.IsAbs(d) && !slices.Contains(dirs, path.Clean(d)) {
			dirs = append(dirs, path.Clean(d))
		}
	}
	return dirs
}

func rel(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return "."
	}
	return name
}
