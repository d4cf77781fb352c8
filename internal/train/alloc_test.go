package train_test

import (
	"context"
	"testing"

	"github.com/gptctl/gptctl/internal/train"
)

// After the first step a step takes no memory from the heap.
func TestSteadyState(t *testing.T) {
	for _, name := range []string{"plain", "lora"} {
		f := load(t, name)
		for _, p := range []train.Precision{train.FP32, train.BF16, train.FP16} {
			for _, checkpointing := range []bool{false, true} {
				o := f.options()
				o.Precision, o.Checkpointing, o.Dropout = p, checkpointing, 0.1
				tr := f.trainer(t, device(t, 2, ""), o)
				rows, h := f.Steps[0], f.hyper()
				if n := testing.AllocsPerRun(20, func() {
					if _, err := tr.Step(context.Background(), rows, h, nil); err != nil {
						t.Fatal(err)
					}
				}); n > 0 {
					t.Errorf("%s in %v: %v allocations a step", name, p, n)
				}
			}
		}
	}
}
