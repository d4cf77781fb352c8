package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gptctl/gptctl/fetch"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/run"
)

// runOptions are what `gptctl run` was asked for.
type runOptions struct {
	model    string
	named    bool   // the model was given, and is not the default
	adapter  string // a folder, "" for none
	threads  int
	dtype    string
	kvDType  string
	words    []string // the prompt, as the command line gave it
	file     string
	stats    bool
	settings run.Layer // what the user set explicitly
	badWords []string  // words still to be turned into tokens
}

const runHelp = `Continue a text.

The prompt is the words of the command line, joined by one space. A pipe or a
file on stdin is put before them, and so is the text of --file (stdin, then the
file, then the words, joined by one space); one final newline of each is dropped.
An empty prompt starts a text from nothing.

MODEL is "demo" (a small model inside gptctl, works offline), a folder in Hugging
Face format, a .gguf file, or the id of a model of the Hugging Face Hub, which is fetched first if it
is not in the cache.

--adapter adds a LoRA adapter, as "finetune" with lora.merge=false and peft write
it, to the weights while they are read. Without --model its adapter_config.json
says which model that is.

In a pipe stdout carries the continuation only; several samples are separated by
lines of "---". With --json it carries one object per sample.

Without settings the next token is sampled (temperature 0.8, top-k 40, top-p 0.95)
from a fresh seed, which --stats and --json name; what the model's
generation_config.json sets comes before that, and a flag before both. A flag can
also be given as GPTCTL_<FLAG> in the environment or in the [run] table of
gptctl.toml. Equal seeds give equal texts on any number of threads.`

// newRun makes the verb. start carries it out; nil means the real thing, tests
// of the flags have their own.
func newRun(t *terminal, start func(context.Context, *terminal, runOptions) error) *cobra.Command {
	if start == nil {
		start = runRun
	}
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [PROMPT…]",
		Short: "Continue a text with a GPT-2",
		Long:  runHelp,
		Example: `  gptctl run --model demo "It was a dark"
  gptctl run --model demo --temperature 0 -n 40 "My dear Watson,"
  echo "Call me" | gptctl run --model demo --samples 3 --seed 7 --json`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.SetNormalizeFunc(huggingFaceNames)
	f.StringVarP(&o.model, "model", "m", "gpt2", "the `MODEL` to run: demo, a folder, a .gguf file, or a Hub id")
	f.StringVar(&o.adapter, "adapter", "", "add the LoRA adapter in `DIR` to the weights; its own base model is the default of --model")
	f.StringVar(&o.dtype, "dtype", "auto", "`TYPE` of the weights to multiply by: auto (the file's, with products in f32), "+strings.Join(run.DTypes(), ", ")+" (f16 is rounded to bf16 on CPUs that multiply bf16 by bf16)")
	f.StringVar(&o.kvDType, "kv-dtype", "auto", "`TYPE` of the keys and values of the text so far: auto (f32; f16 with --dtype f16 and bf16, q8_0 beside quantised weights, or f16 where the CPU has no kernels for it), "+strings.Join(run.KVDTypes(), ", ")+"; f16 takes half the memory, q8_0 a quarter")
	f.IntVar(&o.threads, "threads", 0, "threads to compute with (0: one per physical core)")
	f.StringVarP(&o.file, "file", "f", "", "read the prompt from `FILE` (-: stdin)")
	f.BoolVar(&o.stats, "stats", false, "print times and speeds on stderr")
	layer := addSettingsFlags(f, &o)
	completeWith(cmd, "dtype", run.DTypes())
	completeWith(cmd, "kv-dtype", run.KVDTypes())
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		o.words = words
		if o.threads < 0 || o.threads > 1024 {
			return usagef("--threads %d: want 0 to 1024", o.threads)
		}
		if o.dtype = strings.ToLower(o.dtype); o.dtype != "auto" && !slices.Contains(run.DTypes(), o.dtype) {
			return usagef("--dtype %s: want auto, %s", o.dtype, strings.Join(run.DTypes(), ", "))
		}
		if o.kvDType = strings.ToLower(o.kvDType); o.kvDType != "auto" && !slices.Contains(run.KVDTypes(), o.kvDType) {
			return usagef("--kv-dtype %s: want auto, %s", o.kvDType, strings.Join(run.KVDTypes(), ", "))
		}
		o.named = f.Changed("model")
		if f.Changed("adapter") && o.adapter == "" {
			return usagef("--adapter is empty: want the folder of an adapter")
		}
		if o.model == "" {
			return usagef("--model is empty: want demo, a folder, a .gguf file, or a Hub id")
		}
		var err error
		if o.settings, err = layer(); err != nil {
			return err
		}
		return nameFlag(cmd.Flags(), start(cmd.Context(), t, o))
	}
	return cmd
}

