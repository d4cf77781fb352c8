package tokenizer

import (
	"sort"
	"strings"
)

// addedToken is a token that is found in the text before the text is split into words.
type addedToken struct {
	content    string
	singleWord bool // only where no word character is beside it
	lstrip     bool // takes the white space before it along
	rstrip     bool // takes the white space after it along
	normalized bool // looked for after the others; without a normalizer that is all it means
	special    bool
}

// addedVocab holds the added tokens of a tokenizer.
type addedVocab struct {
	ids     map[string]int32
	tokens  map[int32]addedToken
	special map[string]bool // by content; a token that was special once stays so, as in tokenizers
	first   matcher         // the tokens that are not normalized
	second  matcher         // those that are
}

// add adds tokens. As in tokenizers, a token that the vocabulary or an earlier call knows keeps its id, whatever id
// the file gives it, the others are numbered on: from the number of tokens in the vocabulary, or from beyond the
// highest added id where that is higher.
func (a *addedVocab) add(list []addedToken, vocab *words) {
	next := int32(vocab.count)
	for id := range a.tokens {
		next = max(next, id+1)
	}
	if vocab.count > 0 && next <= int32(vocab.count) {
		next = int32(vocab.count)
	}
	for _, t := range list {
		if t.content == "" {
			continue
		}
		t.content = strings.Clone(t.content) // not a piece of all of a file
		id, ok := a.ids[t.content]
		if !ok {
			id, ok = vocab.find(t.content)
		}
		if !ok {
			id = next
			next++
		}
		a.ids[t.content] = id
		if t.special {
			a.special[t.content] = true
		}
		a.tokens[id] = t
	}
}

// build makes the matchers; after it nothing is added any more.
func (a *addedVocab) build() {
	var first, second []pattern
	for id, t := range a.tokens {
		p := pattern{addedToken: t, id: id, plain: a.special[t.content]}
		if t.normalized {
			second = append(second, p)
		} else {
			first = append(first, p)
		}
	}
	a.first, a.second = newMatcher(first), newMatcher(second)
}

type pattern struct {
	addedToken
	id    int32
	plain bool // passed over where special tokens are to be plain text
}

// matcher finds added tokens: at the leftmost place where one begins the longest one, then on from its end.
type matcher struct {
	patterns []pattern // sorted by content
	begins   [256]bool // the first bytes of all contents
}

func newMatcher(patterns []pattern) matcher {
	m := matcher{patterns: patterns}
	sort.Slice(patterns, func(i, j int) bool { return patterns[i].content < patterns[j].content })
	for _, p := range patterns {
		m.begins[p.content[0]] = true
	}
	return m
}

// at returns the longest pattern that begins at s[i], nil if there is none.
func (m *matcher) at(s string, i int) *pattern {
	var found *pattern
	low, high := 0, len(m.patterns)
	for depth := 0; low < high; depth++ {
		// All patterns in [low, high) agree with s over depth bytes, so the shortest, if it ends here, comes first.
		if len(m.patterns[low].content) == depth {
			found = &m.patterns[low]
			low++
		}
		if i+depth >= len(s) {
			break
		}
		c := s[i+depth]
		part := m.patterns[low:high]
		from := sort.Search(len(part), func(k int) bool { return part[k].content[depth] >= c })
		part = part[from:]
		low += from
		high = low + sort.Search(len(part), func(k int) bool { return part[k].content[depth] > c })
	}
	return found
}

// next returns the first match at or after i.
func (m *matcher) next(s string, i int) (start int, p *pattern) {
	for ; i < len(s); i++ {
		if m.begins[s[i]] {
			if p := m.at(s, i); p != nil {
				return i, p
			}
		}
	}
	return len(s), nil
}

// split cuts s into text and added tokens, in the very steps of tokenizers, its oddities included: a match that is
// passed over (special, or not a single word) still covers its text, and white space that one token has stripped may
// be text again if another match follows inside of it.
func (m *matcher) split(s string, specialAsText bool, text func(string), token func(int32)) {
	if len(m.patterns) == 0 {
		text(s)
		return
	}
	done := 0
	for i := 0; ; {
		start, p := m.next(s, i)
		if p == nil {
			break
		}
		end := start + len(p.content)
		i = end
		if specialAsText && p.plain || p.singleWord && !singleWord(s, start, end) {
			continue
		}
		if p.lstrip {
			start = max(stripLeft(s, start), done)
		}
		if p.rstrip {
			end = stripRight(s, end)
		}
		if start >= end {
			continue // nothing is left of it that another token has not stripped; at start > end tokenizers panics
		}
		if done < start {
			text(s[done:start])
		}
		token(p.id)
		done = end
	}
	if done < len(s) {
		text(s[done:])
	}
}

func singleWord(s string, start, end int) bool {
	if start > 0 {
		if flags, _ := flagsBefore(s, start); flags&wordFlag != 0 {
			return false
		}
	}
	if end < len(s) {
		if flags, _ := flagsAt(s, end); flags&wordFlag != 0 {
			return false
		}
	}
	return true
}

func stripLeft(s string, i int) int {
	for i > 0 {
		flags, size := flagsBefore(s, i)
		if flags&stripFlag == 0 {
			break
		}
		i -= size
	}
	return i
}

func stripRight(s string, i int) int {
	for i < len(s) {
		flags, size := flagsAt(s, i)
		if flags&stripFlag == 0 {
			break
		}
		i += size
	}
	return i
}
