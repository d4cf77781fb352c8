package hubtest

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
)

// Content is what a file holds. *bytes.Reader, *strings.Reader,
// *io.SectionReader and *Random are Contents. It is read from several
// goroutines at once.
type Content interface {
	io.ReaderAt
	Size() int64
}

// Text is the content of a small file.
func Text(s string) Content { return strings.NewReader(s) }

const (
	pageBytes = 4096
	patternKB = 256
)

// Random is deterministic noise of any length that takes no memory for it: a
// fixed block of noise again and again, with its number and the seed stamped
// into every page of 4 KiB, so that no page equals another and a page that lands in
// the wrong place is seen.
type Random struct {
	seed    uint64
	size    int64
	pattern []byte
	digest  func() digests
}

// Noise returns size bytes that depend on seed only.
func Noise(seed uint64, size int64) *Random {
	c := &Random{seed: seed, size: size, pattern: make([]byte, patternKB<<10)}
	source := rand.NewPCG(seed, 0x9e3779b97f4a7c15)
	for i := 0; i < len(c.pattern); i += 8 {
		binary.LittleEndian.PutUint64(c.pattern[i:], source.Uint64())
	}
	// Kept with the content, so that servers that share it hash it once.
	c.digest = sync.OnceValue(func() digests { return digest(c) })
	return c
}

// Size is the length in bytes.
func (c *Random) Size() int64 { return c.size }

// ReadAt is io.ReaderAt's.
func (c *Random) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	if off >= c.size {
		return 0, io.EOF
	}
	want := int(min(int64(len(p)), c.size-off))
	var stamp [16]byte
	for done := 0; done < want; {
		at := off + int64(done)
		page, within := at/pageBytes, int(at%pageBytes)
		n := min(want-done, pageBytes-within)
		start := int(at % int64(len(c.pattern)))
		copy(p[done:done+n], c.pattern[start:])
		if within < len(stamp) {
			binary.LittleEndian.PutUint64(stamp[:], uint64(page))
			binary.LittleEndian.PutUint64(stamp[8:], c.seed^uint64(page)*0x9e3779b97f4a7c15)
			copy(p[done:done+n], stamp[within:])
		}
		done += n
	}
	if want < len(p) {
		return want, io.EOF
	}
	return want, nil
}

// digests are a content's names: sha256 for LFS, sha1 as git counts it.
type digests struct{ sha256, git string }

func digest(c Content) digests {
	long, git := sha256.New(), sha1.New()
	fmt.Fprintf(git, "blob %d\x00", c.Size())
	if _, err := io.Copy(io.MultiWriter(long, git), io.NewSectionReader(c, 0, c.Size())); err != nil {
		return digests{"unreadable: " + err.Error(), "unreadable: " + err.Error()}
	}
	return digests{sum(long), sum(git)}
}

// GitOID is the name git gives to a file with these bytes.
func GitOID(c Content) string { return digest(c).git }

// SHA256 is the name LFS gives to a file with these bytes.
func SHA256(c Content) string { return digest(c).sha256 }

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
