package corpus

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"

	"github.com/gptctl/gptctl/finetune/corpus/clean"
	"github.com/gptctl/gptctl/finetune/corpus/source"
)

// builder makes a cache.
type builder struct {
	Options
	validation, training []source.File
	skipped              []string
	sums                 [][32]byte // of the validation files, then of the training files
	total                int64      // bytes of all files
	eos                  int32
	hasEOS               bool
}

// job is a document on its way through the workers.
type job struct {
	file int // index among validation and training files
	doc  source.Document
	done chan struct{}

	bytes   int // of the text, as read
	changes []clean.Change
	lines   []uint64
	empty   bool
	print   clean.Print
	ids     [][]int32 // of each part
	err     error
}

// build reads the files and writes the cache.
func (b *builder) build(ctx context.Context, path, key, contents string) error {
	files := append(append([]source.File(nil), b.validation...), b.training...)
	report := newReport(b.Steps)
	report.Skipped = append([]string{}, b.skipped...) // a list in JSON, too
	first := make(map[[32]byte]string)
	for i, f := range files {
		r := FileReport{Path: f.Path, Format: string(f.Format), Bytes: f.Size, SHA256: hex.EncodeToString(b.sums[i][:])}
		if f.Compression != source.Plain {
			r.Format += ", " + string(f.Compression)
		}
		// A file that is held out is not trained on, whatever the steps.
		if r.SameAs = first[b.sums[i]]; r.SameAs == "" && f.Size > 0 && (b.Steps[clean.Exact] || i < len(b.validation)) {
			first[b.sums[i]] = f.Path
		}
		report.Files = append(report.Files, r)
	}
	var recurring map[uint64]bool
	if b.Steps[clean.Boilerplate] {
		var lines clean.Lines
		err := b.each(ctx, "count", files, report.Files, func(j *job) {
			if !j.doc.Piece() && len(j.doc.Parts) == 1 {
				b.Steps.Document(&j.doc)
				j.lines = clean.LinesOf(&j.doc)
			}
		}, func(j *job) error {
			if !j.doc.Piece() {
				lines.Add(j.lines)
			}
			return nil
		})
		if err != nil {
			return err
		}
		recurring = lines.Recurring()
	}

	w, err := newCacheWriter(path, b.Tokenizer.Len())
	if err != nil {
		return err
	}
	finished := false
	defer func() {
		if !finished {
			w.abandon()
		}
	}()
	c := collector{builder: b, w: w, report: &report, duplicates: clean.NewDuplicates(b.Steps), held: clean.NewDuplicates(nil)}
	err = b.each(ctx, "tokenize", files, report.Files, func(j *job) { b.work(j, recurring) }, c.take)
	if err != nil {
		return err
	}
	report.Tokens, report.Masked = w.tokens, w.masked
	switch {
	case w.tokens == 0 || c.trained == 0:
		return &EmptyError{Files: len(files), Documents: report.Documents, Report: &report}
	case !b.hasEOS && report.Kept > 1:
		return fmt.Errorf("the tokenizer has no end of text, which must stand between %d documents", report.Kept)
	}
	finished = true
	w.group(c.duplicates.Group)
	return w.finish(meta{Key: key, Hash: contents, Validation: c.validation, ValidationFiles: len(b.validation) > 0, Tokens: w.tokens, Masked: w.masked, Report: report})
}

// work cleans and tokenises one document.
func (b *builder) work(j *job, recurring map[uint64]bool) {
	d := &j.doc
	before := clean.Excerpt(d.Text(), 0, 80)
	j.changes = b.Steps.Document(d)
	j.changes = clean.DropLines(d, recurring, j.changes)
	if j.empty = clean.Empty(d); j.empty {
		j.changes = append(j.changes, clean.Change{Step: EmptyStep, Removed: true, Before: before})
		return
	}
	j.print = clean.PrintOf(d)
	for _, p := range d.Parts {
		ids := b.Tokenizer.EncodePlain(nil, p.Text)
		for _, id := range ids {
			if id < 0 || int(id) >= b.Tokenizer.Len() {
				j.err = fmt.Errorf("tokenize %s: token %d is outside the vocabulary of %d", d.Where(), id, b.Tokenizer.Len())
				return
			}
		}
		j.ids = append(j.ids, ids)
	}
}