// completeWith lets a shell complete the value of a flag that also takes "auto".
func completeWith(cmd *cobra.Command, flag string, values []string) {
	values = append([]string{"auto"}, values...)
	// The error would be that there is no such flag, or that it has values already.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// nameFlag makes an error about a setting speak of the flag that set it, or say
// where a setting that no flag set comes from.
func nameFlag(flags *pflag.FlagSet, err error) error {
	var setting *run.SettingError
	if !errors.As(err, &setting) {
		return err
	}
	f := flags.Lookup(setting.Setting)
	if setting.Setting == "bad_words_ids" && flags.Changed("bad-words") {
		f = flags.Lookup("bad-words") // the same in words
	}
	switch {
	case f == nil:
		return withHints(err, "the model's generation_config.json sets "+setting.Setting)
	case !f.Changed:
		return withHints(err, fmt.Sprintf("the model's generation_config.json sets %s; --%s overrules it", setting.Setting, f.Name))
	}
	setting.Setting = "--" + f.Name
	return err
}

// huggingFaceNames lets users of transformers write what they are used to.
func huggingFaceNames(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	name = strings.ReplaceAll(name, "_", "-")
	switch name {
	case "max-new-tokens":
		name = "max-tokens"
	case "repetition-penalty":
		name = "repeat-penalty"
	case "num-return-sequences":
		name = "samples"
	case "prompt-lookup-num-tokens":
		name = "lookup"
	case "stop-strings":
		name = "stop"
	}
	return pflag.NormalizedName(name)
}

func runRun(ctx context.Context, t *terminal, o runOptions) error {
	if err := adapterModel(t, &o); err != nil {
		return err
	}
	prompt, err := readPrompt(ctx, t, o)
	if err != nil {
		return err
	}
	m, err := openModel(ctx, t, o)
	if err != nil {
		return err
	}
	defer m.Close()
	t.detail("model %s: %s, %d parameters, %s; %s kernels on %s", m.Name, m.Path, m.Config.Parameters(), m.DType, m.Family, count(m.Threads, "thread"))

	for _, s := range m.Skipped {
		t.detail("kernels not used: %s", s)
	}
	if m.Adapter != "" {
		t.detail("adapter %s: added to %d matrices", m.Adapter, m.Adapted)
	}
	if n := len(m.Ignored); n > 0 {
		t.note("note: %s holds additions to %d matrices that its target_modules do not name, among them %s: they are left out", m.Adapter, n, m.Ignored[0])
	}
	if n := len(m.Unused); n > 0 {
		t.note("note: %s holds %d tensors that a GPT-2 has no place for, among them %s", m.Path, n, m.Unused[0])
	}

	if ids := m.BadWords(o.badWords); len(ids) > 0 {
		o.settings = append(o.settings, func(s *run.Settings) { s.BadWords = append(slices.Clone(s.BadWords), ids...) })
	}
	settings, err := m.Settings(o.settings)
	if err != nil {
		return err
	}
	if t.json && settings.Logprobs == run.Unset {
		settings.Logprobs = 0 // of the tokens chosen; costs little and is in the schema
	}
	if err := settings.Validate(); err != nil {
		return &usageError{err}
	}

	if err := checkRoom(ctx, m, settings); err != nil {
		return err
	}

	w := newTextWriter(t, prompt, settings)
	request := run.Request{Prompt: prompt, Settings: settings}
	if !t.json {
		if err := w.begin(); err != nil {
			return err
		}
		request.Stream = w.token
	}
	mapped.ForgetProgram()
	result, err := m.Generate(ctx, request)
	if err != nil {
		w.interrupt()
		return generateHints(m, err)
	}
	if t.json {
		err = printRunJSON(t, m, settings, result)
	} else {
		err = w.end(result)
	}
	if err == nil && o.stats {
		printRunStats(t, m, result)
	}
	return err
}

// kernelFamily is the family of kernels that the environment asks for, "" if it
// does not, or if the system refuses it: a sandbox must not stop the work.
func kernelFamily(t *terminal) (string, error) {
	family, note, err := allowedFamily(t.getenv("GPTCTL_CPU"), run.CheckFamily)
	if note != "" {
		t.note("note: %s", note)
	}
	return family, err
}

func allowedFamily(name string, check func(string) error) (family, note string, err error) {
	if name = strings.ToLower(strings.TrimSpace(name)); name == "" {
		return "", "", nil
	}
	var refused *run.RefusedError
	switch err := check(name); {
	case errors.As(err, &refused):
		return "", fmt.Sprintf("GPTCTL_CPU=%q in the environment: %v; the best of the others is used", name, err), nil
	case err != nil:
		return "", "", withHints(usagef("GPTCTL_CPU=%q in the environment: %v", name, err), "without it the fastest of them is used")
	}
	return name, "", nil
}

// openModel opens the model, and fetches it first if it is neither here nor in
// the cache.
func openModel(ctx context.Context, t *terminal, o runOptions) (*run.Model, error) {
	family, err := kernelFamily(t)
	if err != nil {
		return nil, err
	}
	options := run.OpenOptions{Threads: o.threads, Family: family, DType: o.dtype, KVDType: o.kvDType, Getenv: t.getenv, Adapter: o.adapter, Room: adapterRoom(ctx)}
	m, err := run.Open(ctx, o.model, options)
	if errors.Is(err, fetch.ErrNotCached) {
		if _, err := fetchModel(ctx, t, fetch.Options{Model: o.model, Mirrors: t.mirrors()}, false); err != nil {
			if o.adapter != "" && !o.named {
				return nil, adapterHints(o, err)
			}
			return nil, withHints(err, "gptctl run --model demo works without a download")
		}
		m, err = run.Open(ctx, o.model, options)
	}
	if err != nil {
		return nil, adapterHints(o, modelHints(o.model, err))
	}
	return m, nil
}

// generateHints adds what mends a generation that failed.
func generateHints(m *run.Model, err error) error {
	var full *run.ContextError
	var setting *run.SettingError
	switch {
	case errors.As(err, &full):
		return withHints(err, fmt.Sprintf("shorten the prompt to %d tokens, or let --context-shift drop its beginning", full.Context))
	case errors.As(err, &setting):
		return &usageError{err}
	case errors.Is(err, run.ErrNoStart):
		return withHints(err, "give a prompt, or set bos_token_id in the model's config.json")
	case errors.Is(err, run.ErrLost):
		return &aboutError{m.Path, err}
	}
	return damageHints(m.Path, err)
}

// damageHints adds what mends weights that are no numbers, or make none.
func damageHints(path string, err error) error {
	if damaged := (*gpt2.NonFiniteError)(nil); errors.As(err, &damaged) {
		return withHints(err, "the model in "+path+" is not fit for use: fetch or export it again")
	}
	return err
}
