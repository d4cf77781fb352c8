package corpus

import (
	"fmt"
	"math/bits"
)

// Packing says how the stream is cut into rows.
type Packing struct {
	Context int // tokens in a row, at least 1
	// Cross is how many times the text may change from one document to the next
	// within a row. Negative: as often as it fits.
	Cross int
	// Whole keeps documents that fit into a row from being cut: one that does
	// not fit into the rest of a row begins the next. The rest is filled with
	// ends of text that are not learnt.
	Whole bool
}

// Rows are the rows of one side of a corpus. It is safe for concurrent use.
type Rows struct {
	data    *Data
	view    *view
	context int
	rows    []row
	learnt  int64
}

// row is an interval of inputs of the stream.
type row struct {
	at     int64
	length int32
}

// Train packs the training side.
func (d *Data) Train(p Packing) (*Rows, error) { return d.pack(&d.train, p, "training") }

// Validation packs the validation side; without one there are no rows.
func (d *Data) Validation(p Packing) (*Rows, error) {
	if len(d.valid.segments) == 0 {
		return &Rows{data: d, view: &d.valid, context: p.Context}, nil
	}
	return d.pack(&d.valid, p, "validation")
}

func (d *Data) pack(v *view, p Packing, side string) (*Rows, error) {
	if p.Context < 1 {
		return nil, fmt.Errorf("pack the corpus: context is %d, want at least 1", p.Context)
	}
	r := &Rows{data: d, view: v, context: p.Context}
	inputs := v.length - 1 // the last place has nothing after it
	c := int64(p.Context)
	for at, i := int64(0), 0; at < inputs; {
		// A row begins in segment i.
		for i+1 < len(v.segments) && v.segments[i+1].at <= at {
			i++
		}
		end := min(at+c, inputs)
		for j, crossed := i+1, 0; j < len(v.segments) && v.segments[j].at < end; j, crossed = j+1, crossed+1 {
			begin := v.segments[j].at
			after := inputs
			if j+1 < len(v.segments) {
				after = v.segments[j+1].at
			}
			// A document of more than a row is cut in any case: it may as well begin here.
			if p.Cross >= 0 && crossed >= p.Cross || p.Whole && after > end && after-begin <= c {
				end = begin
			}
		}
		if n := d.learnt(v, at, end); n > 0 {
			r.rows = append(r.rows, row{at: at, length: int32(end - at)})
			r.learnt += n
		}
		at = end
	}
	if len(r.rows) == 0 {
		return nil, fmt.Errorf("the %s side of the corpus has no row with anything to learn", side)
	}
	return r, nil
}

// learnt counts the labels of an interval of inputs that are not masked.
func (d *Data) learnt(v *view, from, to int64) int64 {
	n := to - from
	from, to = from+1, to+1 // labels
	for i := v.find(from); i < len(v.segments) && v.segments[i].at < to; i++ {
		s := v.segments[i]
		at := s.at
		if s.lead {
			if at >= from && i > 0 && v.segments[i-1].cut {
				n--
			}
			at++
		}
		a, b := max(from, at), min(to, at+s.to-s.from)
		if a < b {
			d.cache.masked(s.from+a-at, s.from+b-at, func(x, y int64) { n -= y - x })
		}
	}
	return n
}

// Len is the number of rows, that is, of an epoch.
func (r *Rows) Len() int { return len(r.rows) }

// Context is the length of a row.
func (r *Rows) Context() int { return r.context }

// Learnt is the number of labels in all rows that are learnt.
func (r *Rows) Learnt() int64 { return r.learnt }

// Row fills tokens and labels, [context] each, with row i in the order of the
// corpus. labels[t] is what is to follow tokens[t], Ignored where that is not
// learnt. A row that is not full is filled up with the end of text (token 0 of a
// tokenizer that has none).
func (r *Rows) Row(i int, tokens, labels []int32) {
	tokens, labels = tokens[:r.context], labels[:r.context]
	w := r.rows[i]
	n := int(w.length)
	r.data.fill(r.view, w.at, tokens[:n], labels[:n])
	for t := n; t < r.context; t++ {
		tokens[t], labels[t] = r.data.eos, Ignored
	}
}

// Batch fills tokens and labels, [rows][context] each, with the rows that come
// at a position of the training: the number of rows that were taken before,
// over all epochs. Each epoch has every row once, in an order of its own that
// depends on the seed and the epoch only. It allocates nothing. A Rows without
// rows must not be asked.
func (r *Rows) Batch(seed uint64, position int64, tokens, labels []int32) {
	for len(tokens) > 0 {
		r.Row(r.Index(seed, position), tokens, labels)
		tokens, labels = tokens[r.context:], labels[r.context:]
		position++
	}
	r.data.cache.forget()
}

// Index is the row that comes at a position.
func (r *Rows) Index(seed uint64, position int64) int {
	n := int64(len(r.rows))
	return int(permute(uint64(position%n), uint64(n), mix(seed)^mix(uint64(position/n)+0x5eed)))
}

// permute is a permutation of [0, n) chosen by key: a Feistel network on the
// next even number of bits, walked until it comes back into the range (Black
// and Rogaway 2002). It needs no memory, and any place can be computed alone.
func permute(x, n, key uint64) uint64 {
	half := max((bits.Len64(n-1)+1)/2, 1)
	mask := uint64(1)<<half - 1
	for {
		l, r := x>>half, x&mask
		for round := range uint64(8) {
			l, r = r, l^mix(r^mix(key+round))&mask
		}
		if x = l<<half | r; x < n {
			return x
		}
	}
}
