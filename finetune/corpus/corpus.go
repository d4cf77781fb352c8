// Package corpus turns files of text into what a training step eats: cleaned,
// tokenised once into a cache that is mapped into memory, split into training
// and validation, packed into rows of the model's context, in an order that
// depends on a seed and nothing else.
//
// # The stream
//
// Documents follow one another with the tokenizer's end of text (<|endoftext|>)
// before the first, between all, and after the last:
//
//	E d d d d E d d E d d d E
//
// A row of a context of C tokens is an interval of at most C inputs of that
// stream; the labels are the same interval one further, so that each token is
// learnt exactly once in an epoch, and the model learns to begin a text after E
// and to end it with E. A label of -100 is not learnt: prompts, and the fill of
// a row that is not full.
package corpus

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/gptctl/gptctl/finetune/corpus/clean"
	"github.com/gptctl/gptctl/finetune/corpus/source"
)

// Ignored is the label of a position that is not learnt.
const Ignored = -100

// Tokenizer is what a corpus needs of one; *tokenizer.Tokenizer is one.
type Tokenizer interface {
	// EncodePlain appends the ids of text to dst; special tokens in text are text.
	EncodePlain(dst []int32, text string) []int32
	// EOS returns the token that ends a text.
	EOS() (int32, bool)
	// Len returns the highest id plus one.
	Len() int
	// Token returns the spelling of an id.
	Token(id int32) (string, bool)
}

// Options say what a corpus is made of. The zero value of every field but Paths
// and Tokenizer is a sensible choice.
type Options struct {
	Paths      []string // files, folders, patterns; see source.Find
	Validation []string // files of their own for validation, instead of a split
	Leave      []string // folders that are not looked into, such as the one that is written to
	Read       source.Options
	Steps      clean.Set // nil: those on by default; see clean.Choose
	Tokenizer  Tokenizer

	Split Split

	// CacheDir keeps the tokens for the next time, see MaxCache; it is made if it is
	// missing. Empty, or if it cannot be written: they are kept in the system's
	// folder for temporary files until Close.
	CacheDir string
	Workers  int // at most so many documents at once; 0: as many as there are CPUs

	// Progress is called from time to time, from one goroutine at a time.
	Progress func(Progress)
}

// Progress is how far the making of a corpus is.
type Progress struct {
	Stage     string // "hash", "count", "tokenize"
	Bytes     int64  // of the files
	Total     int64
	Documents int
}

// DefaultSeparator divides the documents of a text file: a token that no text
// means. NoSeparator makes every text file one document.
const (
	DefaultSeparator = "<|endoftext|>"
	NoSeparator      = "\x00" // which no text holds
)

// Split says what is held out for validation. It is made by whole documents
// (and equal documents always go to the same side), by position if there is
// only one.
type Split struct {
	// Share of the tokens that is held out; 0: none.
	Share float64
	// Seed chooses the documents.
	Seed uint64
	// Tail holds out the end of every document instead of whole documents.
	Tail bool
}

// Data is a corpus that is ready. It is safe for concurrent use until Close.
type Data struct {
	cache     *cache
	report    *Report
	eos       int32
	hasEOS    bool
	train     view
	valid     view
	temporary string // to be removed on Close
}

