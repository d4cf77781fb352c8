package kernel

import (
	"math/rand/v2"
	"testing"
)

// Whatever members come, and when, each item of each run is claimed once.
func TestRowRuns(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		var r rowRuns
		rows, members := 1+rng.IntN(900), 1+rng.IntN(9)
		r.plan(rows, members, 4)
		last := 0
		var want, got []int
		for i := range r.count {
			from, to := r.rows(i)
			if from != last || to <= from || to-from > r.longest() {
				t.Fatalf("%d rows, %d members: run %d is %d … %d after %d, longest %d", rows, members, i, from, to, last, r.longest())
			}
			last = to
			r.begin(i, 1+rng.IntN(6))
			want = append(want, int(r.claims[i].end))
		}
		if last != rows {
			t.Fatalf("%d rows, %d members: the last run ends at %d", rows, members, last)
		}
		got = make([]int, r.count)
		coming := rng.Perm(members)[:1+rng.IntN(members)] // the others never come
		for len(coming) > 0 {
			i := rng.IntN(len(coming))
			run, item, ok := r.take(coming[i])
			if !ok {
				coming = append(coming[:i], coming[i+1:]...)
				continue
			}
			if item != got[run] {
				t.Fatalf("item %d of run %d after %d", item, run, got[run])
			}
			got[run]++
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%d rows, %d members: run %d had %d items of %d", rows, members, i, got[i], want[i])
			}
		}
	}
}
