package run

import (
	"cmp"
	"math"
	"slices"
)

// distribution is the scores of a next token on their way through the warpers.
// Most warpers forbid tokens, and after the first few hundred are left of a
// vocabulary of tens of thousands: what is left is a list, so that only the first
// warpers look at everything. All memory is kept from token to token; most of it is only
// as large as what was left.
type distribution struct {
	scores []float32 // [vocab]; those of tokens that are not alive do not count
	alive  []int32   // the tokens that are left, ascending
	all    []int32   // every token, once that was wanted

	probs []float32      // [len(alive)], valid until the next change
	order []int32        // scratch: positions in alive
	heap  []float32      // scratch of kthLargest
	keys  []float32      // scratch: what to sort by
	part  [block]float64 // scratch of exps
}

// reset takes over the scores of a vocabulary. All but the impossible are alive.
func (d *distribution) reset(scores []float32) {
	d.take(scores)
	d.alive = d.alive[:len(scores)]
	if len(d.all) < len(scores) {
		d.all = make([]int32, len(scores))
		for i := range d.all {
			d.all[i] = int32(i)
		}
	}
	copy(d.alive, d.all)
	for _, v := range scores {
		if !(v > negInf) {
			d.keepFrom(negInf, false)
			break
		}
	}
}

// take takes the scores over; who is alive is to be said yet.
func (d *distribution) take(scores []float32) {
	d.scores = scores
	if cap(d.alive) < len(scores) {
		d.alive = make([]int32, len(scores))
	}
}

// resetTop is reset that already leaves out most of what will not be among the k largest
// scores, or equal to the last of them, after a division by temperature: one look at
// each score instead of five. Of fewer than k possible tokens all are alive.
func (d *distribution) resetTop(scores []float32, k int, temperature float32) {
	if k >= len(scores) {
		d.reset(scores)
		return
	}
	d.take(scores)
	h := append(d.heap[:0], scores[:k]...)
	d.heap = h
	heapify(h)
	n, floor := 0, divisionFloor(h[0], temperature)
	alive := d.alive[:len(scores)]
	for t, v := range scores {
		if v < floor {
			continue
		}
		alive[n] = int32(t)
		n++
		if v > h[0] && t >= k {
			h[0] = v
			sink(h, 0)
			floor = divisionFloor(h[0], temperature)
		}
	}
	if h[0] == negInf { // fewer are possible
		d.reset(scores)
		return
	}
	d.alive = alive[:n]
	d.keepFrom(floor, floor > negInf)
}

// divisionFloor is at most what any number is that, divided by temperature, rounds to what
// v does: some times the spacing of float32s below v, or below what the quotient is of if
// that is so small that the spacing is constant, or at the edge to infinity.
func divisionFloor(v, temperature float32) float32 {
	const slack = 0x1p-21
	least := float64(v)
	switch q := v / temperature; {
	case q == negInf:
		return negInf
	case q > math.MaxFloat32:
		least = math.MaxFloat32 * float64(temperature)
	}
	return float32(least - math.Abs(least)*slack - float64(temperature)*0x1p-147)
}

// keepFrom leaves those alive whose score is larger than least, or equal to it
// if that is wanted.
func (d *distribution) keepFrom(least float32, equal bool) {
	alive, scores, n := d.alive, d.scores, 0
	for _, t := range alive {
		v := scores[t]
		alive[n] = t
		if v > least || equal && v == least {
			n++
		}
	}
	d.alive = alive[:n]
}

// dense writes what the scores amount to over the whole vocabulary: that of
// each token that is alive, −∞ for the others.
func (d *distribution) dense(dst []float32) {
	next := 0
	for i := range dst {
		if next < len(d.alive) && int(d.alive[next]) == i {
			dst[i] = d.scores[i]
			next++
		} else {
			dst[i] = negInf
		}
	}
}

// keep leaves those alive for which ok holds, of position and score.
func (d *distribution) keep(ok func(i int, score float32) bool) {
	n := 0
	for i, t := range d.alive {
		if ok(i, d.scores[t]) {
			d.alive[n] = t
			n++
		}
	}
	d.alive = d.alive[:n]
}

// max returns the largest score.
func (d *distribution) max() float32 {
	top := negInf
	for _, t := range d.alive {
		if v := d.scores[t]; v > top { // none is NaN; the builtin max would look
			top = v
		}
	}
	return top
}

// block is how many numbers are converted at once. A conversion between the two
// kinds of floats waits, on amd64, for whatever its register was used for last:
// in one loop with exp each exp would wait for the one before it, which takes
// five times as long.
const block = 64

// exps calls use with exp(score − max) of one block after the other, of those
// that are alive, and the position of its first. It returns the maximum.
func (d *distribution) exps(use func(first int, e []float64)) (top float64) {
	top = float64(d.max())
	for first := 0; first < len(d.alive); first += block {
		part := d.alive[first:min(first+block, len(d.alive))]
		e := d.part[:len(part)]
		for i, t := range part {
			e[i] = float64(d.scores[t])
		}
		for i, v := range e {
			e[i] = exp(v - top)
		}
		use(first, e)
	}
	return top
}

