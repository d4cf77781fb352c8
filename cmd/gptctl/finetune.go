package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gptctl/gptctl/fetch"
	"github.com/gptctl/gptctl/finetune"
	"github.com/gptctl/gptctl/internal/machine"
)

// finetuneOptions are what `gptctl finetune` was asked for.
type finetuneOptions struct {
	settings      finetune.Settings
	resume, force bool
	threads       int
	printConfig   bool
	dataReport    bool
}

const finetuneHelp = `Train a GPT-2 on texts of your own.

OUT becomes a folder in Hugging Face format, which "gptctl run" and transformers load,
with a report of the training (report.html, metrics.csv, TensorBoard events) and
checkpoints to go on from. Ctrl-C saves and says how to go on; --resume goes on as if
nothing had been between.

The settings come from --recipe, a TOML file, from key=value on the command line, which
overrule it, and from flags, which overrule both. --print-config prints all settings,
and what they mean, in the form of a recipe.

Data are .txt, .md, .jsonl, .csv and .parquet files, also in .gz and .zst, folders of
them, and patterns; OUT itself and folders of models in them are passed over.
--data-report says what is read and what the cleaning takes away, with --json in JSON.
Tokens are kept in ~/.cache/gptctl/corpus: 8 GiB of those used last, for 60 days.

With --init a new model of the shape in CONFIG.json is trained from nothing; --tokenizer
names a folder that has one, or "bytes" for one token per byte.`

// newFinetune makes the verb; start is for tests of the flags, nil the real thing.
func newFinetune(t *terminal, start func(context.Context, *terminal, finetuneOptions) error) *cobra.Command {
	if start == nil {
		start = runFinetune
	}
	var o finetuneOptions
	var recipe string
	text := map[string]*string{} // flags that are settings
	var data []string
	cmd := &cobra.Command{
		Use:   "finetune --data PATH… --out DIR [key=value…]",
		Short: "Train a GPT-2 on texts of your own",
		Long:  finetuneHelp,
		Example: `  gptctl finetune --model demo --data notes.txt --out my-demo steps=200
  gptctl finetune --model gpt2 --data notes/*.txt --out my-gpt2 --precision bf16 lora.rank=8
  gptctl finetune --recipe finetune.toml --print-config
  gptctl finetune --resume --out my-gpt2`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	for _, s := range []struct{ name, short, usage string }{
		{"model", "m", "the `MODEL` to begin with: demo, a folder, a .gguf file, or a Hub id (default gpt2)"},
		{"out", "o", "write to `DIR`"},
		{"precision", "", "`TYPE` of the matrix products: fp32, bf16 or fp16 (default fp32)"},
		{"init", "", "train a new model of the shape that `CONFIG.json` describes"},
		{"tokenizer", "", "tokenizer of a new model: a `DIR`, or bytes"},
	} {
		text[s.name] = f.StringP(s.name, s.short, "", s.usage)
	}
	f.StringArrayVarP(&data, "data", "d", nil, "`PATH` of texts: a file, a folder or a pattern; may be repeated")
	f.StringVar(&recipe, "recipe", "", "read settings from `FILE`")
	f.BoolVar(&o.resume, "resume", false, "go on with the training in DIR")
	f.BoolVar(&o.force, "force", false, "replace the training in DIR")
	f.IntVar(&o.threads, "threads", 0, "threads to compute with (0: one per physical core)")
	f.BoolVar(&o.printConfig, "print-config", false, "print the settings and do nothing else")
	f.BoolVar(&o.dataReport, "data-report", false, "print what is read and what cleaning takes away, and do nothing else")
	_ = cmd.RegisterFlagCompletionFunc("precision", cobra.FixedCompletions(finetune.Choices()["precision"], cobra.ShellCompDirectiveNoFileComp))

	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		given := func(flag string) bool { return cmd.Flags().Changed(flag) }
		flags := func(s *finetune.Settings, fromFile bool) error {
			for name, value := range text {
				if given(name) && fromSettings(t, name) == fromFile {
					if err := finetune.Override(s, name+"="+quoteSetting(*value)); err != nil {
						return err
					}
				}
			}
			if given("data") && fromSettings(t, "data") == fromFile {
				s.Data = append([]string(nil), data...)
			}
			return nil
		}
		// The settings file comes first and the flags of the command line last.
		layers := func(s *finetune.Settings) error {
			if err := flags(s, true); err != nil {
				return withHints(&usageError{err}, aboutSettings)
			}
			if recipe != "" {
				content, err := readBounded(recipe, maxSettingsBytes)
				if err != nil {
					return withHints(fmt.Errorf("read recipe: %w", err), "gptctl finetune --print-config > "+shellWord(recipe)+" makes one")
				}
				if err := finetune.ParseRecipe(s, recipe, content); err != nil {
					return withHints(&usageError{err}, aboutSettings)
				}
			}
			var paths []string
			for _, w := range words {
				if isDataWord(w) {
					paths = append(paths, w)
				} else if err := finetune.Override(s, w); err != nil {
					return unknownWord(w, err)
				}
			}
			if err := flags(s, false); err != nil {
				return withHints(&usageError{err}, aboutSettings)
			}
			if len(paths) > 0 && !given("data") {
				return withHints(usagef("%s: want key=value", paths[0]), "name texts with --data "+paths[0])
			}
			s.Data = append(s.Data, paths...) // a shell that has made many words of --data *.txt
			return nil
		}
		switch {
		case o.threads < 0 || o.threads > 1024:
			return usagef("--threads %d: want 0 to 1024", o.threads)
		case o.resume && o.force:
			return usagef("--resume goes on with what is there and --force removes it: want one of them")
		}
		o.settings = finetune.Defaults()
		if err := layers(&o.settings); err != nil {
			return err
		}
		if o.resume && o.settings.Out != "" && !o.printConfig {
			was, err := finetune.LastSettings(o.settings.Out)
			if err != nil {
				return finetuneHints(o, err)
			}
			out := o.settings.Out
			o.settings = was
			if err := layers(&o.settings); err != nil {
				return err
			}
			o.settings.Out = out
		}
		if err := o.settings.Validate(); err != nil {
			return withHints(&usageError{inRecipe(recipe, err)}, aboutSettings)
		}
		typed := func(flag string) bool { return given(flag) && !fromSettings(t, flag) }
		switch {
		case typed("model") && o.settings.Init != "":
			return withHints(usagef("--model %s begins with a model, and init = %s makes a new one: want one of them", o.settings.Model, o.settings.Init), "leave one of them out")
		case o.settings.Tokenizer != "" && o.settings.Init == "":
			return withHints(usagef("tokenizer = %s is for a new model (--init): %s has its own", o.settings.Tokenizer, o.settings.Model), "leave it out")
		case o.resume && o.settings.Out == "" && !o.printConfig:
			return withHints(usagef("--out is missing: the folder of the training to go on with"), "gptctl finetune --resume --out my-gpt2")
		case o.printConfig:
			_, err := t.out.Write(o.settings.TOML())
			return err
		case len(o.settings.Data) == 0:
			return withHints(usagef("there is no text to train on"), "gptctl finetune --data notes.txt --out my-gpt2")
		case o.settings.Out == "" && !o.dataReport:
			return withHints(usagef("--out is missing: where to write to"), "gptctl finetune --data "+o.settings.Data[0]+" --out my-gpt2")
		case o.settings.Init != "" && o.settings.Tokenizer == "":
			return withHints(usagef("a new model needs a tokenizer"), "--tokenizer bytes has one token per byte", "--tokenizer DIR takes that of a model")
		}
		return start(cmd.Context(), t, o)
	}
	return cmd
}

