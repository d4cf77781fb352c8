package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// The largest token id: ids take memory even where they have no token, so a small file must not name a huge one.
const (
	alwaysID   = 1 << 20
	idsPerItem = 4
)

// vocabulary is a vocabulary as it is read.
type vocabulary struct {
	file, field string // for errors
	words
}

// readVocabulary reads the object token: id that the reader stands before.
func readVocabulary(r *jsonReader, field string) (*vocabulary, error) {
	v := &vocabulary{file: r.file, field: field}
	byID := make([]string, 0, len(r.src)/25) // GPT-2's files have 21 to 27 bytes an entry
	count, empty := 0, int32(noID)
	tooLarge := func(id int32, count int) bool { return id >= alwaysID && int(id)/idsPerItem >= count }
	err := r.object(func(key string) error {
		if c := r.peek(); c != '-' && (c < '0' || '9' < c) {
			return r.unexpected(fmt.Sprintf("a number, the id of %q in %s", key, field))
		}
		n, err := r.number()
		if err != nil {
			return err
		}
		id, ok := parseID(n)
		if !ok {
			return fmt.Errorf("%s: %s: the id of %q is %s, want a whole number that is neither negative nor huge", r.file, field, key, n)
		}
		count++
		if tooLarge(id, len(r.src)/6) { // an entry has that many bytes at least
			return fmt.Errorf("%s: %s: id %d is too large for a file of %d bytes", r.file, field, id, len(r.src))
		}
		if more := int(id) + 1 - len(byID); more > 0 {
			byID = append(byID, make([]string, more)...)
		}
		switch other := byID[id]; {
		case other != "" || id == empty:
			return fmt.Errorf("%s: %s: %q and %q have the same id %d", r.file, field, other, key, id)
		case key == "" && empty != noID:
			return v.twice()
		case key == "":
			empty = id
		}
		byID[id] = key
		return nil
	})
	if err != nil {
		return nil, err
	}
	if highest := int32(len(byID)) - 1; tooLarge(highest, count) {
		return nil, fmt.Errorf("%s: %s: id %d is too large for a vocabulary of %d tokens", r.file, field, highest, count)
	}
	var twice int32
	if v.words, twice = newWords(byID, empty); twice != noID {
		return nil, v.twice()
	}
	return v, nil
}

func (v *vocabulary) twice() error {
	return fmt.Errorf("%s: %s: a token occurs twice", v.file, v.field)
}

// merges collects the merges of a model in the order of their ranks.
type merges struct {
	file, field string
	vocab       *vocabulary
	list        []pair
	joined      []byte
}

func (m *merges) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %s: merge %d: %s", m.file, m.field, len(m.list)+1, fmt.Sprintf(format, args...))
}

// line adds a merge written as "left right"; a line with the file's version is passed over.
func (m *merges) line(s string) error {
	if strings.HasPrefix(s, "#version") {
		return nil
	}
	left, right, ok := strings.Cut(s, " ")
	if !ok || strings.Contains(right, " ") {
		return m.errorf("got %q, want two tokens with one space between them", s)
	}
	return m.pair(left, right)
}

func (m *merges) pair(left, right string) error {
	l, ok := m.vocab.find(left)
	if !ok {
		return m.errorf("%q is not in the vocabulary", left)
	}
	r, ok := m.vocab.find(right)
	if !ok {
		return m.errorf("%q is not in the vocabulary", right)
	}
	m.joined = append(append(m.joined[:0], left...), right...)
	id, ok := m.vocab.find(string(m.joined))
	if !ok {
		return m.errorf("%q, which %q and %q make, is not in the vocabulary", m.joined, left, right)
	}
	m.list = append(m.list, pair{l, r, id})
	return nil
}

// readMerges reads the array of merges that the reader stands before: "a b" or ["a", "b"].
func readMerges(r *jsonReader, field string, v *vocabulary) ([]pair, error) {
	m := &merges{file: r.file, field: field, vocab: v, list: make([]pair, 0, v.count)}
	err := r.array(func() error {
		if r.peek() != '[' {
			s, err := r.str()
			if err != nil {
				return err
			}
			return m.line(s)
		}
		var parts [2]string
		n := 0
		err := r.array(func() error {
			s, err := r.str()
			if err == nil && n == len(parts) {
				err = m.errorf("more than two tokens")
			}
			if err == nil {
				parts[n] = s
				n++
			}
			return err
		})
		if err != nil {
			return err
		}
		if n != len(parts) {
			return m.errorf("got %d tokens, want two", n)
		}
		return m.pair(parts[0], parts[1])
	})
	return m.list, err
}

