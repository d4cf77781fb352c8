package corpus

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"sort"

	"github.com/gptctl/gptctl/finetune/corpus/source"
	"github.com/gptctl/gptctl/internal/mapped"
)

// A cache file is, all little endian:
//
//	magic     16 bytes
//	tokens    [n] uint16, or uint32 if the vocabulary has more than 65536; filled to 8 bytes
//	documents [d]{start uint64, hash uint64}: where each begins, a part of its contents' hash
//	          (of several that are alike, the same for all: the least)
//	masks     [m]{from, to uint64}: tokens that are not learnt, in order, apart
//	meta      JSON
//	trailer   {tokens, documents, masks, meta bytes uint64; wide, crc32c of all before uint32} and magic
//
// It is written beside its name and renamed when it is complete.
const magic = "gptctl tokens 2\n"

const trailerSize = 4*8 + 2*4 + len(magic)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// meta is what a cache says of itself.
type meta struct {
	Key, Hash       string
	Validation      int // so many documents at the beginning are for validation
	Tokens, Masked  int64
	ValidationFiles bool
	Report          Report
}

// cache is an open cache file.
type cache struct {
	file *mapped.File
	meta meta

	tokens    []byte
	wide      bool
	documents []byte
	masks     []byte
}

var errDamaged = errors.New("damaged")

// openCache maps a cache file and checks that it is whole and the one wanted.
func openCache(path, key string, vocabulary int) (*cache, error) {
	f, err := mapped.Open(path)
	if err != nil {
		return nil, err
	}
	c := &cache{file: f}
	if err := c.parse(key, vocabulary); err != nil {
		_ = f.Close() // err is what went wrong
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return c, nil
}

func (c *cache) parse(key string, vocabulary int) error {
	b := c.file.Data
	if len(b) < len(magic)+trailerSize || string(b[:len(magic)]) != magic || string(b[len(b)-len(magic):]) != magic {
		return errDamaged
	}
	body, trailer := b[:len(b)-trailerSize], b[len(b)-trailerSize:]
	le := binary.LittleEndian
	sum := uint32(0)
	c.pass(body, func(part []byte) { sum = crc32.Update(sum, castagnoli, part) })
	if le.Uint32(trailer[36:]) != crc32.Update(sum, castagnoli, trailer[:36]) {
		return errDamaged
	}
	var n [4]uint64
	for i := range n {
		if n[i] = le.Uint64(trailer[8*i:]); n[i] > uint64(len(b)) {
			return errDamaged
		}
	}
	c.wide = le.Uint32(trailer[32:]) != 0
	width := uint64(2)
	if c.wide {
		width = 4
	}
	rest := body[len(magic):]
	take := func(bytes uint64) []byte {
		if bytes > uint64(len(rest)) {
			bytes = uint64(len(rest))
		}
		t := rest[:bytes]
		rest = rest[bytes:]
		return t
	}
	c.tokens = take(n[0] * width)
	take((8 - n[0]*width%8) % 8)
	c.documents = take(16 * n[1])
	c.masks = take(16 * n[2])
	head := take(n[3])
	if uint64(len(c.tokens)) != n[0]*width || uint64(len(c.documents)) != 16*n[1] || uint64(len(c.masks)) != 16*n[2] || uint64(len(head)) != n[3] || len(rest) > 0 {
		return errDamaged
	}
	if err := json.Unmarshal(head, &c.meta); err != nil || c.meta.Key != key || c.meta.Validation < 0 || c.meta.Validation > c.count() {
		return errDamaged
	}
	var last uint64
	for i := range c.count() {
		if s := le.Uint64(c.documents[16*i:]); s < last || s > n[0] {
			return errDamaged
		} else {
			last = s
		}
	}
	outside := false
	c.pass(c.tokens, func(part []byte) {
		for i := 0; i < len(part); i += int(width) {
			if c.wide && le.Uint32(part[i:]) >= uint32(vocabulary) || !c.wide && int(le.Uint16(part[i:])) >= vocabulary {
				outside = true
				return
			}
		}
	})
	if outside {
		return errDamaged
	}
	return nil
}

// pass reads a part of the file from its beginning to its end, without all of it
// counting as memory of this process at once.
func (c *cache) pass(b []byte, read func(part []byte)) {
	const most = 4 << 20
	for len(b) > 0 {
		part := b[:min(most, len(b))]
		read(part)
		c.file.Forget(part)
		b = b[len(part):]
	}
}

// forgotten is how many bytes of tokens are worth being forgotten after each batch.
const forgotten = 16 << 20

// forget says that the tokens read so far need not count as this process's memory.
func (c *cache) forget() {
	if len(c.tokens) > forgotten {
		c.file.Forget(c.tokens)
	}
}

func (c *cache) close() error { return c.file.Close() }

func (c *cache) count() int { return len(c.documents) / 16 }

func (c *cache) length() int64 {
	if c.wide {
		return int64(len(c.tokens) / 4)
	}
	return int64(len(c.tokens) / 2)
}

// document gives where a document begins and ends, and its hash.
func (c *cache) document(i int) (from, to int64, hash uint64) {
	le := binary.LittleEndian
	from, hash, to = int64(le.Uint64(c.documents[16*i:])), le.Uint64(c.documents[16*i+8:]), c.length()
	if i+1 < c.count() {
		to = int64(le.Uint64(c.documents[16*i+16:]))
	}
	return from, to, hash
}

// read copies the tokens from one place on.
func (c *cache) read(dst []int32, from int64) {
	le := binary.LittleEndian
	if c.wide {
		for i := range dst {
			dst[i] = int32(le.Uint32(c.tokens[4*(from+int64(i)):]))
		}
		return
	}
	for i := range dst {
		dst[i] = int32(le.Uint16(c.tokens[2*(from+int64(i)):]))
	}
}

func (c *cache) mask(i int) (from, to int64) {
	le := binary.LittleEndian
	return int64(le.Uint64(c.masks[16*i:])), int64(le.Uint64(c.masks[16*i+8:]))
}

// ignore puts Ignored for the tokens of [from, from+len(labels)) that are masked.
func (c *cache) ignore(labels []int32, from int64) {
	c.masked(from, from+int64(len(labels)), func(a, b int64) {
		for i := a; i < b; i++ {
			labels[i-from] = Ignored
		}
	})
}

// masked gives the masked intervals within [from, to).
func (c *cache) masked(from, to int64, yield func(a, b int64)) {
	n := len(c.masks) / 16
	i := sort.Search(n, func(i int) bool { _, end := c.mask(i); return end > from })
	for ; i < n; i++ {
		a, b := c.mask(i)
		if a >= to {
			return
		}
		if a, b = max(a, from), min(b, to); a < b {
			yield(a, b)
		}
	}
}

// cacheWriter writes a cache file.
type cacheWriter struct {
	path      string
	f         *os.File
	w         *bufio.Writer
	sum       hash.Hash32
	wide      bool
	tokens    int64
	masked    int64
	documents []uint64 // start, hash
	masks     []uint64 // from, to
	buf       []byte
	err       error
}

func newCacheWriter(path string, vocabulary int) (*cacheWriter, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*")
	if err != nil {
		return nil, notKept(err)
	}
	c := &cacheWriter{path: path, f: f, sum: crc32.New(castagnoli), wide: vocabulary > math.MaxUint16+1}
	c.w = bufio.NewWriterSize(io.MultiWriter(f, c.sum), 1<<18)
	c.write([]byte(magic))
	return c, nil
}

func (c *cacheWriter) write(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(b)
	}
}

