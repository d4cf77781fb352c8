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
	Hash [16]byte
	near []uint32 // nil: too short
}

// PrintOf makes the print of a document; the part for near duplicates only if
// it is wanted.
func (set Set) PrintOf(d *source.Document) Print {
	t := d.Text()
	sum := sha256.Sum256([]byte(t))
	p := Print{Hash: [16]byte(sum[:16])}
	if set[Near] && !d.Piece() {
		p.near = minhash(t)
	}
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

func minhash(t string) []uint32 {
	var words []uint64
	t = strings.ToLower(t)
	for word := range strings.FieldsFuncSeq(t, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		h := uint64(14695981039346656037)
		for i := range len(word) {
			h = (h ^ uint64(word[i])) * 1099511628211
		}
		words = append(words, h)
	}
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
			x = (x ^ w) * 0x9E3779B97F4A7C15
			x ^= x >> 29
		}
		for j := range sig {
			if v := uint32((x*functions[j][0] + functions[j][1]) >> 32); v < sig[j] {
				sig[j] = v
			}
		}
	}
	return sig
}

// Duplicates remembers the documents that were kept.
type Duplicates struct {
	set   Set
	exact map[[16]byte]string
	near  [][]uint32
	where []string
	bands [bands]map[uint64][]int32
}

// NewDuplicates begins with none.
func NewDuplicates(set Set) *Duplicates {
	d := &Duplicates{set: set, exact: make(map[[16]byte]string)}
	for i := range d.bands {
		d.bands[i] = make(map[uint64][]int32)
	}
	return d
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
	var keys [bands]uint64
	checked := make(map[int32]bool)
	for b := range keys {
		h := uint64(b)
		for _, v := range p.near[b*bandRows : (b+1)*bandRows] {
			h = (h ^ uint64(v)) * 0x9E3779B97F4A7C15
			h ^= h >> 32
		}
		keys[b] = h
		for _, other := range u.bands[b][h] {
			if checked[other] {
				continue
			}
			checked[other] = true
			if similarity(p.near, u.near[other]) >= NearSimilarity {
				return Near, u.where[other], true
			}
		}
	}
	id := int32(len(u.near))
	u.near = append(u.near, p.near)
	u.where = append(u.where, where)
	for b, k := range keys {
		// Thousands that agree in a band but are not alike (a form that was
		// filled in) would make this quadratic.
		if len(u.bands[b][k]) < 1000 {
			u.bands[b][k] = append(u.bands[b][k], id)
		}
	}
	return "", "", false
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
