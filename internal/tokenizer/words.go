package tokenizer

import (
	"hash/maphash"
	"math/bits"
)

// texts are strings by id, one behind the other: fifty thousand of their own take five times as much memory.
type texts struct {
	all  string
	ends []uint32
}

// at returns a text, "" for an id that there is not.
func (t *texts) at(id int32) string {
	if id < 0 || int(id) >= len(t.ends) {
		return ""
	}
	from := uint32(0)
	if id > 0 {
		from = t.ends[id-1]
	}
	return t.all[from:t.ends[id]]
}

// textsOf puts n texts, which append adds to what it gets, into one string.
func textsOf(n int, append func(all []byte, id int32) []byte) texts {
	t := texts{ends: make([]uint32, n)}
	all := make([]byte, 0, 8*n)
	for id := range t.ends {
		all = append(all, int32(id))
		t.ends[id] = uint32(len(all))
	}
	t.all = string(all)
	return t
}

// words are the tokens of a vocabulary: by id, "" in a hole, and found by their text, in a table with open addressing
// that is at most half full.
type words struct {
	texts
	count int     // of tokens, the empty one too
	empty int32   // the id of the empty token, which nothing can become, or noID
	slots []int32 // noID in an empty one
	shift uint8   // 64 - log2(len(slots))
	seed  maphash.Seed
}

// newWords returns the words by id and, if a text occurs twice, its second id, else noID. Empty is the id of the empty
// token, or noID.
func newWords(byID []string, empty int32) (w words, twice int32) {
	w.texts = textsOf(len(byID), func(all []byte, id int32) []byte { return append(all, byID[id]...) })
	log := bits.Len(uint(2*len(byID) + 1))
	w.slots, w.shift, w.seed, w.empty = make([]int32, 1<<log), uint8(64-log), maphash.MakeSeed(), empty
	for i := range w.slots {
		w.slots[i] = noID
	}
	if empty != noID {
		w.count++
	}
	for id, text := range byID {
		if text == "" {
			continue
		}
		slot := w.slot(text)
		if *slot != noID {
			return w, int32(id)
		}
		*slot = int32(id)
		w.count++
	}
	return w, noID
}

// slot returns the place of a text in the table.
func (w *words) slot(text string) *int32 {
	for i := maphash.String(w.seed, text) >> w.shift; ; i = (i + 1) & uint64(len(w.slots)-1) {
		if s := &w.slots[i]; *s == noID || w.at(*s) == text {
			return s
		}
	}
}

// find returns the id of a text.
func (w *words) find(text string) (id int32, ok bool) {
	if text == "" {
		return w.empty, w.empty != noID
	}
	id = *w.slot(text)
	return id, id != noID
}
