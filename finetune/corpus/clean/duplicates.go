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

// NearSimilarity is the estimated similarity from which a document is dropped.
const NearSimilarity = 0.8

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

// alike gives the prints that were added and are nearly like p, by the order in
// which they were added, until yield returns false.
func (x *index) alike(p Print, yield func(i int) bool) {
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
			if p.learnt == q.learnt && similarity(p.near, q.near) >= NearSimilarity && !yield(int(other)) {
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

// Duplicates remembers the documents that were kept.
type Duplicates struct {
	set   Set
	exact map[[16]byte]string
	near  index
	where []string
}

// NewDuplicates begins with none.
func NewDuplicates(set Set) *Duplicates {
	return &Duplicates{set: set, exact: make(map[[16]byte]string)}
}

// Check tells whether a document repeats one that was checked before; if not it
// is remembered. Of names the earlier one.
func (u *Duplicates) Check(d *source.Document, p Print) (step, of string, duplicate bool) {
	if d.Piece() {
		return "", "", false
	}
	where := d.Where()
	if u.set[Exact] {
		if of, ok := u.exact[p.Hash]; ok {
			return Exact, of, true
		}
		u.exact[p.Hash] = where
	}
	if p.near == nil || !u.set[Near] {
		return "", "", false
	}
	for i := range func(yield func(int) bool) { u.near.alike(p, yield) } {
		return Near, u.where[i], true
	}
	u.near.add(p)
	u.where = append(u.where, where)
	return "", "", false
}

// Groups brings together the documents that must not be divided between
// training and validation: the same, or nearly the same, whether the steps that
// drop duplicates are on or off.
type Groups struct {
	drop   bool // the near duplicates are gone already
	near   index
	same   map[[16]byte]int
	words  map[uint64]int
	parent []int // of each document; its own number: the first of a group
}

// NewGroups begins with none. What set drops is not looked for again.
func NewGroups(set Set) *Groups {
	return &Groups{drop: set[Near], same: make(map[[16]byte]int), words: make(map[uint64]int)}
}

// Add takes the next document.
func (g *Groups) Add(p Print) {
	id := len(g.parent)
	g.parent = append(g.parent, id)
	if i, ok := g.same[p.Hash]; ok {
		g.join(i, id)
	} else {
		g.same[p.Hash] = id
	}
	if p.words != 0 {
		if i, ok := g.words[p.words]; ok {
			g.join(i, id)
		} else {
			g.words[p.words] = id
		}
	}
	if !g.drop {
		g.near.alike(p, func(i int) bool { g.join(i, id); return true })
		g.near.add(p)
	}
}

// Like returns a document that is like p, -1 if there is none.
func (g *Groups) Like(p Print) int {
	if i, ok := g.same[p.Hash]; ok {
		return i
	}
	if i, ok := g.words[p.words]; ok && p.words != 0 {
		return i
	}
	found := -1
	g.near.alike(p, func(i int) bool { found = i; return false })
	return found
}

// Of returns the first document of the group that a document is in.
func (g *Groups) Of(i int) int {
	for g.parent[i] != i {
		g.parent[i] = g.parent[g.parent[i]]
		i = g.parent[i]
	}
	return i
}

func (g *Groups) join(a, b int) {
	a, b = g.Of(a), g.Of(b)
	g.parent[max(a, b)] = min(a, b)
}
