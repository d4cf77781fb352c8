package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gptctl/gptctl/internal/bench"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/internal/train"
)

// Cells stay in their columns, whatever the speed.
func TestBenchColumns(t *testing.T) {
	var out bytes.Buffer
	w := benchWriter{t: &terminal{out: &out}, table: speedTable}
	w.json.Kernels, w.json.Threads, w.params = "generic", 1024, 1557_600_000
	check := func(what string) {
		t.Helper()
		var want []int
		for line := range strings.Lines(out.String()) {
			var ends []int
			for i, r := range []rune(line) {
				if r == '|' {
					ends = append(ends, i)
				}
			}
			if want == nil {
				want = ends
			}
			if utf8.RuneCountInString(strings.TrimSpace(line)) != want[len(want)-1]+1 {
				t.Errorf("%s: %s", what, line)
			}
		}
		out.Reset()
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.heading())
	for _, speed := range []float64{0.5, 71.12, 999.99, 12711.34, 99999.9, 345678.9, 1234567} {
		for _, limit := range bench.AllLimits {
			rate := map[bench.Limit]float64{bench.Read: 172.5, bench.F32: 1471.2, bench.BF16: 7385.4, bench.Int8: 14801.9}[limit]
			must(w.add([]bench.Row{{
				Shape: "a-model-of-a-long-name", DType: tensor.Q8_0, Test: "tg128@d16384", Batch: 4096, Rates: []float64{speed * 0.9, speed, speed * 0.95},
				Bytes: 5_800_000_000, Limit: limit, Allowed: rate, Bound: speed * 3, Settled: 1, Shares: []float64{0.333},
			}}))
		}
	}
	check("speed")

	kinds := []bench.Training{{Precision: train.FP16, Batch: 16, Context: 1024, Checkpointing: true, LoRARank: 128}, {Batch: 1, Context: 8}}
	w.table = trainTable(kinds)
	must(w.heading())
	for _, k := range kinds {
		must(w.addTrain("gpt2-medium", gpt2.Config{}, []bench.TrainRow{{Training: k, Rates: []float64{225218.12, 34428.33}, Limit: bench.BF16, Bound: 1234567.8, Peak: 12 << 30}}))
	}
	check("training")
}

// What was measured before something went wrong is told.
func TestBenchBreakOff(t *testing.T) {
	var out bytes.Buffer
	failed := errors.New("no")
	w := benchWriter{t: &terminal{out: &out, json: true}}
	w.json.Limits = map[bench.Limit]*float64{}
	if err := w.breakOff(nil, failed); err != failed || out.Len() > 0 {
		t.Errorf("without a row: %v, %s", err, &out)
	}
	if err := w.add([]bench.Row{{Shape: "demo", DType: tensor.F32, Test: "pp8", Batch: 1, Rates: []float64{1}, Limit: bench.F32, Settled: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := w.breakOff(nil, failed); err != failed || !strings.Contains(out.String(), `"test":"pp8"`) {
		t.Errorf("%v, %s", err, &out)
	}
}
