// Package machinetest describes machines for tests in a text file, so that a
// recorded machine can be read by people and changed by hand.
package machinetest

import (
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/gptctl/gptctl/internal/machine"
)

// Host makes a machine of a txtar archive:
//
//	env PATH=/usr/bin:/bin
//	memory 16 GiB free 12 GiB
//	disk / 500 GiB free 200 GiB
//	arch arm64
//	-- etc/os-release --
//	ID=debian
//	-- usr/bin/python3 -> python3.11 --
//	-- $ python3.11 --version --
//	Python 3.11.2
//	-- $ dpkg --bad ! exit status 2 --
//
// The comment before the files holds settings, a line each; uid, arch, os,
// memory and disk have defaults (1000, amd64, linux, 32 GiB with 24 GiB free,
// and a disk of 1000 GiB with 500 GiB free). Files in a bin or sbin folder may
// be run. A file "a -> b" is a link. "$ words" is what a command prints, by
// its base name; "! words" in the end makes it fail. Other commands do not
// exist. \x00 and the like in a file whose name ends in " bytes" are
// unquoted as in Go.
func Host(t testing.TB, archive string) *machine.Host {
	t.Helper()
	h, err := parse(archive)
	if err != nil {
		t.Fatalf("machine description: %v", err)
	}
	return h
}

type command struct {
	out  string
	fail string
}

func parse(archive string) (*machine.Host, error) {
	a := txtar.Parse([]byte(archive))
	files := fstest.MapFS{}
	commands := map[string]command{}
	env := map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin"}
	mem := machine.Memory{Total: 32 << 30, Available: 24 << 30}
	disks := map[string]machine.Usage{"/": {TotalBytes: 1000 << 30, FreeBytes: 500 << 30, TotalInodes: 1 << 26, FreeInodes: 1 << 25}}
	h := &machine.Host{FS: files, GOOS: "linux", GOARCH: "amd64", UID: 1000}

	for line := range strings.Lines(string(a.Comment)) {
		key, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		f := strings.Fields(rest)
		var err error
		switch key {
		case "", "#":
		case "env":
			name, value, _ := strings.Cut(rest, "=")
			env[name] = value
		case "uid":
			h.UID, err = strconv.Atoi(rest)
		case "arch":
			h.GOARCH = rest
		case "os":
			h.GOOS = rest
		case "memory":
			mem.Total, mem.Available, err = totalAndFree(f)
		case "disk":
			if len(f) == 0 {
				return nil, fmt.Errorf("%q: want disk PATH N GiB free N GiB", line)
			}
			u := disks["/"]
			u.TotalBytes, u.FreeBytes, err = totalAndFree(f[1:])
			disks[f[0]] = u
		default:
			return nil, fmt.Errorf("unknown setting %q", line)
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
	}
	for _, f := range a.Files {
		if words, ok := strings.CutPrefix(f.Name, "$ "); ok {
			words, fail, _ := strings.Cut(words, " ! ")
			commands[words] = command{string(f.Data), fail}
			continue
		}
		if name, to, ok := strings.Cut(f.Name, " -> "); ok {
			files[name] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
			continue
		}
		name, data := f.Name, f.Data
		if n, ok := strings.CutSuffix(name, " bytes"); ok {
			s, err := strconv.Unquote(`"` + strings.TrimSpace(string(data)) + `"`)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			name, data = n, []byte(s)
		}
		mode := fs.FileMode(0o644)
		if dir := path.Base(path.Dir(name)); dir == "bin" || dir == "sbin" {
			mode = 0o755
		}
		files[name] = &fstest.MapFile{Data: data, Mode: mode}
	}
	h.Getenv = func(name string) string { return env[name] }
	h.LookupEnv = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	h.Memory = func(context.Context) (machine.Memory, error) { return mem, nil }
	h.Usage = func(p string) (machine.Usage, error) {
		for {
			if u, ok := disks[p]; ok {
				return u, nil
			}
			p = path.Dir(p)
		}
	}
	h.Run = func(ctx context.Context, name string, args ...string) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		words := strings.Join(append([]string{path.Base(name)}, args...), " ")
		// An archive's names cannot hold tabs or line ends.
		words = strings.NewReplacer("\t", `\t`, "\n", `\n`).Replace(words)
		c, ok := commands[words]
		switch {
		case !ok:
			return nil, &exec.Error{Name: name, Err: exec.ErrNotFound}
		case c.fail != "":
			return []byte(c.out), fmt.Errorf("%s: %s", path.Base(name), c.fail)
		}
		return []byte(c.out), nil
	}
	return h, nil
}

// totalAndFree reads "N GiB free N GiB".
func totalAndFree(f []string) (total, free uint64, err error) {
	if len(f) != 5 || f[2] != "free" {
		return 0, 0, fmt.Errorf("want N GiB free N GiB")
	}
	if total, err = size(f[0], f[1]); err == nil {
		free, err = size(f[3], f[4])
	}
	return total, free, err
}

func size(number, unit string) (uint64, error) {
	n, err := strconv.ParseFloat(number, 64)
	units := map[string]float64{"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
	if units[unit] == 0 {
		return 0, fmt.Errorf("unit %q: want MiB, GiB or TiB", unit)
	}
	return uint64(n * units[unit]), err
}