// Open makes a corpus or finds it in the cache. Errors name the file and the
// line where data cannot be read; a *EmptyError says that nothing is left.
func Open(ctx context.Context, o Options) (*Data, error) {
	if o.Tokenizer == nil {
		return nil, errors.New("a corpus needs a tokenizer")
	}
	if s := o.Split.Share; math.IsNaN(s) || s < 0 || s >= 1 {
		return nil, fmt.Errorf("validation share is %v, want 0 or more and less than 1", s)
	}
	if len(o.Validation) > 0 && o.Split.Share > 0 {
		return nil, errors.New("both validation files and a validation share, want one of them")
	}
	if o.Read.Separator == "" {
		o.Read.Separator = DefaultSeparator
	}
	if err := o.Read.Check(); err != nil {
		return nil, err
	}
	if o.Steps == nil {
		o.Steps, _ = clean.Choose(nil, nil)
	}
	b := &builder{Options: o}
	if b.eos, b.hasEOS = o.Tokenizer.EOS(); b.hasEOS && (b.eos < 0 || int(b.eos) >= o.Tokenizer.Len()) {
		return nil, fmt.Errorf("the tokenizer's end of text is token %d of %d", b.eos, o.Tokenizer.Len())
	}
	var err error
	// Validation comes first, so that of documents in both the training loses its own.
	if len(o.Validation) > 0 {
		if b.validation, b.skipped, err = source.Find(o.Validation, o.Leave...); err != nil {
			return nil, fmt.Errorf("validation: %w", err)
		}
	}
	var skipped []string
	if b.training, skipped, err = source.Find(o.Paths, o.Leave...); err != nil {
		return nil, err
	}
	b.skipped = append(b.skipped, skipped...)
	key, contents, err := b.key(ctx)
	if err != nil {
		return nil, err
	}

	d := &Data{eos: b.eos, hasEOS: b.hasEOS}
	dir := o.CacheDir
	path := filepath.Join(dir, cachePrefix+key[:32]+cacheSuffix)
	if dir != "" {
		// What others have kept is of use even where nothing can be written.
		if _, err := os.Stat(path); err != nil && !writable(dir) {
			dir = ""
		}
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "gptctl-corpus-"); err != nil {
			return nil, fmt.Errorf("keep the tokens: %w", err)
		}
		d.temporary = dir
		path = filepath.Join(dir, filepath.Base(path))
	}
	d.cache, err = openCache(path, key, o.Tokenizer.Len())
	made := err != nil
	if made { // missing or damaged
		if err = b.build(ctx, path, key, contents); err == nil {
			d.cache, err = openCache(path, key, o.Tokenizer.Len())
		}
	}
	if err == nil && d.temporary == "" {
		now := time.Now()
		_ = os.Chtimes(path, now, now) // it was used; where that cannot be written nothing is pruned either
		prune(dir, path, MaxCache, now)
	}
	if err == nil {
		d.report = &d.cache.meta.Report
		d.report.Cache, d.report.Cached = path, !made
		d.report.Skipped = append([]string{}, b.skipped...) // may be others than when the tokens were made
		if d.temporary != "" {
			d.report.Cache = ""
		}
		err = d.split(o.Split)
	}
	if err != nil {
		_ = d.Close() // err is what went wrong
		return nil, err
	}
	return d, nil
}

// Close releases the cache; rows must not be read any more.
func (d *Data) Close() error {
	var err error
	if d.cache != nil {
		err = d.cache.close()
		d.cache = nil
	}
	if d.temporary != "" {
		err = errors.Join(err, os.RemoveAll(d.temporary))
	}
	return err
}

// Report says what the files held and what became of it.
func (d *Data) Report() *Report { return d.report }

// Hash names the corpus: the contents of its files, in their order and wherever
// they lie, the settings and the tokenizer, as 64 hexadecimal digits.
func (d *Data) Hash() string { return d.cache.meta.Hash }

// Key is the name of its tokens in the cache, which says of each where it lay.
func (d *Data) Key() string { return d.cache.meta.Key }

// EmptyError says that a corpus holds nothing to learn.
type EmptyError struct {
	Files, Documents int
	Report           *Report
}

func (e *EmptyError) Error() string {
	if e.Documents == 0 {
		if e.Files == 1 {
			return "the corpus is empty: there is no text in its file"
		}
		return fmt.Sprintf("the corpus is empty: there is no text in its %d files", e.Files)
	}
	if e.Report != nil && e.Report.Kept > 0 {
		return "the corpus is empty: all texts to train on are in the validation files, too"
	}
	return fmt.Sprintf("the corpus is empty: cleaning left nothing of its %d documents; the report says which step took them, and each can be switched off", e.Documents)
}
