package main

import (
	"testing"

	"github.com/gptctl/gptctl/doctor/fit"
)

func TestRoomFor(t *testing.T) {
	w := fit.Work{Purpose: fit.Run, Model: "gpt2", DType: fit.F32, FileMapped: true, Batch: 8, Context: 1024, Prompt: 1, Threads: 2}
	for _, c := range []struct {
		available int64
		want      string // of the error and its first hint
	}{
		{8 << 30, ""},
		{700 << 20, ""}, // the weights alone would not fit; they need not
		{300 << 20, "8 texts of up to 1024 tokens need 650 MB of memory beside the weights, and 315 MB are free|2 at a time would fit: --samples 2"},
		{1 << 20, "8 texts of up to 1024 tokens need 650 MB of memory beside the weights, and 1.05 MB are free|gptctl doctor --for run says which model would fit"},
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
