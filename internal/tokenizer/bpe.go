package tokenizer

import (
	"math"
	"math/bits"
	"unicode/utf8"
)

// noID marks a byte without a token.
const noID = -1

// bpe is the byte pair encoding proper: which token a byte starts as, and which pairs merge (Sennrich et al.,
// "Neural Machine Translation of Rare Words with Subword Units", in the byte-level form of GPT-2).
type bpe struct {
	byteID [256]int32 // the token of a single byte, or noID
	unk    int32      // what stands for a byte without a token, or noID: the byte vanishes
	fuse   bool       // several unk in a row become one
	pairs  pairTable
	vocab  *words
	// whole finds a word that is a token by itself, with ignore_merges; else nil.
	whole func(word string) (int32, bool)
}

// length returns the bytes of a token that byte tokens and merges made: each is a character of its spelling.
func (b *bpe) length(id int32) int { return utf8.RuneCountInString(b.vocab.at(id)) }

// pairTable finds what two neighbours merge into: open addressing, at most half full.
type pairTable struct {
	list  []pair   // by rank
	slots []uint32 // a rank plus one, 0 in an empty one
	shift uint8    // 64 - log2(len(slots))
}

// pair is two tokens that merge into a third.
type pair struct{ left, right, id int32 }

const noRank = math.MaxUint32

// newPairTable makes the table of pairs, the strongest first; of two equal ones the last one counts, as in tokenizers.
func newPairTable(list []pair) pairTable {
	log := bits.Len(uint(2*len(list) + 1))
	t := pairTable{list: list, slots: make([]uint32, 1<<log), shift: uint8(64 - log)}
	for rank, p := range list {
		*t.find(p.left, p.right) = uint32(rank) + 1
	}
	return t
}

func (t *pairTable) find(left, right int32) *uint32 {
	h := (uint64(uint32(left))<<32 | uint64(uint32(right))) * 0x9E3779B97F4A7C15
	h ^= h >> 29
	h *= 0xBF58476D1CE4E5B9
	for i := h >> t.shift; ; i = (i + 1) & uint64(len(t.slots)-1) {
		s := &t.slots[i]
		if *s == 0 {
			return s
		}
		if p := &t.list[*s-1]; p.left == left && p.right == right {
			return s
		}
	}
}

// get returns the rank of a pair and what it merges into; noRank if it does not merge.
func (t *pairTable) get(left, right int32) (rank uint32, id int32) {
	if s := *t.find(left, right); s != 0 {
		return s - 1, t.list[s-1].id
	}
	return noRank, noID
}

// encoder is what one goroutine needs to encode: a cache of words and room to work. Its memory is bounded, but for
// the room that a long word took, which trim drops.
type encoder struct {
	*bpe
	cache []cachedWord
	shift uint8 // 64 - log2(len(cache))
	seen  int   // bytes, as far as that matters
	cells []int32
	heap  []uint64
}

const (
	fewestBits   = 8  // the smallest cache
	mostBits     = 15 // the largest
	cachedBytes  = 16 // the longest word that is cached
	cachedTokens = 7
	shortWord    = 48 // symbols; up to here scanning for the best pair beats a heap
	keptCells    = 1 << 16
)

// cachedWord is a word and its tokens. The cache is direct mapped: a word has one place, and a newer word takes it.
type cachedWord struct {
	lo, hi uint64 // the bytes, little endian, padded with zeros
	size   uint8  // in bytes; 0 in an empty place
	count  uint8
	ids    [cachedTokens]int32
}

func newEncoder(b *bpe) *encoder { return &encoder{bpe: b} }

// reserve makes the cache large enough for all the text so far and so many bytes more. A large one takes 1.5 MB, which
// even a short text would touch all over.
func (e *encoder) reserve(bytes int) {
	e.seen = min(e.seen+bytes, 4<<mostBits)
	if n := min(max(bits.Len(uint(e.seen/4)), fewestBits), mostBits); len(e.cache) < 1<<n {
		e.cache, e.shift = make([]cachedWord, 1<<n), uint8(64-n)
	}
}

