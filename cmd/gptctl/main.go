// Command gptctl takes a bare machine to a running, fine-tunable GPT-2.
//
// The package holds the command line and nothing else: one file per verb turns
// flags into the options of a library call and its results into words. What it
// prints, and how it exits, is decided here and only here; see terminal.go and
// failure.go for the rules.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// The first Ctrl-C lets the verb finish its line; the second one kills.
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, func() {
		// A terminal that is closed may say so twice, and a training needs a moment to save.
		signal.Ignore(syscall.SIGHUP)
		stop()
	})
	// A reader that has gone away (`gptctl run … | head`) is seen as a failed
	// write, which ends the verb quietly, rather than as a signal.
	signal.Ignore(syscall.SIGPIPE)

	t := newTerminal(os.Stdin, os.Stdout, os.Stderr, os.LookupEnv)
	os.Exit(execute(ctx, t, os.Args[1:]))
}