// weights fills probs with exp(score − max), and returns their sum too.
func (d *distribution) weights() ([]float32, float64) {
	d.probs = resized(d.probs, len(d.alive))
	sum := 0.0
	d.exps(func(first int, e []float64) {
		part := d.probs[first : first+len(e)]
		for i, v := range e {
			part[i] = float32(v)
		}
		for _, w := range part {
			sum += float64(w)
		}
	})
	return d.probs, sum
}

// softmax fills probs.
func (d *distribution) softmax() []float32 {
	prob, sum := d.weights()
	for i, w := range prob {
		prob[i] = float32(float64(w) / sum)
	}
	return prob
}

// resized returns n elements, in the same memory if there is enough.
func resized[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }

// inOrder returns order with n positions, ascending.
func (d *distribution) inOrder(n int) []int32 {
	d.order = resized(d.order, n)
	for i := range d.order {
		d.order[i] = int32(i)
	}
	return d.order
}

// logSum returns log Σ exp(score).
func (d *distribution) logSum() float64 {
	sum := 0.0
	top := d.exps(func(_ int, e []float64) {
		for _, v := range e {
			sum += v
		}
	})
	return top + math.Log(sum)
}

// logits returns a copy of the scores, in the order of alive.
func (d *distribution) logits() []float32 {
	d.keys = resized(d.keys, len(d.alive))
	for i, t := range d.alive {
		d.keys[i] = d.scores[t]
	}
	return d.keys
}

// kthLargest returns the k-th largest score, or the least if there are fewer.
func (d *distribution) kthLargest(k int) float32 {
	k = min(k, len(d.alive))
	if k == 1 {
		return d.max()
	}
	// The k largest so far, as a heap with the least of them on top. It costs
	// little more than reading the scores as long as k is small against them.
	h := d.heap[:0]
	for _, t := range d.alive[:k] {
		h = append(h, d.scores[t])
	}
	d.heap = h
	heapify(h)
	least := h[0]
	for _, t := range d.alive[k:] {
		if v := d.scores[t]; v > least {
			h[0] = v
			sink(h, 0)
			least = h[0]
		}
	}
	return least
}

// best returns the k tokens of the largest scores, best first, of equals the
// first ones; fewer if fewer are alive.
func (d *distribution) best(k int) []int32 {
	k = min(k, len(d.alive))
	if k == 0 {
		return nil
	}
	floor := d.kthLargest(k)
	equal := k // how many at the floor belong to them
	for _, t := range d.alive {
		if d.scores[t] > floor {
			equal--
		}
	}
	top := make([]int32, 0, k)
	for _, t := range d.alive {
		if v := d.scores[t]; v > floor {
			top = append(top, t)
		} else if v == floor && equal > 0 {
			top = append(top, t)
			equal--
		}
	}
	slices.SortStableFunc(top, func(a, b int32) int { return cmp.Compare(d.scores[b], d.scores[a]) })
	return top
}

// heapify brings numbers into the order of a heap: the least on top.
func heapify(h []float32) {
	for i := len(h)/2 - 1; i >= 0; i-- {
		sink(h, i)
	}
}

// sink restores the order of a heap below i: the least on top.
func sink(h []float32, i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1] < h[c] {
			c++
		}
		if h[i] <= h[c] {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}

// split sorts the positions of alive by ascending key, equal ones by position,
// into d.order and returns n, the first one at which the running sum of weights,
// its own included, is beyond what the caller wants, or len(alive). Only the
// neighbourhood of n is really sorted: order[:n] and order[n+1:] are mere sets.
func (d *distribution) split(key, weight []float32, beyond func(sum float64) bool) int {
	order := d.inOrder(len(key))
	less := func(a, b int32) bool { return key[a] < key[b] || key[a] == key[b] && a < b }
	lo, hi, base := 0, len(order), 0.0 // n is in lo … hi, and base the sum before lo
	for hi-lo > 32 {
		part := order[lo:hi]
		last := len(part) - 1
		m := median(part, less)
		pivot := part[m]
		part[m], part[last] = part[last], pivot
		mid, sum := 0, base
		for i, o := range part[:last] {
			if less(o, pivot) {
				sum += float64(weight[o])
				part[i], part[mid] = part[mid], o
				mid++
			}
		}
		part[mid], part[last] = pivot, part[mid]
		after := sum + float64(weight[pivot])
		switch {
		case mid > 0 && beyond(sum):
			hi = lo + mid
		case beyond(after):
			return lo + mid
		default:
			lo, base = lo+mid+1, after
		}
	}
	part := order[lo:hi]
	sortBy(part, less)
	for i, o := range part {
		if base += float64(weight[o]); beyond(base) {
			return lo + i
		}
	}
	return hi
}

func sortBy(list []int32, less func(a, b int32) bool) {
	slices.SortFunc(list, func(a, b int32) int {
		switch {
		case less(a, b):
			return -1
		case less(b, a):
			return 1
		}
		return 0
	})
}

// median returns the index of the middle one of the first, the middle and the
// last element.
func median(list []int32, less func(a, b int32) bool) int {
	a, b, c := 0, len(list)/2, len(list)-1
	if less(list[b], list[a]) {
		a, b = b, a
	}
	switch {
	case less(list[c], list[a]):
		return a
	case less(list[c], list[b]):
		return c
	}
	return b
}
