package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// maxPromptBytes bounds what is read as a prompt. No model of this family reads
// more than a few thousand tokens; more is a mistake, such as a model file piped in.
const maxPromptBytes = 64 << 20

// readPrompt puts the prompt together: stdin, --file, words.
func readPrompt(t *terminal, o runOptions) (string, error) {
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
