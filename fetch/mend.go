package fetch

import (
	"context"
	"io"
	"os"
)

// complete brings the file and verifies it. If the whole has the wrong hash,
// it comes once more, which repeating tells, and the two copies are compared:
// damage on the way strikes one of them here and the other there, so that one
// of them, or a mix of the two, is right.
func (t *transfer) complete(ctx context.Context, repeating func()) (*chain, error) {
	sum, err := t.run(ctx)
	if err != nil {
		return nil, err
	}
	if sum == t.blob.hash {
		return &t.state.chain, nil
	}
	if !t.state.second {
		repeating()
		t.state = journalState{chain: chain{hash: t.blob.hash, size: t.blob.size, chunk: t.state.chunk}, second: true}
		t.sum, t.hashed, t.single, t.noRanges = "", 0, false, false
		t.place = nil // perhaps another copy of it
		if err := t.log.add("2"); err != nil {
			return nil, writeError(t.log.f.Name(), err)
		}
		if sum, err = t.run(ctx); err != nil {
			return nil, err
		}
		if sum == t.blob.hash {
			return &t.state.chain, nil
		}
	}
	c, err := t.mix(ctx)
	if c == nil && err == nil {
		err = &ChecksumError{t.blob.name(), t.blob.hash, sum, len(t.state.differ) == 0}
	}
	return c, err
}

const (
	mostDamages = 4       // that mix tries to tell apart: 2^4 mixes
	nearDamage  = 1 << 20 // differences closer than this are taken for one
)

// mix looks for the right choice between the two copies where they differ.
func (t *transfer) mix(ctx context.Context) (*chain, error) {
	var places []spans // differences that belong together
	for _, r := range t.state.differ {
		if n := len(places); n > 0 {
			last := places[n-1]
			if r.From-last[len(last)-1].To < nearDamage {
				places[n-1].add(r.From, r.To)
				continue
			}
		}
		places = append(places, spans{r})
	}
	if len(places) == 0 || len(places) > mostDamages {
		return nil, nil
	}
	for choice := 1; choice < 1<<len(places)-1; choice++ { // neither copy as it is
		var first spans
		for i, p := range places {
			if choice>>i&1 == 1 {
				for _, r := range p {
					first.add(r.From, r.To)
				}
			}
		}
		sum, c, err := hashAll(ctx, &mixed{t.temp, t.aside, first}, t.blob.hash, t.blob.size, nil)
		if err != nil {
			return nil, err
		}
		if sum != t.blob.hash {
			continue
		}
		for _, r := range first {
			if _, err := io.Copy(io.NewOffsetWriter(t.temp, r.From), io.NewSectionReader(t.aside, r.From, r.To-r.From)); err != nil {
				return nil, writeError(t.temp.Name(), err)
			}
		}
		return c, nil
	}
	return nil, nil
}

// mixed reads the second copy, but the first where chosen.
type mixed struct {
	second, aside *os.File
	first         spans
}

func (m *mixed) ReadAt(p []byte, at int64) (int, error) {
	n, err := m.second.ReadAt(p, at)
	for _, r := range m.first {
		from, to := max(r.From, at), min(r.To, at+int64(n))
		if from < to {
			if _, err := m.aside.ReadAt(p[from-at:to-at], from); err != nil {
				return 0, err
			}
		}
	}
	return n, err
}
