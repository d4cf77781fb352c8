package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Task is work for a team. The members that come in time call Run, each once,
// and inside it claim parts of the work until none is left.
type Task interface{ Run(member int) }

// Team is a number of goroutines that wait for work, first spinning, then
// parked. The caller of Run is member 0. A call costs no allocation.
//
// The caller waits only for workers that have begun: on a busy machine one that
// gets no processor in time finds the task finished and leaves it alone.
//
// Between the caller and each worker two words go back and forth, each written by
// one of them alone and on a cache line of its own: a line that has to change its owner
// costs a fifth of a microsecond where cores share no cache.
type Team struct {
	workers []worker
	spins   int                   // rounds of pause before parking
	idle    func(member int) bool // a little that a member does while it waits; false: there is no more
	waiting atomic.Bool           // the caller is parked, or about to
	done    chan struct{}

	_    [64]byte
	call atomic.Uint64 // calls of Run so far · 2, plus 1 while workers may begin
	task Task
	stop bool // read by a worker after it has begun
	_    [64]byte
}

type worker struct {
	parked  atomic.Bool
	wake    chan struct{}
	stopped chan struct{}
	failure any // what its Run panicked with

	_     [64]byte
	begun atomic.Uint64 // the last value of Team.call with which it began …
	left  atomic.Uint64 // … and with which it was done
	_     [64]byte
}

// spinTime is how long a member spins before it parks: longer than the gap
// between two operations of a layer, or than one member's last part of the
// work; short enough not to heat a core that waits for a person.
const spinTime = 150 * time.Microsecond

// spinRounds is how many rounds of pause last that long. Processors differ by a
// factor of four in what the instruction takes.
var spinRounds = sync.OnceValue(func() int {
	const rounds, most = 64, 1 << 14
	best := time.Hour
	for range 3 {
		start := time.Now()
		for range rounds {
			pause()
		}
		best = min(best, time.Since(start))
	}
	return int(min(most, rounds*spinTime/max(best, 1)))
})

// NewTeam starts n-1 goroutines, n ≥ 1. Members that wait call idle, if there is one,
// until it returns false.
func NewTeam(n int, idle func(member int) bool) *Team {
	t := &Team{workers: make([]worker, n-1), done: make(chan struct{}, 1), spins: spinRounds(), idle: idle}
	if n > runtime.GOMAXPROCS(0) {
		t.spins, t.idle = 0, nil // someone would spin where another has to work
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
	if t.stop {
		return
	}
	t.stop = true
	t.begin(nil)
	for i := range t.workers {
		<-t.workers[i].stopped
	}
}

// Run has the members run task and returns when it is done. If one panics, Run
// panics with the same value, after all others have finished. Only one Run may
// be under way.
func (t *Team) Run(task Task) {
	if t.stop {
		panic("kernel: team used after Close")
	}
	if len(t.workers) == 0 {
		task.Run(0)
		return
	}
	t.begin(task)
	failure := run(task, 0)
	t.end()
	t.task = nil
	for i := range t.workers {
		w := &t.workers[i]
		if w.failure == nil {
			continue
		}
		if failure == nil {
			failure = w.failure
		}
		w.failure = nil
	}
	if failure != nil {
		panic(failure)
	}
}

// begin opens the next call to the workers and wakes those that sleep.
func (t *Team) begin(task Task) {
	t.task = task
	t.call.Store(t.call.Load() + 1)
	for i := range t.workers {
		if w := &t.workers[i]; w.parked.Load() && w.parked.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
	}
}

// end closes the call and waits for those who have begun. A worker that begins looks
// at the call after it has said so, and the caller at who has begun after it has closed
// the call: one of them sees the other.
func (t *Team) end() {
	t.call.Store(t.call.Load() + 1)
	for t.idle != nil && !t.finished() && t.idle(0) {
	}
	for range t.spins {
		if t.finished() {
			return
		}
		pause()
	}
	for {
		t.waiting.Store(true)
		if t.finished() && t.waiting.CompareAndSwap(true, false) {
			return
		}
		<-t.done // whoever took the flag down sends
		// It may have been a worker that was late with its look at the flag
		// after an earlier call, or not the last.
		if t.finished() {
			return
		}
	}
}

// finished reports whether no worker is at work.
func (t *Team) finished() bool {
	for i := range t.workers {
		if w := &t.workers[i]; w.begun.Load() != w.left.Load() {
			return false
		}
	}
	return true
}

func (t *Team) work(w *worker, member int) {
	runtime.LockOSThread() // its core keeps what it knows
	defer close(w.stopped)
	var seen uint64
	for {
		seen = t.await(w, member, seen)
		if seen%2 == 0 {
			continue // too late
		}
		w.begun.Store(seen)
		if t.call.Load() == seen {
			if t.stop {
				return
			}
			if failure := run(t.task, member); failure != nil {
				w.failure = failure
			}
		}
		w.left.Store(seen)
		if t.waiting.Load() && t.waiting.CompareAndSwap(true, false) {
			t.done <- struct{}{}
		}
	}
}

// await returns the call when it is not the seen one.
func (t *Team) await(w *worker, member int, seen uint64) uint64 {
	for t.idle != nil && t.call.Load() == seen && t.idle(member) {
	}
	for range t.spins {
		if call := t.call.Load(); call != seen {
			return call
		}
		pause()
	}
	for {
		w.parked.Store(true)
		if call := t.call.Load(); call != seen && w.parked.CompareAndSwap(true, false) {
			return call
		}
		<-w.wake // whoever took the flag down sends
		// The caller may have come to this worker only after it had done its
		// part and parked again.
		if call := t.call.Load(); call != seen {
			return call
		}
	}
}

// run returns what task panicked with, if it did.
func run(task Task, member int) (failure any) {
	defer func() { failure = recover() }()
	task.Run(member)
	return nil
}
