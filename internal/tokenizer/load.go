package tokenizer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// The files of a tokenizer.
const (
	tokenizerFile   = "tokenizer.json"
	vocabFile       = "vocab.json"
	mergesFile      = "merges.txt"
	settingsFile    = "tokenizer_config.json"
	specialsFile    = "special_tokens_map.json"
	addedTokensFile = "added_tokens.json"
	configFile      = "config.json"
)

// Limits on the size of a file, in bytes.
const (
	maxVocabBytes = 64 << 20
	maxSmallBytes = 4 << 20
)

// MissingError says which files a tokenizer lacks. It is an fs.ErrNotExist.
type MissingError struct {
	Files []string
}

func (e *MissingError) Error() string {
	if len(e.Files) == 1 && e.Files[0] == tokenizerFile {
		return tokenizerFile + " is missing, and so are " + vocabFile + " and " + mergesFile
	}
	return strings.Join(e.Files, " and ") + " is missing"
}

// Unwrap makes errors.Is(err, fs.ErrNotExist) true.
func (e *MissingError) Unwrap() error { return fs.ErrNotExist }

// Load reads a tokenizer from the directory of a model: tokenizer.json, or vocab.json and merges.txt, and, where they
// exist, tokenizer_config.json, special_tokens_map.json, added_tokens.json, and of config.json which class of tokenizer
// it names. The result is that of transformers' AutoTokenizer (5.23):
//
//   - For a GPT-2 model (config.json exists, or tokenizer_config.json names GPT2Tokenizer) it takes from tokenizer.json
//     the vocabulary, the merges, the post-processor and, unless tokenizer_config.json has them, the added tokens;
//     add_prefix_space comes from tokenizer_config.json, and add_bos_token counts only without a tokenizer.json.
//   - If the class is PreTrainedTokenizerFast, or nothing but the tokenizer's own files exists, tokenizer.json counts in
//     full.
//
// What cannot be done exactly (a normalizer, another model than BPE, other pre-tokenizers) is refused in either case.
// Errors name the file and the field; a *MissingError names the files that are missing.
func Load(fsys fs.FS) (*Tokenizer, error) {
	l := loader{fsys: fsys}
	var err error
	if l.config, err = l.object(configFile); err != nil {
		return nil, err
	}
	if l.settings, err = l.object(settingsFile); err != nil {
		return nil, err
	}
	if l.gpt2, err = l.class(); err != nil {
		return nil, err
	}
	if l.settings == nil {
		l.settings = newJSONObject()
	}
	t := &Tokenizer{added: addedVocab{
		ids: map[string]int32{}, tokens: map[int32]addedToken{}, special: map[string]bool{},
	}}
	text, ok, err := l.read(tokenizerFile, maxVocabBytes)
	switch {
	case err != nil:
		return nil, err
	case ok:
		err = l.fromTokenizerFile(t, text)
	default:
		l.gpt2 = true
		err = l.fromVocabFiles(t)
	}
	if err != nil {
		return nil, err
	}
	if err := l.finish(t); err != nil {
		return nil, err
	}
	return t, nil
}

// loader holds the files while they are brought together.
type loader struct {
	fsys     fs.FS
	config   *jsonObject // nil where there is no such file
	settings *jsonObject
	gpt2     bool           // transformers' GPT2Tokenizer, not its TokenizersBackend
	file     *tokenizerJSON // nil without tokenizer.json
}