// collector takes documents in their order.
type collector struct {
	*builder
	w          *cacheWriter
	report     *Report
	duplicates *clean.Duplicates
	open       bool              // the pieces of a document have begun to be written
	held       *clean.Duplicates // documents of validation files
	trained    int               // kept documents for training
	validation int               // and for validation
}

func (c *collector) take(j *job) error {
	if j.err != nil {
		return j.err
	}
	d, r := &j.doc, c.report
	if !d.Continues {
		r.Documents++
		r.Files[j.file].Documents++
		c.open = false
	}
	r.Bytes += int64(j.bytes)
	where := d.Where()
	for _, change := range j.changes {
		r.note(where, change)
	}
	if j.empty {
		return nil
	}
	bytes := 0
	for _, p := range d.Parts {
		bytes += len(p.Text)
	}
	drop := func(step, of string) {
		r.note(where, clean.Change{Step: step, Removed: true, Bytes: bytes, Before: clean.Excerpt(d.Text(), 0, 80), After: of})
	}
	if j.file < len(c.builder.validation) {
		if !d.Piece() {
			c.held.Keep(d, j.print)
		}
	} else if of, ok := c.held.Like(j.print); ok && !d.Piece() {
		drop(HeldOutStep, of)
		return nil
	}
	if !c.open {
		if step, of, twice := c.duplicates.Check(d, j.print); twice {
			drop(step, of)
			return nil
		}
		c.open = true
		c.w.begin(binary.LittleEndian.Uint64(j.print.Hash[:]))
		r.Kept++
		if j.file < len(c.builder.validation) {
			c.validation++
		} else {
			c.trained++
		}
	}
	r.KeptBytes += int64(bytes)
	for i, ids := range j.ids {
		c.w.add(ids, d.Parts[i].Masked)
	}
	if c.w.err != nil {
		return notKept(c.w.err)
	}
	return nil
}

// each reads all files in their order, works on the documents in parallel, and
// takes them in their order.
func (b *builder) each(ctx context.Context, stage string, files []source.File, reports []FileReport, work func(*job), take func(*job) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n := b.workers()
	ordered, todo := make(chan *job, 2*n), make(chan *job, 2*n)
	var wg sync.WaitGroup
	var readErr error
	wg.Go(func() {
		defer close(ordered)
		defer close(todo)
		for i, f := range files {
			if reports[i].SameAs != "" {
				continue
			}
			readErr = source.Read(ctx, f, b.Read, func(d source.Document) error {
				j := &job{file: i, doc: d, done: make(chan struct{})}
				for _, p := range d.Parts {
					j.bytes += len(p.Text)
				}
				for _, c := range []chan *job{ordered, todo} {
					select {
					case c <- j:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				return nil
			})
			if readErr != nil {
				return
			}
		}
	})
	for range n {
		wg.Go(func() {
			for j := range todo {
				if ctx.Err() == nil {
					work(j)
				}
				close(j.done)
			}
		})
	}
	var err error
	p := Progress{Stage: stage, Total: b.total}
	file, before, within := 0, int64(0), int64(0)
	for j := range ordered {
		if err != nil {
			continue // let the reader see that the context has ended
		}
		for ; file < j.file; file++ {
			before += files[file].Size
			within = 0
		}
		within += int64(j.bytes)
		select {
		case <-j.done:
			err = take(j)
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			cancel()
			continue
		}
		p.Documents++
		if b.Progress != nil {
			p.Bytes = before + min(within, files[file].Size)
			b.Progress(p)
		}
	}
	wg.Wait()
	if err != nil {
		return err
	}
	return readErr
}
