package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxPromptBytes bounds what is read as a prompt. No model of this family reads
// more than a few thousand tokens; more is a mistake, such as a model file piped in.
const maxPromptBytes = 64 << 20

// readPrompt puts the prompt together. It ends with ctx, too: whoever writes to
// stdin, or to a pipe that --file names, may take for ever, and Ctrl-C has to work
// meanwhile. The read is then left behind; the program is about to exit.
func readPrompt(ctx context.Context, t *terminal, o runOptions) (string, error) {
	type prompt struct {
		text string
		err  error
	}
	done := make(chan prompt, 1)
	go func() {
		text, err := joinPrompt(t, o)
		done <- prompt{text, err}
	}()
	select {
	case p := <-done:
		return p.text, p.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// joinPrompt reads and joins stdin, --file and words.
func joinPrompt(t *terminal, o runOptions) (string, error) {
	var parts []string
	if kind := t.stdinKind(); kind == stdinData || o.file == "-" {
		text, err := readText(t.in, "stdin")
		if err != nil {
			return "", err
		}
		// An empty pipe is what cron and CI give to every program: with a
		// prompt from elsewhere it says nothing.
		if text != "" || len(o.words) == 0 && (o.file == "" || o.file == "-") {
			parts = append(parts, text)
		}
	}
	if o.file != "" && o.file != "-" {
		f, err := os.Open(o.file)
		if err != nil {
			return "", fmt.Errorf("read the prompt: %w", err)
		}
		defer f.Close()
		text, err := readText(f, o.file)
		if err != nil {
			return "", err
		}
		parts = append(parts, text)
	}
	if len(o.words) > 0 {
		parts = append(parts, strings.Join(o.words, " "))
	}
	if len(parts) == 0 {
		return "", withHints(usagef("there is no prompt"),
			`gptctl run "Once upon a time"`, `echo "Once upon a time" | gptctl run`, "gptctl run --file prompt.txt")
	}
	return strings.Join(parts, " "), nil
}

// readText reads all of r and drops one final newline.
func readText(r io.Reader, name string) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPromptBytes+1))
	if err != nil {
		return "", fmt.Errorf("read the prompt from %s: %w", name, err)
	}
	if len(data) > maxPromptBytes {
		return "", fmt.Errorf("the prompt in %s is longer than %d MB, which no model of this family can read", name, maxPromptBytes>>20)
	}
	text := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}