// begin starts a document.
func (c *cacheWriter) begin(hash uint64) {
	c.documents = append(c.documents, uint64(c.tokens), hash)
}

// group gives documents that are alike one hash; of names the first of a
// document's group.
func (c *cacheWriter) group(of func(i int) int) {
	least := func(i int) *uint64 { return &c.documents[2*of(i)+1] }
	for i := range len(c.documents) / 2 {
		*least(i) = min(*least(i), c.documents[2*i+1])
	}
	for i := range len(c.documents) / 2 {
		c.documents[2*i+1] = *least(i)
	}
}

// add appends tokens to the document begun last.
func (c *cacheWriter) add(ids []int32, masked bool) {
	if masked && len(ids) > 0 {
		from, to := uint64(c.tokens), uint64(c.tokens)+uint64(len(ids))
		if n := len(c.masks); n > 0 && c.masks[n-1] == from {
			c.masks[n-1] = to
		} else {
			c.masks = append(c.masks, from, to)
		}
		c.masked += int64(len(ids))
	}
	c.tokens += int64(len(ids))
	c.buf = c.buf[:0]
	for _, id := range ids {
		if c.wide {
			c.buf = binary.LittleEndian.AppendUint32(c.buf, uint32(id))
		} else {
			c.buf = binary.LittleEndian.AppendUint16(c.buf, uint16(id))
		}
	}
	c.write(c.buf)
}

// finish completes the file and gives it its name.
func (c *cacheWriter) finish(m meta) error {
	head, err := json.Marshal(m)
	if err != nil {
		return err
	}
	width := int64(2)
	if c.wide {
		width = 4
	}
	c.write(make([]byte, (8-c.tokens*width%8)%8))
	for _, list := range [][]uint64{c.documents, c.masks} {
		for _, v := range list {
			c.write(binary.LittleEndian.AppendUint64(c.buf[:0], v))
		}
	}
	c.write(head)
	t := c.buf[:0]
	for _, v := range []uint64{uint64(c.tokens), uint64(len(c.documents) / 2), uint64(len(c.masks) / 2), uint64(len(head))} {
		t = binary.LittleEndian.AppendUint64(t, v)
	}
	t = binary.LittleEndian.AppendUint32(t, uint32(width/4)) // 0 for two bytes, 1 for four
	c.write(t)
	if c.err == nil {
		c.err = c.w.Flush()
	}
	c.write(append(binary.LittleEndian.AppendUint32(nil, c.sum.Sum32()), magic...))
	if c.err == nil {
		c.err = c.w.Flush()
	}
	if c.err == nil {
		c.err = c.f.Sync()
	}
	if err := c.f.Close(); c.err == nil {
		c.err = err
	}
	if c.err == nil {
		c.err = os.Rename(c.f.Name(), c.path)
	}
	if c.err != nil {
		_ = os.Remove(c.f.Name()) // c.err is what went wrong
		return notKept(c.err)
	}
	return nil
}

// notKept is the error of a cache that cannot be written.
func notKept(err error) error {
	return &source.MendError{Err: fmt.Errorf("keep the tokens: %w", err), Mend: "XDG_CACHE_HOME=DIR keeps them in another place"}
}

// abandon removes what was written.
func (c *cacheWriter) abandon() {
	_ = c.f.Close()
	_ = os.Remove(c.f.Name())
}
