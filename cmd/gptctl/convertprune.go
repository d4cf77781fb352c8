package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/gptctl/gptctl/internal/bench"
	"github.com/gptctl/gptctl/internal/convert"
	"github.com/gptctl/gptctl/internal/modelfiles"
	"github.com/gptctl/gptctl/internal/prune"
	"github.com/gptctl/gptctl/run"
)

// maxCalibration bounds the file of --calibration: more is a mistake, and only
// some thousand tokens of it are looked at.
const maxCalibration = 256 << 20

// pruning is a model on its way to fewer weights, and what is known of it.
type pruning struct {
	t      *terminal
	o      *convertOptions
	before *run.Model // to be measured
	source string     // of the calibration text
	text   []int      // Prune's
	held   []int      // what both models are judged by
	result *prune.Result
	config [2]shape
}

// shape is what a model is like before and after.
type shape struct {
	Parameters int     `json:"parameters"`
	Bytes      int64   `json:"bytes"`
	Layers     int     `json:"n_layer"`
	Inner      int     `json:"n_inner"`
	Perplexity float64 `json:"perplexity"`
	Speed      float64 `json:"decode_tok_s"`
	DType      string  `json:"dtype"`
}

// pruned makes the model smaller as --prune says. close is called when it is
// written and measured.
func pruned(ctx context.Context, t *terminal, files *modelfiles.Model, o *convertOptions, show *convertProgress) (_ *modelfiles.Model, p *pruning, err error) {
	p = &pruning{t: t, o: o}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if err := o.plan.Check(files.Config); err != nil {
		return nil, p, usagef("--prune %w", err)
	}
	if err := convert.Check(o.Options); err != nil {
		return nil, p, err
	}
	text := ""
	if o.calibration != "" {
		data, err := readBounded(o.calibration, maxCalibration)
		if err != nil {
			return nil, p, fmt.Errorf("read the calibration text: %w", err)
		}
		if strings.ContainsRune(string(data[:min(len(data), 1<<16)]), 0) {
			return nil, p, fmt.Errorf("%s is not a text: it holds zero bytes", o.calibration)
		}
		text = strings.ToValidUTF8(string(data), "\ufffd")
	}
	if p.before, err = openModel(ctx, t, runOptions{model: o.model, named: true, adapter: o.adapter}); err != nil {
		return nil, p, err
	}
	if err := p.calibrate(ctx, text, show); err != nil {
		return nil, p, err
	}
	options := prune.Options{Progress: show.step}
	if options.Family, err = kernelFamily(t); err != nil {
		return nil, p, err
	}
	if p.result, err = prune.Prune(ctx, files.Config, files.Weights, p.text, o.plan, options); err != nil {
		return nil, p, generateHints(p.before, err)
	}
	show.close()
	smaller := *files
	smaller.Config, smaller.Weights = p.result.Config, p.result.Weights
	return &smaller, p, nil
}

// calibrate reads the text, or lets the model write one.
func (p *pruning) calibrate(ctx context.Context, text string, show *convertProgress) (err error) {
	var tokens []int
	if p.o.calibration != "" {
		p.source, tokens = p.o.calibration, p.before.Encode(text)
	} else {
		p.source = "sampled"
		p.t.note("note: without --calibration the model itself writes the text by which it is judged what matters")
		if tokens, err = prune.Sample(ctx, p.before.Subject().Model, func(done, total int) { show.step("text", done, total) }); err != nil {
			if errors.Is(err, prune.ErrNoStart) {
				return withHints(err, "--calibration FILE: a text such as the model will be used for")
			}
			return generateHints(p.before, err)
		}
	}
	if p.text, p.held, err = prune.Split(p.before.Config, tokens); err != nil {
		return withHints(fmt.Errorf("%s: %w", p.source, err), "some pages of text such as the model will be used for are enough")
	}
	return nil
}

func (p *pruning) close() {
	if p.before != nil {
		p.before.Close()
	}
}

// compare measures the model as it was and as it was written.
func (p *pruning) compare(ctx context.Context, path string, show *convertProgress) error {
	after, err := openModel(ctx, p.t, runOptions{model: modelPath(path), named: true})
	if err != nil {
		return err
	}
	defer after.Close()
	defer show.close()
	models := [2]*run.Model{p.before, after}
	for i, m := range models {
		window := min(m.Config.Positions, 1024)
		result, err := bench.MeasurePerplexity(ctx, m.Subject().Model, p.held, window, window, func(done int) {
			show.step("perplexity", i*len(p.held)+done, 2*len(p.held))
		})
		if err != nil {
			return generateHints(m, err)
		}
		p.config[i] = shape{
			Parameters: m.Config.Parameters(), DType: strings.ToLower(m.DType), Bytes: m.WeightBytes(), Layers: m.Config.Layers, Inner: m.Config.Inner, Perplexity: result.Value,
		}
	}
	rates, err := prune.Speed(ctx, p.before.Subject().Model, after.Subject().Model)
	if err != nil {
		return err
	}
	p.config[0].Speed, p.config[1].Speed = rates[0], rates[1]
	return nil
}

// modelPath makes a path that is not taken for a Hub id.
func modelPath(path string) string {
	if _, err := os.Stat(path); err == nil {
		return path
	}
	return "./" + path
}

// words says what was done.
func (p *pruning) words() string {
	var b strings.Builder
	was, is := p.config[0], p.config[1]
	if is.Inner != was.Inner {
		fmt.Fprintf(&b, "pruned   %d of %d MLP neurons of each layer left out (%.1f %%); n_inner is %d", was.Inner-is.Inner, was.Inner, 100*(1-float64(is.Inner)/float64(was.Inner)), is.Inner)
		if is.Inner%32 == 0 {
			b.WriteString(", a multiple of 32")
		}
		b.WriteByte('\n')
	}
	if n := len(p.result.Blocks); n > 0 {
		fmt.Fprintf(&b, "pruned   %d of %d layers left out: %s\n", n, was.Layers, strings.Trim(fmt.Sprint(p.result.Blocks), "[]"))
	}
	fmt.Fprintf(&b, "%-8s %12s %10s %11s %9s\n", "", "parameters", "weights", "perplexity", "tokens/s")
	for i, name := range []string{"before", "after"} {
		s := p.config[i]
		fmt.Fprintf(&b, "%-8s %12d %10s %11.4g %9.1f\n", name, s.Parameters, size(s.Bytes), s.Perplexity, s.Speed)
	}
	if was.DType != is.DType {
		fmt.Fprintf(&b, "the weights were %s and are %s, which counts in their size and speed, too", was.DType, is.DType)
		if is.DType == "f32" && was.DType != "f16" && was.DType != "bf16" {
			fmt.Fprintf(&b, "; --out NAME.gguf --dtype %s keeps their type", was.DType)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "judged by %d tokens of %s that were not used to choose\n", len(p.held), p.sourceWords())
	return b.String()
}

func (p *pruning) sourceWords() string {
	if p.o.calibration == "" {
		return "the model's own text"
	}
	return p.source
}

// json is the same for programs.
func (p *pruning) json() map[string]any {
	return map[string]any{
		"before": p.config[0], "after": p.config[1], "layers_left_out": append([]int{}, p.result.Blocks...),
		"calibration": p.source, "calibration_tokens": len(p.text), "perplexity_tokens": len(p.held),
	}
}
