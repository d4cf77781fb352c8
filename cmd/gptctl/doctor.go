package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gptctl/gptctl/doctor"
	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/fetch"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/machine"
	"github.com/gptctl/gptctl/internal/mapped"
	"github.com/gptctl/gptctl/internal/modelfiles"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/run"
)

// doctorOptions are what `gptctl doctor` was asked for.
type doctorOptions struct {
	purpose, model, dtype, device string
	kvDType                       string
	batch, context, threads       int
	profile                       string
	only, skip                    []string
	deep, strict, offline         bool
	list, fix, all                bool
	since                         string
}

const doctorHelp = `Say whether this machine is ready, what is missing, and what mends it.

Without --for the machine is judged by the reference requirements of a GPT-2 set-up
with Python and an NVIDIA GPU; with --for only by what that work needs, and the
report says where it fits. What cannot be known is skipped with the reason, never
passed. Nothing is changed, but for small files where the models go that measure the
disk and are removed at once.

A threshold can be set by itself in gptctl.toml, in the form of a profile:
[doctor.thresholds.disk] and free_gb = 20.

The exit code is 0 if the machine is ready, 1 if it is not.`

func newDoctor(t *terminal, start func(context.Context, *terminal, doctorOptions) error) *cobra.Command {
	if start == nil {
		start = runDoctor
	}
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say whether this machine is ready, and what mends it",
		Long:  doctorHelp,
		Example: `  gptctl doctor
  gptctl doctor --for run --model gpt2-xl --dtype bf16
  gptctl doctor --profile ci --json > report.json
  gptctl doctor --since report.json`,
		Args: usageArgs(cobra.NoArgs),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.purpose, "for", "", "judge only what this work needs: `run|finetune|serve`")
	f.StringVar(&o.model, "model", "gpt2", "with --for, the `MODEL`: gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2, demo, a folder, a .gguf file, or one of the Hub; OWNER/NAME is also asked for at the Hub")
	f.StringVar(&o.dtype, "dtype", "auto", "with --for, the type of the weights: `auto|f32|bf16|f16|q8_0|q4_0` (auto: the file's, as with run)")
	f.StringVar(&o.kvDType, "kv-dtype", "auto", "with --for run, the type of keys and values, as of run: auto, "+strings.Join(run.KVDTypes(), ", "))
	f.IntVar(&o.threads, "threads", 0, "with --for, threads to compute with, `N` (0: one per physical core)")
	f.IntVar(&o.batch, "batch", 1, "with --for, sequences at once, `N`")
	f.IntVar(&o.context, "context", 0, "with --for, the longest text in tokens, `N` (0: the model's own)")
	f.StringVar(&o.device, "device", "auto", "with --for, where: `auto|cpu|cuda`")
	f.StringVar(&o.profile, "profile", doctor.Reference, "thresholds: `NAME|FILE` ("+strings.Join(doctor.Profiles(), ", ")+", or a TOML file)")
	f.BoolVar(&o.deep, "deep", false, "let the GPU check take all free memory of the GPU")
	f.StringSliceVar(&o.only, "only", nil, "make only these checks or groups, `IDS`")
	f.StringSliceVar(&o.skip, "skip", nil, "let these checks or groups pass, and say so, `IDS`")
	f.BoolVar(&o.strict, "strict", false, "warnings are failures")
	f.BoolVar(&o.offline, "offline", false, "ask no network")
	f.BoolVar(&o.all, "all", false, "show what was skipped, too")
	f.BoolVar(&o.list, "list", false, "list the checks")
	f.StringVar(&o.since, "since", "", "tell what changed since the report in `FILE`, made with --json")
	f.BoolVar(&o.fix, "fix", false, "plan to install what mends the findings, as gptctl install would")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.list {
			for _, name := range []string{"for", "skip", "since", "fix", "strict", "deep"} {
				if cmd.Flags().Changed(name) && !fromSettings(t, name) {
					return usagef("--list only names the checks: --%s does not go with it", name)
				}
			}
		}
		if o.fix && t.json {
			// Two documents on standard output are none.
			return withHints(usagef("--fix plans an installation, --json writes a report: they do not go together"),
				"gptctl doctor --json > report.json", "gptctl install --dry-run --json …")
		}
		if o.purpose == "" {
			for _, name := range []string{"model", "dtype", "kv-dtype", "threads", "batch", "context", "device"} {
				if name == "model" && strings.Contains(o.model, "/") {
					continue // of the Hub: may it be read?
				}
				// From the environment or a file they may be meant for other verbs.
				if cmd.Flags().Changed(name) && !fromSettings(t, name) {
					return withHints(usagef("--%s says what the work needs, and there is none", name), "gptctl doctor --for run --"+name+" …")
				}
			}
		}
		return start(cmd.Context(), t, o)
	}
	return cmd
}

