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
type Team struct {
	workers []worker
	spins   int                   // rounds of pause before parking
	idle    func(member int) bool // a little that a member does while it waits; false: there is no more

	task    Task
	stop    bool          // read by a worker after it has joined
	state   atomic.Uint64 // calls of Run so far · 2³² + open + workers that have joined
	waiting atomic.Bool   // the caller is parked, or about to
	done    chan struct{}
}

// open is the bit of Team.state that lets workers join.
const open = 1 << 31

func callOf(state uint64) uint32 { return uint32(state >> 32) }
func joined(state uint64) uint32 { return uint32(state) &^ open }

type worker struct {
	parked  atomic.Bool
	wake    chan struct{}
	stopped chan struct{}
	failure any      // what its Run panicked with
	_       [64]byte // workers do not share a cache line
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
	t.state.Store(uint64(callOf(t.state.Load())+1)<<32 | open)
	for i := range t.workers {
		if w := &t.workers[i]; w.parked.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
	}
}

// end closes the call and waits for those who have joined it.
func (t *Team) end() {
	t.state.And(^uint64(open))
	for t.idle != nil && joined(t.state.Load()) != 0 && t.idle(0) {
	}
	for range t.spins {
		if joined(t.state.Load()) == 0 {
			return
		}
		pause()
	}
	for {
		t.waiting.Store(true)
		if joined(t.state.Load()) == 0 && t.waiting.CompareAndSwap(true, false) {
			return
		}
		<-t.done // whoever took the flag down sends
		// It may have been a worker that was late with its look at the flag
		// after an earlier call.
		if joined(t.state.Load()) == 0 {
			return
		}
	}
}

func (t *Team) work(w *worker, member int) {
	runtime.LockOSThread() // its core keeps what it knows
	defer close(w.stopped)
	var seen uint32
	for {
		state := t.await(w, member, seen)
		for state&open != 0 && !t.state.CompareAndSwap(state, state+1) {
			state = t.state.Load()
		}
		seen = callOf(state)
		if state&open == 0 {
			continue // too late
		}
		if t.stop {
			return
		}
		w.failure = run(t.task, member)
		if s := t.state.Add(^uint64(0)); uint32(s) == 0 && t.waiting.CompareAndSwap(true, false) {
			t.done <- struct{}{}
		}
	}
}

// await returns the state when it is of a call that is not the seen one.
func (t *Team) await(w *worker, member int, seen uint32) uint64 {
	for t.idle != nil && callOf(t.state.Load()) == seen && t.idle(member) {
	}
	for range t.spins {
		if s := t.state.Load(); callOf(s) != seen {
			return s
		}
		pause()
	}
	for {
		w.parked.Store(true)
		if s := t.state.Load(); callOf(s) != seen && w.parked.CompareAndSwap(true, false) {
			return s
		}
		<-w.wake // whoever took the flag down sends
		// The caller may have come to this worker only after it had done its
		// part and parked again.
		if s := t.state.Load(); callOf(s) != seen {
			return s
		}
	}
}

// run returns what task panicked with, if it did.
func run(task Task, member int) (failure any) {
	defer func() { failure = recover() }()
	task.Run(member)
	return nil
}
