package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"syscall"

	"github.com/gptctl/gptctl/internal/bench"
	"github.com/gptctl/gptctl/internal/machine"
)

// The schema gptctl.bench/1; see design.md, section 3, for what is fixed.
type (
	benchJSON struct {
		Schema  string                   `json:"schema"`
		CPU     string                   `json:"cpu"`
		Kernels string                   `json:"kernels"`
		Threads int                      `json:"threads"`
		KVDType string                   `json:"kv_dtype,omitempty"` // not of training
		Limits  map[bench.Limit]*float64 `json:"limits"`             // all of them, null without a rate
		Rows    []benchRowJSON           `json:"rows"`
	}
	benchRowJSON struct {
		Shape string `json:"shape"`
		DType string `json:"dtype"`
		Test  string `json:"test"`
		Batch int    `json:"batch"`

		// Of a speed: tokens a second of all texts together.
		Rate        *rateJSON   `json:"tok_s,omitempty"`
		Limit       bench.Limit `json:"limit,omitempty"`        // what bounds it, a name of limits
		LimitTokS   *float64    `json:"limit_tok_s,omitempty"`  // what that would allow
		Share       any         `json:"share,omitempty"`        // *float64: nil is null, the limit never stayed for long enough
		LimitValue  *float64    `json:"limit_value,omitempty"`  // its rate around this row, as in limits
		WeightBytes int64       `json:"weight_bytes,omitempty"` // read per token
		KVDType     string      `json:"kv_dtype,omitempty"`     // what "auto" is beside these weights
		Settled     *float64    `json:"settled,omitempty"`      // part of the slices in which the limit stayed, which count

		// Of a peer: tok_s is what it says of itself.
		Peer  string   `json:"peer,omitempty"`
		Ratio *float64 `json:"ratio_to_ours,omitempty"`

		// Of training: test is "train", dtype the precision, tok_s counts whole steps.
		Context       int     `json:"context,omitempty"`
		Checkpointing bool    `json:"checkpointing,omitempty"`
		LoRARank      int     `json:"lora_rank,omitempty"`
		FLOP          float64 `json:"flop_per_token,omitempty"`
		PeakRSS       int64   `json:"peak_rss_bytes,omitempty"`

		// Of a text: test is "ppl".
		Perplexity *float64 `json:"ppl,omitempty"`
		Relative   *float64 `json:"ppl_relative_to_f32,omitempty"` // 0.001 is 0.1 % more
		Tokens     int      `json:"tokens,omitempty"`
	}
	rateJSON struct {
		Median float64   `json:"median"`
		Min    float64   `json:"min"`
		Max    float64   `json:"max"`
		Runs   []float64 `json:"runs"`
	}
)

// benchWriter prints a table as its rows come, or one JSON object at the end.
type benchWriter struct {
	t      *terminal
	kv     string // the type of keys and values
	table  column
	json   benchJSON
	params int
}

// The columns are llama-bench's, and what the machine allows.
var (
	speedTable = column{
		"| %-12s | %9s | %8s | %-5s | %-9s | %7v | %5v | %12s | %16s | %19s | %-22s | %8s |\n",
		[]any{"model", "size", "params", "dtype", "backend", "threads", "batch", "test", "t/s", "min to max", "limit", "of limit"},
	}
	perplexityTable = column{
		"| %-12s | %-5s | %9v | %12s | %11s |\n",
		[]any{"model", "dtype", "tokens", "perplexity", "against f32"},
	}
)

// column is the format of a line, and its heading.
type column struct {
	format  string
	heading []any
}

func (w *benchWriter) begin(s *bench.Subject) error {
	w.open(s)
	w.table = speedTable
	return w.heading()
}

func (w *benchWriter) beginPerplexity(s *bench.Subject) error {
	w.open(s)
	w.table = perplexityTable
	return w.heading()
}

func (w *benchWriter) open(s *bench.Subject) {
	w.json = benchJSON{
		Schema: "gptctl.bench/1", CPU: machine.Local().Processor().Model, Kernels: s.CPU.Family(), Threads: s.CPU.Threads(), KVDType: w.kv,
		Limits: map[bench.Limit]*float64{}, Rows: []benchRowJSON{},
	}
	w.params = s.Model.Config.Parameters()
	w.t.note("%s, %s kernels, %s, keys and values: %s", w.json.CPU, w.json.Kernels, count(w.json.Threads, "thread"), w.json.KVDType)
}

func (w *benchWriter) heading() error {
	if err := w.line(w.table.heading...); err != nil {
		return err
	}
	// The line below has the same columns, and says as Markdown does which are
	// aligned to the right.
	cells := strings.Split(fmt.Sprintf(w.table.format, w.table.heading...), "|")
	verbs := strings.Split(w.table.format, "|")
	for i := 1; i < len(cells)-1; i++ {
		end := "- "
		if !strings.Contains(verbs[i], "%-") {
			end = ": "
		}
		cells[i] = " " + strings.Repeat("-", len([]rune(cells[i]))-3) + end
	}
	return w.text(strings.Join(cells, "|"))
}

func (w *benchWriter) line(values ...any) error {
	return w.text(fmt.Sprintf(w.table.format, values...))
}

// text prints what has no place in JSON.
func (w *benchWriter) text(s string) error {
	if w.t.json {
		return nil
	}
	_, err := fmt.Fprint(w.t.out, s)
	return err
}

