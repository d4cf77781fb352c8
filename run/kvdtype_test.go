package run

import (
	"strings"
	"testing"

	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
)

func TestParseKVDType(t *testing.T) {
	codes := kernel.Traits{Codes: true}
	for _, test := range []struct {
		name           string
		weights, asked tensor.DType
		headDim        int
		kernels        kernel.Traits
		want           tensor.DType
		problem        string
	}{
		{"auto", tensor.F32, tensor.Invalid, 64, codes, tensor.F32, ""},
		{"", tensor.F16, tensor.Invalid, 64, codes, tensor.F32, ""},
		{"auto", tensor.BF16, tensor.BF16, 64, codes, tensor.F16, ""},
		{"auto", tensor.Q8_0, tensor.Invalid, 64, codes, tensor.Q8_0, ""},
		{"", tensor.Q4_0, tensor.Q4_0, 32, codes, tensor.Q8_0, ""},
		{"auto", tensor.Q4_0, tensor.Q4_0, 48, codes, tensor.F16, ""},
		{"auto", tensor.Q4_0, tensor.Q4_0, 64, kernel.Traits{}, tensor.F16, ""},
		{"f32", tensor.Q4_0, tensor.Q4_0, 64, codes, tensor.F32, ""},
		{"q8_0", tensor.F32, tensor.Invalid, 64, kernel.Traits{}, tensor.Q8_0, ""},
		{"q8_0", tensor.F32, tensor.Invalid, 25, codes, tensor.Invalid, "heads of 25"},
		{"q4_0", tensor.F32, tensor.Invalid, 64, codes, tensor.Invalid, "want auto, f32, f16, bf16, q8_0"},
	} {
		got, err := ParseKVDType(test.name, test.weights, test.asked, test.headDim, test.kernels)
		if got != test.want || (err == nil) != (test.problem == "") || err != nil && !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%+v: got %v, %v", test, got, err)
		}
	}
}
