package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/gptctl/gptctl/internal/cpu"
	"github.com/gptctl/gptctl/internal/gpt2"
	"github.com/gptctl/gptctl/internal/kernel"
	"github.com/gptctl/gptctl/internal/tensor"
	"github.com/gptctl/gptctl/internal/train"
)

// Training is a kind of training step to measure.
type Training struct {
	Precision     train.Precision
	Batch         int // sequences of a step
	Context       int // tokens of each
	Checkpointing bool
	LoRARank      int // 0: all weights are trained
}

// LoRATargets are the matrices that a LoRA is measured with: all of a block.
var LoRATargets = []string{"c_attn", "c_proj", "c_fc"}

// TrainRow is one measured kind of training step.
type TrainRow struct {
	Training
	Rates  []float64 // tokens a second of each step
	Shares []float64 // of what the machine allowed at that moment
	Limit  Limit     // of the arithmetic that the matrices are multiplied in
	Bound  float64   // tokens a second that the limit allows, the median
	Cost   float64   // operations of one token, see TrainCost
	Peak   int64     // most bytes resident of a process that does only this; 0: not known
}

// Median returns the middle rate.
func (r TrainRow) Median() float64 { return median(r.Rates) }

// Share returns the part of the limit that was reached, the median of the steps.
func (r TrainRow) Share() float64 { return median(r.Shares) }

// TrainCost counts the floating-point operations of training on one token, two
// to a multiply-add: the products with the matrices of the blocks and the head
// and those of attention to half the context, once forward and twice on the way
// back (by the input and by the weight, which a frozen weight does without). What
// checkpointing computes again is not counted: it is no progress.
func TrainCost(c gpt2.Config, t Training) float64 {
	type product struct{ in, out int }
	products := []product{{c.Embd, 3 * c.Embd}, {c.Embd, c.Embd}, {c.Embd, c.Inner}, {c.Inner, c.Embd}}
	matrices, adapters := 0, 0
	for _, p := range products {
		matrices += p.in * p.out
		adapters += t.LoRARank * (p.in + p.out)
	}
	attention := float64(c.Embd) * float64(t.Context+1) // two products with half the context
	block := 3 * (float64(adapters) + attention)
	head := float64(c.Embd * c.VocabSize)
	if times := 3.0; t.LoRARank == 0 {
		block, head = block+times*float64(matrices), times*head
	} else {
		block, head = block+2*float64(matrices), 2*head
	}
	return 2 * (float64(c.Layers)*block + head)
}

// peakOfTraining is the limit of the arithmetic that a precision is multiplied
// in. Nothing multiplies products of float16 but as float32.
func peakOfTraining(c *kernel.CPU, p train.Precision) Limit {
	if p == train.BF16 {
		return peakOf(c, tensor.BF16)
	}
	return F32
}

// trainer is a row to be.
type trainer struct {
	row    TrainRow
	device *cpu.Device
	model  *train.Trainer
	rows   []train.Rows
	random *rand.Rand
	vocab  int
	bounds []float64
}

// newTrainer makes random weights and computes two steps, in which all memory is
// taken and the caches become warm. base is what the process had before
// anything; see residentPeak.
func newTrainer(ctx context.Context, k *kernel.CPU, c gpt2.Config, t Training, base int64) (*trainer, error) {
	before := resident()
	resetPeak()
	r := &trainer{
		row:    TrainRow{Training: t, Limit: peakOfTraining(k, t.Precision), Cost: TrainCost(c, t)},
		device: cpu.New(k, cpu.Options{}), random: rand.New(rand.NewPCG(1, 2)), vocab: c.VocabSize,
	}
	o := train.Options{Precision: t.Precision, Checkpointing: t.Checkpointing}
	if t.LoRARank > 0 {
		o.LoRA = train.LoRA{Rank: t.LoRARank, Alpha: float64(t.LoRARank), Targets: LoRATargets}
	}
	w := randomWeights(c)
	if t.LoRARank > 0 {
		w = train.Initial(c, 1) // is used where it lies, and takes memory of its own
	}
	model, err := train.New(r.device, c, w, o)
	if err != nil {
		r.device.Close()
		return nil, err
	}
	r.model = model
	w = nil
	debug.FreeOSMemory() // what it has copied of the weights
	n := t.Batch * t.Context
	r.rows = []train.Rows{{Rows: t.Batch, Tokens: make([]int32, n), Labels: make([]int32, n)}}
	for range 2 {
		if _, err := r.step(ctx); err != nil {
			r.device.Close()
			return nil, err
		}
	}
	if peak := residentPeak(); peak > 0 && before > 0 {
		r.row.Peak = peak - before + base
	}
	return r, nil
}

// step returns how long a step of new tokens took.
func (r *trainer) step(ctx context.Context) (time.Duration, error) {
	for i := range r.rows[0].Tokens {
		r.rows[0].Tokens[i], r.rows[0].Labels[i] = int32(r.random.IntN(r.vocab)), int32(r.random.IntN(r.vocab))
	}
	start := time.Now()
	s, err := r.model.Step(ctx, r.rows, train.Hyper{LR: 1e-5, WeightDecay: 0.1, Clip: 1, Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8}, nil)
	if err == nil && s.Skipped && r.row.Precision != train.FP16 {
		err = fmt.Errorf("%s is not finite", s.Bad)
	}
	return time.Since(start), err
}

// measure adds a step to the row, beside the limit before and after it.
func (r *trainer) measure(ctx context.Context, m Meter) error {
	const slices = 3
	var slower float64 // sum of 1/limit
	limit := func() error {
		for range slices {
			v, err := m.Measure(ctx, r.row.Limit)
			if err != nil {
				return err
			}
			slower += 1 / v
		}
		return nil
	}
	if err := limit(); err != nil {
		return err
	}
	took, err := r.step(ctx)
	if err != nil {
		return err
	}
	if err := limit(); err != nil {
		return err
	}
	rate := float64(r.row.Batch*r.row.Context) / took.Seconds()
	bound := 2 * slices / slower / (r.row.Cost / 1e9)
	r.row.Rates, r.bounds, r.row.Shares = append(r.row.Rates, rate), append(r.bounds, bound), append(r.row.Shares, rate/bound)
	return nil
}

// Train measures steps of kinds of training of a model of random weights:
// repetitions rounds over all of them, so that a slow moment of the machine
// meets all. They are all in memory at a time, and m takes none until the first
// measurement.
func Train(ctx context.Context, k *kernel.CPU, c gpt2.Config, kinds []Training, repetitions int, m Meter, l *Limits, progress func(t Training, round int)) ([]TrainRow, error) {
	debug.FreeOSMemory()
	base := resident()
	var all []*trainer
	defer func() {
		for _, r := range all {
			r.device.Close()
		}
	}()
	for _, t := range kinds {
		progress(t, 0)
		r, err := newTrainer(ctx, k, c, t, base)
		if err != nil {
			return nil, fmt.Errorf("train in %v: %w", t.Precision, err)
		}
		all = append(all, r)
	}
	for round := range repetitions {
		if err := l.MeasureAll(ctx, m); err != nil {
			return nil, err
		}
		for _, r := range all {
			progress(r.row.Training, round+1)
			if err := r.measure(ctx, m); err != nil {
				return nil, fmt.Errorf("train in %v: %w", r.row.Precision, err)
			}
		}
	}
	var rows []TrainRow
	for _, r := range all {
		r.row.Bound = median(r.bounds)
		rows = append(rows, r.row)
	}
	return rows, nil
}
