package clean

import (
	"crypto/sha256"
	"math"
	"math/rand/v2"
	"strings"
	"unicode"

	"github.com/gptctl/gptctl/finetune/corpus/source"
)

// Near duplicates are found by MinHash: a document is the set of its runs of
// five words, of which signature keeps, for each of 120 hash functions, the
// smallest value. The share of equal values estimates the Jaccard similarity of
// two documents (Broder 1997). Of documents that agree in one of 20 bands of six
// values (which 99.8 % of those with similarity 0.8 do) the estimate is taken.
const (
	shingle   = 5
	bands     = 20
	bandRows  = 6
	signature = bands * bandRows
	minWords  = 10 // shorter documents are only compared exactly
)

// NearSimilarity is the estimated similarity from which a document is dropped,
// and groupSimilarity that from which two stay on one side of a split: a little
// less, since the first is estimated, and what was dropped may have been between
// two that are left.
const (
	NearSimilarity  = 0.8
	groupSimilarity = 0.7
)

// Print is what is compared of a document. It may be made in parallel.
type Print struct {
	Hash   [16]byte
	words  uint64   // hash of all words; 0: there are none
	near   []uint32 // nil: too short
	learnt uint64   // hash of the words that are learnt, of a document with prompts
}

// PrintOf makes the print of a document.
func PrintOf(d *source.Document) Print {
	t := d.Text()
	sum := sha256.Sum256([]byte(t))
	p := Print{Hash: [16]byte(sum[:16])}
	if d.Piece() {
		return p
	}
	words := words(t)
	for _, w := range words {
		p.words = mix(p.words ^ w)
	}
	p.near = minhash(words)
	p.learnt = learnt(d)
	return p
}

// functions are the multipliers and addends of the hash functions.
var functions = func() (f [signature][2]uint64) {
	r := rand.New(rand.NewPCG(0x6770, 0x7463))
	for i := range f {
		f[i] = [2]uint64{r.Uint64() | 1, r.Uint64()}
	}
	return f
}()

// learnt hashes the words of answers: many questions about one long text are
// nearly the same documents, and worth learning as long as the answers differ.
func learnt(d *source.Document) uint64 {
	var h uint64
	masked := false
	for _, p := range d.Parts {
		if p.Masked {
			masked = true
			continue
		}
		for _, w := range words(p.Text) {
			h = mix(h ^ w)
		}
	}
	if !masked {
		return 0
	}
	return h | 1
}

func mix(x uint64) uint64 {
	x *= 0x9E3779B97F4A7C15
	return x ^ x>>29
}

// words hashes the words of a text, without case and punctuation.
func words(t string) (words []uint64) {
	t = strings.ToLower(t)
	for word := range strings.FieldsFuncSeq(t, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		h := uint64(14695981039346656037)
		for i := range len(word) {
			h = (h ^ uint64(word[i])) * 1099511628211
		}
		words = append(words, h)
	}
	return words
}

func minhash(words []uint64) []uint32 {
	if len(words) < minWords {
		return nil
	}
	sig := make([]uint32, signature)
	for i := range sig {
		sig[i] = math.MaxUint32
	}
	for i := range len(words) - shingle + 1 {
		var x uint64
		for _, w := range words[i : i+shingle] {
			x = mix(x ^ w)
		}
		for j := range sig {
			if v := uint32((x*functions[j][0] + functions[j][1]) >> 32); v < sig[j] {
				sig[j] = v
			}
		}
	}
	return sig
}

// index finds the prints that are nearly like another.
type index struct {
	prints []Print
	bands  [bands]map[uint64][]int32
}

// alike gives the prints that were added and are like p by so much, by the order
// in which they were added within a band, until yield returns false.
func (x *index) alike(p Print, least float64, yield func(i int) bool) {
	if p.near == nil {
		return
	}
	checked := make(map[int32]bool)
	for b := range bands {
		for _, other := range x.bands[b][p.band(b)] {
			if checked[other] {
				continue
			}
			checked[other] = true
			q := x.prints[other]
			if p.learnt == q.learnt && similarity(p.near, q.near) >= least && !yield(int(other)) {
				return
			}
		}
	}
}

