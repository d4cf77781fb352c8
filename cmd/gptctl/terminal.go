package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// Rules for what the user sees:
//   - stdout carries what was asked for: the text, or with --json only JSON.
//   - Everything else goes to stderr: progress, statistics, errors.
//   - Messages begin with a small letter and end without a period.
//   - Colour only on a terminal, and never with --no-color or NO_COLOR.

// terminal is the world outside the program: streams and environment.
type terminal struct {
	in       *os.File
	out, err io.Writer
	env      func(string) (string, bool)

	outIsTTY bool

	// Set by the global flags.
	json, quiet, noColor bool
	verbose              bool
	configFile           string

	settings     map[string]map[string]any // gptctl.toml: verb → key → value
	settingsFile string                    // that they were read from, "" if from none
	applied      map[string]bool           // the flags that have their values from there or from the environment
}

func newTerminal(in, out, err *os.File, env func(string) (string, bool)) *terminal {
	return &terminal{in: in, out: out, err: err, env: env, outIsTTY: term.IsTerminal(int(out.Fd()))}
}

// getenv returns "" for a variable that is not set.
func (t *terminal) getenv(name string) string {
	v, _ := t.env(name)
	return v
}

// dim returns s in a colour that steps back, where colours are allowed.
func (t *terminal) dim(s string) string {
	if !t.colors() || s == "" {
		return s
	}
	return "\x1b[2m" + s + "\x1b[0m"
}

// colors reports whether stdout may have them.
func (t *terminal) colors() bool {
	return t.outIsTTY && !t.noColor && t.getenv("NO_COLOR") == "" && t.getenv("TERM") != "dumb"
}

// note prints a line on stderr for somebody who watches.
func (t *terminal) note(format string, args ...any) {
	if !t.quiet {
		fmt.Fprintf(t.err, format+"\n", args...)
	}
}

// detail prints a line on stderr that only -v asks for.
func (t *terminal) detail(format string, args ...any) {
	if t.verbose {
		fmt.Fprintf(t.err, format+"\n", args...)
	}
}

// printJSON prints v as one line on stdout.
func (t *terminal) printJSON(v any) error {
	e := json.NewEncoder(t.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// stdinKind tells what reading stdin would mean.
type stdinKind int

const (
	stdinNone stdinKind = iota // a terminal, /dev/null, or closed: nothing waits there
	stdinData                  // a pipe or a file
)

func (t *terminal) stdinKind() stdinKind {
	if t.in == nil {
		return stdinNone
	}
	info, err := t.in.Stat()
	if err != nil {
		return stdinNone
	}
	if m := info.Mode(); m.IsRegular() || m&(os.ModeNamedPipe|os.ModeSocket) != 0 {
		return stdinData
	}
	return stdinNone
}
