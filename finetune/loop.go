package finetune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Job is a training that has all it needs.
type Job struct {
	Settings Settings // after ForModel and ForData; with Resume those that Resumed gave
	Trainer  Trainer
	Data     Data

	Model      string            // name of the model to begin with, for the card
	ModelHash  string            // of its configuration and weights
	OldHash    string            // as checkpoints called the data when the hash had the places of the files in it
	Source     string            // where its files are, "" if nowhere
	Parameters int               // of the whole model
	Vocabulary int               // of a model that has learned something, 0 otherwise
	License    string            // of the model to begin with, "" if it is not known
	Files      map[string][]byte // beside the weights: config.json, tokenizer.json …
	Adapter    []byte            // adapter_config.json: keep the adapters as they are instead of merging them; nil otherwise

	// Sample continues a prompt with the weights as they are now; nil without samples.
	Sample func(ctx context.Context, prompt string, tokens int, seed uint64) (string, error)
	Events func(Event) // nil: nobody listens

	Resume bool // go on where OUT stopped
	Force  bool // clear OUT first

	now  func() time.Time
	disk disk
	lock *outLock // of OUT, if it is locked already
}

// InterruptedError says where a run that was interrupted can go on. It wraps
// context.Canceled.
type InterruptedError struct {
	Step, Steps int
	Path        string // of the checkpoint
	Err         error
}

func (e *InterruptedError) Error() string {
	return fmt.Sprintf("interrupted; step %d of %d is saved in %s", e.Step, e.Steps, e.Path)
}
func (e *InterruptedError) Unwrap() error { return e.Err }

// MismatchError says that a checkpoint belongs to something else.
type MismatchError struct {
	Key      string // "data" or "model"
	Was, Now string // hashes
}

func (e *MismatchError) Error() string {
	short := func(hash string) string { return fmt.Sprintf("%.12s", strings.TrimPrefix(hash, "sha256:")) }
	return fmt.Sprintf("the %s is not that of the run to resume: its hash is %s, want %s", e.Key, short(e.Now), short(e.Was))
}

// loop is a training under way.
type loop struct {
	Job
	at      position
	saver   saver
	saved   int // step of the newest checkpoint, -1: none
	metrics *metrics
	events  *eventFile
	began   time.Time
	before  float64 // seconds of earlier sittings
}

// Train carries a job out. Its errors are a *SettingError, an *ExistsError, a
// *RoomError, a *MismatchError, a *DamagedError, a *SaveError, a *SpikeError, a
// *NonFiniteError, an *InterruptedError, the trainer's, the data's, or the
// system's. Whatever it returns, the checkpoints in OUT are good.
func Train(ctx context.Context, j Job) (Result, error) {
	if j.now == nil {
		j.now = time.Now
	}
	if j.disk == nil {
		j.disk = newFile
	}
	s := j.Settings
	if err := errors.Join(s.Validate(), s.errLR()); err != nil {
		return Result{}, err
	}
	if s.Steps < 1 || s.Warmup < 0 || s.EvalEvery < 0 || s.SampleEvery < 0 || s.SaveEvery < 0 {
		panic("finetune: Train wants settings that ForData has completed")
	}
	if j.Data.TrainRows() < 1 {
		return Result{}, errors.New("there is no text to train on")
	}
	if j.lock == nil {
		if err := CheckOut(s.Out, j.Source, j.Resume, j.Force); err != nil {
			return Result{}, err
		}
		lock, err := lockOut(s.Out)
		if err != nil {
			return Result{}, err
		}
		defer lock.release()
	}
	l := &loop{Job: j, saved: -1}
	if err := l.open(); err != nil {
		return Result{}, err
	}
	defer l.close()
	err := l.run(ctx)
	if err != nil {
		defer l.leaveNothing()
		// The tensors must not change while they are written, and the caller is free to.
		saved := l.saver.wait()
		if isFull(err) && isFull(saved) { // what says which checkpoint is good says enough
			return Result{}, saved
		}
		return Result{}, errors.Join(err, saved)
	}
	return l.finish()
}

// open makes OUT ready, and reads the checkpoint to go on from.
func (l *loop) open() error {
	s := l.Settings
	if err := prepare(s.Out, l.Source, l.Resume, l.Force); err != nil {
		return err
	}
	l.at = position{Model: l.Model, ModelHash: l.ModelHash, DataHash: l.Data.Hash()}
	l.saver = saver{disk: l.disk, out: s.Out, small: l.Files, done: l.checkpointDone}
	if l.Resume {
		if err := l.restoreNewest(); err != nil {
			return err
		}
	}
	l.at.Settings = s
	l.before = l.at.Seconds
	state := l.Trainer.State()
	size := tensorBytes(state.Weights, state.Optimizer)
	if err := checkRoom(s.Out, s.Keep+2, size, int64(l.Parameters)*4); err != nil && !l.Resume {
		return err // a run that goes on has most of it on the disk already
	}
	var err error
	if l.metrics, err = openMetrics(l.disk, s.Out, l.at.Step); err != nil {
		return err
	}
	if l.events, err = openEvents(s.Out, l.at.Step, l.now); err != nil {
		l.metrics.close()
	}
	return err
}

