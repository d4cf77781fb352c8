package tokenizer

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Parts is a tokenizer laid out flat, as a GGUF file holds it: GPT-2's splitting
// into words, and nothing that needs more to be said.
type Parts struct {
	Tokens             []Piece  // by id
	Merges             []string // "left right", the strongest first
	BOS, EOS, UNK, PAD int32    // -1: none
	PrefixSpace        bool     // a text that does not begin with a space gets one
	Before, After      []int32  // put around every text
}

// Piece is one token of Parts; the zero value is an id without a token.
type Piece struct {
	Text string // as the vocabulary spells it
	Kind PieceKind
}

// PieceKind tells how a token comes out of a text.
type PieceKind uint8

// The kinds of tokens.
const (
	Hole    PieceKind = iota
	Normal            // by merging
	Added             // found in the text before anything else
	Special           // as Added, and left out of decoded text on request
)

// partsFile is what errors name instead of a file.
const partsFile = "tokenizer"

// New puts a tokenizer together.
func New(p Parts) (*Tokenizer, error) {
	for len(p.Tokens) > 0 && p.Tokens[len(p.Tokens)-1].Kind == Hole {
		p.Tokens = p.Tokens[:len(p.Tokens)-1]
	}
	named := [namedCount]int32{namedBOS: p.BOS, namedEOS: p.EOS, namedUNK: p.UNK, namedPAD: p.PAD}
	for i, id := range named {
		if id < 0 || int(id) >= len(p.Tokens) || p.Tokens[id].Kind == Hole {
			named[i] = noID
		}
	}
	v := &vocabulary{file: partsFile, field: "tokens"}
	byID, bytes := make([]string, len(p.Tokens)), 0
	var added []addedToken
	for id, piece := range p.Tokens {
		if piece.Kind == Hole || piece.Text == "" {
			continue
		}
		if !utf8.ValidString(piece.Text) {
			return nil, fmt.Errorf("%s: token %d, %q, is not valid UTF-8", partsFile, id, piece.Text)
		}
		if bytes += len(piece.Text); bytes > math.MaxInt32 {
			return nil, fmt.Errorf("%s: the tokens have more than %d bytes", partsFile, math.MaxInt32)
		}
		byID[id] = piece.Text
		if piece.Kind != Normal {
			special := piece.Kind == Special
			added = append(added, addedToken{content: piece.Text, special: special, normalized: !special})
		}
	}
	var twice int32
	if v.words, twice = newWords(byID, noID); twice != noID {
		first, _ := v.find(byID[twice])
		return nil, fmt.Errorf("%s: tokens %d and %d are both %q", partsFile, first, twice, byID[twice])
	}
	m := &merges{file: partsFile, field: "merges", vocab: v, list: make([]pair, 0, len(p.Merges))}
	for _, line := range p.Merges {
		if err := m.line(line); err != nil {
			return nil, err
		}
	}

	t := &Tokenizer{prefixSpace: p.PrefixSpace, named: named, added: addedVocab{
		ids: map[string]int32{}, tokens: map[int32]addedToken{}, special: map[string]bool{},
	}}
	if err := t.setModel(&modelFile{vocab: v, merges: m.list}, partsFile, true); err != nil {
		return nil, err
	}
	t.added.add(added, t.vocab)
	t.added.build()
	if err := t.addTokens(); err != nil {
		return nil, err
	}
	for _, ids := range [][]int32{p.Before, p.After} {
		for _, id := range ids {
			if _, known := t.Token(id); !known {
				return nil, fmt.Errorf("%s: there is no token with id %d", partsFile, id)
			}
		}
	}
	t.before, t.after = slices.Clone(p.Before), slices.Clone(p.After)
	return t, nil
}

// Parts takes a tokenizer apart. One whose files ask for more than Parts can
// say is refused.
func (t *Tokenizer) Parts() (Parts, error) {
	p := Parts{PrefixSpace: t.prefixSpace, Before: slices.Clone(t.before), After: slices.Clone(t.after)}
	switch {
	case t.wholeText:
		return p, fmt.Errorf("the tokenizer does not split text into words")
	case t.plainText:
		return p, fmt.Errorf("the tokenizer takes special tokens in a text for plain text (split_special_tokens)")
	case t.bpe.unk != noID:
		return p, fmt.Errorf("the tokenizer has no tokens for some bytes, and another token instead")
	case t.bpe.whole != nil:
		return p, fmt.Errorf("the tokenizer takes whole words before it merges (ignore_merges)")
	}
	for _, at := range []struct {
		dst   *int32
		which int
	}{{&p.BOS, namedBOS}, {&p.EOS, namedEOS}, {&p.UNK, namedUNK}, {&p.PAD, namedPAD}} {
		*at.dst = t.named[at.which]
	}
	p.Tokens = make([]Piece, t.Len())
	for i := range p.Tokens {
		id := int32(i)
		text, known := t.Token(id)
		if !known {
			continue
		}
		p.Tokens[i] = Piece{text, Normal}
		if a, ok := t.added.tokens[id]; ok {
			if a.lstrip || a.rstrip || a.singleWord {
				return p, fmt.Errorf("the token %q is found only beside certain characters, or takes white space along (lstrip, rstrip, single_word)", a.content)
			}
			p.Tokens[i].Kind = Added
		}
		if t.special[id] {
			p.Tokens[i].Kind = Special
		}
	}
	for rank, m := range t.bpe.pairs.list {
		if now, _ := t.bpe.pairs.get(m.left, m.right); now != uint32(rank) {
			continue // it comes again
		}
		left, _ := t.Token(m.left)
		right, _ := t.Token(m.right)
		// No byte is spelt as a space, so that text never comes to such a merge.
		if !strings.Contains(left+right, " ") {
			p.Merges = append(p.Merges, left+" "+right)
		}
	}
	return p, nil
}
