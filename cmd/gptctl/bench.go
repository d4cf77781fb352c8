package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/gptctl/gptctl/internal/bench"
	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/machine"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/run"
)

// benchOptions are what `gptctl bench` was asked for.
type benchOptions struct {
	model, shape string
	dtypes       []string
	kvDType      string
	threads      int
	speed        bench.Options
	anyPrompt    bool // the length of the prompt is not the user's wish

	perplexity      string // a file
	context, stride int

	train benchTrain

	peerFlags []string
	peers     []bench.Peer
}

const benchHelp = `Measure the speed of a model beside what the machine allows.

Without --model the weights are random ones of a published size (--shape), so
that no download is needed. ppN reads a prompt of N tokens, tgN writes N tokens
one after the other (tgN@dM: after M others), of --batch texts at once. Lists of
numbers are separated by commas: -p 128,512 -d 0,512,896.

Each row is held against the limit that bounds it, measured every 20 ms of its
repetitions by this program's own loops: reading the weights for tg (every token
reads all of them, and what a cache keeps comes faster), multiply-adds in
registers for pp, of the type that the weights are multiplied in. "of limit" is
the share of it that was reached, the median; slices during which the limit
itself changed by a tenth do not count. "t/s" is the median of the repetitions
and their standard deviation.

--peer lets another program stand beside: NAME=COMMAND, or NAME:DTYPE,…=COMMAND
beside these types only. It is run once in each round, {dtype} and {threads} in
its command are ours, and the last line of its output is a JSON object with tokens
a second: pp512 of a prompt, tg128 of writing, tg64x8 of 8 texts at once.

--perplexity measures instead how well the model predicts a text, in each type
of weights beside f32: a window of --context tokens moves by --stride, as on the
page "Perplexity of fixed-length models" of Hugging Face's documentation.
` + benchTrainHelp

// newBench makes the verb. start carries it out; nil means the real thing.
func newBench(t *terminal, start func(context.Context, *terminal, benchOptions) error) *cobra.Command {
	if start == nil {
		start = runBench
	}
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the speed of a model beside the machine's limits",
		Long:  benchHelp,
		Args:  usageArgs(cobra.NoArgs),
		Example: `  gptctl bench
  gptctl bench --shape gpt2-xl --dtype q8_0 --batch 1,8
  gptctl bench --model gpt2 --perplexity book.txt --dtype bf16,q8_0,q4_0
  gptctl bench --peer "llama.cpp=python peer_llama.py gpt2-{dtype}.gguf --threads {threads} --runs 1"
  gptctl bench --train --precision fp32,bf16 --batch 4 --context 256`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.model, "model", "m", "", "the `MODEL` to measure, as for run")
	f.StringVar(&o.shape, "shape", "gpt2", "random weights of this `SIZE`: "+strings.Join(gpt2.Shapes(), ", "))
	f.StringSliceVar(&o.dtypes, "dtype", nil, "`TYPES` of the weights, separated by commas (default: all five; with --model the file's)")
	f.StringVar(&o.kvDType, "kv-dtype", "auto", "`TYPE` of the keys and values: auto (f32; f16 beside f16 and bf16, q8_0 beside quantised types, or f16 where the CPU has no kernels for it), "+strings.Join(run.KVDTypes(), ", "))
	f.IntVar(&o.threads, "threads", 0, "threads to compute with (0: one per physical core)")
	f.IntSliceVarP(&o.speed.PromptTokens, "prompt-tokens", "p", []int{512}, "tokens of the prompts that pp reads, `NUMBERS` (0: no pp; without the flag fewer if the model has fewer positions)")
	f.IntSliceVarP(&o.speed.GenTokens, "gen-tokens", "n", []int{128}, "tokens that tg writes, `NUMBERS` (0: no tg; without the flag fewer if no more fit)")
	f.IntSliceVarP(&o.speed.Batches, "batch", "b", []int{1}, "texts that tg writes, or --train reads, at once, `NUMBERS`")
	f.IntSliceVarP(&o.speed.Depths, "depth", "d", []int{0}, "tokens before those that tg writes, `NUMBERS`")
	f.IntVarP(&o.speed.Repetitions, "repetitions", "r", 5, "`TIMES` that each test is run")
	f.StringVar(&o.perplexity, "perplexity", "", "measure how well the model predicts the text of `FILE`")
	f.IntVar(&o.context, "context", 0, "`TOKENS` of the window of --perplexity (0: the model's positions), or of a text of --train (0: 256)")
	f.IntVar(&o.stride, "stride", 0, "`TOKENS` that the window of --perplexity moves by (0: half of it, which is 512 for GPT-2)")
	o.train.flags(f)
	f.StringArrayVar(&o.peerFlags, "peer", nil, "another program's `NAME=COMMAND`, which is run in turns with ours (may be repeated)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		// What stands in the environment or the file may be meant for another use of this
		// verb, or for another verb: it gives way to what is typed.
		typed := func(flag string) bool { return f.Changed(flag) && !fromSettings(t, flag) }
		given := f.Changed
		switch {
		case typed("shape") && !typed("model"):
			o.model = ""
			given = func(flag string) bool { return f.Changed(flag) && flag != "model" }
		case typed("model") && !typed("shape"):
			given = func(flag string) bool { return f.Changed(flag) && flag != "shape" }
		}
		if err := o.train.check(&o, given, typed); err != nil {
			return err
		}
		if err := o.check(given, typed); err != nil {
			return err
		}
		return start(cmd.Context(), t, o)
	}
	return cmd
}

