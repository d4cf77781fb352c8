package kernel

import (
	"runtime"
	"sync/atomic"
)

// Task is work for a team: every member calls Run once, and inside it claims
// parts of the work until none is left.
type Task interface{ Run(member int) }

// Team is a number of goroutines that wait for work, first spinning, then
// parked. The caller of Run is member 0. A call costs no allocation.
type Team struct {
	workers []worker
	spins   int // rounds of pause before parking

	task    Task
	call    atomic.Uint32 // counts the calls of Run; workers watch it
	closed  bool          // read after call has changed
	running atomic.Int32  // members that are not done with the call, the caller aside
	waiting atomic.Bool   // the caller is parked, or about to
	done    chan struct{}
}

type worker struct {
	parked  atomic.Bool
	wake    chan struct{}
	stopped chan struct{}
	failure any      // what its Run panicked with
	_       [64]byte // workers do not share a cache line
}

// spinRounds of pause last about a tenth of a millisecond: longer than the gap
// between two operations of a layer, or than one member's last part of the
// work; short enough not to heat a core that waits for a person.
const spinRounds = 300

// NewTeam starts n-1 goroutines, n ≥ 1.
func NewTeam(n int) *Team {
	t := &Team{workers: make([]worker, n-1), done: make(chan struct{}, 1), spins: spinRounds}
	if n > runtime.GOMAXPROCS(0) {
		t.spins = 0 // someone would spin where another has to work
	}
	for i := range t.workers {
		w := &t.workers[i]
		w.wake, w.stopped = make(chan struct{}, 1), make(chan struct{})
		go t.work(w, i+1)
	}
	return t
}

// Size returns the number of members.
func (t *Team) Size() int { return len(t.workers) + 1 }

// Close ends the goroutines and returns when they are gone. No call of Run
// may be under way.
func (t *Team) Close() {
	if t.closed {
		return
	}
	t.closed = true
	t.start(nil)
	for i := range t.workers {
		<-t.workers[i].stopped
	}
}

// Run has every member run task and returns when all are done. If one
// panics, Run panics with the same value, after all others have finished.
// Only one Run may be under way.
func (t *Team) Run(task Task) {
	if t.closed {
		panic("kernel: team used after Close")
	}
	if len(t.workers) == 0 {
		task.Run(0)
		return
	}
	t.start(task)
	failure := run(task, 0)
	t.wait()
	t.task = nil
	for i := range t.workers {
		w := &t.workers[i]
		if failure == nil {
			failure = w.failure
		}
		w.failure = nil
	}
	if failure != nil {
		panic(failure)
	}
}

func (t *Team) start(task Task) {
	t.task = task
	t.running.Store(int32(len(t.workers)))
	t.call.Add(1)
	for i := range t.workers {
		if w := &t.workers[i]; w.parked.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
	}
}

func (t *Team) wait() {
	for range t.spins {
		if t.running.Load() == 0 {
			return
		}
		pause()
	}
	for {
		t.waiting.Store(true)
		if t.running.Load() == 0 && t.waiting.CompareAndSwap(true, false) {
			return
		}
		<-t.done // whoever took the flag down sends
		// It may have been a worker that was late with its look at the flag
		// after an earlier call.
		if t.running.Load() == 0 {
			return
		}
	}
}

func (t *Team) work(w *worker, member int) {
	defer close(w.stopped)
	var seen uint32
	for {
		t.await(w, seen)
		seen++
		if t.closed {
			return
		}
		w.failure = run(t.task, member)
		if t.running.Add(-1) == 0 && t.waiting.CompareAndSwap(true, false) {
			t.done <- struct{}{}
		}
	}
}

// await returns when the count of calls is no longer seen.
func (t *Team) await(w *worker, seen uint32) {
	for range t.spins {
		if t.call.Load() != seen {
			return
		}
		pause()
	}
	for {
		w.parked.Store(true)
		if t.call.Load() != seen && w.parked.CompareAndSwap(true, false) {
			return
		}
		<-w.wake // whoever took the flag down sends
		// The caller may have come to this worker only after it had done its
		// part and parked again.
		if t.call.Load() != seen {
			return
		}
	}
}

// run returns what task panicked with, if it did.
func run(task Task, member int) (failure any) {
	defer func() { failure = recover() }()
	task.Run(member)
	return nil
}
