package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gptctl/gptctl/internal/convert"
	"github.com/gptctl/gptctl/internal/prune"
	"github.com/gptctl/gptctl/run"
)

// convertOptions are what `gptctl convert` was asked for.
type convertOptions struct {
	convert.Options
	model, dtype string
	adapter      string // a folder, "" for none
	prune        []string
	plan         prune.Plan // what prune says
	calibration  string     // a file, "" for a text that the model writes
}

const convertHelp = `Write a model in another format or another type of weights.

MODEL is what "run" takes: "demo", a folder in Hugging Face format, a .gguf file, or
the id of a model of the Hugging Face Hub that is in the cache.

A PATH that ends in .gguf becomes a GGUF file, which llama.cpp and gptctl run as it
is; any other a folder in Hugging Face format, which transformers loads. The weights
keep their type unless --dtype says another: f32, f16 and bf16 in both formats,
q8_0 and q4_0 (blocks of 32 with a common scale) in GGUF only. In a GGUF file vectors
and the position embedding are always f32, as llama.cpp wants them.

--adapter adds a LoRA adapter, as "finetune" with lora.merge=false and peft write
it, to the weights; without MODEL its adapter_config.json says which model that is.

--prune makes the model smaller: mlp=25% leaves the least important quarter of
the MLP neurons of every layer out (as many as leave a multiple of 32, for the
quantised types) and adapts the others to stand in for them, layers=2 the two
blocks that it can best do without. What is important shows on a text:
--calibration names one such as the model will be used for, of some pages at
least; without it the model writes one. Perplexity (on a part of the text that was
not used), size and speed of both models are printed; "finetune" can train the
smaller one further.

PATH appears when it is whole, and not before: a conversion that fails or is
interrupted leaves nothing behind, and what was there stays.`

// newConvert makes the verb; start is for tests of the flags, nil the real thing.
func newConvert(t *terminal, start func(context.Context, *terminal, convertOptions) error) *cobra.Command {
	if start == nil {
		start = runConvert
	}
	var o convertOptions
	cmd := &cobra.Command{
		Use:   "convert MODEL --out PATH",
		Short: "Write a model as safetensors or GGUF, in any type of weights",
		Long:  convertHelp,
		Example: `  gptctl convert gpt2 --out gpt2-q8_0.gguf --dtype q8_0
  gptctl convert demo --out ./demo
  gptctl convert gpt2 --out ./smaller --prune mlp=25%,layers=1 --calibration book.txt
  gptctl convert model.gguf --out ./model --to safetensors --dtype f16`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.Out, "out", "", "write to `PATH`")
	f.StringVar(&o.To, "to", "", "`FORMAT`: safetensors or gguf (default: as the name of PATH says)")
	f.StringVar(&o.dtype, "dtype", "auto", "`TYPE` of the weights: auto (as they are), f32, f16, bf16, q8_0 or q4_0")
	f.StringVar(&o.adapter, "adapter", "", "add the LoRA adapter in `DIR` to the weights")
	f.StringArrayVar(&o.prune, "prune", nil, "leave out `WHAT` matters least: mlp=P%, layers=N, or both with a comma")
	f.StringVar(&o.calibration, "calibration", "", "the text in `FILE` says what matters")
	f.BoolVar(&o.Force, "force", false, "replace the file, or the folder of a model, at PATH")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("adapter") && o.adapter == "" {
			return usagef("--adapter is empty: want the folder of an adapter")
		}
		if len(args) == 0 && o.adapter != "" {
			r := runOptions{adapter: o.adapter}
			if err := adapterModel(t, &r); err != nil {
				return err
			}
			args = []string{r.model}
		}
		if err := checkConvert(&o, args); err != nil {
			return err
		}
		return start(cmd.Context(), t, o)
	}
	return cmd
}

func checkConvert(o *convertOptions, args []string) (err error) {
	o.To, o.dtype = strings.ToLower(o.To), strings.ToLower(o.dtype)
	switch {
	case len(args) == 0:
		return withHints(usagef("there is no model"), "gptctl convert gpt2 --out gpt2.gguf")
	case len(args) > 1:
		return usagef("one model at a time, not %d: %s", len(args), strings.Join(args, ", "))
	case o.Out == "":
		return withHints(usagef("--out is missing: where to write to"), "gptctl convert "+args[0]+" --out model.gguf")
	case o.To != "" && o.To != convert.Safetensors && o.To != convert.GGUF:
		return usagef("--to %s: want %s or %s", o.To, convert.Safetensors, convert.GGUF)
	}
	o.model = args[0]
	if o.plan, err = prune.ParsePlan(o.prune); err != nil {
		return usagef("--prune %w", err)
	}
	if o.calibration != "" && len(o.prune) == 0 {
		return withHints(usagef("--calibration is for --prune, which is not given"), "--prune mlp=25%")
	}
	if o.DType, err = convert.ParseDType(o.dtype); err != nil {
		return usagef("--dtype: %w", err)
	}
	return nil
}