// trim drops room that an unusually long word took.
func (e *encoder) trim() {
	if cap(e.cells) > keptCells {
		e.cells = nil
	}
	if cap(e.heap) > keptCells {
		e.heap = nil
	}
}

// words splits text and appends the tokens of its words.
func (e *encoder) words(dst []int32, text string) []int32 {
	e.reserve(len(text))
	for i := 0; i < len(text); {
		end := wordEnd(text, i)
		n := end - i
		if n > cachedBytes {
			dst = e.word(dst, text[i:end])
			i = end
			continue
		}
		lo, hi := wordKey(text, i, n)
		h := (lo ^ bits.RotateLeft64(hi, 23) ^ uint64(n)<<56) * 0x9E3779B97F4A7C15
		h ^= h >> 32
		h *= 0xBF58476D1CE4E5B9
		c := &e.cache[h>>e.shift]
		if c.lo != lo || c.hi != hi || int(c.size) != n {
			from := len(dst)
			dst = e.word(dst, text[i:end])
			if ids := dst[from:]; len(ids) <= cachedTokens {
				c.lo, c.hi, c.size, c.count = lo, hi, uint8(n), uint8(len(ids))
				copy(c.ids[:], ids)
			}
		} else if c.count == 1 {
			dst = append(dst, c.ids[0])
		} else {
			dst = append(dst, c.ids[:c.count]...)
		}
		i = end
	}
	return dst
}

// wordKey returns the n <= 16 bytes of s from i on as two numbers.
func wordKey(s string, i, n int) (lo, hi uint64) {
	if i+16 > len(s) {
		for k := n - 1; k >= 0; k-- {
			if k >= 8 {
				hi = hi<<8 | uint64(s[i+k])
			} else {
				lo = lo<<8 | uint64(s[i+k])
			}
		}
		return lo, hi
	}
	lo = load64(s[i : i+8])
	if n <= 8 {
		return lo & (math.MaxUint64 >> (64 - 8*uint(n))), 0
	}
	return lo, load64(s[i+8:i+16]) & (math.MaxUint64 >> (128 - 8*uint(n)))
}

func load64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// word appends the tokens of one word, which is never empty.
func (e *encoder) word(dst []int32, word string) []int32 {
	if e.whole != nil {
		if id, ok := e.whole(word); ok {
			return append(dst, id)
		}
	}
	if cap(e.cells) < len(word) {
		e.cells = make([]int32, 0, len(word))
	}
	cells := e.cells[:0]
	unknown := false // the last byte has become, or joined, an unk
	for i := 0; i < len(word); i++ {
		switch id := e.byteID[word[i]]; {
		case id != noID:
			cells = append(cells, id)
			unknown = false
		case e.unk != noID && !(unknown && e.fuse):
			// No pair has an unk in it (load sees to that), so the bytes before it are done.
			dst = append(e.merge(dst, cells), e.unk)
			cells = e.cells[:0]
			unknown = true
		}
	}
	return e.merge(dst, cells)
}

// merge merges neighbours, the lowest rank first and of equal ranks the leftmost, until no pair is left, and appends
// what remains to dst. It overwrites cells.
func (e *encoder) merge(dst, cells []int32) []int32 {
	if len(cells) > shortWord {
		return e.mergeLong(dst, cells)
	}
	var ranks [shortWord]uint32 // of the pair that begins here
	n := len(cells)
	for i := 0; i+1 < n; i++ {
		ranks[i], _ = e.pairs.get(cells[i], cells[i+1])
	}
	for n > 1 {
		best, at := uint32(noRank), 0
		for i, rank := range ranks[:n-1] {
			if rank < best {
				best, at = rank, i
			}
		}
		if best == noRank {
			break
		}
		_, cells[at] = e.pairs.get(cells[at], cells[at+1])
		copy(cells[at+1:n-1], cells[at+2:n])
		copy(ranks[at+1:n-1], ranks[at+2:n])
		n--
		if at > 0 {
			ranks[at-1], _ = e.pairs.get(cells[at-1], cells[at])
		}
		if at+1 < n {
			ranks[at], _ = e.pairs.get(cells[at], cells[at+1])
		}
	}
	return append(dst, cells[:n]...)
}

