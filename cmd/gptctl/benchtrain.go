package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/internal/bench"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/machine"
	"github.com/gptctl/gptctl/internal/train"
)

// benchTrain is what --train adds to `gptctl bench`.
type benchTrain struct {
	on            bool
	precisions    []string
	checkpointing bool
	rank          int
}

const benchTrainHelp = `
--train measures instead whole steps of training on --batch texts of --context
tokens: forward, backward, clipping and AdamW, on random weights. The limit is
that of multiply-adds in registers. A token counts two operations for each weight
of a matrix, the head among them, and for attention to half the context, three
times: forward, and back by the input and by the weight. That is 756 million for
GPT-2 at 256 tokens. What --checkpointing computes twice is counted once, and
the frozen weights of --lora twice. Memory is the most that a process has which
does nothing but this. The precisions take turns, if the memory has room for all.`

func (b *benchTrain) flags(f *pflag.FlagSet) {
	f.BoolVar(&b.on, "train", false, "measure steps of training")
	f.StringSliceVar(&b.precisions, "precision", []string{"fp32", "bf16"}, "`TYPES` of the matrix products of --train: fp32, bf16, fp16")
	f.BoolVar(&b.checkpointing, "checkpointing", false, "let --train compute activations twice instead of keeping them")
	f.IntVar(&b.rank, "lora", 0, "let --train train additions of `RANK` to all matrices of the blocks instead of the model")
}

// check fills in what was not given.
func (b *benchTrain) check(o *benchOptions, given, typed func(flag string) bool) error {
	if !b.on {
		for _, flag := range []string{"precision", "checkpointing", "lora"} {
			if typed(flag) {
				return usagef("--%s is of --train", flag)
			}
		}
		return nil
	}
	for _, flag := range []string{"perplexity", "dtype", "kv-dtype", "prompt-tokens", "gen-tokens", "depth", "stride"} {
		if typed(flag) {
			return usagef("--%s and --train exclude each other", flag)
		}
	}
	o.perplexity = "" // of the environment or the file
	if len(b.precisions) == 0 {
		return usagef("--precision is empty")
	}
	for i, name := range b.precisions {
		name = strings.ToLower(strings.TrimSpace(name))
		if _, err := train.ParsePrecision(name); err != nil {
			return usagef("--precision %s: want fp32, bf16, fp16", name)
		}
		b.precisions[i] = name
	}
	if b.rank < 0 {
		return usagef("--lora %d: want 0 or more", b.rank)
	}
	if !given("batch") {
		o.speed.Batches = []int{4}
	}
	if o.context == 0 {
		o.context = 256
	}
	return nil
}

// kinds lists what is to be measured.
func (b *benchTrain) kinds(o benchOptions) []bench.Training {
	var kinds []bench.Training
	for _, batch := range o.speed.Batches {
		for _, name := range b.precisions {
			p, _ := train.ParsePrecision(name)
			kinds = append(kinds, bench.Training{Precision: p, Batch: batch, Context: o.context, Checkpointing: b.checkpointing, LoRARank: b.rank})
		}
	}
	return kinds
}

func runBenchTrain(ctx context.Context, t *terminal, o benchOptions) error {
	name, cfg, err := trainShape(ctx, t, o)
	if err != nil {
		return err
	}
	if o.context > cfg.Positions {
		return usagef("--context %d: the model has %d positions", o.context, cfg.Positions)
	}
	family, err := kernelFamily(t)
	if err != nil {
		return err
	}
	k, err := kernel.New(kernel.Options{Threads: o.threads, Family: family})
	if err != nil {
		return err
	}
	defer k.Close()
	kinds := o.train.kinds(o)
	groups, err := trainRoom(ctx, cfg, kinds, k.Threads(), fit.Kernels(k.Traits()))
	if err != nil {
		return err
	}
	out := benchWriter{t: t}
	if err := out.beginTrain(name, cfg, k, kinds); err != nil {
		return err
	}
	var limits bench.Limits
	for _, group := range groups {
		meter := &lateMeter{cpu: k}
		rows, err := bench.Train(ctx, k, cfg, group, o.speed.Repetitions, meter, &limits, func(kind bench.Training, round int) {
			t.detail("%s %v, %d × %d: step %d of %d", name, kind.Precision, kind.Batch, kind.Context, round, o.speed.Repetitions)
		})
		meter.close()
		if err == nil {
			err = out.addTrain(name, cfg, rows)
		}
		if err != nil {
			return out.breakOff(&limits, err)
		}
	}
	return out.end(&limits)
}

// trainShape is the configuration of --shape, or of --model, whose weights do
// not matter.
func trainShape(ctx context.Context, t *terminal, o benchOptions) (string, gpt2.Config, error) {
	if o.model == "" {
		cfg, _ := gpt2.Shape(o.shape)
		return o.shape, cfg, nil
	}
	m, err := openModel(ctx, t, runOptions{model: o.model, threads: o.threads, dtype: "auto", kvDType: "auto"})
	if err != nil {
		return "", gpt2.Config{}, err
	}
	defer m.Close()
	return m.Subject().Name, m.Config, nil
}

