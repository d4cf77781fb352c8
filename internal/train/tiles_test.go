package train_test

import (
	"context"
	"math"
	"testing"

	"github.com/gptctl/gptctl/internal/safetensors"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/internal/train"
)

// Steps in bf16 by AMX's tiles are those by AVX-512, up to how sums are ordered;
// those in float32 are the same, and checkpointing changes nothing.
// (.ci/run runs this on an emulated processor.)
func TestTiles(t *testing.T) {
	f := load(t, "wide")
	step := func(family string, p train.Precision, checkpointing bool) []safetensors.Named {
		o := f.options()
		o.Precision, o.Checkpointing = p, checkpointing
		tr := f.trainer(t, device(t, 2, family), o)
		for range 2 {
			if _, err := tr.Step(context.Background(), f.Steps[0], f.hyper(), nil); err != nil {
				t.Fatal(err)
			}
		}
		return tr.State().Optimizer // the first moments are a tenth of the gradients
	}
	for _, p := range []train.Precision{train.FP32, train.BF16} {
		tiles, plain, again := step("amx", p, false), step("avx512", p, false), step("amx", p, true)
		differ := false
		for i, a := range tiles {
			x, y, z := numbers(a), numbers(plain[i]), numbers(again[i])
			var difference, size float64
			for j := range x {
				difference += math.Pow(float64(x[j])-float64(y[j]), 2)
				size += math.Pow(float64(y[j]), 2)
				differ = differ || x[j] != y[j]
				if x[j] != z[j] {
					t.Fatalf("%v: checkpointing changes %s", p, a.Name)
				}
			}
			if limit := map[train.Precision]float64{train.FP32: 0, train.BF16: 0.05}[p]; !(math.Sqrt(difference) <= limit*math.Sqrt(size)) {
				t.Errorf("%v: %s is off by %.3g of %.3g", p, a.Name, math.Sqrt(difference), math.Sqrt(size))
			}
		}
		if differ != (p == train.BF16) {
			t.Errorf("%v: tiles changed something: %v", p, differ)
		}
	}
}

func numbers(n safetensors.Named) []float32 {
	v := make([]float32, n.Tensor.Len())
	tensor.ToFloat32(v, n.Tensor.DType, n.Tensor.Data)
	return v
}