// mergeLong is merge in O(n log n) steps and about 12 bytes for each byte of the word.
//
// A token lies in the cell of its first byte. The other cells of a token are negative, and its last one, if it has more
// than one, is minus its length, so that the token before a cell can be found. The heap holds rank<<32 | position;
// an entry whose pair has changed since is found out when its turn comes.
func (e *encoder) mergeLong(dst, cells []int32) []int32 {
	if cap(e.heap) < len(cells) {
		e.heap = make([]uint64, 0, len(cells))
	}
	heap := e.heap[:0]
	for i := 0; i+1 < len(cells); i++ {
		if rank, _ := e.pairs.get(cells[i], cells[i+1]); rank != noRank {
			heap = append(heap, uint64(rank)<<32|uint64(i))
		}
	}
	for i := len(heap)/2 - 1; i >= 0; i-- {
		siftDown(heap, i)
	}
	for len(heap) > 0 {
		rank, at := uint32(heap[0]>>32), int(uint32(heap[0]))
		left := cells[at]
		right, id := at, int32(noID)
		if left >= 0 {
			right = at + e.length(left)
			if right < len(cells) {
				var now uint32
				if now, id = e.pairs.get(left, cells[right]); now != rank {
					id = noID
				}
			}
		}
		if id == noID {
			last := len(heap) - 1
			heap[0] = heap[last]
			heap = heap[:last]
			siftDown(heap, 0)
			continue
		}
		size := e.length(id)
		cells[right] = -1
		cells[at+size-1] = int32(-size)
		cells[at] = id
		top := true // heap[0] is done with and may be overwritten
		push := func(rank uint32, pos int) {
			if rank == noRank {
				return
			}
			v := uint64(rank)<<32 | uint64(pos)
			if top {
				top = false
				heap[0] = v
				siftDown(heap, 0)
				return
			}
			heap = append(heap, v)
			siftUp(heap)
		}
		if at > 0 {
			before := at - 1
			if cells[before] < 0 {
				before = at + int(cells[before])
			}
			rank, _ := e.pairs.get(cells[before], id)
			push(rank, before)
		}
		if next := at + size; next < len(cells) {
			rank, _ := e.pairs.get(id, cells[next])
			push(rank, at)
		}
		if top {
			last := len(heap) - 1
			heap[0] = heap[last]
			heap = heap[:last]
			siftDown(heap, 0)
		}
	}
	e.heap = heap
	for i := 0; i < len(cells); i += e.length(cells[i]) {
		dst = append(dst, cells[i])
	}
	return dst
}

// The heap has four children to a node: fewer cache misses than two.

func siftDown(heap []uint64, i int) {
	if i >= len(heap) {
		return
	}
	v := heap[i]
	for {
		child := 4*i + 1
		if child >= len(heap) {
			break
		}
		end := min(child+4, len(heap))
		best := child
		for k := child + 1; k < end; k++ {
			if heap[k] < heap[best] {
				best = k
			}
		}
		if v <= heap[best] {
			break
		}
		heap[i] = heap[best]
		i = best
	}
	heap[i] = v
}

// siftUp moves the last element to its place.
func siftUp(heap []uint64) {
	i := len(heap) - 1
	v := heap[i]
	for i > 0 {
		parent := (i - 1) / 4
		if heap[parent] <= v {
			break
		}
		heap[i] = heap[parent]
		i = parent
	}
	heap[i] = v
}