// trainRoom refuses kinds that the memory has no room for, and tells which can
// be there at a time.
func trainRoom(ctx context.Context, c gpt2.Config, kinds []bench.Training, threads int, kernels fit.Kernels) ([][]bench.Training, error) {
	const meter = 256 << 20 // the limits are measured with
	free, known := freeMemory(ctx, machine.Local())
	total := int64(meter)
	for _, kind := range kinds {
		w := fit.Work{
			Purpose: fit.Finetune, Config: c, Batch: kind.Batch, Context: kind.Context, Threads: threads,
			Precision: fit.Precision(kind.Precision.String()), Checkpointing: kind.Checkpointing, Kernels: kernels,
			LoRA: fit.LoRA{Rank: kind.LoRARank, Targets: bench.LoRATargets},
		}
		if kind.LoRARank == 0 {
			w.LoRA = fit.LoRA{}
		}
		if err := w.Check(); err != nil {
			return nil, &usageError{err}
		}
		need := fit.Estimate(w).Total()
		if known && need > free-meter {
			err := fmt.Errorf("a training in %v on %d × %d tokens takes %s of memory, and %s are free", kind.Precision, kind.Batch, kind.Context, size(need+meter), size(free))
			return nil, withHints(err, "a smaller --batch, --context or --shape takes less, and so does --checkpointing")
		}
		if total += need; total < 0 {
			total = free + 1
		}
	}
	if !known || total <= free {
		return [][]bench.Training{kinds}, nil
	}
	var groups [][]bench.Training
	for _, kind := range kinds {
		groups = append(groups, []bench.Training{kind})
	}
	return groups, nil
}

// trainTable has room for the names of all tests.
func trainTable(kinds []bench.Training) column {
	width := 0
	for _, k := range kinds {
		width = max(width, len(trainTest(k)))
	}
	return column{
		fmt.Sprintf("| %%-12s | %%8s | %%-9s | %%7v | %%-%ds | %%8s | %%19s | %%-18s | %%8s | %%8s |\n", width),
		[]any{"model", "params", "precision", "threads", "test", "tokens/s", "min to max", "limit", "of limit", "memory"},
	}
}

// trainTest names a test.
func trainTest(k bench.Training) string {
	words := fmt.Sprintf("train%dx%d", k.Batch, k.Context)
	if k.LoRARank > 0 {
		words += fmt.Sprintf(" lora %d", k.LoRARank)
	}
	if k.Checkpointing {
		words += " ckpt"
	}
	return words
}

func (w *benchWriter) beginTrain(name string, c gpt2.Config, k *kernel.CPU, kinds []bench.Training) error {
	w.json = benchJSON{
		Schema: "gptctl.bench/1", CPU: machine.Local().Processor().Model, Kernels: k.Family(), Threads: k.Threads(),
		Limits: map[bench.Limit]*float64{}, Rows: []benchRowJSON{},
	}
	w.params, w.table = c.Parameters(), trainTable(kinds)
	w.t.note("%s, %s kernels, %s, training %s", w.json.CPU, w.json.Kernels, count(w.json.Threads, "thread"), name)
	return w.heading()
}

func (w *benchWriter) addTrain(name string, c gpt2.Config, rows []bench.TrainRow) error {
	for _, r := range rows {
		test := fmt.Sprintf("train%dx%d", r.Batch, r.Context)
		rate := rateJSON{r.Median(), slices.Min(r.Rates), slices.Max(r.Rates), r.Rates}
		w.json.Rows = append(w.json.Rows, benchRowJSON{
			Shape: name, DType: r.Precision.String(), Test: test, Batch: r.Batch, Context: r.Context,
			Rate: &rate, Limit: r.Limit, LimitTokS: number(r.Bound), Share: number(r.Share()),
			Checkpointing: r.Checkpointing, LoRARank: r.LoRARank, PeakRSS: r.Peak, FLOP: r.Cost,
		})
		memory := "?"
		if r.Peak > 0 {
			memory = size(r.Peak)
		}
		err := w.line(shorten(name), fmt.Sprintf("%.1f M", float64(w.params)/1e6), r.Precision.String(), w.json.Threads, trainTest(r.Training),
			fmt.Sprintf("%.*f", rate.decimals(), rate.Median), rate.span(),
			fmt.Sprintf("%.1f by %s", r.Bound, limitWords[r.Limit].short), fmt.Sprintf("%.1f %%", 100*r.Share()), memory)
		if err != nil {
			return err
		}
	}
	return nil
}

// lateMeter takes its memory at the first measurement, when the peaks of the
// trainings are known.
type lateMeter struct {
	cpu   *kernel.CPU
	meter *bench.CPUMeter
}

// Measure implements bench.Meter.
func (m *lateMeter) Measure(ctx context.Context, l bench.Limit) (float64, error) {
	if m.meter == nil {
		meter := bench.NewCPUMeter(m.cpu)
		m.meter = &meter
	}
	return m.meter.Measure(ctx, l)
}

func (m *lateMeter) close() {
	if m.meter != nil {
		m.meter.Close()
	}
}
