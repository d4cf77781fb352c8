package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/gptctl/gptctl/finetune"
	"github.com/gptctl/gptctl/finetune/corpus"
	"github.com/gptctl/gptctl/run"
)

const finetuneSchema = "gptctl.finetune/1"

// finetuneProgress shows a training: a bar on a terminal, a line now and then in
// a pipe, JSON events on stdout with --json, nothing with --quiet.
type finetuneProgress struct {
	t      *terminal
	screen io.Writer // stderr, if it is a terminal
	width  int
	bar    *progressbar.ProgressBar
	began  time.Time
	done   int // steps before this sitting
	shown  bool
	last   time.Time // of the last line in a pipe
	failed error     // of JSON that could not be written
}

func newFinetuneProgress(t *terminal) *finetuneProgress {
	p := &finetuneProgress{t: t, last: time.Now()}
	if f, ok := t.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) && !t.quiet {
		p.screen, p.width = f, 100
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			p.width = w
		}
	}
	return p
}

// corpus is finetune.Options.Corpus.
func (p *finetuneProgress) corpus(c corpus.Progress) {
	if p.screen == nil {
		return
	}
	p.paint(fmt.Sprintf("texts: %s  %s of %s", c.Stage, size(c.Bytes), size(c.Total)))
}

// ready is finetune.Options.Ready.
func (p *finetuneProgress) ready(plan finetune.Plan) {
	s := plan.Settings
	p.line("%d parameters, %s; %d tokens of text to train on, %d held out", plan.Parameters, s.Precision, plan.Corpus.Train.Tokens, plan.Corpus.Validation.Tokens)
	p.line("%d steps of %d × %d × %d tokens; about %s of memory; %s kernels on %s", s.Steps, s.Accumulate, s.Batch, s.Context,
		size(plan.Memory.Total()), plan.Family, count(plan.Threads, "thread"))
	if skipped := plan.Corpus.Skipped; len(skipped) > 0 {
		more := ""
		if n := len(skipped) - 1; n > 0 {
			more = fmt.Sprintf(", and %d more", n)
		}
		p.line("note: not read: %s%s; --data-report says why", oneLine(strings.TrimSuffix(skipped[0], "@")), more)
	}
	for _, text := range plan.Settings.Idle() {
		p.line("note: %s", text)
	}
}

// event is finetune.Options.Events.
func (p *finetuneProgress) event(e finetune.Event) {
	if p.t.json {
		if err := p.t.printJSON(finetuneEventJSON(e)); err != nil && p.failed == nil {
			p.failed = err // the training is worth more than its words
		}
	}
	switch e := e.(type) {
	case finetune.StartEvent:
		p.began, p.done = time.Now(), e.Step
		p.bar = progressbar.NewOptions(max(1, e.Steps), progressbar.OptionSetWriter(io.Discard), progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(false), progressbar.OptionThrottle(0), progressbar.OptionSetWidth(max(5, p.width-95)))
		if e.Step > 0 {
			p.line("going on after step %d of %d", e.Step, e.Steps)
		}
	case finetune.StepEvent:
		p.step(e)
	case finetune.EvalEvent:
		best := ""
		if e.Best {
			best = ", the best so far"
		}
		perplexity := fmt.Sprintf("%.2f", e.Perplexity)
		if e.Perplexity >= 1e6 {
			perplexity = fmt.Sprintf("%.3g", e.Perplexity)
		}
		p.line("step %d: held-out loss %.4f, perplexity %s%s", e.Step, e.Loss, perplexity, best)
	case finetune.SampleEvent:
		p.line("step %d: %q → %q", e.Step, e.Prompt, shortText(e.Text, 200))
	case finetune.CheckpointEvent:
		p.line("step %d: saved in %s, %s", e.Step, e.Path, size(e.Bytes))
	case finetune.NoteEvent:
		p.line("note: %s", e.Text)
	}
}

func (p *finetuneProgress) step(e finetune.StepEvent) {
	words := []string{fmt.Sprintf("step %d of %d", e.Step, e.Steps)}
	switch {
	case e.Skipped && e.LossScale > 1:
		words = append(words, fmt.Sprintf("skipped, the gradients overflowed at scale %g", e.LossScale))
	case e.Skipped:
		words = append(words, "skipped, the gradients are not finite")
	default:
		words = append(words, fmt.Sprintf("loss %.4f", e.Loss), fmt.Sprintf("lr %.2e", e.LR), fmt.Sprintf("%.0f tok/s", e.TokPerS))
	}
	if n := e.Step - p.done; n > 0 && e.Steps > e.Step {
		left := time.Duration(float64(time.Since(p.began)) / float64(n) * float64(e.Steps-e.Step))
		words = append(words, left.Round(time.Second).String()+" left")
	}
	if rss := run.PeakRSS(); rss > 0 {
		words = append(words, size(rss))
	}
	switch {
	case p.screen != nil:
		_ = p.bar.Set(e.Step)
		p.paint(fitWords(p.width-1, strings.Trim(p.bar.String(), "\r\n "), words))
	case time.Since(p.last) >= pipeInterval || e.Step == 1 || e.Step == e.Steps:
		p.line("%s", strings.Join(words, "  "))
		p.last = time.Now()
	}
}