// quoteSetting keeps Override from taking quotes off a flag's value.
func quoteSetting(value string) string { return `"` + value + `"` }

// inRecipe says in which line of the recipe a value is that makes no sense.
func inRecipe(recipe string, err error) error {
	var wrong, there *finetune.SettingError
	if recipe == "" || !errors.As(err, &wrong) {
		return err
	}
	content, readErr := readBounded(recipe, maxSettingsBytes)
	s := finetune.Defaults()
	if readErr != nil || finetune.ParseRecipe(&s, recipe, content) != nil || !errors.As(s.Validate(), &there) || *there != *wrong {
		return err // it is said elsewhere
	}
	if line := finetune.RecipeLine(content, wrong.Key); line > 0 {
		return fmt.Errorf("%s:%d: %w", recipe, line, err)
	}
	return err
}

// isDataWord tells a path among the words from a key=value.
func isDataWord(word string) bool {
	key, _, isPair := strings.Cut(word, "=")
	if isPair && !strings.ContainsAny(key, `/\`) {
		return false
	}
	_, err := os.Stat(word)
	return err == nil
}

func unknownWord(word string, err error) error {
	if strings.HasPrefix(word, "-") {
		return usagef("%s: want key=value", word)
	}
	return withHints(&usageError{err}, aboutSettings)
}

func runFinetune(ctx context.Context, t *terminal, o finetuneOptions) error {
	family, err := kernelFamily(t)
	if err != nil {
		return err
	}
	show := newFinetuneProgress(t)
	options := finetune.Options{
		Settings: o.settings, Resume: o.resume, Force: o.force, Threads: o.threads, Family: family, Getenv: t.getenv, CacheDir: tokenCache(t),
		Free:   func() (int64, bool) { return freeMemory(ctx, machine.Local()) },
		Corpus: show.corpus, Ready: show.ready, Events: show.event,
	}
	if o.dataReport {
		return printDataReport(ctx, t, options, show)
	}
	result, err := finetune.Run(ctx, options)
	if errors.Is(err, fetch.ErrNotCached) {
		if _, err := fetchModel(ctx, t, fetch.Options{Model: o.settings.Model, Mirrors: t.mirrors()}, false); err != nil {
			return withHints(err, "--model demo works without a download")
		}
		result, err = finetune.Run(ctx, options)
	}
	show.close()
	if err != nil {
		return finetuneHints(o, err)
	}
	if t.json {
		return show.failed
	}
	_, err = fmt.Fprintf(t.out, "%s  %s\n", result.Path, resultWords(result))
	return err
}

// tokenCache is where the tokens of texts are kept for the next time.
func tokenCache(t *terminal) string {
	dir := t.getenv("XDG_CACHE_HOME")
	if dir == "" {
		var err error
		if dir, err = os.UserCacheDir(); err != nil {
			return ""
		}
	}
	return filepath.Join(dir, "gptctl", "corpus")
}

func printDataReport(ctx context.Context, t *terminal, o finetune.Options, show *finetuneProgress) error {
	report, err := finetune.Texts(ctx, o)
	show.close()
	if report != nil {
		var printed error
		if t.json {
			printed = t.printJSON(map[string]any{"schema": finetuneSchema, "event": "data", "report": report, "train": report.Train, "validation": report.Validation})
		} else {
			printed = report.WriteText(t.out)
		}
		if err == nil {
			err = printed
		}
	}
	if err != nil {
		return finetuneHints(finetuneOptions{settings: o.Settings}, err)
	}
	return nil
}
