package main

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/gptctl/gptctl/run"
)

// textWriter prints continuations as text: the first sample as it comes, the
// others, which grow at the same time, after it.
type textWriter struct {
	t      *terminal
	prompt string
	echo   bool
	multi  bool
	stream bool // no beam search, whose best text is only known at the end

	shown strings.Builder // what was printed of the first sample
}

func newTextWriter(t *terminal, prompt string, s run.Settings) *textWriter {
	return &textWriter{t: t, prompt: prompt, echo: s.Echo, multi: s.Samples > 1, stream: s.Beams <= 1}
}

// begin prints what comes before the first continuation.
func (w *textWriter) begin() error {
	switch {
	case w.t.outIsTTY:
		return w.print(w.t.dim(printable(w.prompt)))
	case w.echo:
		return w.print(w.prompt)
	}
	return nil
}

// token is the Stream of a run.Request.
func (w *textWriter) token(e run.Event) error {
	if e.Sample != 0 || !w.stream {
		return nil
	}
	w.shown.WriteString(e.Token.Text)
	return w.text(e.Token.Text)
}

// end prints what has not been streamed.
func (w *textWriter) end(r *run.Result) error {
	for i, s := range r.Samples {
		if i > 0 {
			if err := w.print("\n---\n"); err != nil {
				return err
			}
			if err := w.begin(); err != nil {
				return err
			}
			if err := w.text(s.Text); err != nil {
				return err
			}
			continue
		}
		if err := w.text(strings.TrimPrefix(s.Text, w.shown.String())); err != nil {
			return err
		}
	}
	if w.t.outIsTTY || w.multi {
		return w.print("\n")
	}
	return nil
}

// interrupt leaves the cursor at the beginning of a line.
func (w *textWriter) interrupt() {
	if w.t.outIsTTY && !w.t.json {
		_ = w.print("\n")
	}
}

func (w *textWriter) text(s string) error {
	if w.t.outIsTTY {
		s = printable(s)
	}
	return w.print(s)
}

func (w *textWriter) print(s string) error {
	if s == "" {
		return nil
	}
	_, err := io.WriteString(w.t.out, s)
	return err
}

// printable drops control characters: a model can be made to write sequences
// that a terminal obeys.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}

// The schema gptctl.run/1; see design.md, section 3, for what is fixed.
type (
	runJSON struct {
		Schema  string      `json:"schema"`
		Model   string      `json:"model"`
		Adapter string      `json:"adapter,omitempty"`
		DType   string      `json:"dtype"`
		Device  string      `json:"device"`
		Seed    uint64      `json:"seed"`
		Sample  int         `json:"sample"`
		Prompt  promptJSON  `json:"prompt"`
		Text    string      `json:"text"`
		Tokens  []tokenJSON `json:"tokens"`
		Finish  string      `json:"finish"`
		Score   *float64    `json:"score,omitempty"` // of a beam
		Stats   statsJSON   `json:"stats"`
	}
	promptJSON struct {
		Text     string     `json:"text"`
		IDs      []int      `json:"ids"`
		Logprobs []*float64 `json:"logprobs,omitempty"`
	}
	tokenJSON struct {
		ID      int       `json:"id"`
		Text    string    `json:"text"`
		Logprob *float64  `json:"logprob"`
		Top     []topJSON `json:"top,omitempty"`
	}
	topJSON struct {
		ID      int      `json:"id"`
		Text    string   `json:"text"`
		Logprob *float64 `json:"logprob"`
	}
	statsJSON struct {
		Load      float64 `json:"load_s"`
		Prefill   float64 `json:"prefill_s"`
		Decode    float64 `json:"decode_s"`
		PrefillTS float64 `json:"prefill_tok_s"`
		DecodeTS  float64 `json:"decode_tok_s"`
		Drafted   int     `json:"drafted,omitempty"`  // with --lookup: tokens guessed …
		Accepted  int     `json:"accepted,omitempty"` // … and right
		PeakRSS   int64   `json:"peak_rss_bytes"`
	}
)

func printRunJSON(t *terminal, m *run.Model, settings run.Settings, r *run.Result) error {
	prompt := promptJSON{Text: r.Prompt.Text, IDs: r.Prompt.IDs}
	for _, l := range r.Prompt.Logprobs {
		prompt.Logprobs = append(prompt.Logprobs, number(l))
	}
	for i, s := range r.Samples {
		out := runJSON{
			Schema: "gptctl.run/1", Model: m.Name, Adapter: m.Adapter, DType: strings.ToLower(m.DType), Device: m.Device,
			Seed: r.Seed, Sample: i, Prompt: prompt,
			Text: s.Text, Tokens: make([]tokenJSON, len(s.Tokens)), Finish: string(s.Finish),
			Stats: statsJSON{
				Load: r.Stats.Load.Seconds(), Prefill: r.Stats.Prefill.Seconds(), Decode: r.Stats.Decode.Seconds(),
				PrefillTS: r.Stats.PrefillRate(), DecodeTS: r.Stats.DecodeRate(),
				Drafted: r.Stats.Drafted, Accepted: r.Stats.Accepted, PeakRSS: run.PeakRSS(),
			},
		}
		if settings.Beams > 1 {
			out.Score = number(s.Score)
		}
		for k, tok := range s.Tokens {
			out.Tokens[k] = tokenJSON{ID: tok.ID, Text: tok.Text, Logprob: number(tok.Logprob)}
			for _, alt := range tok.Top {
				out.Tokens[k].Top = append(out.Tokens[k].Top, topJSON{ID: alt.ID, Text: alt.Text, Logprob: number(alt.Logprob)})
			}
		}
		if err := t.printJSON(out); err != nil {
			return err
		}
	}
	return nil
}

// number is JSON's null for what JSON has no number for.
func number(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

func printRunStats(t *terminal, m *run.Model, r *run.Result) {
	s := r.Stats
	fmt.Fprintf(t.err, "model    %s, %s weights, %s (%s kernels, %s), seed %d\n", m.Name, m.DType, m.Device, m.Family, count(m.Threads, "thread"), r.Seed)
	fmt.Fprintf(t.err, "load     %.3f s\n", s.Load.Seconds())
	fmt.Fprintf(t.err, "prefill  %.3f s  %d tokens  %.1f tokens/s\n", s.Prefill.Seconds(), s.PrefillTokens, s.PrefillRate())
	fmt.Fprintf(t.err, "decode   %.3f s  %d tokens  %.1f tokens/s\n", s.Decode.Seconds(), s.DecodeTokens, s.DecodeRate())
	if s.Drafted > 0 {
		fmt.Fprintf(t.err, "lookup   %d of %d guessed tokens were right\n", s.Accepted, s.Drafted)
	}
	if rss := run.PeakRSS(); rss > 0 {
		fmt.Fprintf(t.err, "memory   %.1f MB at most\n", float64(rss)/1e6)
	}
}
