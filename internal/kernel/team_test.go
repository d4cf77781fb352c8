package kernel

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gptctl/gptctl/internal/tensor"
)

type countTask struct{ calls [8]atomic.Int32 }

func (t *countTask) Run(member int) { t.calls[member].Add(1) }

func TestTeam(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, n := range []int{1, 2, 3, 8} {
		team := NewTeam(n, nil)
		var task countTask
		const calls = 1000
		for i := range calls {
			if i%400 == 399 {
				time.Sleep(2 * time.Millisecond) // long enough for all to park
			}
			team.Run(&task)
			// The caller always takes part, a worker at most once a call.
			for m := range n {
				if got := task.calls[m].Load(); got > int32(i+1) || m == 0 && got != int32(i+1) {
					t.Fatalf("%d members: after %d calls member %d has run %d times", n, i+1, m, got)
				}
			}
		}
		team.Close()
		team.Close() // does nothing
	}
	// A goroutine is counted a moment longer than it works.
	for range 1000 {
		if runtime.NumGoroutine() <= before {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("goroutines: %d before, %d after Close", before, after)
	}
}

// Members that wait do what idle says until it has no more, each by itself.
func TestTeamIdle(t *testing.T) {
	const members, most = 2, 1000
	var left [members]int // each member's own
	var done [members]atomic.Int32
	var task countTask
	team := NewTeam(members, func(member int) bool {
		if left[member] == 0 {
			return false
		}
		left[member]--
		done[member].Add(1)
		return true
	})
	var come atomic.Int32
	refill := taskFunc(func(member int) {
		left[member] = 5
		task.Run(member)
		for come.Add(1); come.Load() < members; { // all of them
			runtime.Gosched()
		}
	})
	for i := 0; i < most && done[1].Load() == 0; i++ {
		come.Store(0)
		team.Run(refill)
		time.Sleep(time.Millisecond)
	}
	team.Close()
	for m := range members {
		if got, most := done[m].Load(), 5*task.calls[m].Load(); got > most {
			t.Errorf("member %d: %d times idle, want %d at most", m, got, most)
		}
	}
	if runtime.GOMAXPROCS(0) >= members && done[1].Load() == 0 {
		t.Error("the worker never did anything while it waited")
	}
}

// Run returns when nobody is at work: what members write, and what they read of the caller's,
// is plain memory (see the race detector), however late they come.
func TestTeamReturns(t *testing.T) {
	const members, calls = 4, 3000
	for _, processors := range []int{1, members} { // members do not spin, and do
		team := func() *Team {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
			return NewTeam(members, nil)
		}()
		var given int
		var taken [members]struct {
			inside bool
			n      int
		}
		task := taskFunc(func(member int) {
			m := &taken[member]
			m.inside = true
			for range (member*7 + given) % 50 {
				pause()
			}
			if given%11 == member {
				runtime.Gosched()
			}
			m.n, m.inside = given, false
		})
		for given = 1; given <= calls; given++ {
			team.Run(task)
			for i := range taken {
				if m := &taken[i]; m.inside || i == 0 && m.n != given {
					t.Fatalf("call %d: member %d has done %d and is at work: %v", given, i, m.n, m.inside)
				}
			}
			if given%500 == 0 {
				time.Sleep(time.Millisecond) // long enough for all to park
			}
		}
		team.Close()
	}
}

type taskFunc func(member int)

func (f taskFunc) Run(member int) { f(member) }

// panicTask lets one member panic, after all have come.
type panicTask struct {
	member, members int
	come            atomic.Int32
}

func (t *panicTask) Run(member int) {
	t.come.Add(1)
	for int(t.come.Load()) < t.members {
		runtime.Gosched()
	}
	if member == t.member {
		panic("broken")
	}
}

func TestTeamPanic(t *testing.T) {
	team := NewTeam(3, nil)
	defer team.Close()
	for m := range 3 {
		func() {
			defer func() {
				if r := recover(); r != "broken" {
					t.Errorf("member %d: recovered %v", m, r)
				}
			}()
			team.Run(&panicTask{member: m, members: 3})
		}()
	}
	// All three can still come.
	team.Run(&panicTask{member: -1, members: 3})
}

func TestNoAllocation(t *testing.T) {
	c := newCPU(t, "", 2)
	w := &Weight{In: 64, Out: 128, DType: 1, Data: make([]byte, 64*128*4)}
	x, y := make([]float32, 8*128), make([]float32, 8*128)
	gain := make([]float32, 64)
	shape := AttentionShape{4, 16, tensor.F16, 1, false}
	rows, prompt := make([]AttentionRow, 2), make([]AttentionRow, 70)
	for i := range rows {
		rows[i] = newCache(t, shape, 40, nil).at(40)
	}
	long := newCache(t, shape, len(prompt), nil)
	for i := range prompt {
		prompt[i] = long.at(i + 1)
	}
	qkv, out := make([]float32, len(prompt)*3*64), make([]float32, len(prompt)*64)
	for name, f := range map[string]func(){
		"one row":   func() { c.Linear(y, x, 1, w, Epilogue{}) },
		"rows":      func() { c.Linear(y, x, 8, w, Epilogue{}) },
		"norm":      func() { c.LayerNorm(y, x, gain, gain, 8, 64, 1e-5) },
		"attention": func() { c.Attention(out, qkv, rows, shape) },
		"prompt":    func() { c.Attention(out, qkv, prompt, shape) },
	} {
		f()
		if n := testing.AllocsPerRun(20, f); n > 0.5 {
			t.Errorf("%s: %v allocations a call", name, n)
		}
	}
}

func TestMeasureLimits(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a second")
	}
	eachFamily(t, func(t *testing.T, c *CPU) {
		l, err := c.MeasureLimits(context.Background())
		if err != nil || l.ReadGBs <= 0 || l.F32GFLOPs <= 0 {
			t.Errorf("limits %+v, error %v", l, err)
		}
		t.Logf("%+v", l)
	})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := newCPU(t, "", 1).MeasureLimits(ctx); err == nil {
		t.Error("cancelled: no error")
	}
}

// When memory is read at another rate than before, the loops that read it are compared again.
func TestMeterChoosesAgain(t *testing.T) {
	m := newCPU(t, "", 2).NewMeter().For([][]byte{make([]byte, 1<<20)})
	for range 2 {
		v, err := m.Read(context.Background())
		if err != nil || v <= 0 || m.rate > 100*v {
			t.Fatalf("reads %v GB/s, chosen at %v, error %v", v, m.rate, err)
		}
		m.rate *= 1e6
	}
}
