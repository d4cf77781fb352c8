package main

import (
	"runtime"
	"testing"

	"github.com/gptctl/gptctl/doctor/fit"
	"github.com/gptctl/gptctl/run"
)

func TestRoomFor(t *testing.T) {
	w := fit.Work{Purpose: fit.Run, Model: "gpt2", DType: fit.F32, FileMapped: true, Batch: 8, Context: 1024, Prompt: 1, Threads: 2}
	for _, c := range []struct {
		available int64
		want      string // of the error and its first hint
	}{
		{8 << 30, ""},
		{700 << 20, ""}, // the weights alone would not fit; they need not
		{300 << 20, "8 texts of up to 1024 tokens need 636 MB of memory beside the weights, and 315 MB are free|2 at a time would fit: --samples 2"},
		{1 << 20, "8 texts of up to 1024 tokens need 636 MB of memory beside the weights, and 1.05 MB are free|gptctl doctor --for run says which model would fit"},
	} {
		got := ""
		if err := roomFor(w, c.available); err != nil {
			got = err.Error() + "|" + hintsOf(err)[0]
		}
		if got != c.want {
			t.Errorf("%d bytes: %s\nwant %s", c.available, got, c.want)
		}
	}
	if err := roomFor(fit.Work{Purpose: "else"}, 0); err != nil {
		t.Errorf("unknown work: %v", err)
	}
}

// The estimate for a generation counts what of the program is in memory.
func TestWork(t *testing.T) {
	m, err := run.Open(t.Context(), run.DemoModel, run.OpenOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	w := work(m, run.Settings{MaxNewTokens: 20, MaxLength: run.Unset, Samples: 2})
	if err := w.Check(); err != nil {
		t.Error(err)
	}
	if w.Batch != 2 || w.Context != 21 || w.DType != fit.Q8_0 {
		t.Errorf("%+v", w)
	}
	if runtime.GOOS == "linux" && w.Program < 1<<20 {
		t.Errorf("the program takes %d bytes", w.Program)
	}
	known, unknown := fit.Estimate(w).Total(), w
	unknown.Program = 0
	if fit.Estimate(unknown).Total() > known {
		t.Error("it makes the estimate smaller")
	}
}