func (w *benchWriter) add(rows []bench.Row) error {
	for _, r := range rows {
		dtype := strings.ToLower(r.DType.String())
		rate := rateJSON{r.Median(), slices.Min(r.Rates), slices.Max(r.Rates), r.Rates}
		w.json.Rows = append(w.json.Rows, benchRowJSON{
			Shape: r.Shape, DType: dtype, Test: r.Test, Batch: r.Batch,
			Rate: &rate, Limit: r.Limit, LimitValue: number(r.Allowed), LimitTokS: number(r.Bound), Share: number(r.Share()), WeightBytes: r.Bytes, KVDType: strings.ToLower(r.KV.String()), Settled: number(r.Settled),
		})
		if r.Settled < 0.5 {
			w.t.note("%s in %s: the machine's own speed changed in %.0f %% of the slices, which do not count", r.Test, dtype, 100*(1-r.Settled))
		}
		share := "?"
		if len(r.Shares) > 0 {
			share = fmt.Sprintf("%.1f %%", 100*r.Share())
		}
		err := w.line(shorten(r.Shape), size(r.Bytes), fmt.Sprintf("%.1f M", float64(w.params)/1e6), dtype, w.json.Kernels, w.json.Threads, r.Batch, r.Test,
			rate.words(), rate.span(), allowed(r.Bound, r.Allowed, r.Limit), share)
		if err != nil {
			return err
		}
	}
	return nil
}

// addPeers puts the peers of a subject below its rows.
func (w *benchWriter) addPeers(s *bench.Subject, rows []bench.PeerRow) error {
	for _, r := range rows {
		dtype := strings.ToLower(r.DType.String())
		rate := rateJSON{r.Median(), slices.Min(r.Rates), slices.Max(r.Rates), r.Rates}
		row := benchRowJSON{Shape: s.Name, DType: dtype, Test: r.Test, Batch: r.Batch, Rate: &rate, Peer: r.Peer}
		words := ""
		if r.Ratio > 0 {
			row.Ratio = number(r.Ratio)
			words = fmt.Sprintf("%.2f × ours", r.Ratio)
		}
		w.json.Rows = append(w.json.Rows, row)
		err := w.line(shorten(s.Name), "", "", dtype, shortenTo(r.Peer, 9), w.json.Threads, r.Batch, r.Test,
			rate.words(), rate.span(), words, "")
		if err != nil {
			return err
		}
	}
	return nil
}

// decimals that a rate is told with: as many as fit into its column.
func (r rateJSON) decimals() int {
	switch {
	case r.Max >= 1e5:
		return 0
	case r.Max >= 1e4:
		return 1
	}
	return 2
}

// words are the median and the deviation.
func (r rateJSON) words() string {
	n := r.decimals()
	return fmt.Sprintf("%.*f ± %.*f", n, r.Median, n, deviation(r.Runs))
}

func (r rateJSON) span() string {
	n := r.decimals()
	return fmt.Sprintf("%.*f to %.*f", n, r.Min, n, r.Max)
}

// allowed says what a limit allows, and how high that is.
func allowed(bound, rate float64, l bench.Limit) string {
	tokens, n := fmt.Sprintf("%.0f", bound), 0
	if bound >= 1e6 {
		tokens = fmt.Sprintf("%.1f M", bound/1e6)
	}
	if rate < 100 {
		n = 1
	}
	return fmt.Sprintf("%s by %.*f %s", tokens, n, rate, limitWords[l].column)
}

// deviation is the standard deviation of a sample.
func deviation(values []float64) float64 {
	var mean, sum float64
	for _, v := range values {
		mean += v / float64(len(values))
	}
	for _, v := range values {
		sum += (v - mean) * (v - mean)
	}
	return math.Sqrt(sum / float64(max(1, len(values)-1)))
}

// shorten keeps the end of a path, which tells most.
func shorten(name string) string { return shortenTo(name, 12) }

func shortenTo(name string, most int) string {
	r := []rune(name)
	if n := len(r) - most; n > 0 {
		return "…" + string(r[n+1:])
	}
	return name
}

var limitWords = map[bench.Limit]struct{ short, column, unit string }{
	bench.Read: {"memory", "GB/s", "GB/s of memory read"},
	bench.F32:  {"f32", "G f32", "GFLOP/s in f32"},
	bench.BF16: {"bf16", "G bf16", "GFLOP/s in bf16"},
	bench.Int8: {"int8", "G int8", "GOP/s in int8"},
}

func (w *benchWriter) addPerplexity(p predicted) error {
	dtype := strings.ToLower(p.dtype.String())
	w.json.Rows = append(w.json.Rows, benchRowJSON{
		Shape: p.model, DType: dtype, Test: "ppl", Batch: 1,
		Perplexity: number(p.value.Value), Relative: number(p.relative), Tokens: p.value.Tokens,
	})
	return w.line(shorten(p.model), dtype, p.value.Tokens, fmt.Sprintf("%.4f", p.value.Value), fmt.Sprintf("%+.4f %%", 100*p.relative))
}

// breakOff ends a report that err keeps from being whole: what was measured before is
// worth having.
func (w *benchWriter) breakOff(l *bench.Limits, err error) error {
	if len(w.json.Rows) > 0 && !errors.Is(err, syscall.EPIPE) {
		if err := w.end(l); err != nil {
			return err
		}
	}
	return err
}

// end prints the limits, nil if none were measured.
func (w *benchWriter) end(l *bench.Limits) error {
	for _, limit := range bench.AllLimits {
		w.json.Limits[limit] = nil // of what was not measured, or what the machine has no instruction for
	}
	if l != nil {
		var words []string
		for _, limit := range bench.AllLimits {
			v := l.Median(limit)
			if v == 0 {
				continue
			}
			w.json.Limits[limit] = number(v)
			words = append(words, fmt.Sprintf("%.1f %s", v, limitWords[limit].unit))
		}
		if err := w.text("\nlimits of this machine, medians of this run: " + strings.Join(words, ", ") + "\n"); err != nil {
			return err
		}
	}
	if w.t.json {
		return w.t.printJSON(w.json)
	}
	return nil
}