func (o *benchOptions) check(given, typed func(flag string) bool) error {
	shapeGiven := given("shape")
	o.shape = strings.ToLower(o.shape)
	o.anyPrompt, o.speed.Shorten = !given("prompt-tokens"), !given("gen-tokens")
	for _, word := range o.peerFlags {
		p, err := bench.ParsePeer(word)
		if err != nil {
			return usagef("--peer %s: %w", word, err)
		}
		for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16, tensor.Q8_0, tensor.Q4_0} {
			if slices.ContainsFunc(o.peers, func(q bench.Peer) bool { return q.Name == p.Name && q.Beside(d) && p.Beside(d) }) {
				return usagef("--peer %s: there are two of this name", p.Name)
			}
		}
		o.peers = append(o.peers, p)
	}
	for flag, empty := range map[string]bool{"model": o.model == "", "shape": o.shape == "", "dtype": len(o.dtypes) == 0, "kv-dtype": o.kvDType == "", "perplexity": o.perplexity == ""} {
		if empty && given(flag) {
			return usagef("--%s is empty", flag)
		}
	}
	for flag, of := range map[string]string{"context": "--perplexity and --train", "stride": "--perplexity"} {
		if o.perplexity == "" && !o.train.on && typed(flag) {
			return usagef("--%s is of %s; --depth is how many tokens come before those that are written", flag, of)
		}
	}
	if o.perplexity != "" { // a text is read once, by windows of its own
		for _, flag := range []string{"prompt-tokens", "gen-tokens", "batch", "depth", "repetitions"} {
			if typed(flag) {
				return usagef("--%s is of the speed of pp and tg, not of --perplexity", flag)
			}
		}
	}
	for i, d := range o.dtypes {
		if o.dtypes[i] = strings.ToLower(strings.TrimSpace(d)); !slices.Contains(run.DTypes(), o.dtypes[i]) {
			return usagef("--dtype %s: want %s", d, strings.Join(run.DTypes(), ", "))
		}
	}
	if o.kvDType = strings.ToLower(o.kvDType); o.kvDType != "auto" && !slices.Contains(run.KVDTypes(), o.kvDType) {
		return usagef("--kv-dtype %s: want auto, %s", o.kvDType, strings.Join(run.KVDTypes(), ", "))
	}
	for _, n := range []struct {
		flag       string
		values     []int
		least, max int
	}{
		{"threads", []int{o.threads}, 0, 1024},
		{"prompt-tokens", o.speed.PromptTokens, 0, 1 << 20},
		{"gen-tokens", o.speed.GenTokens, 0, 1 << 20},
		{"batch", o.speed.Batches, 1, 4096},
		{"depth", o.speed.Depths, 0, 1 << 20},
		{"repetitions", []int{o.speed.Repetitions}, 1, 10000},
		{"context", []int{o.context}, 0, 1 << 20},
		{"stride", []int{o.stride}, 0, 1 << 20},
	} {
		if len(n.values) == 0 {
			return usagef("--%s is empty", n.flag)
		}
		for _, v := range n.values {
			if v < n.least || v > n.max {
				return usagef("--%s %d: want %d to %d", n.flag, v, n.least, n.max)
			}
		}
	}
	switch {
	case len(o.peers) > 0 && (o.perplexity != "" || o.train.on):
		return usagef("--peer is of the speed of pp and tg, not of --perplexity or --train")
	case o.model != "" && shapeGiven:
		return usagef("--model and --shape exclude each other")
	case o.perplexity != "" && typed("shape"):
		return usagef("--perplexity and --shape exclude each other: random weights predict nothing")
	case o.perplexity != "":
		if o.model == "" {
			o.model = "gpt2"
		}
	case slices.Max(o.speed.PromptTokens) == 0 && slices.Max(o.speed.GenTokens) == 0:
		return usagef("--prompt-tokens 0 and --gen-tokens 0 leave nothing to measure")
	}
	if o.model == "" {
		if _, ok := gpt2.Shape(o.shape); !ok {
			return usagef("--shape %s: want %s", o.shape, strings.Join(gpt2.Shapes(), ", "))
		}
		if o.dtypes == nil {
			o.dtypes = run.DTypes()
		}
	} else if o.dtypes == nil {
		o.dtypes = []string{"auto"}
		if o.perplexity != "" {
			o.dtypes = run.DTypes()
		}
	}
	return nil
}

