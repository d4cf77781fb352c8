package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Exit codes, the contract with scripts.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// usageError is a command line that cannot be carried out as it is written.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// hintedError carries the lines that say how to mend err.
type hintedError struct {
	err   error
	hints []string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

func withHints(err error, hints ...string) error {
	return &hintedError{err, hints}
}

// aboutError names what a verb was working on, for the prefix of the message:
// "gptctl: fetch gpt2: …".
type aboutError struct {
	subject string
	err     error
}

func (e *aboutError) Error() string { return e.err.Error() }
func (e *aboutError) Unwrap() error { return e.err }

// hintsOf collects the hints of err, the outermost first.
func hintsOf(err error) []string {
	hints := []string{}
	for {
		var h *hintedError
		if !errors.As(err, &h) {
			return hints
		}
		hints = append(hints, h.hints...)
		err = h.err
	}
}

// report tells the user of err and returns the exit code. command is the verb
// that failed, "" if it did not come that far.
func report(t *terminal, command string, err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, syscall.EPIPE):
		return exitDone // the reader has what it wanted
	}
	code := exitFailed
	if errors.Is(err, context.Canceled) {
		code = exitInterrupted
		if len(hintsOf(err)) == 0 {
			return code // nothing was lost that could be gone on with
		}
	}
	hints := hintsOf(err)
	if errors.As(err, &usage) {
		code = exitUsage
		if len(hints) == 0 {
			hints = append(hints, strings.TrimSpace("gptctl "+command)+" --help lists what there is")
		}
	}
	message := oneLine(err.Error())
	prefix := "gptctl: "
	if command != "" {
		prefix += command
		var about *aboutError
		if errors.As(err, &about) {
			prefix += " " + about.subject
		}
		prefix += ": "
	}
	fmt.Fprintf(t.err, "%s%s\n", prefix, message)
	for _, h := range hints {
		fmt.Fprintf(t.err, "hint: %s\n", h)
	}
	if t.json {
		_ = t.printJSON(struct {
			Schema  string   `json:"schema"`
			Command string   `json:"command"`
			Error   string   `json:"error"`
			Hints   []string `json:"hints"`
		}{"gptctl.error/1", command, message, hints})
	}
	return code
}

// oneLine keeps an error on its line: scripts read it with a line's worth of tools.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
