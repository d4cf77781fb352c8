package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gptctl/gptctl/internal/mapped"
)

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, t *terminal, args []string) int {
	root := newRoot(t)
	root.SetArgs(args)
	// An error can come before the flags are parsed, and has to be JSON all the same.
	t.json = slices.Contains(args, "--json")
	var verb *cobra.Command
	err := mapped.Readable(func() (err error) { // bench, and others that hold on to a model's files
		verb, err = root.ExecuteContextC(ctx)
		return err
	})
	if verb == nil { // it came to no end
		verb, _, _ = root.Find(args)
	}
	command := strings.TrimPrefix(strings.TrimPrefix(verb.CommandPath(), "gptctl"), " ")
	return report(t, command, err)
}

func newRoot(t *terminal) *cobra.Command {
	root := &cobra.Command{
		Use:   "gptctl",
		Short: "From a bare machine to a running, fine-tunable GPT-2",
		Long: `gptctl takes a bare machine to a running, fine-tunable GPT-2.

  gptctl run --model demo "It was a dark"    a small model inside the program: works at once, offline
  gptctl run --model DIR "Once upon a time"  any GPT-2 in Hugging Face format`,
		SilenceErrors: true, // report prints them
		SilenceUsage:  true,
		Args:          noVerb,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			// What execute took for --json may have been a prompt or a value.
			t.json = t.json && cmd.Flags().Changed("json")
			return applySettings(t, cmd)
		},
		Version:                    buildVersion().Version,
		SuggestionsMinimumDistance: 2,
	}
	root.SetOut(t.out)
	root.SetErr(t.err)
	root.SetVersionTemplate("gptctl {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagError(err) })

	f := root.PersistentFlags()
	f.BoolVar(&t.json, "json", false, "print JSON on stdout, one object per line; words go to stderr")
	f.BoolVar(&t.quiet, "quiet", false, "print neither progress nor notes")
	f.BoolVar(&t.noColor, "no-color", false, "print without colours (also: NO_COLOR)")
	f.BoolVarP(&t.verbose, "verbose", "v", false, "say on stderr what is being done")
	f.StringVar(&t.configFile, "config", "", "read settings from `FILE` instead of gptctl.toml")

	root.AddCommand(newDoctor(t, nil), newInstall(t, nil), newFetch(t, nil), newRun(t, nil), newBench(t, nil), newConvert(t, nil), newFinetune(t, nil), newVersion(t))
	return root
}

// noVerb refuses a verb that does not exist; cobra would otherwise take it as
// an argument of the root.
func noVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return withHints(usagef("there is no command %q", args[0]), "did you mean gptctl "+near[0]+"?")
	}
	return usagef("there is no command %q", args[0])
}