// thresholdsKey names the table [doctor.thresholds] of gptctl.toml, which has
// the form of a profile and beats it.
const thresholdsKey = "thresholds"

func runDoctor(ctx context.Context, t *terminal, o doctorOptions) error {
	if o.list {
		return listChecks(t, o.only)
	}
	var before *doctor.Report
	if o.since != "" {
		f, err := os.Open(o.since)
		if err != nil {
			return &usageError{fmt.Errorf("read report: %w", err)} // 1 would say that the machine is not ready
		}
		defer f.Close()
		if before, err = doctor.ReadReport(f); err != nil {
			return withHints(usagef("%s: %w", o.since, err), "a report is made with gptctl doctor --json > "+o.since)
		}
	}
	options, err := doctorRun(t, o)
	if err != nil {
		return err
	}
	report, err := doctor.Run(ctx, options)
	if err != nil {
		var unknown *doctor.UnknownCheckError
		if errors.As(err, &unknown) {
			return withHints(&usageError{err}, "gptctl doctor --list")
		}
		return err
	}
	if err := printReport(t, o, report, before); err != nil {
		return err
	}
	if o.fix {
		if components := report.Components(); len(components) > 0 {
			return runInstall(ctx, t, installOptions{components: components})
		}
		t.note("nothing that gptctl install could mend")
	}
	if !report.Ready {
		return errNotReady
	}
	return nil
}

// errNotReady ends a doctor whose report has said everything already.
var errNotReady = errors.New("not ready")

func doctorRun(t *terminal, o doctorOptions) (doctor.Options, error) {
	profile, err := doctor.LoadProfile(o.profile)
	if err != nil {
		return doctor.Options{}, &usageError{err} // 1 would say that the machine is not ready
	}
	if _, ok := t.settings["doctor"][thresholdsKey]; ok {
		// Read again, because only the text knows where a mistake is.
		data, err := readBounded(t.settingsFile, maxSettingsBytes)
		if err != nil {
			return doctor.Options{}, fmt.Errorf("read settings: %w", err)
		}
		if err := profile.Override(t.settingsFile, data); err != nil {
			return doctor.Options{}, &usageError{err}
		}
	}
	family, err := kernelFamily(t)
	if err != nil {
		return doctor.Options{}, err
	}
	host := machine.Local()
	options := doctor.Options{Threads: kernel.Cores(), Kernels: fit.Kernels(kernel.TraitsOf(family)), Program: mapped.Program(),
		Profile: profile, Only: o.only, Skip: o.skip, Strict: o.strict, Deep: o.deep,
		Network: !o.offline, Host: host, Devices: []fit.Device{fit.CPU}}
	if strings.Contains(o.model, "/") && !isFolder(o.model) {
		id, err := fetch.ParseModelID(o.model)
		if err != nil {
			return options, &usageError{err}
		}
		options.Model = id.String()
	}
	if o.purpose == "" {
		return options, nil
	}
	if o.threads < 0 || o.threads > 1024 {
		return options, usagef("--threads %d: want 0 to 1024", o.threads)
	}
	if o.threads > 0 {
		options.Threads = o.threads
	}
	o.dtype, o.kvDType = strings.ToLower(o.dtype), strings.ToLower(o.kvDType)
	w := fit.Work{Purpose: fit.Purpose(o.purpose), Model: o.model, DType: fit.DType(o.dtype), AsIs: o.dtype == "auto", Batch: o.batch, Context: o.context}
	if w.AsIs {
		w.DType = fit.F32 // as the Hub has them
	}
	name := ""
	if _, known := fit.Lookup(o.model); known {
		w.FileMapped = w.DType == fit.F32
	} else if err := ownModel(t, o.model, family, &w); err != nil {
		return options, modelHints(o.model, err)
	} else {
		w.Model, name = "", o.model
	}
	switch o.device {
	case "auto":
	case "cpu", "cuda":
		w.Device = fit.Device(o.device)
	default:
		return options, usagef("--device %q: want auto, cpu or cuda", o.device)
	}
	if o.batch < 1 {
		return options, usagef("--batch %d: want at least 1", o.batch)
	}
	if o.context < 0 {
		return options, usagef("--context %d: want at least 1, or 0 for the model's own", o.context)
	}
	if w.Purpose == fit.Finetune {
		w.FileMapped, w.AsIs = w.FileMapped && w.Copied, false
		switch fit.DType(o.dtype) {
		case fit.BF16:
			w.Precision = fit.MixedBF16
		case fit.F16:
			w.Precision = fit.MixedFP16
		}
		w.DType = ""
	} else if o.kvDType != "auto" {
		if !slices.Contains(run.KVDTypes(), o.kvDType) {
			return options, usagef("--kv-dtype %s: want auto, %s", o.kvDType, strings.Join(run.KVDTypes(), ", "))
		}
		w.KVDType = fit.DType(o.kvDType)
	} else if !w.AsIs && (w.DType == fit.BF16 || w.DType == fit.F16) {
		w.KVDType = fit.F16 // run's choice
	}
	if w.Purpose == fit.Run { // of a text half is taken to be the prompt
		w.Prompt = (w.Longest() + 1) / 2
	}
	if err := w.Check(); err != nil {
		return options, &usageError{err}
	}
	options.Work = &doctor.Work{Work: w, Name: name, Required: o.device != "auto"}
	return options, nil
}