func (x *index) add(p Print) {
	id := int32(len(x.prints))
	x.prints = append(x.prints, p)
	if p.near == nil {
		return
	}
	for b := range bands {
		if x.bands[b] == nil {
			x.bands[b] = make(map[uint64][]int32)
		}
		// Thousands that agree in a band but are not alike (a form that was
		// filled in) would make this quadratic.
		if k := p.band(b); len(x.bands[b][k]) < 1000 {
			x.bands[b][k] = append(x.bands[b][k], id)
		}
	}
}

// band hashes the values of a band.
func (p Print) band(b int) uint64 {
	h := uint64(b)
	for _, v := range p.near[b*bandRows : (b+1)*bandRows] {
		h = (h ^ uint64(v)) * 0x9E3779B97F4A7C15
		h ^= h >> 32
	}
	return h
}

func similarity(a, b []uint32) float64 {
	n := 0
	for i := range a {
		if a[i] == b[i] {
			n++
		}
	}
	return float64(n) / float64(len(a))
}

// Duplicates remembers the documents that were kept, and brings together those
// that must not be divided between training and validation: the same, or nearly
// the same, whether the steps that drop duplicates are on or off.
type Duplicates struct {
	set    Set
	near   index
	same   map[[16]byte]int
	words  map[uint64]int
	where  []string
	parent []int // of each document; its own number: the first of a group
}

// NewDuplicates begins with none.
func NewDuplicates(set Set) *Duplicates {
	return &Duplicates{set: set, same: make(map[[16]byte]int), words: make(map[uint64]int)}
}

// Check tells whether a document repeats one that was checked before; if not it
// is remembered. Of names the earlier one.
func (u *Duplicates) Check(d *source.Document, p Print) (step, of string, duplicate bool) {
	if !d.Piece() {
		if i, ok := u.same[p.Hash]; ok && u.set[Exact] {
			return Exact, u.where[i], true
		}
		if i := u.nearly(p); i >= 0 && u.set[Near] {
			return Near, u.where[i], true
		}
	}
	u.Keep(d, p)
	return "", "", false
}

// Like returns the place of a document that is the same or nearly the same, by
// more than the steps that are on look at.
func (u *Duplicates) Like(p Print) (of string, ok bool) {
	i, ok := u.same[p.Hash]
	if !ok && p.words != 0 {
		i, ok = u.words[p.words]
	}
	if !ok {
		i = u.nearly(p)
		ok = i >= 0
	}
	if !ok {
		return "", false
	}
	return u.where[i], true
}

func (u *Duplicates) nearly(p Print) int {
	found := -1
	u.near.alike(p, NearSimilarity, func(i int) bool { found = i; return false })
	return found
}

// Keep remembers a document, or the first piece of one.
func (u *Duplicates) Keep(d *source.Document, p Print) {
	id := len(u.parent)
	u.parent, u.where = append(u.parent, id), append(u.where, d.Where())
	if i, ok := u.same[p.Hash]; ok {
		u.join(i, id)
	} else {
		u.same[p.Hash] = id
	}
	if i, ok := u.words[p.words]; ok && p.words != 0 {
		u.join(i, id)
	} else {
		u.words[p.words] = id
	}
	u.near.alike(p, groupSimilarity, func(i int) bool { u.join(i, id); return true })
	u.near.add(p)
}

// Group returns the first document of the group that the i-th one kept is in.
func (u *Duplicates) Group(i int) int {
	for u.parent[i] != i {
		u.parent[i] = u.parent[u.parent[i]]
		i = u.parent[i]
	}
	return i
}

func (u *Duplicates) join(a, b int) {
	a, b = u.Group(a), u.Group(b)
	u.parent[max(a, b)] = min(a, b)
}