// readMergesText reads merges.txt: a merge a line, after a line with a version.
func readMergesText(file, text string, v *vocabulary) ([]pair, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("%s: not valid UTF-8", file)
	}
	m := &merges{file: file, field: "line by line", vocab: v, list: make([]pair, 0, v.count)}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" {
			continue
		}
		if err := m.line(line); err != nil {
			return nil, err
		}
	}
	return m.list, nil
}

// modelFile is what the model part of tokenizer.json, or vocab.json with merges.txt, says.
type modelFile struct {
	vocab        *vocabulary
	merges       []pair
	unk          string
	hasUnk       bool
	fuseUnk      bool
	ignoreMerges bool
}

// readModel reads the object "model" of tokenizer.json.
func readModel(r *jsonReader) (*modelFile, error) {
	var m modelFile
	vocabAt, mergesAt := -1, -1
	refuse := func(field string, got any, want string) error {
		return fmt.Errorf("%s: model.%s is %v, want %s", r.file, field, describe(got), want)
	}
	boolean := func(field string, v any, dst *bool) error {
		b, ok := v.(bool)
		if !ok && v != nil {
			return refuse(field, v, "true or false")
		}
		*dst = b
		return nil
	}
	err := r.object(func(key string) error {
		switch key {
		case "vocab":
			r.peek()
			vocabAt = r.pos
			return r.skip()
		case "merges":
			r.peek()
			mergesAt = r.pos
			return r.skip()
		}
		v, err := r.small()
		if err != nil {
			return err
		}
		switch key {
		case "type":
			if v != "BPE" {
				return refuse(key, v, `"BPE"`)
			}
		case "dropout":
			if n, ok := v.(jsonNumber); v != nil && (!ok || strings.Trim(string(n), "-0.") != "") {
				return refuse(key, v, "null or 0")
			}
		case "continuing_subword_prefix", "end_of_word_suffix":
			if v != nil && v != "" {
				return refuse(key, v, "null or an empty string")
			}
		case "unk_token":
			s, ok := v.(string)
			if !ok && v != nil {
				return refuse(key, v, "null or a string")
			}
			m.unk, m.hasUnk = s, ok
		case "byte_fallback":
			if v != nil && v != false {
				return refuse(key, v, "false")
			}
		case "fuse_unk":
			return boolean(key, v, &m.fuseUnk)
		case "ignore_merges":
			return boolean(key, v, &m.ignoreMerges)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if vocabAt < 0 || mergesAt < 0 {
		return nil, fmt.Errorf("%s: model has no vocab or no merges", r.file)
	}
	after := r.pos
	r.pos = vocabAt
	if m.vocab, err = readVocabulary(r, "model.vocab"); err != nil {
		return nil, err
	}
	r.pos = mergesAt
	if m.merges, err = readMerges(r, "model.merges", m.vocab); err != nil {
		return nil, err
	}
	r.pos = after
	return &m, nil
}

// describe shows a value in an error.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return fmt.Sprintf("%q", v)
	case jsonNumber:
		return string(v)
	case bool:
		return fmt.Sprint(v)
	case []any:
		return "a list"
	}
	return "an object"
}

// setModel makes the tables of the model. Of gpt2's own class only the vocabulary and the merges count.
func (t *Tokenizer) setModel(m *modelFile, file string, gpt2 bool) error {
	v := &m.vocab.words
	t.vocab = v
	b := &t.bpe
	for i, r := range byteRunes {
		b.byteID[i] = noID
		if id, ok := v.find(string(r)); ok {
			b.byteID[i] = id
		}
	}
	b.vocab, b.pairs, b.unk = v, newPairTable(m.merges), noID
	if gpt2 {
		return nil
	}
	if m.hasUnk && slices.Contains(b.byteID[:], noID) {
		id, ok := v.find(m.unk)
		if !ok {
			return fmt.Errorf("%s: model.unk_token: %q is not in the vocabulary", file, m.unk)
		}
		for _, p := range m.merges {
			if p.left == id || p.right == id {
				return fmt.Errorf("%s: model.unk_token: %q is part of a merge", file, m.unk)
			}
		}
		b.unk, b.fuse = id, m.fuseUnk
	}
	if m.ignoreMerges {
		b.whole = func(word string) (int32, bool) {
			return v.find(spell(word))
		}
	}
	return nil
}
