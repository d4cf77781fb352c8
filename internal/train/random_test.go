package train_test

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/randomtest"
	"github.com/gptctl/gptctl/internal/train"
)

// The check of .ci/slow random: three steps of any small model have the losses of plain
// Go, and the same bits with any number of threads and with layers computed twice.
func TestRandomTrainings(t *testing.T) {
	randomtest.Rounds(t, func(t *testing.T, rng *rand.Rand) {
		cfg := randomtest.Config(rng)
		weights := train.Initial(cfg, rng.Uint64())
		steps := randomSteps(rng, cfg)
		o := train.Options{Seed: rng.Uint64(), Precision: train.Precision(rng.IntN(3))}
		if rng.IntN(3) == 0 {
			o.Dropout = 0.1
		}
		if rng.IntN(3) == 0 {
			targets := [][]string{{"c_attn"}, {"c_attn", "c_proj"}, {"c_fc", "mlp.c_proj"}, {"c_attn", "c_proj", "c_fc"}}
			o.LoRA = train.LoRA{Rank: []int{1, 2, 8, 33}[rng.IntN(4)], Alpha: 16, Targets: targets[rng.IntN(len(targets))]}
		} else if rng.IntN(4) == 0 {
			o.Freeze = [][]string{{"wte.*"}, {"wpe.*", "h.0.*"}, {"*.bias"}}[rng.IntN(3)]
		}
		t.Logf("%+v", cfg)
		t.Logf("%+v, %d parts of %d rows of %d tokens", o, len(steps[0]), steps[0][0].Rows, len(steps[0][0].Tokens)/steps[0][0].Rows)

		run := func(family string, threads int) ([]train.Stats, train.State) {
			tr, err := train.New(device(t, threads, family), cfg, weights, o)
			if err != nil {
				t.Fatal(err)
			}
			var all []train.Stats
			for _, rows := range steps {
				s, err := tr.Step(context.Background(), rows, train.Hyper{LR: 1e-3, WeightDecay: 0.1, Clip: 1, Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8}, nil)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, s)
			}
			return all, tr.State()
		}
		plain, _ := run("generic", 2)
		fast, want := run("", 1)
		limit := map[train.Precision]float64{train.FP32: 1e-3, train.BF16: 0.05, train.FP16: 0.02}[o.Precision]
		for i, s := range fast {
			p := plain[i]
			if !(math.Abs(s.Loss-p.Loss) <= 0.1*limit*p.Loss) || s.Skipped != p.Skipped || s.Labels != p.Labels ||
				!s.Skipped && !(math.Abs(s.GradNorm-p.GradNorm) <= limit*p.GradNorm) {
				t.Errorf("step %d: %+v, want %+v", i, s, p)
			}
		}
		for threads := 2; threads <= 3; threads++ {
			_, got := run("", threads)
			sameState(t, got, want)
		}
		o.Checkpointing = true
		_, got := run("", 2)
		sameState(t, got, want)
	})
}

// randomSteps are the rows of three steps, each in one part or more.
func randomSteps(rng *rand.Rand, cfg gpt2.Config) (steps [][]train.Rows) {
	context, rows, parts := 1+rng.IntN(cfg.Positions), 1+rng.IntN(6), 1+rng.IntN(3)
	masked := rng.IntN(3) == 0
	for range 3 {
		var step []train.Rows
		for range parts {
			r := train.Rows{Rows: rows, Tokens: make([]int32, rows*context), Labels: make([]int32, rows*context)}
			for i := range r.Tokens {
				r.Tokens[i], r.Labels[i] = rng.Int32N(int32(cfg.VocabSize)), rng.Int32N(int32(cfg.VocabSize))
				if masked && i > 0 && rng.IntN(2) == 0 {
					r.Labels[i] = train.Ignore
				}
			}
			step = append(step, r)
		}
		steps = append(steps, step)
	}
	return steps
}