func runConvert(ctx context.Context, t *terminal, o convertOptions) error {
	start := time.Now()
	files, path, err := run.OpenFiles(o.model, t.getenv)
	if err != nil {
		return modelHints(o.model, err)
	}
	defer files.Close()
	o.Source = path
	if o.Name = cmp.Or(files.Title, files.Name); files.Title == "" && path != "" {
		if _, err := os.Stat(o.model); err != nil { // a Hub id; the folder is called after its commit
			o.Name = o.model[strings.LastIndexByte(o.model, '/')+1:]
		}
	}
	show := &convertProgress{t: t, last: start}
	if f, ok := t.err.(*os.File); ok {
		show.screen = term.IsTerminal(int(f.Fd()))
	}
	o.Progress = show.show
	if o.adapter != "" {
		merged, closeMerged, err := run.Merge(files, o.adapter, adapterRoom(ctx))
		if err != nil {
			return adapterHints(runOptions{model: o.model, named: true, adapter: o.adapter}, err)
		}
		defer closeMerged()
		files = merged
		o.Changed = files.DType
	}
	var smaller *pruning
	if len(o.prune) > 0 {
		if files, smaller, err = pruned(ctx, t, files, &o, show); err != nil {
			show.close()
			return convertHints(o, err)
		}
		defer smaller.close()
		o.Changed = files.DType
	}
	result, err := convert.Write(ctx, files, o.Options)
	show.close()
	if err != nil {
		return convertHints(o, err)
	}
	if smaller != nil {
		if err := smaller.compare(ctx, result.Path, show); err != nil {
			return fmt.Errorf("%s is written, but it cannot be measured: %w", result.Path, err)
		}
	}
	for _, n := range result.Notes {
		t.note("note: %s", n)
	}
	if t.json {
		written := []map[string]any{}
		for _, f := range result.Files {
			written = append(written, map[string]any{"file": f.Name, "bytes": f.Bytes})
		}
		done := map[string]any{
			"schema": convertSchema, "event": "done", "model": o.model, "path": result.Path, "format": result.Format,
			"dtype": strings.ToLower(result.DType.String()), "parameters": files.Config.Parameters(), "tensors": result.Tensors,
			"bytes": result.Bytes, "files": written, "notes": append([]string{}, result.Notes...), "seconds": time.Since(start).Seconds(),
		}
		if smaller != nil {
			done["pruned"] = smaller.json()
		}
		return t.printJSON(done)
	}
	_, err = fmt.Fprintf(t.out, "%s  %s, %d tensors, %v, %.1f s\n", result.Path, size(result.Bytes), result.Tensors, result.DType, time.Since(start).Seconds())
	if err == nil && smaller != nil {
		_, err = io.WriteString(t.out, smaller.words())
	}
	return err
}

const convertSchema = "gptctl.convert/1"

// convertHints adds what mends a conversion that failed.
func convertHints(o convertOptions, err error) error {
	var exists *convert.ExistsError
	var dtype *convert.DTypeError
	var room *convert.RoomError
	var large *convert.RangeError
	switch {
	case errors.As(err, &exists):
		return withHints(err, "--force replaces it")
	case errors.As(err, &dtype):
		ext := filepath.Ext(o.Out)
		return &usageError{withHints(err, "gptctl convert "+o.model+" --out "+strings.TrimSuffix(o.Out, ext)+".gguf --dtype "+o.dtype, "--dtype bf16 or f16 takes half the room of f32")}
	case errors.As(err, &room):
		return withHints(err, "free some room, or write to another disk")
	case errors.As(err, &large) && large.Damaged:
		return withHints(err, "the model in "+o.model+" is not fit for use: fetch or export it again")
	case errors.As(err, &large):
		return withHints(err, "--dtype bf16 has the range of f32")
	case errors.Is(err, fs.ErrNotExist) && isMissing(filepath.Dir(o.Out)):
		return withHints(err, "mkdir -p "+filepath.Dir(o.Out))
	case errors.Is(err, fs.ErrNotExist) && o.calibration != "" && isMissing(o.calibration):
		return withHints(err, "--calibration names a text file; without it the model writes the text itself")
	}
	return err
}

func isMissing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// convertProgress shows a line that moves on a terminal, events with --json, and
// nothing in a pipe: a conversion takes seconds.
type convertProgress struct {
	t      *terminal
	screen bool
	shown  bool
	last   time.Time
}

const convertInterval = 100 * time.Millisecond

func (p *convertProgress) show(done, total int64) {
	now := time.Now()
	if now.Sub(p.last) < convertInterval {
		return
	}
	p.last = now
	if p.t.json {
		_ = p.t.printJSON(map[string]any{"schema": convertSchema, "event": "progress", "complete_bytes": done, "bytes": total})
	}
	if p.screen && !p.t.quiet {
		fmt.Fprintf(p.t.err, "\r\x1b[K%s of %s (%d %%)", size(done), size(total), 100*done/max(total, 1))
		p.shown = true
	}
}

// step shows how far one of the works before the writing is.
func (p *convertProgress) step(what string, done, total int) {
	now := time.Now()
	if now.Sub(p.last) < convertInterval {
		return
	}
	p.last = now
	if p.t.json {
		_ = p.t.printJSON(map[string]any{"schema": convertSchema, "event": "prune", "work": what, "complete": done, "total": total})
	}
	if p.screen && !p.t.quiet {
		fmt.Fprintf(p.t.err, "\r\x1b[K%s: %d %%", what, 100*done/max(total, 1))
		p.shown = true
	}
}

// close takes the line away.
func (p *convertProgress) close() {
	if p.shown {
		_, _ = io.WriteString(p.t.err, "\r\x1b[K")
	}
}
