package finetune

// Event is one of the types below. They come in order, from one goroutine.
type Event interface{ event() }

// StartEvent comes before the first step.
type StartEvent struct {
	Out        string
	Step       int // steps that are done already
	Steps      int
	Rows       int   // of an epoch
	ValidRows  int   // held out
	RowTokens  int   // per row
	StepTokens int64 // per optimizer step
	Settings   Settings
}

// StepEvent comes after every optimizer step.
type StepEvent struct {
	Step, Steps                   int
	Loss, LR, GradNorm, LossScale float64
	TokPerS                       float64
	Tokens                        int64 // so far
	Seconds                       float64
	Skipped                       bool
}

// EvalEvent is the loss on the held-out rows, in nats per label.
type EvalEvent struct {
	Step             int
	Loss, Perplexity float64
	Best             bool
}

// SampleEvent is a text that the model wrote.
type SampleEvent struct{ Sample }

// CheckpointEvent says that a checkpoint is whole.
type CheckpointEvent struct {
	Step  int
	Path  string
	Bytes int64
}

// NoteEvent is something that a user ought to know.
type NoteEvent struct {
	Step int
	Text string
}

// DoneEvent is the last.
type DoneEvent struct{ Result }

func (StartEvent) event()      {}
func (StepEvent) event()       {}
func (EvalEvent) event()       {}
func (SampleEvent) event()     {}
func (CheckpointEvent) event() {}
func (NoteEvent) event()       {}
func (DoneEvent) event()       {}

// Result says how a run ended.
type Result struct {
	Path     string
	Steps    int
	Loss     float64 // of the last step
	BestStep int     // of the best evaluation, 0 without one
	BestLoss float64
	Exported int // step of the weights that were written
	Early    bool
	Seconds  float64 // of all sittings
	Tokens   int64
	Report   string
}