// read returns the text of a file, and false if there is none.
func (l *loader) read(name string, limit int64) (string, bool, error) {
	info, err := fs.Stat(l.fsys, name) // before opening it: a named pipe would wait for a writer
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	if !info.Mode().IsRegular() {
		return "", false, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := l.fsys.Open(name)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	var b strings.Builder
	if info.Size() <= limit {
		b.Grow(int(info.Size()))
	}
	n, err := io.Copy(&b, io.LimitReader(f, limit+1))
	if err != nil {
		return "", false, fmt.Errorf("read %s: %w", name, err)
	}
	if n > limit {
		return "", false, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return b.String(), true, nil
}

// object reads a small file that holds one object; nil if there is no such file.
func (l *loader) object(name string) (*jsonObject, error) {
	text, ok, err := l.read(name, maxSmallBytes)
	if err != nil || !ok {
		return nil, err
	}
	r, err := newJSONReader(name, text)
	if err != nil {
		return nil, err
	}
	v, err := r.value()
	if err != nil {
		return nil, err
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	o, ok := v.(*jsonObject)
	if !ok {
		return nil, fmt.Errorf("%s: got %s, want an object", name, describe(v))
	}
	return o, nil
}

// class decides which class of transformers would load the directory; see Load.
func (l *loader) class() (gpt2 bool, err error) {
	name, file := "", settingsFile
	for _, from := range []struct {
		file string
		o    *jsonObject
	}{{settingsFile, l.settings}, {configFile, l.config}} {
		if name != "" || from.o == nil {
			continue
		}
		v := from.o.get("tokenizer_class")
		s, ok := v.(string)
		if v != nil && !ok {
			return false, fmt.Errorf("%s: tokenizer_class is %s, want a string", from.file, describe(v))
		}
		name, file = s, from.file
	}
	switch strings.TrimSuffix(name, "Fast") {
	case "GPT2Tokenizer":
		return true, nil
	case "PreTrainedTokenizer", "TokenizersBackend":
		return false, nil
	case "":
		return l.config != nil, nil
	}
	return false, fmt.Errorf("%s: tokenizer_class is %q, want GPT2Tokenizer or PreTrainedTokenizerFast", file, name)
}

func (l *loader) fromTokenizerFile(t *Tokenizer, text string) error {
	file, err := readTokenizerJSON(text)
	if err != nil {
		return err
	}
	l.file = file
	if err := t.setModel(file.model, tokenizerFile, l.gpt2); err != nil {
		return err
	}
	before, after, err := file.postProcessor()
	if err != nil {
		return err
	}
	t.before, t.after = before, after
	split, err := file.preTokenizer()
	if err != nil {
		return err
	}
	if !l.gpt2 {
		if file.decoder == nil {
			return fmt.Errorf(`%s: decoder is null, want "ByteLevel"`, tokenizerFile)
		}
		t.prefixSpace, t.wholeText = split.prefixSpace, !split.words
	}
	return nil
}

func (l *loader) fromVocabFiles(t *Tokenizer) error {
	vocab, hasVocab, err := l.read(vocabFile, maxVocabBytes)
	if err != nil {
		return err
	}
	text, hasMerges, err := l.read(mergesFile, maxVocabBytes)
	if err != nil {
		return err
	}
	switch {
	case !hasVocab && !hasMerges:
		return &MissingError{Files: []string{tokenizerFile}}
	case !hasVocab:
		return &MissingError{Files: []string{vocabFile}}
	case !hasMerges:
		return &MissingError{Files: []string{mergesFile}}
	}
	r, err := newJSONReader(vocabFile, vocab)
	if err != nil {
		return err
	}
	m := &modelFile{}
	if m.vocab, err = readVocabulary(r, "the vocabulary"); err != nil {
		return err
	}
	if err := r.end(); err != nil {
		return err
	}
	if m.merges, err = readMergesText(mergesFile, text, m.vocab); err != nil {
		return err
	}
	return t.setModel(m, vocabFile, true)
}

// flag reads a setting that is true or false.
func (l *loader) flag(key string) (bool, error) {
	v := l.settings.get(key)
	b, ok := v.(bool)
	if v != nil && !ok {
		return false, fmt.Errorf("%s: %s is %s, want true or false", settingsFile, key, describe(v))
	}
	return b, nil
}

// finish adds the added tokens, names the special ones and completes the tables.
func (l *loader) finish(t *Tokenizer) error {
	s, err := l.readSpecials()
	if err != nil {
		return err
	}
	if l.file != nil && !l.gpt2 {
		tokens := make([]addedToken, len(l.file.added))
		for i, a := range l.file.added {
			tokens[i] = a.token()
		}
		t.added.add(tokens, t.vocab)
	}
	t.added.add(s.toAdd(t.added.ids), t.vocab)
	t.added.build()
	if err := t.addTokens(); err != nil {
		return err
	}
	for i, key := range [namedCount]string{"bos_token", "eos_token", "unk_token", "pad_token"} {
		t.named[i] = noID
		if a, ok := s.named[key]; ok {
			if id, ok := t.ID(a.content); ok {
				t.named[i] = id
			}
		}
	}
	if err := l.setFlags(t); err != nil {
		return err
	}
	for _, ids := range [][]int32{t.before, t.after} {
		for _, id := range ids {
			if int(id) >= t.Len() {
				return fmt.Errorf("%s: post_processor: there is no token with id %d", tokenizerFile, id)
			}
		}
	}
	return nil
}

// addTokens puts the added tokens among the others and makes the tables by id.
func (t *Tokenizer) addTokens() error {
	n := len(t.vocab.ends)
	for id := range t.added.tokens {
		n = max(n, int(id)+1)
	}
	t.bytes = textsOf(n, func(all []byte, id int32) []byte {
		text, _ := t.Token(id)
		return unspell(all, text)
	})
	t.special = map[int32]bool{}
	for text := range t.added.special {
		id, _ := t.ID(text)
		if now, _ := t.Token(id); now == text {
			t.special[id] = true
		}
	}
	return nil
}

// setFlags takes over the settings of tokenizer_config.json that change what encoding does.
func (l *loader) setFlags(t *Tokenizer) error {
	flags := map[string]bool{}
	for _, key := range []string{
		"add_prefix_space", "add_bos_token", "add_eos_token", "split_special_tokens", "clean_up_tokenization_spaces",
		"clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
	} {
		v, err := l.flag(key)
		if err != nil {
			return err
		}
		flags[key] = v
	}
	t.plainText = flags["split_special_tokens"]
	if l.gpt2 {
		t.prefixSpace = flags["add_prefix_space"]
	}
	if l.file == nil {
		if id, ok := t.BOS(); ok && flags["add_bos_token"] {
			t.before = []int32{id}
		}
		if id, ok := t.EOS(); ok && flags["add_eos_token"] {
			t.after = []int32{id}
		}
	}
	// transformers ignores clean_up_tokenization_spaces alone for a BPE tokenizer.
	key := "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"
	if flags["clean_up_tokenization_spaces"] && flags[key] {
		return fmt.Errorf("%s: %s is true, want false", settingsFile, key)
	}
	return nil
}