func (l *loop) close() {
	l.metrics.close()
	l.events.close()
}

// leaveNothing takes away what a training has written that came to no step.
func (l *loop) leaveNothing() {
	if l.at.Step > 0 || l.saved >= 0 {
		return
	}
	l.close()
	if steps, err := listCheckpoints(l.Settings.Out); err != nil || len(steps) > 0 {
		return
	}
	for _, name := range byproducts {
		_ = os.RemoveAll(filepath.Join(l.Settings.Out, name)) // what stays is in nobody's way
	}
}

// restoreNewest goes back to the newest checkpoint that is not damaged.
func (l *loop) restoreNewest() error {
	steps, err := listCheckpoints(l.Settings.Out)
	if err != nil {
		return err
	}
	var damaged error
	for _, step := range steps {
		dir := filepath.Join(l.Settings.Out, checkpointsName, stepName(step))
		p, err := readPosition(dir)
		if err == nil {
			if err := l.belongs(p); err != nil {
				return err
			}
			err = loadTensors(dir, p, l.Trainer.Restore)
		}
		var bad *DamagedError
		switch {
		case errors.As(err, &bad):
			if damaged == nil {
				damaged = err
			}
			l.emit(NoteEvent{step, fmt.Sprintf("%v; the one before it is looked at", err)})
			continue
		case err != nil:
			return fmt.Errorf("restore %s: %w", dir, err)
		}
		p.Files, p.Values, p.Recipe = nil, nil, ""
		l.at, l.saved = p, step
		l.at.Settings = l.Settings
		// More patience may have been asked for since.
		l.at.Stopped = p.Stopped && l.outOfPatience()
		return nil
	}
	return nothingToResume(l.Settings.Out, len(steps), damaged)
}

// belongs reports whether a checkpoint is one of this job.
func (l *loop) belongs(p position) error {
	switch {
	case p.ModelHash != l.ModelHash:
		return &MismatchError{"model", p.ModelHash, l.ModelHash}
	case p.DataHash != l.Data.Hash() && p.DataHash != l.OldHash:
		return &MismatchError{"data", p.DataHash, l.Data.Hash()}
	}
	_, err := Resumed(p.Settings, l.Settings)
	return err
}

func (l *loop) emit(e Event) {
	if l.Events != nil {
		l.Events(e)
	}
}

// run trains until the steps are done, or it is time to stop.
func (l *loop) run(ctx context.Context) error {
	s := l.Settings
	l.began = l.now()
	l.emit(StartEvent{s.Out, l.at.Step, s.Steps, l.Data.TrainRows(), l.Data.ValidRows(), s.Context, l.stepTokens(), s})
	if l.at.Step == 0 && !l.Resume {
		if s.EvalEvery > 0 {
			if err := l.evaluate(ctx); err != nil {
				return l.stopped(ctx, err)
			}
		}
		if s.Spike == "rollback" { // there must be something to go back to
			if err := l.save(); err != nil {
				return err
			}
		}
	}
	for {
		if l.at.Pending { // of the step just done, or of one that was interrupted
			if err := l.after(ctx); err != nil {
				return err
			}
		}
		if l.at.Step >= s.Steps || l.at.Stopped {
			return l.saver.wait()
		}
		if err := l.saver.poll(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return l.stopped(ctx, ctx.Err())
		}
		if err := l.step(ctx); err != nil {
			return l.stopped(ctx, err)
		}
	}
}

// stopped saves where a run is if ctx ended it, and says so.
func (l *loop) stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	if l.at.Step == 0 && l.saved < 0 {
		return err // nothing was done yet
	}
	if l.saved != l.at.Step {
		if err := l.save(); err != nil {
			return err
		}
	}
	if err := l.saver.wait(); err != nil {
		return err
	}
	return &InterruptedError{l.at.Step, l.Settings.Steps, filepath.Join(l.Settings.Out, checkpointsName, stepName(l.at.Step)), err}
}

func (l *loop) stepTokens() int64 {
	s := l.Settings
	return int64(s.Batch) * int64(s.Accumulate) * int64(s.Context)
}