// isFolder tells a model in a folder from one of the Hub, as run does.
func isFolder(model string) bool {
	if filepath.IsAbs(model) || strings.HasPrefix(model, ".") || strings.HasPrefix(model, "~") || strings.Count(model, "/") > 1 {
		return true
	}
	_, err := os.Stat(model)
	return err == nil
}

// ownModel describes a model which is on this machine: the one in the binary, one in a
// folder or a file, or one in the cache of the Hub.
func ownModel(t *terminal, model, family string, w *fit.Work) error {
	dir := model
	if model != run.DemoModel && !isFolder(model) && !strings.HasSuffix(strings.ToLower(model), ".gguf") {
		cached, err := fetch.CachedModel(model, t.getenv)
		if err != nil {
			var names []string
			for _, m := range fit.Models() {
				names = append(names, m.Name)
			}
			err := usagef("model %q is not one of %s, and its config.json is not on this machine", model, strings.Join(names, ", "))
			return withHints(err, "gptctl fetch "+model)
		}
		dir = cached
	}
	dtype := tensor.Invalid
	if !w.AsIs {
		var err error
		if dtype, err = run.ParseDType(string(w.DType)); err != nil {
			return &usageError{err}
		}
	}
	look := modelfiles.Options{DType: dtype, Copied: kernel.TraitsOf(family).Copied(dtype), Look: true}
	var m *modelfiles.Model
	var err error
	if model == run.DemoModel {
		m, err = modelfiles.OpenDemo(look)
	} else {
		m, err = modelfiles.Open(dir, look)
	}
	var missing *modelfiles.MissingFilesError
	if errors.As(err, &missing) { // its shape is enough
		w.FileMapped = w.DType == fit.F32
		var failure error
		if w.Config, failure = folderConfig(model, dir); errors.Is(failure, fs.ErrNotExist) {
			return err
		}
		return failure
	}
	var other *modelfiles.NoModelError
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &other) {
		return &usageError{err}
	}
	if err != nil {
		return &run.UnreadableModelError{Err: err}
	}
	defer m.Close()
	w.Config, w.FileDType, w.GGUF, w.FileBytes = m.Config, fit.DType(strings.ToLower(m.DType.String())), m.OutIn, m.FileBytes()
	if w.AsIs {
		w.DType = w.FileDType
	}
	w.FileMapped, w.Copied = m.InPlace || m.Embedded, m.Embedded
	return nil
}

// folderConfig reads the configuration of a model in a folder.
func folderConfig(model, dir string) (gpt2.Config, error) {
	data, err := readBounded(filepath.Join(dir, "config.json"), 1<<20)
	if err != nil {
		return gpt2.Config{}, fmt.Errorf("read model: %w", err)
	}
	c, err := gpt2.ParseConfig(data)
	if err != nil {
		return gpt2.Config{}, &run.UnreadableModelError{Err: fmt.Errorf("read model %s: %w", model, err)}
	}
	return c, nil
}

func listChecks(t *terminal, only []string) error {
	checks, err := doctor.Chosen(only)
	if err != nil {
		return withHints(&usageError{err}, "gptctl doctor --list")
	}
	for _, c := range checks {
		var err error
		if t.json {
			err = t.printJSON(map[string]string{"schema": doctor.Schema, "id": c.ID, "title": c.Title, "group": c.Group, "why": c.Why})
		} else {
			_, err = fmt.Fprintf(t.out, "%-20s %s\n", c.ID, c.Title)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func printReport(t *terminal, o doctorOptions, report, before *doctor.Report) error {
	text := doctor.TextOptions{Color: t.colors(), All: o.all}
	switch {
	case t.json && before != nil:
		return t.printJSON(struct {
			*doctor.Report
			Changes []doctor.Change `json:"changes"`
		}{report, append([]doctor.Change{}, doctor.Compare(before, report)...)})
	case t.json:
		return t.printJSON(report)
	case before != nil:
		return doctor.WriteChanges(t.out, doctor.Compare(before, report), text)
	}
	return doctor.WriteText(t.out, report, text)
}
