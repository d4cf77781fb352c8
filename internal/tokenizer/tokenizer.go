// Package tokenizer is GPT-2's byte-level byte pair encoding, id for id as Hugging Face's tokenizers and transformers
// do it, read from the files that come with a model.
//
// A text is any sequence of bytes. Bytes that are not part of valid UTF-8, which the Python packages never see, are
// single characters that are neither letter, number nor white space: they are encoded through the tokens of their
// bytes and come back from Decode as they were.
package tokenizer

import (
	"strings"
	"sync"
)

// Tokenizer turns text into token ids and back. It is safe for concurrent use.
type Tokenizer struct {
	bpe         bpe
	vocab       *words
	added       addedVocab
	bytes       texts // what each id decodes to
	prefixSpace bool
	wholeText   bool // no splitting into words
	plainText   bool // special tokens are text unless told otherwise (split_special_tokens)
	before      []int32
	after       []int32
	named       [namedCount]int32
	special     map[int32]bool
	encoders    sync.Pool // of *encoder
}

// Len returns the highest token id plus one. Not every id below it need have a token.
func (t *Tokenizer) Len() int { return len(t.bytes.ends) }

// Token returns the token of an id as the vocabulary spells it: "Ġthe" for " the".
func (t *Tokenizer) Token(id int32) (string, bool) {
	if a, ok := t.added.tokens[id]; ok {
		return a.content, true
	}
	text := t.vocab.at(id)
	return text, text != ""
}

// Bytes returns what an id decodes to, nothing for an id without a token. It need not be valid UTF-8.
func (t *Tokenizer) Bytes(id int32) []byte { return []byte(t.bytes.at(id)) }

// ID returns the id of a token as the vocabulary spells it.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.added.ids[token]; ok {
		return id, true
	}
	return t.vocab.find(token)
}

// IsSpecial reports whether a token is a special one, which Decode leaves out when asked to.
func (t *Tokenizer) IsSpecial(id int32) bool { return t.special[id] }

// The tokens that a model's files name.
const (
	namedBOS = iota
	namedEOS
	namedUNK
	namedPAD
	namedCount
)

func (t *Tokenizer) namedID(which int) (int32, bool) {
	return t.named[which], t.named[which] != noID
}

// BOS returns the id of the token that begins a text, if the tokenizer's files name one; like GPT-2's own class in
// transformers the tokenizer takes <|endoftext|> where they are silent.
func (t *Tokenizer) BOS() (int32, bool) { return t.namedID(namedBOS) }

// EOS returns the id of the token that ends a text; see BOS.
func (t *Tokenizer) EOS() (int32, bool) { return t.namedID(namedEOS) }

// UNK returns the id of the token for what cannot be encoded; see BOS. Byte-level encoding does not need it.
func (t *Tokenizer) UNK() (int32, bool) { return t.namedID(namedUNK) }

// PAD returns the id of the token that fills up a batch, if the tokenizer's files name one.
func (t *Tokenizer) PAD() (int32, bool) { return t.namedID(namedPAD) }

// Options change what Encode does.
type Options struct {
	SpecialAsText bool // special tokens that occur in the text are text like any other
	Bare          bool // add no token before or after the text, even if the files ask for it
}

// Encode appends the ids of text to dst, as transformers' tokenizer(text) gives them: added and special tokens that
// occur in the text become their ids, and tokens are put before and after the text where the files say so (GPT-2's own
// do not).
func (t *Tokenizer) Encode(dst []int32, text string) []int32 {
	return t.EncodeWith(dst, text, Options{})
}

// EncodePlain is Encode for text that nobody vouches for: special tokens in it are plain text, and none are added.
func (t *Tokenizer) EncodePlain(dst []int32, text string) []int32 {
	return t.EncodeWith(dst, text, Options{SpecialAsText: true, Bare: true})
}

// EncodeWith is Encode with options.
func (t *Tokenizer) EncodeWith(dst []int32, text string, o Options) []int32 {
	e, _ := t.encoders.Get().(*encoder)
	if e == nil {
		e = newEncoder(&t.bpe)
	}
	defer func() {
		e.trim()
		t.encoders.Put(e)
	}()
	asText := o.SpecialAsText || t.plainText
	if !o.Bare {
		dst = append(dst, t.before...)
	}
	token := func(id int32) { dst = append(dst, id) }
	t.added.first.split(text, asText, func(s string) {
		t.added.second.split(s, asText, func(s string) { dst = t.encodeText(e, dst, s) }, token)
	}, token)
	if !o.Bare {
		dst = append(dst, t.after...)
	}
	return dst
}

// encodeText encodes what lies between two added tokens.
func (t *Tokenizer) encodeText(e *encoder, dst []int32, s string) []int32 {
	if s == "" {
		return dst
	}
	if t.prefixSpace && s[0] != ' ' {
		s = " " + s
	}
	if t.wholeText {
		return e.word(dst, s)
	}
	return e.words(dst, s)
}

// AppendBytes appends the bytes that ids decode to, without the special tokens if skipSpecial is set. Ids without a
// token give nothing.
func (t *Tokenizer) AppendBytes(dst []byte, ids []int32, skipSpecial bool) []byte {
	for _, id := range ids {
		if !skipSpecial || !t.special[id] {
			dst = append(dst, t.bytes.at(id)...)
		}
	}
	return dst
}

// Decode returns the exact bytes that ids stand for. Half a character stays half a character; DecodeText replaces it.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	return string(t.AppendBytes(nil, ids, skipSpecial))
}

// DecodeText returns the text that ids stand for as transformers' decode gives it: what is not valid UTF-8 becomes
// U+FFFD, one for each longest beginning of a character (Unicode 15, 3.9, "substitution of maximal subparts").
func (t *Tokenizer) DecodeText(ids []int32, skipSpecial bool) string {
	return replaceInvalid(t.Decode(ids, skipSpecial))
}

// byteRunes is how GPT-2 spells each byte in its vocabulary: as itself where that can be seen, else as one of the
// characters from U+0100 on.
var byteRunes = func() (t [256]rune) {
	next := rune(256)
	for b := range t {
		switch {
		case '!' <= b && b <= '~', 0xA1 <= b && b <= 0xAC, 0xAE <= b:
			t[b] = rune(b)
		default:
			t[b] = next
			next++
		}
	}
	return t
}()

// runeBytes is the inverse of byteRunes; -1 where there is none.
var runeBytes = func() (t [324]int16) {
	for i := range t {
		t[i] = -1
	}
	for b, r := range byteRunes {
		t[r] = int16(b)
	}
	return t
}()

// spell returns the vocabulary's spelling of bytes.
func spell(bytes string) string {
	var b strings.Builder
	for i := 0; i < len(bytes); i++ {
		b.WriteRune(byteRunes[bytes[i]])
	}
	return b.String()
}

// unspell appends the bytes that a token stands for: a token that is not wholly in the byte alphabet stands for itself.
func unspell(dst []byte, token string) []byte {
	from := len(dst)
	for _, r := range token {
		if r >= rune(len(runeBytes)) || runeBytes[r] < 0 {
			return append(dst[:from], token...)
		}
		dst = append(dst, byte(runeBytes[r]))
	}
	return dst
}