// fitWords leaves out, of a moving line, what a terminal has no room for: the
// bar, then the learning rate, then words from the end. None is shown in part.
func fitWords(width int, bar string, words []string) string {
	line := func() string { return strings.Join(words, "  ") }
	if with := bar + "  " + line(); utf8.RuneCountInString(with) <= width {
		return with
	}
	if utf8.RuneCountInString(line()) > width {
		words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return strings.HasPrefix(w, "lr ") })
	}
	for len(words) > 1 && utf8.RuneCountInString(line()) > width {
		words = words[:len(words)-1]
	}
	return line()
}

// paint draws the moving line.
func (p *finetuneProgress) paint(text string) {
	if p.screen == nil {
		return
	}
	line := []rune(text)
	if len(line) >= p.width {
		line = line[:p.width-1]
	}
	_, _ = io.WriteString(p.screen, "\r\x1b[K"+string(line))
	p.shown = true
}

// line prints a line that stays.
func (p *finetuneProgress) line(format string, args ...any) {
	p.close()
	p.t.note(format, args...)
}

// close takes the moving line away.
func (p *finetuneProgress) close() {
	if p.shown {
		_, _ = io.WriteString(p.screen, "\r\x1b[K")
		p.shown = false
	}
}

func shortText(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

func resultWords(r finetune.Result) string {
	words := fmt.Sprintf("%d steps, loss %.4f", r.Steps, r.Loss)
	if r.BestStep > 0 {
		words += fmt.Sprintf(", held-out loss %.4f at step %d", r.BestLoss, r.BestStep)
	}
	if r.Early {
		words += ", stopped early"
	}
	return words + fmt.Sprintf(", %.1f s", r.Seconds)
}

// finiteOrNull is null where JSON has no way to say it.
func finiteOrNull(v float64) any {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return v
}

// finetuneEventJSON is an event of the schema gptctl.finetune/1.
func finetuneEventJSON(e finetune.Event) any {
	out := map[string]any{"schema": finetuneSchema}
	set := func(event string, pairs ...any) {
		out["event"] = event
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i].(string)] = pairs[i+1]
		}
	}
	switch e := e.(type) {
	case finetune.StartEvent:
		set("start", "path", e.Out, "step", e.Step, "steps", e.Steps, "rows", e.Rows, "held_out_rows", e.ValidRows, "row_tokens", e.RowTokens, "step_tokens", e.StepTokens)
	case finetune.StepEvent:
		set("step", "step", e.Step, "loss", finiteOrNull(e.Loss), "lr", e.LR, "grad_norm", finiteOrNull(e.GradNorm), "loss_scale", finiteOrNull(e.LossScale), "tok_s", finiteOrNull(e.TokPerS),
			"steps", e.Steps, "tokens", e.Tokens, "seconds", e.Seconds, "skipped", e.Skipped, "peak_rss_bytes", run.PeakRSS())
	case finetune.EvalEvent:
		set("eval", "step", e.Step, "loss", finiteOrNull(e.Loss), "perplexity", finiteOrNull(e.Perplexity), "best", e.Best)
	case finetune.SampleEvent:
		set("sample", "step", e.Step, "prompt", e.Prompt, "text", e.Text)
	case finetune.CheckpointEvent:
		set("checkpoint", "step", e.Step, "path", e.Path, "bytes", e.Bytes)
	case finetune.NoteEvent:
		set("note", "step", e.Step, "text", oneLine(e.Text))
	case finetune.DoneEvent:
		set("done", "path", e.Path, "steps", e.Steps, "loss", finiteOrNull(e.Loss), "seconds", e.Seconds, "tokens", e.Tokens,
			"exported_step", e.Exported, "stopped_early", e.Early, "report", e.Report)
		if e.BestStep > 0 {
			out["best_step"], out["best_loss"] = e.BestStep, finiteOrNull(e.BestLoss)
		}
	}
	return out
}