// step takes one optimizer step.
func (l *loop) step(ctx context.Context) (err error) {
	s := l.Settings
	rows := make([]Rows, s.Accumulate)
	next := l.at.Row
	for i := range rows {
		if rows[i], err = l.Data.Train(next, s.Batch); err != nil {
			return fmt.Errorf("rows %d to %d of the data: %w", next, next+int64(s.Batch)-1, err)
		}
		next += int64(s.Batch)
	}
	lr := s.rate(l.at.Step)
	start := l.now()
	st, err := l.Trainer.Step(ctx, rows, Hyper{lr, s.WeightDecay, s.Clip, s.Beta1, s.Beta2, s.Epsilon}, l.saver.wait)
	if err != nil {
		return err
	}
	took := l.now().Sub(start).Seconds()

	l.at.Step++
	l.at.Row = next
	l.at.Tokens += l.stepTokens()
	l.at.Pending = true
	if !st.Skipped { // an overflow may have reached the loss
		l.at.LastLoss = st.Loss
	}
	l.at.Seconds = l.before + l.now().Sub(l.began).Seconds()
	l.at.Skipped++
	if !st.Skipped {
		l.at.Skipped = 0
	}
	p := point{step: l.at.Step, tokens: l.at.Tokens, seconds: l.at.Seconds, loss: st.Loss, lr: lr, norm: st.GradNorm, scale: st.Scale,
		tokPerS: float64(l.stepTokens()) / max(took, 1e-9), skipped: st.Skipped, evalLoss: math.NaN()}
	if err := l.metrics.flush(); err != nil {
		return err
	}
	l.metrics.add(p)
	if err := l.events.scalars(p.step, scalar{"train/loss", p.loss}, scalar{"train/lr", p.lr}, scalar{"train/grad_norm", p.norm},
		scalar{"train/loss_scale", p.scale}, scalar{"train/tok_s", p.tokPerS}); err != nil {
		return err
	}
	l.emit(StepEvent{p.step, s.Steps, p.loss, lr, p.norm, p.scale, p.tokPerS, p.tokens, p.seconds, p.skipped})

	if err := checkFinite(l.at.Step, st, lr, l.at.Skipped, s.Precision == "fp16"); err != nil {
		return errors.Join(l.diagnose(ctx, err, rows...), l.metrics.flush(), l.report())
	}
	if st.Skipped {
		return nil
	}
	return l.guard(st)
}

// guard looks for a sudden rise of the loss.
func (l *loop) guard(st Stats) error {
	z, ok := zScore(l.at.Losses, st.Loss)
	l.at.Losses = remember(l.at.Losses, st.Loss)
	if !ok || z <= l.Settings.SpikeZ || l.Settings.Spike == "off" {
		return nil
	}
	spike := &SpikeError{Step: l.at.Step, Loss: st.Loss, Z: z}
	switch l.Settings.Spike {
	case "warn":
		l.emit(NoteEvent{l.at.Step, spike.Error()})
		return nil
	case "stop":
		return errors.Join(spike, l.metrics.flush(), l.report())
	}
	if l.at.Rollbacks >= maxRollbacks {
		spike.Reason = fmt.Sprintf("the run went back %d times already", l.at.Rollbacks)
		return errors.Join(spike, l.metrics.flush(), l.report())
	}
	if err := l.saver.wait(); err != nil {
		return err
	}
	// The rows that made it are not read again.
	row, rollbacks := l.at.Row, l.at.Rollbacks
	if err := l.restoreNewest(); err != nil {
		return err
	}
	l.at.Row, l.at.Rollbacks = row, rollbacks+1
	l.emit(NoteEvent{l.at.Step, fmt.Sprintf("%v; back to step %d, past the rows that made it", spike, l.at.Step)})
	return errors.Join(l.metrics.cut(l.at.Step), l.events.restart(l.at.Step))
}

// after does what is due after a step. It may be called again for the same step
// if it was interrupted.
func (l *loop) after(ctx context.Context) error {
	s, step := l.Settings, l.at.Step
	last := step == s.Steps
	due := func(every int) bool { return every > 0 && (step%every == 0 || last) }
	save := s.SaveEvery > 0 && step%s.SaveEvery == 0
	if due(s.EvalEvery) && l.Data.ValidRows() > 0 {
		if l.at.EvalStep != step {
			if err := l.evaluate(ctx); err != nil {
				return l.stopped(ctx, err)
			}
		}
		save = save || l.best() == step
		l.at.Stopped = l.outOfPatience()
	}
	if due(s.SampleEvery) || l.at.Stopped && s.SampleEvery > 0 {
		if err := l.sample(ctx); err != nil {
			return l.stopped(ctx, err)
		}
	}
	l.at.Pending = false
	if save || last || l.at.Stopped {
		return l.save()
	}
	return nil
}

func (l *loop) outOfPatience() bool {
	return l.Settings.Patience > 0 && l.at.Worse >= l.Settings.Patience
}

