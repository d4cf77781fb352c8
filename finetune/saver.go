package finetune

import (
	"fmt"
	"path/filepath"
	"slices"
)

// saver writes checkpoints in the background, one at a time.
type saver struct {
	disk    disk
	out     string
	small   map[string][]byte
	pending chan error // of the one under way, nil without one
	step    int        // of it
	best    int        // the step that rotation spares when it is there
	bytes   int64
	done    func(step int, path string, bytes int64) error // called by the loop's goroutine
}

// SaveError says that a checkpoint could not be written. Those before it are as
// they were.
type SaveError struct {
	Step     int
	Previous int // step of the newest that is whole, -1 if none is
	Err      error
}

func (e *SaveError) Error() string {
	text := fmt.Sprintf("the checkpoint of step %d could not be written: %v", e.Step, e.Err)
	if e.Previous >= 0 {
		text += fmt.Sprintf("; that of step %d is good", e.Previous)
	}
	return text
}
func (e *SaveError) Unwrap() error { return e.Err }

// start begins to write. The tensors must not change before wait has returned.
func (s *saver) start(p position, state State, best int) error {
	if err := s.wait(); err != nil {
		return err
	}
	// The position's lists go on growing in the loop.
	p.Losses, p.Samples = slices.Clone(p.Losses), slices.Clone(p.Samples)
	pending := make(chan error, 1)
	s.pending, s.step, s.best, s.bytes = pending, p.Step, best, tensorBytes(state.Weights, state.Optimizer)
	go func() { pending <- writeCheckpoint(s.disk, s.out, p, state, s.small) }()
	return nil
}

// wait returns when nothing is under way.
func (s *saver) wait() error {
	if s.pending == nil {
		return nil
	}
	return s.finish(<-s.pending)
}

// poll looks whether the one under way is finished.
func (s *saver) poll() error {
	select {
	case err := <-s.pending: // never, if nil
		return s.finish(err)
	default:
		return nil
	}
}

func (s *saver) finish(err error) error {
	s.pending = nil
	if err != nil {
		previous := -1
		if steps, _ := listCheckpoints(s.out); len(steps) > 0 {
			previous = steps[0]
		}
		return &SaveError{s.step, previous, err}
	}
	return s.done(s.step, filepath.Join(s.out, checkpointsName, stepName(s.step)), s.bytes)
}

// rotate removes all checkpoints but the newest ones and the best, 0 for none.
func rotate(out string, keep, best int) error {
	steps, err := listCheckpoints(out)
	if err != nil {
		return err
	}
	for i, step := range steps {
		if i >= keep && (step != best || best == 0) {
			if err := removeCheckpoint(out, step); err != nil {
				return err
			}
		}
	}
	return nil
}
