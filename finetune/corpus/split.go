package corpus

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// segment is a document, or one end of it, in a view.
type segment struct {
	from, to int64 // tokens in the cache
	lead     bool  // an end of text stands before it
	cut      bool  // the document goes on after it, elsewhere: no end is learnt
	at       int64 // where it begins in the view's stream
}

// view is one side of the split as a stream of its own.
type view struct {
	segments []segment
	length   int64 // of the stream
	final    bool  // an end of text stands at the end
	tokens   int64
}

func (v *view) add(from, to int64, lead bool) {
	v.segments = append(v.segments, segment{from: from, to: to, lead: lead, at: v.length})
	v.length += to - from
	v.tokens += to - from
	if lead {
		v.length++
	}
}

func (v *view) finish(final bool) {
	if v.final = final && len(v.segments) > 0; v.final {
		v.length++
	}
}

// split divides the documents.
func (d *Data) split(s Split) error {
	c := d.cache
	n := c.count()
	part := func(v *view) Part { return Part{Documents: len(v.segments), Tokens: v.tokens} }
	defer func() {
		d.report.Train, d.report.Validation = part(&d.train), part(&d.valid)
	}()
	whole := func(v *view, i int) {
		if from, to, _ := c.document(i); to > from {
			v.add(from, to, d.hasEOS)
		}
	}
	switch {
	case c.meta.ValidationFiles:
		for i := range n {
			if i < c.meta.Validation {
				whole(&d.valid, i)
			} else {
				whole(&d.train, i)
			}
		}
		if len(d.valid.segments) == 0 {
			return errors.New("the validation files hold no text")
		}
	case s.Share == 0:
		for i := range n {
			whole(&d.train, i)
		}
	case s.Tail || n == 1:
		for i := range n {
			from, to, _ := c.document(i)
			// As nanoGPT cuts: the first int(n * share) are for training.
			cut := from + int64(float64(to-from)*(1-s.Share))
			if cut > from {
				d.train.add(from, cut, d.hasEOS)
				d.train.segments[len(d.train.segments)-1].cut = to > cut
			}
			if to > cut {
				// What comes before the end of a document is not known here; an end
				// of text stands for it, but before the very first.
				d.valid.add(cut, to, d.hasEOS && (cut == from || len(d.valid.segments) > 0))
			}
		}
		d.train.finish(false)
		d.valid.finish(d.hasEOS)
		return d.bothSides(s)
	default:
		held := d.choose(s)
		for i := range n {
			if held[i] {
				whole(&d.valid, i)
			} else {
				whole(&d.train, i)
			}
		}
	}
	d.train.finish(d.hasEOS)
	d.valid.finish(d.hasEOS)
	return d.bothSides(s)
}

func (d *Data) bothSides(s Split) error {
	if d.train.length < 2 {
		return &TooSmallError{Tokens: d.train.tokens}
	}
	if (s.Share > 0 || d.cache.meta.ValidationFiles) && d.valid.length < 2 {
		return &TooSmallError{Validation: true, Tokens: d.valid.tokens}
	}
	return nil
}

// TooSmallError says that one side of the split has nothing to predict.
type TooSmallError struct {
	Validation bool
	Tokens     int64
}

func (e *TooSmallError) Error() string {
	side := "training"
	if e.Validation {
		side = "validation"
	}
	return fmt.Sprintf("the corpus is too small: %d tokens are left for %s", e.Tokens, side)
}

// choose holds out whole documents: in an order that depends on the seed and on
// their contents only (so that equal ones come together), as long as the share
// is not reached and a document does not overshoot it by more than a half; at
// least the smallest.
func (d *Data) choose(s Split) map[int]bool {
	c := d.cache
	type group struct {
		documents []int
		key       uint64
		tokens    int64
	}
	byHash := make(map[uint64]*group)
	var groups []*group
	var total int64
	for i := range c.count() {
		from, to, hash := c.document(i)
		g := byHash[hash]
		if g == nil {
			g = &group{key: mix(hash ^ mix(s.Seed))}
			byHash[hash] = g
			groups = append(groups, g)
		}
		g.documents = append(g.documents, i)
		g.tokens += to - from
		total += to - from
	}
	slices.SortFunc(groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.documents[0], b.documents[0]))
	})
	want := int64(s.Share * float64(total))
	held := make(map[int]bool)
	var sum int64
	var smallest *group
	for _, g := range groups {
		if smallest == nil || g.tokens < smallest.tokens {
			smallest = g
		}
		if sum < want && sum+g.tokens <= want+want/2 {
			sum += g.tokens
			for _, i := range g.documents {
				held[i] = true
			}
		}
	}
	if len(held) == 0 && smallest != nil && len(groups) > 1 {
		for _, i := range smallest.documents {
			held[i] = true
		}
	}
	return held
}

// mix is a bijection of 64 bits that leaves no pattern (splitmix64's).
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// find gives the segment that holds a place of the stream.
func (v *view) find(at int64) int {
	return sort.Search(len(v.segments), func(i int) bool { return v.segments[i].at > at }) - 1
}

// fill copies the stream from one place on: tokens, and the same with Ignored
// where they are masked, one further. len(labels) is len(tokens).
func (d *Data) fill(v *view, at int64, tokens, labels []int32) {
	d.copy(v, at, tokens, false)
	d.copy(v, at+1, labels, true)
}

func (d *Data) copy(v *view, at int64, dst []int32, masked bool) {
	for i := v.find(at); len(dst) > 0; i++ {
		if i >= len(v.segments) { // the final end of text
			dst[0] = d.eos
			return
		}
		s := v.segments[i]
		skip := at - s.at
		if s.lead {
			if skip == 0 {
				dst[0] = d.eos
				if masked && i > 0 && v.segments[i-1].cut {
					dst[0] = Ignored
				}
				dst = dst[1:]
				at++
			} else {
				skip--
			}
		}
		n := min(int64(len(dst)), s.to-s.from-skip)
		if n > 0 {
			d.cache.read(dst[:n], s.from+skip)
			if masked {
				d.cache.ignore(dst[:n], s.from+skip)
			}
			dst = dst[n:]
			at += n
		}
	}
}
