package fetch

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
)

// A chain is what lets a part of a file be verified without the rest: the
// states of the hash of the whole file after each chunk. A chunk is good if it
// takes the hash from the state before it to the state after it. That costs
// nothing beyond the one hash that must be computed anyway, and because each
// link is computed and the last state must give the hash that the Hub states,
// a forged chain proves nothing wrong right.
type chain struct {
	hash   string // hex, 64 digits for SHA-256, 40 for git's SHA-1
	size   int64
	chunk  int64
	states [][]byte // after chunk 0, 1, …; those of whole chunks only
}

const mostChunks = 16 << 10 // so that the states of any file fit in 2 MB

// chunkSize is 1 MiB, more for files of over 16 GiB.
func chunkSize(size int64) int64 {
	chunk := int64(1 << 20)
	for size/chunk > mostChunks {
		chunk *= 2
	}
	return chunk
}

// newHash returns the hash whose sum is written as digits hex digits, fed with
// what comes before the content of size bytes.
func newHash(digits int, size int64) hash.Hash {
	if digits == 64 {
		return sha256.New()
	}
	h := sha1.New()
	h.Write([]byte("blob " + strconv.FormatInt(size, 10) + "\x00")) // how git names content
	return h
}

func stateOf(h hash.Hash) []byte {
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil // never for SHA-1 and SHA-256
	}
	return state
}

func restore(h hash.Hash, state []byte) error {
	return h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// start returns the hash as it is before chunk i, which must be at most
// len(states).
func (c *chain) start(i int) (hash.Hash, error) {
	h := newHash(len(c.hash), c.size)
	if i == 0 {
		return h, nil
	}
	if err := restore(h, c.states[i-1]); err != nil {
		return nil, fmt.Errorf("recorded hash state: %w", err)
	}
	return h, nil
}

func (c *chain) chunks() int { return int((c.size + c.chunk - 1) / c.chunk) }

// complete tells that every chunk can be verified alone.
func (c *chain) complete() bool { return len(c.states) == int(c.size/c.chunk) }

// link verifies chunk i of r, using buf to read.
func (c *chain) link(r io.ReaderAt, i int, buf []byte) (good bool, err error) {
	h, err := c.start(i)
	if err != nil {
		return false, err
	}
	from := int64(i) * c.chunk
	to := min(from+c.chunk, c.size)
	for at := from; at < to; {
		n := int(min(int64(len(buf)), to-at))
		got, err := r.ReadAt(buf[:n], at)
		if got < n {
			if err == io.EOF { // shorter than it should be
				return false, nil
			}
			return false, err
		}
		h.Write(buf[:n])
		at += int64(n)
	}
	if i < len(c.states) {
		return bytes.Equal(stateOf(h), c.states[i]), nil
	}
	return sum(h) == c.hash, nil
}

// bad returns the ranges of r that are not as they were when the chain was
// recorded, several chunks at once. counted is told of bytes done.
func (c *chain) bad(ctx context.Context, r io.ReaderAt, counted func(n int64)) (spans, error) {
	var (
		next    atomic.Int64
		mu      sync.Mutex
		found   spans
		failure error
		group   sync.WaitGroup
	)
	last := c.chunks()
	if c.size%c.chunk == 0 {
		last++ // an empty last link: the final state must give the hash
	}
	for range min(runtime.GOMAXPROCS(0), 8, last) {
		group.Go(func() {
			buf := make([]byte, 128<<10)
			for {
				i := int(next.Add(1) - 1)
				if i >= last || ctx.Err() != nil {
					return
				}
				good, err := c.link(r, i, buf)
				mu.Lock()
				from, to := int64(i)*c.chunk, min(int64(i+1)*c.chunk, c.size)
				if err != nil {
					failure = err
				} else if !good {
					if from == to { // the chain itself is wrong
						from, to = 0, c.size
					}
					found.add(from, to)
				}
				mu.Unlock()
				if err != nil {
					return
				}
				if counted != nil {
					counted(to - from)
				}
			}
		})
	}
	group.Wait()
	if failure == nil {
		failure = ctx.Err()
	}
	return found, failure
}