func runBench(ctx context.Context, t *terminal, o benchOptions) error {
	if o.perplexity != "" {
		return runPerplexity(ctx, t, o)
	}
	if o.train.on {
		return runBenchTrain(ctx, t, o)
	}
	out := benchWriter{t: t, kv: o.kvDType}
	var limits bench.Limits
	var failures []error
	for i, name := range o.dtypes {
		s, err := openSubject(ctx, t, o, name)
		if err != nil {
			return out.breakOff(&limits, err)
		}
		if i == 0 {
			if o.anyPrompt {
				o.speed.PromptTokens[0] = min(o.speed.PromptTokens[0], s.Model.Config.Positions)
			}
			if err = fits(s, o.speed); err == nil {
				err = sequenceRoom(ctx, s, o)
			}
			if err == nil {
				err = out.begin(s)
			}
		}
		if err == nil {
			failures, err = measureSubject(ctx, t, o, s, &limits, &out, failures)
		}
		s.Close()
		if err != nil {
			return out.breakOff(&limits, damageHints(cmp.Or(o.model, s.Name), err))
		}
	}
	if err := out.end(&limits); err != nil {
		return err
	}
	return errors.Join(failures...)
}

// measureSubject measures a model in turns with the peers, and adds what went
// wrong with those to failures: our own rows are worth having without them.
func measureSubject(ctx context.Context, t *terminal, o benchOptions, s *bench.Subject, l *bench.Limits, out *benchWriter, failures []error) ([]error, error) {
	meter := bench.NewCPUMeter(s.CPU)
	defer meter.Close()
	peers, runs := slices.DeleteFunc(slices.Clone(o.peers), func(p bench.Peer) bool { return !p.Beside(s.DType) }), bench.Beside(s.DType)
	rows, err := bench.Run(ctx, s, o.speed, meter.ForWeights(s), func(round int) error {
		t.detail("%s %v: round %d of %d", s.Name, s.DType, round, o.speed.Repetitions)
		if err := l.MeasureAll(ctx, meter); err != nil { // whatever the rows need
			return err
		}
		if round == 0 {
			return nil
		}
		peers = slices.DeleteFunc(peers, func(p bench.Peer) bool {
			t.detail("%s %v: peer %s", s.Name, s.DType, p.Name)
			err := runs.Run(ctx, p, s.CPU.Threads())
			if err != nil && ctx.Err() == nil {
				failures = append(failures, err)
			}
			return err != nil
		})
		return ctx.Err()
	})
	if err == nil {
		err = out.add(rows)
	}
	if err == nil {
		err = out.addPeers(s, runs.Rows(rows))
	}
	return failures, err
}

// fits refuses tests that are longer than the model's context.
func fits(s *bench.Subject, o bench.Options) error {
	positions := s.Model.Config.Positions
	if n := slices.Max(o.PromptTokens); n > positions {
		return usagef("--prompt-tokens %d: the model has %d positions", n, positions)
	}
	depth, longest := slices.Max(o.Depths), slices.Max(o.GenTokens)
	tokens := longest
	if o.Shorten {
		tokens = 1
	}
	if longest > 0 && depth+tokens > positions {
		return usagef("--depth %d and --gen-tokens %d: the model has %d positions", depth, tokens, positions)
	}
	return nil
}

// sequenceRoom refuses texts whose keys and values the memory has no room for:
// those of all tests are there at once.
func sequenceRoom(ctx context.Context, s *bench.Subject, o benchOptions) error {
	c := s.Model.Config
	var widest int
	for _, name := range o.dtypes {
		asked, err := run.ParseDType(name)
		if err != nil {
			return err
		}
		kv, err := run.ParseKVDType(o.kvDType, cmp.Or(asked, s.DType), asked, c.HeadDim(), s.CPU.Traits())
		if err != nil {
			return err
		}
		widest = max(widest, kv.Bytes(c.Embd))
	}
	var tokens int64
	for _, n := range o.speed.PromptTokens {
		tokens += int64(n)
	}
	for _, n := range o.speed.GenTokens {
		if n == 0 {
			continue
		}
		for _, depth := range o.speed.Depths {
			for _, batch := range o.speed.Batches {
				tokens += int64(batch) * int64(depth+n)
			}
		}
	}
	needed := tokens * int64(2*c.Layers*widest)
	if free, ok := freeMemory(ctx, machine.Local()); ok && needed > free {
		err := fmt.Errorf("the keys and values of these texts need %s of memory, and %s are free", size(needed), size(free))
		hint := "a smaller --batch or --depth takes less"
		if widest == tensor.F32.Bytes(c.Embd) {
			hint += ", and so does --kv-dtype f16"
		}
		return withHints(err, hint)
	}
	return nil
}

