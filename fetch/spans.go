package fetch

import "slices"

// spans is a set of bytes: ranges in ascending order that neither overlap nor
// touch.
type spans []Range

// add puts [from, to) into the set.
func (s *spans) add(from, to int64) {
	if from >= to {
		return
	}
	// The first range that ends at from or later, and the first behind to.
	i, _ := slices.BinarySearchFunc(*s, from, func(r Range, at int64) int { return compare(r.To, at) })
	j := i
	for j < len(*s) && (*s)[j].From <= to {
		from, to = min(from, (*s)[j].From), max(to, (*s)[j].To)
		j++
	}
	*s = slices.Replace(*s, i, j, Range{from, to})
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// from tells how far the set reaches without a gap from at on; at if at is not in it.
func (s spans) from(at int64) int64 {
	i, _ := slices.BinarySearchFunc(s, at+1, func(r Range, at int64) int { return compare(r.To, at) })
	if i < len(s) && s[i].From <= at {
		return s[i].To
	}
	return at
}

// gap finds the first bytes at or behind at, and before end, that are not in
// the set.
func (s spans) gap(at, end int64) (from, to int64, ok bool) {
	if from = s.from(at); from >= end {
		return 0, 0, false
	}
	i, _ := slices.BinarySearchFunc(s, from+1, func(r Range, at int64) int { return compare(r.To, at) })
	to = end
	if i < len(s) {
		to = min(to, s[i].From)
	}
	return from, to, true
}

// total counts the bytes.
func (s spans) total() int64 {
	var n int64
	for _, r := range s {
		n += r.To - r.From
	}
	return n
}

// without returns the rest of [0, end).
func (s spans) without(end int64) spans {
	var rest spans
	at := int64(0)
	for {
		from, to, ok := s.gap(at, end)
		if !ok {
			return rest
		}
		rest.add(from, to)
		at = to
	}
}
