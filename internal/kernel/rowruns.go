package kernel

import "sync/atomic"

// rowRuns are runs of rows, of which each member has one, or a part of one if there are
// too few rows. Who has done its own helps the others, unless these are about to end.
type rowRuns struct {
	all     int // rows
	count   int // runs
	members int
	claims  []rowClaim
}

type rowClaim struct {
	claim
	begun atomic.Bool // a member whose own it is has come
	_     [60]byte    // members do not share a cache line
}

const (
	rowUnit  = 4  // rows of a run are a multiple of it
	leastRun = 96 // rows for which all of a weight is read
	mostLeft = 2  // items that others leave to who has begun with them
)

// plan cuts rows into runs for the members, in items of so many rows.
func (r *rowRuns) plan(rows, members, step int) {
	r.all, r.members = rows, members
	r.count = max(1, min(members, rows/leastRun))
	if cap(r.claims) < r.count {
		r.claims = make([]rowClaim, members)
	}
	r.claims = r.claims[:r.count]
	for i := range r.claims {
		from, to := r.rows(i)
		r.begin(i, ceilDiv(to-from, step))
	}
}

// rows are those of a run.
func (r *rowRuns) rows(run int) (from, to int) {
	return roundUp(run*r.all/r.count, rowUnit), min(r.all, roundUp((run+1)*r.all/r.count, rowUnit))
}

// longest is at least how many rows a run has.
func (r *rowRuns) longest() int { return roundUp(ceilDiv(r.all, r.count), rowUnit) }

// begin says how many items a run has.
func (r *rowRuns) begin(run, items int) {
	c := &r.claims[run]
	c.end = int64(items)
	c.next.Store(0)
	c.begun.Store(false)
}

// take claims an item for a member.
func (r *rowRuns) take(member int) (run, item int, ok bool) {
	own := member * r.count / r.members
	for i := range r.count {
		run = (own + i) % r.count
		c := &r.claims[run]
		if i == 0 {
			if !c.begun.Load() {
				c.begun.Store(true)
			}
		} else if c.begun.Load() && c.end-c.next.Load() <= mostLeft {
			continue
		}
		if item = int(c.next.Add(1)) - 1; item < int(c.end) {
			return run, item, true
		}
	}
	return 0, 0, false
}
