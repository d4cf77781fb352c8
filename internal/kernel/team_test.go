package kernel

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

type countTask struct{ calls [8]atomic.Int32 }

func (t *countTask) Run(member int) { t.calls[member].Add(1) }

func TestTeam(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, n := range []int{1, 2, 3, 8} {
		team := NewTeam(n)
		var task countTask
		const calls = 1000
		for i := range calls {
			if i%400 == 399 {
				time.Sleep(2 * time.Millisecond) // long enough for all to park
			}
			team.Run(&task)
			for m := range n {
				if got := task.calls[m].Load(); got != int32(i+1) {
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

type panicTask struct{ member int }

func (t panicTask) Run(member int) {
	if member == t.member {
		panic("broken")
	}
}

func TestTeamPanic(t *testing.T) {
	team := NewTeam(3)
	defer team.Close()
	for m := range 3 {
		func() {
			defer func() {
				if r := recover(); r != "broken" {
					t.Errorf("member %d: recovered %v", m, r)
				}
			}()
			team.Run(panicTask{m})
		}()
	}
	var task countTask
	team.Run(&task)
	if task.calls[2].Load() != 1 {
		t.Error("the team does not work after a panic")
	}
}

func TestNoAllocation(t *testing.T) {
	c := newCPU(t, "", 2)
	w := &Weight{In: 64, Out: 128, DType: 1, Data: make([]byte, 64*128*4)}
	x, y := make([]float32, 8*128), make([]float32, 8*128)
	gain := make([]float32, 64)
	rows := []AttentionRow{{K: x, V: x, Cap: 8, Len: 8}, {K: x, V: x, Cap: 8, Len: 8}}
	for name, f := range map[string]func(){
		"one row":   func() { c.Linear(y, x, 1, w, Epilogue{}) },
		"rows":      func() { c.Linear(y, x, 8, w, Epilogue{}) },
		"norm":      func() { c.LayerNorm(y, x, gain, gain, 8, 64, 1e-5) },
		"attention": func() { c.Attention(y, x, 64, rows, 4, 16, 1) },
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