// openSubject opens the model, or makes one of random weights.
func openSubject(ctx context.Context, t *terminal, o benchOptions, dtype string) (*bench.Subject, error) {
	if o.model != "" {
		m, err := openModel(ctx, t, runOptions{model: o.model, threads: o.threads, dtype: dtype, kvDType: o.kvDType})
		if err != nil {
			return nil, err
		}
		return m.Subject(), nil
	}
	family, err := kernelFamily(t)
	if err != nil {
		return nil, err
	}
	k, err := kernel.New(kernel.Options{Threads: o.threads, Family: family})
	if err != nil {
		return nil, err
	}
	cfg, _ := gpt2.Shape(o.shape)
	d, err := run.ParseDType(dtype)
	if err == nil {
		err = shapeRoom(ctx, cfg, d)
	}
	var s *bench.Subject
	if err == nil {
		var kv tensor.DType
		if kv, err = run.ParseKVDType(o.kvDType, d, d, cfg.HeadDim(), k.Traits()); err == nil {
			s, err = bench.Random(o.shape, cfg, cpu.Options{DType: d, KVType: kv, Stop: ctx.Err}, k)
		}
	}
	if err != nil {
		k.Close()
		return nil, err
	}
	free := s.Close
	s.Close = func() { free(); k.Close() }
	return s, nil
}

// shapeRoom refuses random weights that the memory has no room for.
func shapeRoom(ctx context.Context, c gpt2.Config, d tensor.DType) error {
	available, ok := freeMemory(ctx, machine.Local())
	if !ok {
		return nil
	}
	// The weights, one tensor of random numbers, and something to work with.
	needed := int64(d.Bytes(c.Parameters()/tensor.QuantBlock*tensor.QuantBlock)) + int64(4*c.VocabSize*c.Embd) + 512<<20
	if needed <= available {
		return nil
	}
	err := fmt.Errorf("random weights of this size in %v need %s of memory, and %s are free", d, size(needed), size(available))
	return withHints(err, "a smaller --shape, or --dtype q8_0 or q4_0, takes less")
}

func runPerplexity(ctx context.Context, t *terminal, o benchOptions) error {
	text, err := os.ReadFile(o.perplexity)
	if err != nil {
		return err
	}
	if !utf8.Valid(text) {
		t.note("note: %s is not UTF-8, its bytes are taken as they are", o.perplexity)
	}
	// Float32 first: the others are held against it.
	dtypes := append([]string{"f32"}, slices.DeleteFunc(slices.Clone(o.dtypes), func(d string) bool { return d == "f32" })...)
	out := benchWriter{t: t, kv: o.kvDType}
	var base float64
	for _, d := range dtypes {
		m, err := openModel(ctx, t, runOptions{model: o.model, threads: o.threads, dtype: d, kvDType: o.kvDType})
		if err != nil {
			return out.breakOff(nil, err)
		}
		row, err := predict(ctx, t, m, o, string(text))
		if err == nil && base == 0 {
			err = out.beginPerplexity(m.Subject())
		}
		m.Close()
		if err != nil {
			return out.breakOff(nil, err)
		}
		if base == 0 {
			base = row.value.Value
		}
		row.relative = row.value.Value/base - 1
		if err := out.addPerplexity(row); err != nil {
			return err
		}
	}
	return out.end(nil)
}

// predicted is a row of --perplexity.
type predicted struct {
	model    string
	dtype    tensor.DType
	value    bench.Perplexity
	relative float64 // to float32
}

func predict(ctx context.Context, t *terminal, m *run.Model, o benchOptions, text string) (predicted, error) {
	s := m.Subject()
	row := predicted{model: s.Name, dtype: s.DType}
	tokens := m.Encode(text)
	if len(tokens) < 2 {
		return row, fmt.Errorf("%s has %s, want at least 2", o.perplexity, count(len(tokens), "token"))
	}
	window := o.context
	if window == 0 {
		window = m.Config.Positions
	}
	if window < 2 || window > m.Config.Positions {
		return row, usagef("--context %d: want 2 to %d, the positions of the model", window, m.Config.Positions)
	}
	stride := o.stride
	if stride == 0 {
		stride = window / 2
	}
	if stride > window {
		return row, usagef("--stride %d: want at most %d, the window", stride, window)
	}
	var err error
	row.value, err = bench.MeasurePerplexity(ctx, s.Model, tokens, window, stride, func(done int) {
		t.detail("%s %v: %d of %d tokens", s.Name, s.DType, done, len(tokens))
	})
	if err != nil {
		return row, generateHints(m, err)
	}
	return row, nil
}
