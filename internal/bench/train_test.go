package bench

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/train"
)

// What the help says of GPT-2: three times two operations for each of 123.5
// million weights of matrices, and for attention to half of 256 tokens.
func TestTrainCost(t *testing.T) {
	c, _ := gpt2.Shape("gpt2")
	const matrices, attention, adapters = 123_532_032, 12 * 768 * 257, 12 * 8 * (768*3 + 768 + 768*4*2 + 768*4)
	for _, test := range []struct {
		kind Training
		want float64
	}{
		{Training{Context: 256}, 6 * (matrices + attention)},
		{Training{Context: 256, Batch: 7, Checkpointing: true, Precision: train.BF16}, 6 * (matrices + attention)},
		{Training{Context: 256, LoRARank: 8}, 4*matrices + 6*(attention+adapters)},
	} {
		if got := TrainCost(c, test.kind); math.Abs(got/test.want-1) > 1e-12 {
			t.Errorf("%+v: %v, want %v", test.kind, got, test.want)
		}
	}
}

func TestTrain(t *testing.T) {
	k, err := kernel.New(kernel.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	kinds := []Training{
		{Precision: train.FP32, Batch: 2, Context: 8},
		{Precision: train.BF16, Batch: 1, Context: 9, Checkpointing: true},
		{Precision: train.FP16, Batch: 3, Context: 5, LoRARank: 4},
	}
	var limits Limits
	calls := 0
	rows, err := Train(t.Context(), k, tiny, kinds, 3, steady{}, &limits, func(Training, int) { calls++ })
	if err != nil {
		t.Fatal(err)
	}
	if calls != len(kinds)*4 || len(rows) != len(kinds) {
		t.Fatalf("%d rows after %d calls of progress", len(rows), calls)
	}
	for i, r := range rows {
		if r.Training != kinds[i] || len(r.Rates) != 3 || !(r.Median() > 0) || !(r.Share() > 0) || math.Abs(r.Bound*r.Cost-1000e9) > 1 {
			t.Errorf("row %d: %+v", i, r)
		}
		if r.Precision != train.BF16 && r.Limit != F32 {
			t.Errorf("%v is bound by %v", r.Precision, r.Limit)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Train(ctx, k, tiny, kinds, 3, steady{}, &limits, func(_ Training, round int) {
		if round == 2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
