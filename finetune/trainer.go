package finetune

import (
	"context"

	"github.com/gptctl/gptctl/internal/safetensors"
)

// Rows are training rows: Tokens and Labels [rows][context]. What a label means
// is between Data and Trainer; the loop hands them over.
type Rows struct {
	Tokens, Labels []int32
	Rows           int
}

// Hyper are the numbers of one optimizer step.
type Hyper struct {
	LR, WeightDecay, Clip, Beta1, Beta2, Epsilon float64
}

// Stats say how a step went.
type Stats struct {
	Loss     float64 // mean over the labels that count, in nats
	GradNorm float64 // before clipping
	Scale    float64 // of the loss, with which the step was computed; 1 without one
	Skipped  bool    // the gradients were not finite, and Scale has been made smaller
	Bad      string  // the first tensor that held a NaN or an infinity, "" if none did
}

// Trainer computes. Only one method runs at a time.
type Trainer interface {
	// Step computes the gradients of all rows, one element after the other, and
	// changes the weights once. ready is called after the gradients are there and
	// before anything that State returns is changed; its error ends the step. A
	// step that fails because ctx ended has changed nothing.
	Step(ctx context.Context, rows []Rows, h Hyper, ready func() error) (Stats, error)
	// Evaluate returns the sum of the losses of the labels that count, and their
	// number. It changes nothing that State returns.
	Evaluate(ctx context.Context, rows Rows) (sum float64, labels int, err error)
	// State returns all that the next steps depend on. The tensors are views, not
	// copies, and stay as they are until ready of the next Step is called.
	State() State
	// Restore takes over a State, whose tensors are valid during the call only.
	Restore(s State) error
	// Weights returns the finished model under the names of transformers, adapters
	// merged into it; views like those of State, if it can.
	Weights() ([]safetensors.Named, error)
}

// State is what a checkpoint holds of a Trainer.
type State struct {
	Weights   []safetensors.Named // of what is trained, under the names that a model file has
	Optimizer []safetensors.Named // moments and the like
	Values    map[string]string   // small things: counters, scaler, RNG streams

	// Forget is called with parts of the tensors that Restore has copied: they need
	// no memory any more. It may be nil.
	Forget func(part []byte)
}

// Data are rows of tokens. Every method always answers the same question in the
// same way.
type Data interface {
	// TrainRows and ValidRows count the rows of an epoch, and those held out.
	TrainRows() int
	ValidRows() int
	// Train returns rows [first, first+n) of the endless row of shuffled epochs.
	Train(first int64, n int) (Rows, error)
	// Valid returns held-out rows.
	Valid(first, n int) (Rows, error)
	// Hash names the texts and all that was done to them.
	Hash() string
}
