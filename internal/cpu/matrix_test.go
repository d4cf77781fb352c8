package cpu

import (
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/tensor"
)

// Each matrix says that the one loaded after it is multiplied by next, the last the first.
func TestNextMatrix(t *testing.T) {
	d := newDevice(t, tensor.F32)
	var loaded []*matrix
	for range 4 {
		m, err := d.LoadMatrix(tensor.Tensor{DType: tensor.F32, Shape: []int{3, 5}, Data: make([]byte, 60)}, gpt2.InOut)
		if err != nil {
			t.Fatal(err)
		}
		loaded = append(loaded, m.(*matrix))
	}
	for i, m := range loaded {
		if m.Next != &loaded[(i+1)%len(loaded)].Weight {
			t.Errorf("matrix %d is followed by another", i)
		}
	}
}