// evaluate computes the loss on the rows held out.
func (l *loop) evaluate(ctx context.Context) error {
	s := l.Settings
	n := l.Data.ValidRows()
	if s.EvalRows > 0 {
		n = min(n, s.EvalRows)
	}
	var sum float64
	labels := 0
	for from := 0; from < n; from += s.Batch {
		rows, err := l.Data.Valid(from, min(s.Batch, n-from))
		if err != nil {
			return fmt.Errorf("held-out rows from %d: %w", from, err)
		}
		part, count, err := l.Trainer.Evaluate(ctx, rows)
		if err != nil {
			return err
		}
		if math.IsNaN(part) || math.IsInf(part, 0) {
			err := &NonFiniteError{l.at.Step, fmt.Sprintf("the loss on the held-out text is %v", part), "", s.rate(max(0, l.at.Step-1))}
			return l.diagnose(ctx, err, rows)
		}
		sum, labels = sum+part, labels+count
	}
	if labels == 0 {
		return nil
	}
	loss := sum / float64(labels)
	if chance := math.Log(float64(l.Vocabulary)); l.at.Step == 0 && l.Vocabulary > 0 && loss > chance+0.5 {
		l.emit(NoteEvent{0, fmt.Sprintf("the model knows these texts less than by chance (loss %.2f, chance has %.2f): do its weights and its tokenizer belong together?", loss, chance)})
	}
	// The model to begin with is no result of the run.
	best := false
	if l.at.Step > 0 {
		if best = l.at.BestStep == 0 || loss < l.at.BestLoss; best {
			l.at.BestStep, l.at.BestLoss, l.at.Worse = l.at.Step, loss, 0
		} else {
			l.at.Worse++
		}
	}
	l.at.EvalStep = l.at.Step
	if err := l.metrics.eval(l.at.Step, loss); err != nil {
		return err
	}
	l.emit(EvalEvent{l.at.Step, loss, math.Exp(loss), best})
	return l.events.scalars(l.at.Step, scalar{"eval/loss", loss})
}

// maxSamples bounds what a checkpoint and the report hold.
const maxSamples = 200

func (l *loop) sample(ctx context.Context) error {
	if l.Sample == nil {
		return nil
	}
	l.at.Samples = slices.DeleteFunc(slices.Clone(l.at.Samples), func(s Sample) bool { return s.Step == l.at.Step })
	for i, prompt := range l.Settings.SamplePrompts {
		text, err := l.Sample(ctx, prompt, l.Settings.SampleTokens, uint64(l.Settings.Seed)+uint64(i))
		if err != nil {
			return fmt.Errorf("sample after step %d: %w", l.at.Step, err)
		}
		sample := Sample{l.at.Step, prompt, text}
		l.at.Samples = append(l.at.Samples, sample)
		if n := len(l.at.Samples); n > maxSamples {
			l.at.Samples = slices.Clone(l.at.Samples[n-maxSamples:])
		}
		l.emit(SampleEvent{sample})
	}
	return nil
}

// save begins to write a checkpoint, and the report of the steps so far.
func (l *loop) save() error {
	if err := l.saver.start(l.at, l.Trainer.State(), l.best()); err != nil {
		return err
	}
	l.saved = l.at.Step
	return errors.Join(l.metrics.flush(), l.report())
}

func (l *loop) checkpointDone(step int, path string, bytes int64) error {
	l.emit(CheckpointEvent{step, path, bytes})
	return rotate(l.Settings.Out, l.Settings.Keep, l.saver.best)
}

// best is the step whose checkpoint is kept, 0 for none.
func (l *loop) best() int {
	if l.Settings.Export == "best" || l.Settings.Patience > 0 {
		return l.at.BestStep
	}
	return 0
}

// finish writes the model into OUT.
func (l *loop) finish() (Result, error) {
	s := l.Settings
	r := Result{Path: s.Out, Steps: l.at.Step, Loss: l.at.LastLoss, BestStep: l.at.BestStep, BestLoss: l.at.BestLoss,
		Exported: l.at.Step, Early: l.at.Stopped, Seconds: l.at.Seconds, Tokens: l.at.Tokens, Report: filepath.Join(s.Out, reportName)}
	if s.Export == "best" && l.at.BestStep > 0 && l.at.BestStep != l.at.Step {
		dir := filepath.Join(s.Out, checkpointsName, stepName(l.at.BestStep))
		p, err := readPosition(dir)
		if err == nil {
			err = loadTensors(dir, p, l.Trainer.Restore)
		}
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				return r, err
			}
			l.emit(NoteEvent{l.at.Step, fmt.Sprintf("the best checkpoint, of step %d, is gone: the last weights are written", l.at.BestStep)})
		} else {
			r.Exported = l.at.BestStep
		}
	}
	if err := l.export(r); err != nil {
		return r, fmt.Errorf("write the model to %s: %w", s.Out, err)
	}
	if err := errors.Join(l.metrics.flush(), l.report()); err != nil {
		return r, err
	}
	l.emit(DoneEvent{r})
	return r, nil
}
