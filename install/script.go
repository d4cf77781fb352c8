package install

import (
	"fmt"
	"strings"
)

// Script writes a plan as a POSIX shell script, to be read before it is run.
// It keeps no journal. A plan with Blocked is refused (*BlockedError).
func Script(plan *Plan) (string, error) {
	if len(plan.Blocked) > 0 {
		return "", &BlockedError{plan.Blocked}
	}
	var s strings.Builder
	s.WriteString("#!/bin/sh\n# Made by gptctl install for " + oneLine(plan.System) + ".\n")
	s.WriteString("# Read it before you run it. It keeps no journal: `gptctl install --undo` does not know what it did.\n")
	for _, n := range plan.Notes {
		s.WriteString("# Note: " + oneLine(n) + "\n")
	}
	// A script that is cut off on its way must not run its first half.
	s.WriteString("set -eu\n\nmain() {\n")
	for _, step := range plan.Steps {
		fmt.Fprintf(&s, "\n# %s: %s (%s)\n", step.ID, oneLine(step.Title), oneLine(step.Why))
		if step.State == Satisfied || step.State == Done {
			s.WriteString("# Nothing to do.\n")
			continue
		}
		for _, c := range step.Commands {
			writeCommand(&s, c)
		}
		if len(step.Verify) > 0 {
			s.WriteString("# Verified by:\n")
		}
		for _, c := range step.Verify {
			writeCommand(&s, c)
		}
	}
	s.WriteString("\necho 'gptctl install: done'\n}\n\nmain \"$@\"\n")
	return s.String(), nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func writeCommand(s *strings.Builder, c Command) {
	s.WriteString(c.String())
	if c.Stdin == "" {
		s.WriteString(" </dev/null\n")
		return
	}
	end := "END_OF_INPUT"
	for strings.Contains(c.Stdin, end) {
		end += "_"
	}
	text := c.Stdin
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	fmt.Fprintf(s, " <<'%s'\n%s%s\n", end, text, end)
}

// String writes the command as one would type it.
func (c Command) String() string {
	words := make([]string, len(c.Argv))
	for i, w := range c.Argv {
		words[i] = shellQuote(w)
	}
	return strings.Join(words, " ")
}

// shellQuote quotes a word for a POSIX shell where that is needed.
func shellQuote(w string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,+@%", r)
	}
	if w != "" && strings.IndexFunc(w, func(r rune) bool { return !safe(r) }) < 0 {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}
